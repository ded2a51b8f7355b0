"""Average precision and recall by COCO's rules: match the objects of each image, rank those of the whole split.

`match` is the greedy assignment of pycocotools' `COCOeval.evaluateImg` for all sizes and thresholds at once; `Ranking` is its
`accumulate`, image by image, so that memory holds 48 bytes for each object found and no mask.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # T, of the IoU at which an object counts as found
RECALLS = np.linspace(0, 1, 101)  # R, at which the precision is read
SIZES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}  # A; px, both ends inside
FOUND, WRONG, IGNORED = 1, 0, -1
_RANGES = np.array(list(SIZES.values()))


def counted(areas: np.ndarray, is_crowd: np.ndarray) -> np.ndarray:
    """(A, G) bool: which of the G true objects must be found at each size; crowds never."""
    return ~_outside(areas) & ~is_crowd


def match(
    ious: np.ndarray,
    *,
    true_areas: np.ndarray,
    is_crowd: np.ndarray,
    found_areas: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """What becomes of every found object of one image, at each size and threshold.

    In their order, each takes the free true object with which its IoU is highest, the last of equals, if that reaches the
    threshold; one that is not counted (a crowd, or of another size) only where no counted one is left. A crowd can be taken
    again and again. What takes one that is not counted, or takes none and is of another size, is ignored.

    Parameters
    ----------
    ious : (D, G) float64, of D found objects, the highest score first, and G true ones; with a crowd the share of the found one
        that lies in it
    true_areas, is_crowd : (G,) px, bool
    found_areas : (D,) px

    Returns
    -------
    (D, A, T) int8: FOUND, WRONG or IGNORED.
    """
    ignored = ~counted(true_areas, is_crowd)  # (A, G)
    outcomes = np.where(_outside(found_areas).T, IGNORED, WRONG).astype(np.int8)[:, :, None].repeat(len(thresholds), axis=2)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    free = np.ones((len(ignored), len(thresholds), ious.shape[1]), bool)  # (A, T, G)
    for index in np.flatnonzero((ious >= least[0]).any(axis=1)):
        near = free & (ious[index] >= least)
        first = near & ~ignored[:, None]
        near = np.where(first.any(axis=2, keepdims=True), first, near)
        size, level = np.nonzero(near.any(axis=2))
        candidates = np.where(near[size, level], ious[index], -1)  # (N, G)
        taken = candidates.shape[1] - 1 - candidates[:, ::-1].argmax(axis=1)
        outcomes[index, size, level] = np.where(ignored[size, taken], IGNORED, FOUND)
        free[size, level, taken] = is_crowd[taken]
    return outcomes


def _outside(areas: np.ndarray) -> np.ndarray:
    """(A, N) bool: which of N areas are not of each size."""
    return (areas < _RANGES[:, :1]) | (areas > _RANGES[:, 1:])


class Recall:
    """Share of the true objects found among the first few of each image, over a split.

    Parameters
    ----------
    limits : M numbers of objects, which each image may have
    """

    def __init__(self, limits: tuple[int, ...]):
        self.limits = limits
        self.wanted = np.zeros(len(SIZES), np.int64)
        self.found = np.zeros((len(limits), len(SIZES), len(THRESHOLDS)), np.int64)

    def add(self, outcomes: np.ndarray, wanted: np.ndarray) -> None:
        """Count one image: (D, A, T) of `match`, and (A,) the number of true objects that are counted."""
        self.wanted += wanted
        for found, limit in zip(self.found, self.limits, strict=True):
            found += (outcomes[:limit] == FOUND).sum(axis=0)

    def join(self, other: Recall) -> None:
        """Count another one's images too."""
        self.wanted += other.wanted
        self.found += other.found

    def recall(self) -> np.ndarray:
        """(M, A, T) float64, NaN at sizes of which there is no true object."""
        wanted = self.wanted[:, None]
        return np.divide(self.found, wanted, out=np.full(self.found.shape, np.nan), where=wanted > 0)


class Ranking:
    """All found objects of one class, to be ranked over the split by their score."""

    def __init__(self):
        self.scores: list[np.ndarray] = []
        self.outcomes: list[np.ndarray] = []
        self.wanted = np.zeros(len(SIZES), np.int64)

    def add(self, scores: np.ndarray, outcomes: np.ndarray, wanted: np.ndarray) -> None:
        """Keep one image: (D,) scores, (D, A, T) of `match`, and (A,) the number of true objects that are counted."""
        self.wanted += wanted
        self.scores.append(scores)
        self.outcomes.append(outcomes)

    def join(self, other: Ranking) -> None:
        """Keep another one's images too, behind these."""
        self.wanted += other.wanted
        self.scores += other.scores
        self.outcomes += other.outcomes

    def precision(self) -> np.ndarray:
        """(A, T) float64: the average over R recalls of the best precision at that recall or a higher one.

        NaN at sizes of which there is no true object; 0 where nothing is found.
        """
        average = np.full((len(SIZES), len(THRESHOLDS)), np.nan)
        average[self.wanted > 0] = 0
        if not self.scores:
            return average
        order = np.argsort(-np.concatenate(self.scores), kind="stable")  # of equal scores the earlier image first
        outcomes = np.concatenate(self.outcomes)[order]
        for size, level in np.ndindex(average.shape):
            if self.wanted[size]:
                average[size, level] = average_precision(outcomes[:, size, level], int(self.wanted[size]))
        return average


def average_precision(outcomes: np.ndarray, wanted: int) -> float:
    """Average of the interpolated precision at 101 recalls.

    Parameters
    ----------
    outcomes : (N,) FOUND, WRONG or IGNORED, the highest score first
    wanted : number of true objects, above 0

    References
    ----------
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312; the 101 recalls are pycocotools'.

    Examples
    --------
    >>> average_precision(np.array([FOUND, WRONG]), 2)  # precision 1 up to recall 0.5: at 51 of the 101
    0.504950495049505
    """
    right, wrong = np.cumsum(outcomes == FOUND), np.cumsum(outcomes == WRONG)
    precision = right / np.maximum(right + wrong, 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / wanted, RECALLS, side="left")
    return float(precision[places[places < len(precision)]].sum() / len(RECALLS))
