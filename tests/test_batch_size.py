"""`batch_size: auto`: the largest power of two that fits, found once, kept with the checkpoint."""

import pytest
import torch

from pipeline.training.batch_size import ON_CPU, chosen_batch_size, largest_batch, largest_that_fits
from pipeline.training.fit import make_trainer
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint
from tests.test_training import FIT
from tests.tiny import training_arrays


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    return training_arrays(tmp_path_factory.mktemp("tiny"))


def small_gpu(size):
    if size > 11:
        raise torch.OutOfMemoryError("a GPU with room for eleven")


@pytest.mark.parametrize("most, expected", [(100, 8), (8, 8), (7, 4), (1, 2)])  # never fewer than 2
def test_it_doubles_until_the_memory_or_the_samples_end(most, expected):
    assert largest_that_fits(small_gpu, most=most) == expected


def test_where_two_do_not_fit_the_user_is_told():
    def attempt(size):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(ValueError, match="a batch of 2 does not fit"):
        largest_that_fits(attempt, most=8)


def test_another_fault_than_memory_is_not_hidden():
    def attempt(size):
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(attempt, most=8)


def choose(given, arrays, folder, device="cpu"):
    return chosen_batch_size(given, Checkpoint(folder), arrays, trial=None, device=torch.device(device), processes=Processes())


def test_a_number_is_taken_as_it_is_and_auto_is_kept_with_the_checkpoint(arrays, tmp_path):
    assert choose(3, arrays, tmp_path) == 3 and not (tmp_path / "batch_size.json").exists()
    assert choose("auto", arrays, tmp_path) == ON_CPU
    (tmp_path / "batch_size.json").write_text('{"batch_size": 6}')  # what another machine's GPU had room for
    assert choose("auto", arrays, tmp_path) == 6


def test_the_trial_step_is_a_step_on_the_largest_picture(arrays, tmp_path):
    trainer = make_trainer({**FIT, "batch_size": "auto"}, arrays, Checkpoint(tmp_path), seed=3, processes=Processes())
    assert trainer.batch_size == ON_CPU
    batch = largest_batch(arrays, 4, stride=20)
    assert batch.images.shape == (4, 40, 60, 3) and len(batch.ids) == 4
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    assert trainer.try_step([batch]) > 0
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trainer.network.state_dict().items())
