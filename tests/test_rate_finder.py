"""The learning-rate range test: where it looks, when it stops, what it says, what it draws."""

import math

import pytest
import torch
from PIL import Image

from pipeline.training import rate_finder
from pipeline.training.fit import make_trainer
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint
from tests.test_training import FIT
from tests.tiny import training_arrays


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    torch.set_num_threads(1)
    return training_arrays(tmp_path_factory.mktemp("tiny"))


def rows_of(means):
    return [{"learning_rate": 10.0 ** (index / 10 - 6), "loss": mean, "mean": mean} for index, mean in enumerate(means)]


def test_the_steepest_place_is_found():
    # flat at 2, falls by a sigmoid in the logarithm of the rate whose middle is row 40, flat at 1
    means = [2 - 1 / (1 + math.exp((40 - index) / 3)) for index in range(80)]
    assert rate_finder.steepest(rows_of(means)) == pytest.approx(10.0**-2)


def test_a_loss_that_never_falls_has_no_rate():
    with pytest.raises(ValueError, match="does not fall at any rate"):
        rate_finder.steepest(rows_of([1 + index / 10 for index in range(20)]))


def test_a_loss_that_is_lost_at_once_is_named():
    with pytest.raises(ValueError, match="lost after 3 steps"):
        rate_finder.steepest(rows_of([1.0, 2.0, 3.0]))


def test_the_rates_rise_geometrically_until_the_loss_explodes(arrays, tmp_path):
    fit = {**FIT, "optimizer": {"name": "sgd", "learning_rate": 0.01, "options": {}}, "options": {"widths": [4, 8]}}
    trainer = make_trainer(fit, arrays, Checkpoint(tmp_path), seed=3, processes=Processes())
    rows, rate = rate_finder.find_rate(trainer)
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(1e-7)
    assert rates[1] / rates[0] == pytest.approx(rates[-1] / rates[-2]) == pytest.approx(1e7 ** (1 / 99))
    assert 1e-4 < rate <= 1
    assert not (tmp_path / "last.pt").exists()


def test_a_loss_below_zero_is_no_loss_lost(arrays, tmp_path, monkeypatch):
    trainer = make_trainer(FIT, arrays, Checkpoint(tmp_path), seed=3, processes=Processes())
    losses = iter([0.1, -0.1, *(-0.2 - 0.01 * step for step in range(60)), *[5.0] * 90])
    monkeypatch.setattr(trainer, "try_step", lambda batches: next(losses))
    rows, _ = rate_finder.find_rate(trainer)
    assert 62 < len(rows) < 90
    assert rows[61]["mean"] < 0


def test_each_step_takes_the_batches_of_an_accumulated_one(arrays, tmp_path, monkeypatch):
    seen = []
    trainer = make_trainer({**FIT, "training": {"accumulate": 3}}, arrays, Checkpoint(tmp_path), seed=3, processes=Processes())
    monkeypatch.setattr(trainer, "try_step", lambda batches: seen.append(len(batches)) or 1.0)
    rate_finder.find_rate(trainer)
    assert seen == [3] * rate_finder.STEPS


def test_the_command_draws_the_curve(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = rate_finder.draw("small", FIT, arrays, seed=3, workers=0)
    assert "falls fastest at a learning rate of" in said and "find_lr/small.png" in said
    with Image.open("find_lr/small.png") as picture:
        assert picture.size == (960, 540)
    lines = (tmp_path / "find_lr/small.csv").read_text().splitlines()
    assert lines[0] == "learning_rate,loss,mean" and len(lines) > 10
