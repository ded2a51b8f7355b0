"""The objects of a prediction or of the truth as COCO keeps them: boxes, and masks as run lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco
from scipy.ndimage import find_objects

from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Segment


@dataclass(frozen=True)
class Objects:
    """N objects of one image.

    Parameters
    ----------
    classes : (N,) int64
    scores : (N,) float64
    iscrowd : (N,) bool
    codes : N masks as pycocotools has them
    boxes : (N, 4) float64: x, y, width, height in pixels
    """

    classes: np.ndarray
    scores: np.ndarray
    iscrowd: np.ndarray
    codes: list[dict]
    boxes: np.ndarray

    @property
    def mask_areas(self) -> np.ndarray:
        """(N,) float64, pixels."""
        return np.array([coco.area(code) for code in self.codes], np.float64)  # of 256 in one call it raises OverflowError

    @property
    def box_areas(self) -> np.ndarray:
        """(N,) float64, pixels."""
        return self.boxes[:, 2] * self.boxes[:, 3]

    def mask_ious(self, truth: Objects) -> np.ndarray:
        """(N, G) float64 with the G objects of the truth; with a crowd the share of this one that lies in it."""
        return _ious(self.codes, truth.codes, truth.iscrowd)

    def box_ious(self, truth: Objects) -> np.ndarray:
        """As `mask_ious`, of the boxes."""
        return _ious(self.boxes, truth.boxes, truth.iscrowd)


def true_objects(instances: InstanceSet) -> Objects:
    """All objects of the truth, ordered by class."""
    return _of_instances(instances[np.argsort(instances.classes, kind="stable")])


def found_objects(prediction: InstanceSet | PanopticMap, label_space: LabelSpace, *, most: int, most_per_class: int) -> Objects:
    """The objects with the highest scores: the first `most` of all, and beyond them the first ones of each class.

    Of a panoptic map those that its things were chosen from, where it knows them: unsure ones count here, and rank last.
    Ordered by score, of equals by class. Only these are encoded, so that a noisy map of thousands of specks costs little.
    """
    if isinstance(prediction, PanopticMap) and prediction.objects is not None:
        prediction = prediction.objects
    if isinstance(prediction, InstanceSet):
        return _of_instances(prediction[_first(prediction.classes, prediction.scores, most, most_per_class)])
    things = [segment for segment in prediction.info if label_space.isthing[segment.category]]
    classes = np.array([segment.category for segment in things], np.int64)
    scores = np.array([segment.score for segment in things], np.float64)
    return _of_segments(prediction.segments, [things[index] for index in _first(classes, scores, most, most_per_class)])


def _first(classes: np.ndarray, scores: np.ndarray, most: int, most_per_class: int) -> np.ndarray:
    """Indices of the objects that `found_objects` takes, in its order."""
    order = np.lexsort((classes, -scores))
    is_taken = np.arange(len(order)) < most
    for one in np.unique(classes):
        is_taken[np.flatnonzero(classes[order] == one)[:most_per_class]] = True
    return order[is_taken]


def _of_instances(instances: InstanceSet) -> Objects:
    codes = []
    for mask in instances.masks:
        columns = np.flatnonzero(mask.any(axis=0))
        first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, 0)
        codes.append(_encoded(mask[:, first:last], first, mask.shape[1]))
    boxes = instances.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return Objects(instances.classes, instances.scores.astype(np.float64), instances.iscrowd, codes, boxes)


def _of_segments(segments: np.ndarray, picked: list[Segment]) -> Objects:
    numbers = np.zeros(max(segments.max(initial=0), *(one.id for one in picked), 0) + 1, np.int32)
    numbers[[one.id for one in picked]] = np.arange(len(picked)) + 1
    numbered = numbers[segments]  # (H, W), 0 where none of them is
    codes = []
    for number, place in enumerate(find_objects(numbered, len(picked)), start=1):
        columns = place[1] if place else slice(0, 0)
        codes.append(_encoded(numbered[:, columns] == number, columns.start, segments.shape[1]))
    return Objects(
        np.array([one.category for one in picked], np.int64),
        np.array([one.score for one in picked], np.float64),
        np.zeros(len(picked), bool),
        codes,
        coco.toBbox(codes).reshape(-1, 4) if codes else np.zeros((0, 4)),
    )


def _encoded(strip: np.ndarray, first: int, width: int) -> dict:
    """The run lengths of a mask of `width` columns that is empty but for (H, w) bool `strip` from the column `first` on."""
    height = len(strip)
    pixels = strip.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False, append=False)) + int(first) * height
    runs = np.diff(changes, prepend=0, append=height * width)
    runs = runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
    return coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def _ious(found: list[dict] | np.ndarray, true: list[dict] | np.ndarray, iscrowd: np.ndarray) -> np.ndarray:
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    return coco.iou(found, true, iscrowd.astype(np.uint8).tolist())
