"""Panoptic quality: how well all segments are found, things and stuff alike."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pipeline.painting import panoptic_form
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Prediction, Sample

NAMES = ("pq", "sq", "rq")
STRIP_PIXELS = 1 << 20  # counted at once: 30 MB


def count_overlaps(truth: PanopticMap, predicted: PanopticMap) -> np.ndarray:
    """How many pixels each true and each predicted segment share, in memory that does not grow with the picture.

    Parameters
    ----------
    truth, predicted : of one size

    Returns
    -------
    (3, N) int64, a column for each pair that shares any: place in `truth.info`, from 1, or 0 for void; place in
    `predicted.info`, from 1, or 0 for nothing; pixels.
    """
    columns = len(predicted.info) + 1
    is_dense = (len(truth.info) + 1) * columns <= STRIP_PIXELS
    numbers = _numbers(truth), _numbers(predicted)
    segments = truth.segments.reshape(-1), predicted.segments.reshape(-1)
    keys, counts = [], []
    for start in range(0, len(segments[0]), STRIP_PIXELS):
        rows, places = (table[one[start : start + STRIP_PIXELS]] for table, one in zip(numbers, segments, strict=True))
        pairs = rows * columns + places
        if is_dense:
            histogram = np.bincount(pairs)
            keys.append(np.flatnonzero(histogram))
            counts.append(histogram[keys[-1]])
        else:
            for parts, found in zip((keys, counts), np.unique(pairs, return_counts=True), strict=True):
                parts.append(found)
    known, places = np.unique(np.concatenate(keys), return_inverse=True)
    shared = np.bincount(places, np.concatenate(counts)).astype(np.int64)  # float64 is exact up to 2^53
    return np.stack([*np.divmod(known, columns), shared])


def _numbers(panoptic: PanopticMap) -> np.ndarray:
    """(largest id + 1,) int64: id -> place in `info`, from 1."""
    ids = [segment.id for segment in panoptic.info]
    numbers = np.zeros(max(ids, default=0) + 1, np.int64)  # memory that no id points at is never touched
    numbers[ids] = np.arange(len(ids)) + 1
    return numbers


def match_segments(truth: PanopticMap, predicted: PanopticMap, *, num_classes: int) -> np.ndarray:
    """Which segments of an image are found, missed and wrong.

    A true and a predicted segment of one class match where their IoU is above 0.5, of which there is one pair at most. Pixels
    that are void in the truth are taken from the predicted segment first. A crowd is neither matched nor missed, and a
    predicted segment of which more than half is void or crowd of its class is not wrong.

    Returns
    -------
    (C, 4) float64: sum of the IoU of the matches, number of matches, of wrong predicted segments, of missed true ones.
    """
    rows, columns, shared = count_overlaps(truth, predicted)
    true_class, found_class = (_classes(one) for one in (truth, predicted))  # -1 at 0: void, nothing
    is_crowd = np.array([False, *(segment.iscrowd for segment in truth.info)])
    true_area, found_area = np.bincount(rows, shared, len(true_class)), np.bincount(columns, shared, len(found_class))
    is_void, is_same = rows == 0, (true_class[rows] == found_class[columns]) & (rows > 0)
    in_void = np.bincount(columns, shared * is_void, len(found_class))
    in_crowd = np.bincount(columns, shared * (is_same & is_crowd[rows]), len(found_class))
    iou = shared / (true_area[rows] + found_area[columns] - shared - in_void[columns] * ~is_void).clip(1)
    is_match = is_same & ~is_crowd[rows] & (iou > 0.5)

    is_missed = (true_area > 0) & ~is_crowd & (true_class >= 0)
    is_missed[rows[is_match]] = False
    is_wrong = (found_area > 0) & (found_class >= 0) & (in_void + in_crowd <= 0.5 * found_area)
    is_wrong[columns[is_match]] = False
    matched = true_class[rows[is_match]]
    sums = np.bincount(matched, iou[is_match], num_classes)
    counted = (np.bincount(one, minlength=num_classes) for one in (matched, found_class[is_wrong], true_class[is_missed]))
    return np.stack([sums, *counted], axis=1)


def _classes(panoptic: PanopticMap) -> np.ndarray:
    return np.array([-1, *(segment.category for segment in panoptic.info)], np.int64)


class Panoptic:
    """Panoptic, segmentation and recognition quality; absent where the data has no things or the method tells none apart.

    For a class with TP matches, FP wrong and FN missed segments over the split: `sq` = mean IoU of the matches, 0 without one;
    `rq` = TP / (TP + FP / 2 + FN / 2); `pq` = sq times rq. Each is a mean over the classes that are true or predicted
    somewhere: all of them, the things (`pq_things`, `sq_things`, `rq_things`), the stuff (`pq_stuff`, ...).

    Objects that overlap are painted in the order of their scores, from 0.5 on, as `pipeline.painting` says. A method of objects
    says nothing of stuff: it has the scores of things, and `pq` only where all classes are things.

    Parameters
    ----------
    label_space : the classes of the data set

    References
    ----------
    Kirillov et al. 2019, Panoptic Segmentation, arXiv:1801.00868, section 4; void and crowd as in panopticapi, but for two
    crowds of one class in an image: both count, where panopticapi takes the last.
    """

    columns: ClassVar = {"panoptic": ("class", *NAMES, "found", "wrong", "missed")}

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space
        self.sums = np.zeros((label_space.num_classes, 4))  # of `match_segments`
        self.is_whole = label_space.has_things  # and every prediction so far had segments
        self.has_stuff = True

    def update(self, sample: Sample, prediction: Prediction) -> None:
        """Count one image; the prediction has the sample's size."""
        found = panoptic_form(prediction)
        self.is_whole &= found is not None
        if not self.is_whole:
            return
        self.has_stuff &= not isinstance(prediction, InstanceSet)
        space = self.label_space
        space.check_classes([segment.category for segment in found.info], where=f"{sample.id}: prediction")
        self.sums += match_segments(sample.truth, found, num_classes=space.num_classes)

    def scores(self) -> dict[str, float]:
        """Numbers in 0..1; one that does not exist is absent."""
        if not self.is_whole:
            return {}
        things, per_class, scores = np.array(self.label_space.isthing), self._per_class(), {}
        for of, classes in (("", things | True), ("_things", things), ("_stuff", ~things)):
            known = per_class[classes & ~np.isnan(per_class[:, 0])]
            if len(known) and (self.has_stuff or things[classes].all()):
                scores |= {f"{name}{of}": float(value) for name, value in zip(NAMES, known.mean(axis=0), strict=True)}
        return scores

    def _per_class(self) -> np.ndarray:
        """(C, 3) float64 of pq, sq, rq; NaN for a class that is neither true nor predicted."""
        iou, found, wrong, missed = self.sums.T
        sizes = found + (wrong + missed) / 2
        recognition = np.divide(found, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
        segmentation = np.divide(iou, found, out=np.where(sizes > 0, 0, np.nan), where=found > 0)
        return np.stack([segmentation * recognition, segmentation, recognition], axis=1)

    def tables(self) -> dict[str, list[dict]]:
        """panoptic.csv: a row for each class that has scores; no row where there are none."""
        space, rows = self.label_space, []
        if self.is_whole:
            for name, isthing, qualities, sums in zip(space.names, space.isthing, self._per_class(), self.sums, strict=True):
                cells = [None if np.isnan(value) else float(value) for value in qualities]
                if isthing or self.has_stuff:
                    values = (name, *cells, *sums[1:].astype(int).tolist())
                    rows.append(dict(zip(self.columns["panoptic"], values, strict=True)))
        return {"panoptic": rows}
