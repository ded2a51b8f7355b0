"""Losses and mIoU of a split at training size, between epochs."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import torch

from pipeline.arrays import ArraySplit
from pipeline.metrics.confusion import class_iou, count_pairs
from pipeline.models._network import Network
from pipeline.structures import Prediction
from pipeline.training.batches import Batch, validation_batches
from pipeline.training.processes import Processes
from pipeline.training.updates import Updates


@torch.no_grad()
def validate(
    network: Network,
    split: ArraySplit,
    *,
    batch_pixels: int,
    updates: Updates,
    processes: Processes,
    see: Callable[[Batch, list[Prediction]], None],
) -> tuple[dict[str, float], float]:
    """Mean losses by name and mIoU of a split, each sample whole and unchanged; the processes share its batches.

    Parameters
    ----------
    batch_pixels : of all pictures of a batch together; see `batches.validation_batches`
    updates : gives device and precision
    see : is shown this process's first batch and its predictions
    """
    network.eval()
    label_space = network.label_space
    matrix = np.zeros((label_space.num_classes, label_space.num_classes + 1), np.int64)
    sums, seen = {}, 0
    batches = validation_batches(
        split, batch_pixels=batch_pixels, stride=network.stride, void=label_space.void, with_instances=network.wants_instances
    )
    for batch in islice(batches, processes.rank, None, processes.count):
        images, targets = batch.on(updates.device)
        with updates.autocast():
            losses, predictions = network.assess(network.normalised(images), targets)
        if not seen:
            see(batch, predictions)
        for labels, prediction in zip(batch.labels.numpy(), predictions, strict=True):
            predicted = prediction.semantic(label_space)
            matrix = matrix + count_pairs(labels, predicted, num_classes=label_space.num_classes, void=label_space.void)
        seen += len(batch.ids)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item() * len(batch.ids)
    return _joined(processes.gathered((matrix, sums, seen)))


def _joined(parts: list[tuple[np.ndarray, dict[str, float], int]]) -> tuple[dict[str, float], float]:
    """Mean losses and mIoU from the counts, sums of losses and samples of every process."""
    sums: dict[str, float] = {}
    for _, losses, _ in parts:
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
    iou = class_iou(sum(matrix for matrix, _, _ in parts))
    known = iou[~np.isnan(iou)]
    total = sum(seen for _, _, seen in parts)
    return {name: value / total for name, value in sums.items()}, float(known.mean()) if len(known) else 0.0
