"""Losses and scores of a split at training size, between epochs."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch

from pipeline.arrays import ArraySplit
from pipeline.metrics.confusion import class_iou, count_pairs
from pipeline.metrics.instances import Instances
from pipeline.models._network import Network
from pipeline.structures import PanopticMap, Prediction, Sample
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
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean losses and scores by name of a split, each sample whole and unchanged; the processes share its batches.

    The scores are `miou` and, of a network that learns from objects, `mask_ap` and what else it is judged by; where the split
    has objects.

    Parameters
    ----------
    batch_pixels : of all pictures of a batch together; see `batches.validation_batches`
    updates : gives device and precision
    see : is shown this process's first batch and its predictions
    """
    network.eval()
    label_space = network.label_space
    matrix = np.zeros((label_space.num_classes, label_space.num_classes + 1), np.int64)
    objects = Instances(label_space) if network.wants_instances else None
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
        if objects:
            for sample, prediction in zip(_samples(batch, network), predictions, strict=True):
                objects.update(sample, prediction)
        seen += len(batch.ids)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item() * len(batch.ids)
    losses, scores = _joined(processes.gathered((matrix, objects, sums, seen)))
    return losses, {name: score for name, score in scores.items() if name in {"miou", "mask_ap", *network.judged_by}}


def _samples(batch: Batch, network: Network) -> Iterator[Sample]:
    for number, labels in enumerate(batch.labels.numpy()):
        truth = PanopticMap.from_labels(labels, network.label_space)
        yield Sample(batch.ids[number], "val", "", batch.images[number].numpy(), truth, batch.instances[number])


def _joined(parts: list[tuple]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean losses, and scores, from what every process counted: pairs of labels, objects, sums of losses, samples."""
    matrices, objects, losses, seen = zip(*parts, strict=True)
    iou = class_iou(sum(matrices))
    scores = {"miou": float(np.nanmean(iou)) if not np.isnan(iou).all() else 0.0}
    if objects[0]:
        for other in objects[1:]:
            objects[0].join(other)
        scores |= objects[0].scores()
    names = dict.fromkeys(name for one in losses for name in one)
    return {name: sum(one.get(name, 0.0) for one in losses) / sum(seen) for name in names}, scores
