"""The loop: resuming equals not stopping, workers change nothing, and what it says when it goes wrong."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.training import fit as fitting
from pipeline.training.batches import collate, epoch_order, validation_batches
from pipeline.training.state import Checkpoint, drop_finished
from pipeline.training.watch import Watch
from tests.tiny import VOIDLESS, training_arrays

FIT = {
    "model": "fcn_plain",
    "options": {"widths": [4, 8], "dropout": 0.5},
    "loss": [{"name": "cross_entropy", "weight": 1.0, "options": {"class_weights": "sqrt_median_frequency"}}],
    "optimizer": {"name": "adamw", "learning_rate": 0.01, "options": {"weight_decay": 0.01}},
    "schedule": {"name": "one_cycle", "options": {}},
    "epochs": 3,
    "batch_size": 4,
    "early_stop": None,
    "precision": "float32",
    "training": {},
}


PLAIN = ("optimizer", "schedule", "epochs", "batch_size", "early_stop", "training")


class Stopped(RuntimeError):
    """Stands for a kill."""


class StopAt(Watch):
    """Stops the training after so many steps, as a kill would: nothing is saved on the way out."""

    def __init__(self, steps: int):
        self.steps = steps

    def stepped(self, progress):
        if progress.step == self.steps:
            raise Stopped


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    return training_arrays(tmp_path_factory.mktemp("tiny"))


def train(arrays, folder, *, fit=FIT, workers=0, watch=None, checkpoint_every_s=0.0):
    network = fitting.build_network(fit, arrays, seed=3, device=torch.device("cpu"))
    options = {
        key: fit[key] for key in ("optimizer", "schedule", "epochs", "batch_size", "early_stop", "precision", "training")
    }
    trainer = fitting.Trainer(
        network,
        arrays,
        Checkpoint(folder),
        **options,
        seed=3,
        device=torch.device("cpu"),
        workers=workers,
        checkpoint_every_s=checkpoint_every_s,
        watch=watch,
    )
    return network.state_dict(), trainer.run()


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def unstopped(arrays, tmp_path_factory):
    torch.set_num_threads(1)
    return train(arrays, tmp_path_factory.mktemp("unstopped"))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 9])  # 3 steps an epoch: inside, at the end of one, at the very end
def test_resuming_equals_not_stopping_with_dropout_and_two_workers(arrays, unstopped, tmp_path, steps):
    with pytest.raises(Stopped):
        train(arrays, tmp_path, workers=2, watch=StopAt(steps))
    weights, progress = train(arrays, tmp_path, workers=2)
    assert_same(weights, unstopped[0])
    assert progress.history == unstopped[1].history


class StopWhileValidating(Watch):
    """Stops between the last step of an epoch, whose state is saved, and the end of the epoch."""

    def pictured(self, epoch, path):
        raise Stopped


CHANGING = {
    **FIT,
    "loss": [
        {"name": "dice", "weight": [1.0, 0.01], "options": {}},
        {"name": "boundary", "weight": [0.0, 0.99], "options": {}},
    ],
}


@pytest.mark.parametrize("watch", [StopAt(2), StopAt(5), StopWhileValidating()], ids=["step 2", "step 5", "validation"])
def test_resuming_equals_not_stopping_with_weights_of_losses_that_change(arrays, tmp_path, watch):
    weights, progress = train(arrays, tmp_path / "unstopped", fit=CHANGING)
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "stopped", fit=CHANGING, watch=watch)
    resumed, again = train(arrays, tmp_path / "stopped", fit=CHANGING)
    assert_same(resumed, weights)
    assert again.history == progress.history


def test_the_loss_is_told_the_share_of_the_steps_done(arrays, tmp_path):
    shares = []

    class Listening(Watch):
        def started(self, trainer, progress):
            self.criterion = trainer.network.criterion

        def stepped(self, progress):
            shares.append(self.criterion.progress)

        def pictured(self, epoch, path):  # in validation: what is done by the end of the epoch
            shares.append(self.criterion.progress)

    train(arrays, tmp_path, watch=Listening())  # 3 epochs of 3 steps
    assert shares == [one / 9 for one in (0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9)]


STATES = {  # everything that has state, alone and together
    "average": {"training": {"average": 0.9}},
    "accumulate": {"training": {"accumulate": 2}},
    "clip, accumulate, average": {"training": {"accumulate": 2, "average": 0.5, "clip_norm": 0.1}},
    "frozen encoder, rates by layer": {"training": {"freeze_encoder_epochs": 1, "encoder_rate": 0.5, "layer_decay": 0.5}},
    "frozen encoder, momentum": {
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "options": {"momentum": 0.9}},
        "training": {"freeze_encoder_epochs": 1},
    },
    "frozen encoder, average": {"training": {"freeze_encoder_epochs": 2, "average": 0.9}},
    "scaler": {"precision": "float16"},
    "scaler, accumulate, average, clip": {
        "precision": "float16",
        "training": {"accumulate": 2, "average": 0.9, "clip_norm": 1.0},
    },
    "early stop, average": {"early_stop": 1, "epochs": 6, "training": {"average": 0.9}},
    "momentum, accumulate": {
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "options": {"momentum": 0.9}},
        "training": {"accumulate": 2},
    },
    "amsgrad, average": {
        "optimizer": {"name": "adam", "learning_rate": 0.01, "options": {"amsgrad": True}},
        "training": {"average": 0.9},
    },
    "weights of losses, accumulate": {
        "loss": [
            {"name": "dice", "weight": [1.0, 0.1], "options": {}},
            {"name": "cross_entropy", "weight": [0.0, 1.0], "options": {}},
        ],
        "training": {"accumulate": 2},
    },
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_everything_with_state_resumes_exactly(arrays, tmp_path, state, steps):
    fit = {**FIT, **STATES[state]}
    whole, told = train(arrays, tmp_path / "whole", fit=fit)
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "stopped", fit=fit, watch=StopAt(steps))
    weights, progress = train(arrays, tmp_path / "stopped", fit=fit)
    assert_same(weights, whole)
    assert progress.history == told.history and progress.best_epoch == told.best_epoch
    last = [torch.load(tmp_path / run / "last.pt", weights_only=True)["updates"] for run in ("whole", "stopped")]
    assert_same(last[0]["network"], last[1]["network"])
    if last[0]["averaged"] is not None:
        assert_same(last[0]["averaged"], last[1]["averaged"])


def test_a_checkpoint_of_the_last_epoch_end_is_enough(arrays, unstopped, tmp_path):
    with pytest.raises(Stopped):
        train(arrays, tmp_path, watch=StopAt(5), checkpoint_every_s=1000.0)
    weights, _ = train(arrays, tmp_path, checkpoint_every_s=1000.0)
    assert_same(weights, unstopped[0])


def test_a_finished_training_gives_its_result_again_without_a_step(arrays, unstopped, tmp_path):
    train(arrays, tmp_path)
    weights, progress = train(arrays, tmp_path, watch=StopAt(1))
    assert_same(weights, unstopped[0])
    assert progress.is_finished and len(progress.history) == 3


def test_the_seed_decides_the_weights(arrays):
    one, same, other = (
        fitting.build_network(FIT, arrays, seed=seed, device=torch.device("cpu")).state_dict() for seed in (0, 0, 1)
    )
    assert_same(one, same)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_it_learns(arrays, tmp_path):
    fit = {**FIT, "epochs": 12, "options": {"widths": [8, 16], "dropout": 0.0}}
    _, progress = train(arrays, tmp_path, fit=fit, checkpoint_every_s=1000.0)
    losses = [row["train_loss"] for row in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    assert progress.best_score > 0.5  # one class everywhere reaches 1/3 at most


def test_accumulated_batches_make_fewer_steps_of_the_same_gradient(tmp_path):
    arrays = training_arrays(tmp_path / "data", policy=VOIDLESS)
    still = {"widths": [4, 8], "dropout": 0.0}
    plain = {"name": "sgd", "learning_rate": 0.1, "options": {}}
    fit = {**FIT, "options": still, "optimizer": plain, "epochs": 1, "schedule": {"name": "constant", "options": {}}}
    weights = {}
    for name, batch_size, accumulate in (("small", 3, 3), ("large", 9, 1)):
        fit_one = {**fit, "batch_size": batch_size, "training": {"accumulate": accumulate}}
        fit_one["loss"] = [{"name": "cross_entropy", "weight": 1.0, "options": {}}]
        network = fitting.build_network(fit_one, arrays, seed=3, device=torch.device("cpu"))
        options = {key: fit_one[key] for key in (*PLAIN, "precision")}
        trainer = fitting.Trainer(network, arrays, Checkpoint(tmp_path / name), **options, seed=3, device=torch.device("cpu"))
        freeze_statistics(trainer)
        progress = trainer.run()
        weights[name], steps = network.state_dict(), progress.step
        assert steps == 1
    for key, tensor in weights["small"].items():
        torch.testing.assert_close(tensor, weights["large"][key], atol=1e-6, rtol=0)


def freeze_statistics(trainer):
    """Batch normalisation as in evaluation, so that a picture's gradient does not depend on its neighbours."""
    train_mode = trainer.network.train

    def train(mode=True):
        train_mode(mode)
        for module in trainer.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return trainer.network

    trainer.network.train = train


