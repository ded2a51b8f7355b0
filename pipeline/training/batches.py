"""The order of the samples and the batches they make; both follow from (seed, epoch, index) alone."""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.arrays import ArraySplit
from pipeline.models._network import Targets
from pipeline.structures import InstanceSet, Target
from pipeline.transforms import augment


@dataclass(frozen=True)
class Batch:
    """Pictures of one size with their truth, still in bytes.

    Parameters
    ----------
    images : (B, H, W, 3) uint8 tensor; padding is black
    labels : (B, H, W) uint8 or uint16 tensor; padding is void
    instances : an InstanceSet per picture, or None
    ids : the samples' ids
    """

    images: torch.Tensor
    labels: torch.Tensor
    instances: tuple[InstanceSet, ...] | None
    ids: tuple[str, ...]

    def on(self, device: torch.device) -> tuple[torch.Tensor, Targets]:
        """(B, H, W, 3) uint8 images and their targets, on `device`."""
        images, labels = (tensor.to(device, non_blocking=True) for tensor in (self.images, self.labels))
        return images, Targets(labels.long(), self.instances)


def epoch_order(sizes: Sequence[tuple[int, int]], *, batch_size: int, seed: int, epoch: int, least: int = 2) -> list[list[int]]:
    """The batches of one epoch: lists of sample indices, all samples of a batch equal in size.

    A batch left with fewer than `least` samples takes more of the same size (itself if it is alone there): batch
    normalisation over one pixel has no variance, and every process of a training needs its share.

    Examples
    --------
    >>> batches = epoch_order([(4, 4)] * 5, batch_size=2, seed=0, epoch=1)
    >>> sorted(len(batch) for batch in batches), sorted({index for batch in batches for index in batch})
    ([2, 2, 2], [0, 1, 2, 3, 4])
    """
    rng = np.random.default_rng([seed, epoch])
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in rng.permutation(len(sizes)).tolist():
        buckets[tuple(sizes[index])].append(index)
    batches = []
    for members in buckets.values():
        for start in range(0, len(members), batch_size):
            batch = members[start : start + batch_size]
            missing = max(0, min(least, batch_size) - len(batch))
            batches.append([*batch, *islice(cycle(members), missing)])
    return [batches[index] for index in rng.permutation(len(batches)).tolist()]


class TrainingBatches(Dataset):
    """Augmented batches, made from (epoch, indices), so that any worker makes the same one.

    Parameters
    ----------
    split : the training split's arrays
    stride : both sides of a batch become multiples of it
    policy : options of `transforms.augment`; {} for none
    """

    def __init__(self, split: ArraySplit, *, seed: int, void: int, stride: int, policy: dict, with_instances: bool):
        self.split, self.seed, self.void, self.stride = split, seed, void, stride
        self.policy, self.with_instances = policy, with_instances

    def __getitem__(self, key: tuple[int, list[int]]) -> Batch:
        epoch, indices = key
        pairs = [self._pair(epoch, index) for index in indices]
        return collate(pairs, [self.split.ids[index] for index in indices], stride=self.stride, void=self.void)

    def _pair(self, epoch: int, index: int) -> tuple[np.ndarray, Target]:
        image, target = self.split.image(index), self.split.target(index, with_instances=self.with_instances)
        if not self.policy:
            return image, target
        return augment(image, target, np.random.default_rng([self.seed, epoch, index]), void=self.void, **self.policy)


def collate(pairs: Sequence[tuple[np.ndarray, Target]], ids: Sequence[str], *, stride: int, void: int) -> Batch:
    """One batch from pictures of one size, padded on the right and below to multiples of `stride`."""
    height, width = pairs[0][0].shape[:2]
    full = (len(pairs), -(-height // stride) * stride, -(-width // stride) * stride)
    images = np.zeros((*full, 3), np.uint8)
    labels = np.full(full, void, pairs[0][1].labels.dtype)
    for row, (image, target) in enumerate(pairs):
        images[row, :height, :width] = image
        labels[row, :height, :width] = target.labels
    has_instances = pairs[0][1].instances is not None
    instances = tuple(_padded(target.instances, *full[1:]) for _, target in pairs) if has_instances else None
    return Batch(torch.from_numpy(images), torch.from_numpy(labels), instances, tuple(ids))


def _padded(instances: InstanceSet, height: int, width: int) -> InstanceSet:
    if instances.shape == (height, width):
        return instances
    masks = np.zeros((len(instances), height, width), bool)
    masks[:, : instances.shape[0], : instances.shape[1]] = instances.masks
    return InstanceSet(masks, instances.classes, instances.scores, instances.iscrowd)


def training_loader(batches: TrainingBatches, keys: list[tuple[int, list[int]]], *, workers: int) -> Iterator[Batch]:
    """The batches of `keys` in order, made by `workers` processes; 0 makes them here."""
    if workers == 0:
        return (batches[key] for key in keys)
    loader = DataLoader(
        batches,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        worker_init_fn=_start_worker,
    )
    with warnings.catch_warnings():  # forking beside threads is what Python 3.12 warns of; the workers touch no torch thread
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        return iter(loader)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # each worker is one process of many


def validation_batches(
    split: ArraySplit, *, batch_pixels: int, stride: int, void: int, with_instances: bool
) -> Iterator[Batch]:
    """Every sample of a split once, whole and unchanged, batches equal in size, in a fixed order.

    Parameters
    ----------
    batch_pixels : of all pictures of a batch together; a single picture may have more
    """
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, size in enumerate(split.sizes):
        buckets[tuple(size)].append(index)
    for (height, width), members in buckets.items():
        count = max(1, batch_pixels // (height * width))
        for start in range(0, len(members), count):
            chosen = members[start : start + count]
            pairs = [(split.image(index), split.target(index, with_instances=with_instances)) for index in chosen]
            yield collate(pairs, [split.ids[index] for index in chosen], stride=stride, void=void)
