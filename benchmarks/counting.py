"""Confusion matrix of a split: `count_pairs` against its peers. `python -m benchmarks.counting`"""

import argparse
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks._side_by_side import medians, print_table
from pipeline.metrics.confusion import count_pairs

VOID = 255


def draw_maps(images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 360, 480) uint8 truth with smooth regions and 4 % void, like a mask, and a prediction that is a little off."""
    rng = np.random.default_rng(0)
    truth = np.empty((images, 360, 480), np.uint8)
    for labels in truth:
        coarse = rng.random((classes, 12, 16), dtype=np.float32)
        labels[:] = np.argmax([cv2.resize(plane, (480, 360), interpolation=cv2.INTER_CUBIC) for plane in coarse], axis=0)
    predicted = np.roll(truth, 3, axis=1)
    truth[:, :, ::25] = VOID
    return truth, predicted


def sides_of(truth: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, Callable[[], np.ndarray]]:
    """Name -> function that counts all images; the matrix stands in the first C columns of its answer."""
    bytes_ = torch.from_numpy(truth), torch.from_numpy(predicted)
    longs = bytes_[0].long(), bytes_[1].long()  # ready-made: the conversion is not timed

    def ours() -> np.ndarray:
        pairs = zip(truth, predicted, strict=True)
        return sum(count_pairs(one, other, num_classes=classes, void=VOID) for one, other in pairs)

    def torchmetrics(tensors: tuple[torch.Tensor, torch.Tensor], batch: int, check: bool) -> np.ndarray:
        metric = MulticlassConfusionMatrix(classes, ignore_index=VOID, validate_args=check)
        for one, other in zip(tensors[0].split(batch), tensors[1].split(batch), strict=True):
            metric.update(other, one)
        return metric.compute().numpy()

    def bincount() -> np.ndarray:
        kept = truth != VOID
        pairs = truth[kept].astype(np.int64) * classes + predicted[kept]
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    return {
        "count_pairs, image by image": ours,
        "torchmetrics as it comes, int64, image by image": partial(torchmetrics, longs, 1, True),
        "torchmetrics as it comes, int64, 8 images at once": partial(torchmetrics, longs, 8, True),
        "torchmetrics as it comes, uint8, image by image": partial(torchmetrics, bytes_, 1, True),
        "torchmetrics without its check of labels, int64": partial(torchmetrics, longs, 1, False),
        "numpy.bincount, labels not checked": bincount,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64, help="of 480 x 360 pixels")
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch; count_pairs has one")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    truth, predicted = draw_maps(arguments.images, arguments.classes)
    sides = sides_of(truth, predicted, arguments.classes)
    expected, *others = [run()[:, : arguments.classes] for run in sides.values()]
    if not all(np.array_equal(expected, other) for other in others):
        raise ValueError("the counts of the sides differ")
    print(
        f"{len(truth)} images of 480 x 360, {arguments.classes} classes, torch on {arguments.threads} threads; all counts equal"
    )
    print_table(medians(sides, repeats=arguments.repeats), amount=truth.size / 1e6, unit="Mpx/s")


if __name__ == "__main__":
    main()