def test_early_stop_keeps_the_best_epoch(arrays, tmp_path):
    still = {**FIT["optimizer"], "learning_rate": 1e-12}  # nothing changes, so no epoch beats the first by much
    fit = {**FIT, "epochs": 30, "early_stop": 2, "optimizer": still, "model": "unet", "options": {"width": 4, "depth": 1}}
    _, progress = train(arrays, tmp_path, fit=fit)
    best = max(range(len(progress.history)), key=lambda index: progress.history[index]["val_miou"]) + 1
    assert progress.best_epoch == best
    assert len(progress.history) == best + 2 < 30
    assert [path.name for path in tmp_path.glob("best-*")] == [f"best-{best:05d}.safetensors"]


def test_a_loss_that_is_not_finite_names_step_and_images(arrays, tmp_path):
    fit = {**FIT, "optimizer": {"name": "sgd", "learning_rate": 1e30, "options": {}}}
    with pytest.raises(ValueError, match=r"step \d+: the loss is not finite .* images train_\d"):
        train(arrays, tmp_path, fit=fit)


def test_a_picture_after_each_epoch(arrays, tmp_path):
    train(arrays, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("epoch_*.png")) == [f"epoch_00{epoch}.png" for epoch in (1, 2, 3)]


def test_finished_checkpoints_of_other_keys_go_and_interrupted_ones_stay(arrays, tmp_path):
    train(arrays, tmp_path / "finished")
    train(arrays, tmp_path / "mine")
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "interrupted", watch=StopAt(2))
    drop_finished(tmp_path, but=["mine"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interrupted", "mine"]


@pytest.mark.parametrize("count, batch_size", list(itertools.product([1, 2, 8, 9, 17], [1, 2, 4, 8])))
def test_every_sample_once_an_epoch_and_no_batch_of_one(count, batch_size):
    batches = epoch_order([(8, 8)] * count, batch_size=batch_size, seed=0, epoch=1)
    assert {index for batch in batches for index in batch} == set(range(count))
    assert sum(map(len, batches)) <= count + 1
    assert batch_size == 1 or all(2 <= len(batch) <= batch_size for batch in batches)


def test_a_batch_holds_one_size_only():
    sizes = [(8, 8), (8, 12)] * 5
    batches = epoch_order(sizes, batch_size=3, seed=0, epoch=1)
    assert all(len({sizes[index] for index in batch}) == 1 for batch in batches)


def test_epochs_differ_and_repeat():
    order = [epoch_order([(8, 8)] * 20, batch_size=4, seed=0, epoch=epoch) for epoch in (1, 2, 1)]
    assert order[0] == order[2] != order[1]


def test_collate_pads_with_void(arrays):
    split = arrays.split("train")
    batch = collate([(split.image(0), split.target(0, with_instances=True))], ["one"], stride=20, void=255)
    assert batch.images.shape == (1, 40, 60, 3) and batch.labels.shape == (1, 40, 60)
    assert (batch.labels[0, 32:] == 255).all() and (batch.labels[0, :, 48:] == 255).all()
    assert np.array_equal(batch.labels[0, :32, :48].numpy(), split.target(0).labels)
    assert batch.instances[0].masks.shape == (2, 40, 60) and not batch.instances[0].masks[:, 32:].any()


def test_compiled_steps_give_the_same_weights(arrays, tmp_path, monkeypatch):
    compile_with = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compile_with(network, backend="aot_eager"))
    torch._dynamo.utils.counters.clear()
    weights, _ = train(arrays, tmp_path / "compiled", fit={**FIT, "options": {"widths": [4, 8]}, "training": {"compile": True}})
    assert torch._dynamo.utils.counters["aot_autograd"]["ok"] > 0, "nothing was compiled"
    plain, _ = train(arrays, tmp_path / "plain", fit={**FIT, "options": {"widths": [4, 8]}})
    for name, tensor in plain.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4)


