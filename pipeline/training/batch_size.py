"""`batch_size: auto`: the largest power of two whose training step fits the GPU."""

from collections.abc import Callable

import numpy as np
import torch

from pipeline import files
from pipeline.arrays import TrainingArrays
from pipeline.structures import InstanceSet
from pipeline.training.batches import Batch
from pipeline.training.loop import Trainer
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint

ON_CPU = 8  # there memory is rarely what ends first


def chosen_batch_size(
    given: int | str,
    checkpoint: Checkpoint,
    arrays: TrainingArrays,
    *,
    trial: Callable[[], Trainer],
    device: torch.device,
    processes: Processes,
) -> int:
    """The batch size of a training, over all processes; what "auto" found once stays with the checkpoint.

    Parameters
    ----------
    given : a number, which is returned as it is, or "auto"
    trial : a trainer to try steps with, and to throw away; it trains alone, even where several processes will
    """
    if given != "auto":
        return given
    path = checkpoint.folder / "batch_size.json"
    if path.is_file():
        return files.read_json(path)["batch_size"]
    found = max(ON_CPU, 2 * processes.count)
    if device.type == "cuda":
        most = len(arrays.split("train")) // processes.count
        trainer = trial()
        stride = trainer.network.stride
        own = largest_that_fits(lambda size: trainer.try_step([largest_batch(arrays, size, stride=stride)]), most=most)
        found = min(processes.gathered(own)) * processes.count
    if processes.is_first:
        files.write_json(path, {"batch_size": found})
    return found


def largest_that_fits(attempt: Callable[[int], None], *, most: int) -> int:
    """The largest of 2, 4, 8, ... up to `most` for which `attempt` does not run out of the GPU's memory.

    Raises
    ------
    ValueError : not even 2 fits.

    Examples
    --------
    >>> largest_that_fits(lambda size: None, most=20)
    16
    """
    size = 0
    while size == 0 or 2 * size <= most:
        try:
            attempt(2 * size or 2)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        size = 2 * size or 2
    if not size:
        raise ValueError("batch_size: auto: a batch of 2 does not fit the GPU; take a smaller augment.crop or network")
    return size


def largest_batch(arrays: TrainingArrays, size: int, *, stride: int) -> Batch:
    """A batch of black pictures as large as any in training."""
    crop, sizes = arrays.policy["crop"], arrays.split("train").sizes
    height, width = (-(-side // stride) * stride for side in crop or max(sizes, key=lambda one: one[0] * one[1]))
    return Batch(
        torch.zeros(size, height, width, 3, dtype=torch.uint8),
        torch.from_numpy(np.zeros((size, height, width), arrays.label_space.dtype)),
        (InstanceSet.empty(height, width),) * size,
        ("black",) * size,
    )
