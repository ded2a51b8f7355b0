"""Scores from the confusion matrix: exact counts over the whole split first, one division at the end.

A score class of `METRICS` takes the label space, sees every sample once with its prediction, and then gives numbers
and tables: `Metric(label_space)`, `update(sample, prediction)`, `scores()`, `tables()`, as `Confusion` does.
"""

from __future__ import annotations

import numpy as np

from pipeline.metrics._counting import count_pairs
from pipeline.structures import LabelSpace, Prediction, Sample

NOTHING = "(nothing)"  # the confusion table's name for a pixel that a method left unpredicted


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Parameters
    ----------
    matrix : (C, C + 1) int64 of `count_pairs`, summed over images

    Returns
    -------
    (C,) float64: 0 for a class that is predicted and never true, NaN for one that is neither.
    """
    return _iou(*_marginals(matrix))


def scores_from(matrix: np.ndarray) -> dict[str, float]:
    """The scores of a confusion matrix.

    Parameters
    ----------
    matrix : (C, C + 1) int64 of `count_pairs`, summed over images

    Returns
    -------
    miou and mean_dice : macro means over the classes that are true or predicted somewhere
    pixel_accuracy : share of the labelled pixels that are right; an unpredicted one is wrong
    mean_pixel_accuracy : macro mean of recall over the classes that are true somewhere
    frequency_weighted_iou : IoU weighted by each class's share of the labelled pixels

    All in 0..1; empty where no pixel is labelled: there is nothing to be right about.

    References
    ----------
    Long et al. 2015, FCN, arXiv:1411.4038, section 5; dataset-level counts as in Everingham et al. 2015, PASCAL VOC.

    Examples
    --------
    >>> scores_from(np.array([[3, 1, 0], [0, 4, 0]]))["pixel_accuracy"]
    0.875
    """
    return _scores(*_marginals(matrix))


def _marginals(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(C,) intersection, truth and predicted pixels."""
    return np.diagonal(matrix).copy(), matrix.sum(axis=1), matrix[:, :-1].sum(axis=0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _iou(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(intersection, truth + predicted - intersection)


def _dice(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(2 * intersection, truth + predicted)


def _scores(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    labelled = truth.sum()
    if labelled == 0:
        return {}
    iou = _iou(intersection, truth, predicted)
    return {
        "miou": float(np.nanmean(iou)),
        "pixel_accuracy": float(intersection.sum() / labelled),
        "mean_pixel_accuracy": float(np.nanmean(_ratio(intersection, truth))),
        "mean_dice": float(np.nanmean(_dice(intersection, truth, predicted))),
        "frequency_weighted_iou": float(np.nansum(iou * truth) / labelled),
    }


class Confusion:
    """Semantic scores of a split, at the size of the truth.

    Every entry of `METRICS` has these four methods, so that evaluate never asks which one it holds.

    Parameters
    ----------
    label_space : the classes of the data set
    """

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space
        classes = label_space.num_classes
        self.matrix = np.zeros((classes, classes + 1), np.int64)
        self._images: list[tuple[str, str, np.ndarray]] = []  # id, group, (3, C) marginals

    def update(self, sample: Sample, prediction: Prediction) -> None:
        """Count one image.

        Parameters
        ----------
        sample : with its truth
        prediction : at the sample's size

        Raises
        ------
        ValueError : sizes differ or a label is outside the classes; names the image.
        """
        space = self.label_space
        try:
            matrix = count_pairs(
                sample.truth.semantic(space), prediction.semantic(space), num_classes=space.num_classes, void=space.void
            )
        except ValueError as error:
            raise ValueError(f"{sample.id}: {error}") from None
        self.matrix += matrix
        self._images.append((sample.id, sample.group, np.stack(_marginals(matrix))))

    def scores(self) -> dict[str, float]:
        """Name -> number in 0..1; a score that does not exist is absent."""
        return scores_from(self.matrix)

    def tables(self) -> dict[str, list[dict]]:
        """File stem -> rows of the CSV file; None is an empty cell."""
        return {
            "per_class": self._per_class(),
            "per_image": self._per_image(),
            "per_group": self._per_group(),
            "confusion": self._confusion(),
        }

    def _per_class(self) -> list[dict]:
        marginals = _marginals(self.matrix)
        intersection, truth, predicted = marginals
        names = ("class", "iou", "dice", "accuracy", "truth_pixels", "predicted_pixels")
        columns = (
            self.label_space.names,
            _cells(_iou(*marginals)),
            _cells(_dice(*marginals)),
            _cells(_ratio(intersection, truth)),
            truth.tolist(),
            predicted.tolist(),
        )
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _per_image(self) -> list[dict]:
        rows = []
        for image, group, (intersection, truth, predicted) in self._images:
            rows += [
                {
                    "image": image,
                    "group": group,
                    "class": self.label_space.names[index],
                    "intersection": int(intersection[index]),
                    "truth_pixels": int(truth[index]),
                    "predicted_pixels": int(predicted[index]),
                }
                for index in np.flatnonzero(truth + predicted)
            ]
        return rows

    def _per_group(self) -> list[dict]:
        """One row per group, by name; each is scored as if it were the whole split."""
        groups: dict[str, list[np.ndarray]] = {}
        for _, group, marginals in self._images:
            groups.setdefault(group, []).append(marginals)
        rows = []
        for group, members in sorted(groups.items()):
            scores = _scores(*np.sum(members, axis=0))
            picked = {name: scores.get(name) for name in ("miou", "pixel_accuracy")}
            rows.append({"group": group, **picked, "images": len(members)})
        return rows

    def _confusion(self) -> list[dict]:
        names = self.label_space.names
        columns = [*names, NOTHING] if self.matrix[:, -1].any() else list(names)
        return [
            {"truth": truth, "predicted": predicted, "pixels": int(self.matrix[row, column])}
            for row, truth in enumerate(names)
            for column, predicted in enumerate(columns)
        ]


def _cells(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