def test_validation_pictures_share_a_batch_as_long_as_its_pixels_last(arrays):
    split = arrays.split("val")
    (height, width), count = split.sizes[0], len(split.sizes)
    for pixels, expected in ((1, 1), (2 * height * width, 2), (3 * height * width - 1, 2)):
        batches = validation_batches(split, batch_pixels=pixels, stride=1, void=255, with_instances=False)
        sizes = [len(batch.ids) for batch in batches]
        assert sizes[0] == expected and sum(sizes) == count


def test_bfloat16_trains_and_keeps_its_weights_in_float32(arrays, tmp_path):
    weights, progress = train(arrays, tmp_path, fit={**FIT, "precision": "bfloat16"})
    assert all(tensor.dtype == torch.float32 for tensor in weights.values() if tensor.is_floating_point())
    assert progress.is_finished


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float16"])
def test_on_a_gpu_it_trains_and_goes_on(arrays, tmp_path, precision):
    device = torch.device("cuda")
    options = {key: FIT[key] for key in PLAIN}

    def trainer(watch=None):
        network = fitting.build_network(FIT, arrays, seed=3, device=device)
        return fitting.Trainer(
            network, arrays, Checkpoint(tmp_path), **options, precision=precision, seed=3, device=device, watch=watch
        )

    with pytest.raises(Stopped):
        trainer(StopAt(5)).run()
    progress = trainer().run()
    assert progress.is_finished and len(progress.history) == 3 and progress.peak_memory_mb > 0
