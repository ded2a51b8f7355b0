"""The training loop: any network, resumable at any step, the same bits whether stopped or not."""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from pipeline.arrays import TrainingArrays
from pipeline.machine import Load, peak_memory_mb
from pipeline.models._network import Network
from pipeline.structures import Prediction
from pipeline.training import schedule as schedules
from pipeline.training.batches import Batch, TrainingBatches, epoch_order, training_loader
from pipeline.training.picture import progress_picture
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint, Progress
from pipeline.training.updates import FrozenEncoder, Updates, training_options
from pipeline.training.validation import validate
from pipeline.training.watch import Watch


class Trainer:
    """Trains one network on the arrays, from wherever its checkpoint stands.

    Parameters
    ----------
    network : on `device`, its criterion set
    checkpoint : folder that survives; state is read from there and written there
    optimizer, schedule : {"name", "options", ...} as in params.yaml
    epochs, batch_size, early_stop, precision : as in params.yaml; the batch is that of all processes together
    training : options of `updates.training_options`
    workers : processes that make batches; the result does not depend on it
    processes : those that train together, this one among them
    checkpoint_every_s : seconds between two states saved inside an epoch; one is saved after each epoch anyway
    watch : told of every step and epoch: the progress bar, the tracking
    """

    def __init__(
        self,
        network: Network,
        arrays: TrainingArrays,
        checkpoint: Checkpoint,
        *,
        optimizer: dict,
        schedule: dict,
        epochs: int,
        batch_size: int,
        early_stop: int | None,
        precision: str,
        training: dict,
        seed: int,
        device: torch.device,
        workers: int = 0,
        processes: Processes | None = None,
        checkpoint_every_s: float = 60.0,
        watch: Watch | None = None,
    ):
        self.network, self.arrays, self.checkpoint = network, arrays, checkpoint
        self.epochs, self.batch_size, self.early_stop = epochs, batch_size, early_stop
        self.seed, self.device, self.workers = seed, device, workers
        self.processes = processes or Processes()
        self.checkpoint_every_s, self.watch = checkpoint_every_s, watch or Watch()
        options = training_options(**training)
        self.accumulate = options["accumulate"]
        self.frozen = FrozenEncoder(network, epochs=options["freeze_encoder_epochs"])
        kept = {name: options[name] for name in ("average", "clip_norm", "encoder_rate", "layer_decay")}
        self.updates = Updates(
            network, optimizer=optimizer, precision=precision, device=device, processes=self.processes, **kept
        )
        network.together = self.processes.together
        if options["compile"]:
            network.compile()
        factor = getattr(schedules, schedule["name"])
        self.rate = lambda progress: optimizer["learning_rate"] * factor(progress, **schedule["options"])
        self.batches = TrainingBatches(
            arrays.split("train"),
            seed=seed,
            void=arrays.label_space.void,
            stride=network.stride,
            policy=arrays.policy,
            with_instances=network.wants_instances,
        )
        self.steps_per_epoch = math.ceil(len(self.order(0)) / self.accumulate)

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """Height and width of every sample as it is trained on."""
        split, crop = self.batches.split, self.arrays.policy["crop"]
        return [tuple(crop)] * len(split) if crop else split.sizes

    def order(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as lists of sample indices.

        Raises
        ------
        ValueError : a batch has not two pictures for each process.
        """
        count = self.processes.count
        if count > 1 and self.batch_size < 2 * count:
            raise ValueError(
                f"batch_size: {self.batch_size} is that of all {count} processes together, and each needs 2 pictures "
                f"or more; give at least {2 * count}"
            )
        return epoch_order(self.sizes, batch_size=self.batch_size, least=2 * count, seed=self.seed, epoch=epoch)

    def run(self) -> Progress:
        """Train to the end, or to the early stop; the network then holds the weights of the best epoch."""
        progress = self.checkpoint.load(self.updates)
        progress.batch_size = self.batch_size
        self.load, self.was_under_load = Load(with_parent=self.processes.count > 1), progress.under_load
        self.watch.started(self, progress)
        while not progress.is_finished:
            self._epoch(progress)
        if self.processes.is_first:
            self.checkpoint.load_best(self.network, progress.best_epoch)
        return progress

    def try_step(self, batches: Sequence[Batch]) -> float:
        """A step on these batches with the rate that is set, and its loss; nothing of it is kept but the weights."""
        sizes = [len(batch.ids) for batch in batches]
        told = [self._add_gradients(batch, weight) for weight, batch in self._weighed(sizes, iter(batches))]
        self.updates.step()
        return sum(size * sum(losses.values()).item() for size, (_, losses) in zip(sizes, told, strict=True)) / sum(sizes)

    def _epoch(self, progress: Progress) -> None:
        started_at_s, before_s = time.perf_counter(), progress.elapsed_s
        epoch = progress.epoch + 1
        self.network.train()
        self.frozen.apply(epoch)
        done = (progress.step - progress.epoch * self.steps_per_epoch) * self.accumulate
        saved_at_s = started_at_s
        for batches in self._steps(self.order(epoch)[done:], epoch):
            self._step(batches, progress)
            now_s = time.perf_counter()
            progress.elapsed_s = before_s + now_s - started_at_s
            self.watch.stepped(progress)
            if now_s - saved_at_s > self.checkpoint_every_s:
                self._save(progress)
                saved_at_s = now_s
        self._close_epoch(progress, epoch)
        progress.elapsed_s = before_s + time.perf_counter() - started_at_s
        self._save(progress)
        if self.processes.is_first:
            self.checkpoint.drop_old_best(progress.best_epoch)
        self.watch.epoch_ended(progress)

    def _steps(self, order: list[list[int]], epoch: int) -> Iterator[Iterator[tuple[float, Batch]]]:
        """For each step its batches, this process's share of them, each with the weight of its losses."""
        keys = [(epoch, self.processes.share(indices)) for indices in order]
        loaded = iter(training_loader(self.batches, keys, workers=self.workers))
        for start in range(0, len(order), self.accumulate):
            sizes = [len(indices) for indices in order[start : start + self.accumulate]]
            yield self._weighed(sizes, islice(loaded, len(sizes)))

    def _weighed(self, sizes: list[int], batches: Iterator[Batch]) -> Iterator[tuple[float, Batch]]:
        """The share of a step's samples that the losses of each batch stand for; all processes' where those are gathered."""
        for size, batch in zip(sizes, batches, strict=True):
            yield (size if self.network.gathers else len(batch.ids)) / sum(sizes), batch

    def _save(self, progress: Progress) -> None:
        load = self.load.measured()
        progress.load_average = load["load_average"]
        progress.under_load = self.was_under_load or load["under_load"]
        progress.peak_memory_mb = max(progress.peak_memory_mb, _peak_memory_mb(self.device))
        if not all(torch.isfinite(parameter).all() for parameter in self.network.parameters()):
            raise ValueError(
                f"step {progress.step}: the weights are not finite, though the loss was; lower the learning rate, or set "
                "training.clip_norm. The last checkpoint is kept"
            )
        if self.processes.is_first:
            self.checkpoint.save(progress, self.updates)

    def _step(self, batches: Iterator[tuple[float, Batch]], progress: Progress) -> None:
        key = [self.seed, progress.step, self.processes.rank] if self.processes.rank else [self.seed, progress.step]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))  # dropout
        share_done = (progress.step + 0.5) / (self.epochs * self.steps_per_epoch)
        self.updates.set_rate(self.rate(share_done))
        self._tell_criterion(progress)
        told = [self._add_gradients(batch, weight) for weight, batch in batches]
        self.updates.step()
        for ids, losses in told:  # read here and not before: a GPU need not wait for it between two batches
            self._count(ids, losses, progress)
        progress.step += 1

    def _add_gradients(self, batch: Batch, weight: float) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
        images, targets = batch.on(self.device)
        with self.updates.autocast():
            losses = self.network.losses(self.network.normalised(images), targets)
        self.updates.backward(sum(losses.values()) * weight)
        return batch.ids, {name: loss.detach().float() for name, loss in losses.items()}

    def _count(self, ids: tuple[str, ...], losses: dict[str, torch.Tensor], progress: Progress) -> None:
        values = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
        if not math.isfinite(sum(values.values())):
            raise ValueError(
                f"step {progress.step + 1}: the loss is not finite ({values}) on images {', '.join(ids)}; "
                "lower the learning rate, or look at these images. The last checkpoint is kept"
            )
        progress.seen += len(ids)
        for name, value in values.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value * len(ids)

    def _picture(self, epoch: int, batch: Batch, predictions: list[Prediction]) -> None:
        """Keep the first validation pictures of an epoch."""
        if self.processes.is_first:
            path = self.checkpoint.folder / f"epoch_{epoch:03d}.png"
            progress_picture(path, batch.images.numpy(), batch.labels.numpy(), predictions, self.arrays.label_space)
            self.watch.pictured(epoch, path)

    def _tell_criterion(self, progress: Progress) -> None:
        """Weights of losses may change over the training; they follow from the step alone, as the learning rate does."""
        if self.network.criterion is not None:
            self.network.criterion.progress = progress.step / (self.epochs * self.steps_per_epoch)

    def _close_epoch(self, progress: Progress, epoch: int) -> None:
        self._tell_criterion(progress)  # here too: after a resume there may be no step left in the epoch
        self.processes.share_state(self.network)
        self.processes.share_state(self.updates.evaluated)
        val_losses, scores = validate(
            self.updates.evaluated,
            self.arrays.split("val"),
            batch_pixels=self.batch_size * max(height * width for height, width in self.sizes),
            updates=self.updates,
            processes=self.processes,
            see=lambda batch, predictions: self._picture(epoch, batch, predictions),
        )
        if not math.isfinite(sum(val_losses.values())):
            raise ValueError(
                f"epoch {epoch}: the validation loss is not finite ({val_losses}); lower the learning rate. "
                "The last checkpoint is kept"
            )
        train_losses = {name: total / progress.seen for name, total in progress.sums.items()}
        row = {
            "epoch": epoch,
            "train_loss": sum(train_losses.values()),
            "val_loss": sum(val_losses.values()),
            **{f"val_{name}": value for name, value in scores.items()},
            "learning_rate": self.updates.rate,
        }
        row |= {f"train_{name}": value for name, value in train_losses.items()}
        progress.history.append(row)
        progress.epoch, progress.sums, progress.seen = epoch, {}, 0
        score = float(np.mean([scores[name] for name in self.network.judged_by if name in scores] or [scores["miou"]]))
        if score > progress.best_score:
            progress.best_score, progress.best_epoch, progress.stale_epochs = score, epoch, 0
            if self.processes.is_first:
                self.checkpoint.save_best(self.updates.evaluated, epoch)
        else:
            progress.stale_epochs += 1
        is_stopped = self.early_stop is not None and progress.stale_epochs >= self.early_stop
        progress.is_finished = is_stopped or epoch == self.epochs


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _peak_memory_mb(device: torch.device) -> float:
    """Highest memory use so far, MB of 2^20 bytes: the GPU's where one is used, else this process's."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_memory_mb()
