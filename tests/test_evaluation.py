"""The protocol around the scores: what is written, which pictures, what is timed."""

import csv
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline import cost, evaluation, files, machine
from pipeline.inference import Fitted, load
from pipeline.structures import SemanticMap
from tests.tiny import SPACE, TinyDataset


class Perfect(Fitted):
    """Knows the truth of every image it is shown; `shift` moves its answer."""

    def __init__(self, samples, *, shift=0):
        self.label_space, self.shift = SPACE, shift
        self.truth = {sample.image.tobytes(): sample.truth.semantic(SPACE) for sample in samples}
        self.calls = 0

    def segment(self, image, prompt=None):
        self.calls += 1
        return SemanticMap(np.pad(self.truth[image.tobytes()], [(0, self.shift), (0, 0)]))

    def cost(self, height, width):
        return {"parameters": 7, "multiply_adds": height * width}


@pytest.fixture
def samples():
    dataset = TinyDataset(counts={"test": 4})
    return [dataset.sample("test", one) for one in dataset.ids("test")]


def test_a_perfect_method_scores_one_everywhere(samples, tmp_path):
    scores, tables = evaluation.score(Perfect(samples), samples, pictured=["test_1"], pictures=tmp_path / "samples")
    assert {name: scores[name] for name in ("miou", "pixel_accuracy", "mean_dice")} == dict.fromkeys(
        ("miou", "pixel_accuracy", "mean_dice"), 1.0
    )
    evaluation.write(tmp_path, scores, tables)
    assert json.loads((tmp_path / "metrics.json").read_text()) == scores
    rows = list(csv.DictReader((tmp_path / "per_image.csv").read_text().splitlines()))
    assert all(row["intersection"] == row["truth_pixels"] == row["predicted_pixels"] for row in rows)
    assert sum(int(row["truth_pixels"]) for row in rows) == 4 * 32 * 48


def test_a_table_without_a_row_keeps_its_header(samples, tmp_path):
    scores, tables = evaluation.score(Perfect(samples), samples, pictured=[], pictures=tmp_path / "samples")
    evaluation.write(tmp_path, scores, tables)
    assert "ece" not in scores  # no probabilities
    assert (tmp_path / "reliability.csv").read_text() == "low,high,pixels,confidence,accuracy\n"


def test_a_table_has_the_columns_of_all_its_rows(tmp_path):
    files.write_csv(tmp_path / "seeds.csv", [{"seed": 0, "miou": 0.5}, {"seed": 1, "ece": 0.1}], columns=["seed", "miou"])
    assert (tmp_path / "seeds.csv").read_text() == "seed,miou,ece\n0,0.5,\n1,,0.1\n"


def test_the_picture_shows_the_classes_in_their_colours(samples, tmp_path):
    evaluation.score(Perfect(samples), samples, pictured=["test_1"], pictures=tmp_path)
    assert [path.name for path in tmp_path.glob("*.png")] == ["test_1.png"]
    shown = cv2.imread(str(tmp_path / "test_1.png"))[..., ::-1]
    assert np.array_equal(shown, SPACE.paint(samples[1].truth.semantic(SPACE)))


def test_a_prediction_of_another_size_is_refused(samples, tmp_path):
    with pytest.raises(ValueError, match=r"test_0: the prediction is \(33, 48\) and the image \(32, 48\)"):
        evaluation.score(Perfect(samples, shift=1), samples, pictured=[], pictures=tmp_path)


def test_every_image_is_timed_once_after_a_warm_up(samples):
    method = Perfect(samples)
    measured = cost.measure(method, [sample.image for sample in samples])
    assert method.calls == 2 + 4
    assert measured["parameters"] == 7 and measured["multiply_adds"] == 32 * 48
    assert measured["latency_ms"] > 0 and measured["images_per_s"] > 0 and measured["peak_memory_mb"] > 1
    assert isinstance(measured["under_load"], bool)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system cannot forget the peak")
def test_memory_held_before_the_timed_predictions_does_not_count(samples):
    held = np.ones(300 << 17)  # 300 MB
    del held
    before = machine.peak_memory_mb()
    measured = cost.measure(Perfect(samples), [sample.image for sample in samples])
    assert measured["peak_memory_mb"] < before - 200


def test_the_load_of_this_process_is_not_that_of_others(monkeypatch):
    # 10 s on 2 cores: everybody 12 s of work, this process 11 s: others 5 % of the cores; then 2 s: 50 %
    for own_s, expected in ((11.0, False), (2.0, True)):
        readings = iter([(0.0, 0.0, 0.0), (10.0, 12.0, own_s)])
        monkeypatch.setattr(machine.Load, "_read", staticmethod(lambda readings=readings: next(readings)))
        monkeypatch.setattr(machine.psutil, "cpu_count", lambda: 2)
        assert machine.Load().measured()["under_load"] is expected


def test_what_children_do_is_the_work_of_this_process():
    before = machine.Load()._read()[2]
    busy = "import time\nwhile time.process_time() < 1: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert machine.Load()._read()[2] - before > 0.9  # it lives yet
        child.communicate(b"\n")
    assert machine.Load()._read()[2] - before > 0.9  # it has ended


def test_a_folder_without_a_model_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no model\.json there; fit the method first"):
        load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"kind": "oracle", "label_space": SPACE.to_json()}))
    with pytest.raises(ValueError, match="kind 'oracle' is none of classical, network, fusion"):
        load(tmp_path)
