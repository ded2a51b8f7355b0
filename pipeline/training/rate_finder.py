"""Find a learning rate: raise it from step to step and see where the loss falls fastest."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline import files
from pipeline.arrays import TrainingArrays
from pipeline.training.batches import Batch, training_loader
from pipeline.training.fit import make_trainer
from pipeline.training.loop import Trainer
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
SMOOTHING = 0.9  # share of the past in the mean that is drawn
WINDOW = 10  # steps
DIVERGED = 3.0  # times the first or the lowest mean, above the lowest


def draw(name: str, fit: dict, arrays: TrainingArrays, *, seed: int, workers: int) -> str:
    """Test a network's entry, draw find_lr/NAME.png, and say what was found."""
    with TemporaryDirectory() as folder:
        trainer = make_trainer(fit, arrays, Checkpoint(Path(folder)), seed=seed, workers=workers, processes=Processes())
        rows, rate = find_rate(trainer)
    write(Path("find_lr"), name, rows, rate)
    return f"{name}: the loss falls fastest at a learning rate of {rate:.2g}; the curve is find_lr/{name}.png"


def find_rate(trainer: Trainer) -> tuple[list[dict], float]:
    """Train from the start with a rate that rises geometrically to 1, and leave nothing behind but the numbers.

    Parameters
    ----------
    trainer : fresh; its network is spoilt afterwards

    Returns
    -------
    a row for each step (learning_rate, loss, mean: an exponential mean of the losses), and the rate around which it falls
    most. The test ends early where the mean is not finite, or has risen from its lowest value by more than three times its
    first or lowest, whichever is further from 0 (a loss may be below 0).

    References
    ----------
    Smith 2017, arXiv:1506.01186, section 3.3 (the range test); mean, stop and choice as in fast.ai's lr_find.
    """
    rows: list[dict] = []
    mean = first = lowest = 0.0
    trainer.network.train()
    trainer.frozen.apply(1)
    for step, batches in enumerate(_endless(trainer)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        trainer.updates.set_rate(rate)
        torch.manual_seed(step)
        loss = trainer.try_step(batches)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        corrected = mean / (1 - SMOOTHING ** (step + 1))
        first, lowest = (corrected, corrected) if step == 0 else (first, min(lowest, corrected))
        if not math.isfinite(corrected) or corrected - lowest > DIVERGED * max(abs(first), abs(lowest)):
            break
        rows.append({"learning_rate": rate, "loss": loss, "mean": corrected})
    return rows, steepest(rows)


def steepest(rows: list[dict]) -> float:
    """The learning rate around which the mean loss falls most, over a window of ten steps (0.7 decades).

    Raises
    ------
    ValueError : fewer than twenty steps, or a loss that never falls.
    """
    if len(rows) < 2 * WINDOW:
        raise ValueError(f"--find-lr: the loss was lost after {len(rows)} steps, at the lowest rates; look at data and loss")
    means = np.array([row["mean"] for row in rows])
    falls = means[WINDOW:-WINDOW] - means[2 * WINDOW :]  # the first window is left out: there the mean has hardly begun
    if not len(falls) or falls.max() <= 0:
        raise ValueError("--find-lr: the loss does not fall at any rate; look at data and loss")
    return rows[int(falls.argmax()) + WINDOW + WINDOW // 2]["learning_rate"]


def write(folder: Path, name: str, rows: list[dict], rate: float) -> None:
    """NAME.csv and NAME.png, the curve with the rate marked."""
    import matplotlib.figure

    files.write_csv(folder / f"{name}.csv", rows)
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    rates = [row["learning_rate"] for row in rows]
    axes.plot(rates, [row["loss"] for row in rows], color="0.8", linewidth=1, label="loss of each batch")
    axes.plot(rates, [row["mean"] for row in rows], color="#1f5fa8", linewidth=2, label="its running mean")
    axes.axvline(rate, color="#c0392b", linestyle="--", label=f"falls fastest: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=f"{name}: learning-rate range test")
    axes.set_ylim(0, 1.3 * max(row["mean"] for row in rows[:20]))
    axes.grid(alpha=0.3)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=120)


def _endless(trainer: Trainer) -> Iterator[list[Batch]]:
    """The batches of each of the test's steps, epoch after epoch."""
    per_epoch, needed = len(trainer.order(0)), STEPS * trainer.accumulate
    keys = [(epoch, indices) for epoch in range(1, needed // per_epoch + 2) for indices in trainer.order(epoch)]
    loaded = iter(training_loader(trainer.batches, keys[:needed], workers=trainer.workers))
    for _ in range(STEPS):
        yield list(islice(loaded, trainer.accumulate))
