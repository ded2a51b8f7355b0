"""Otsu's thresholds of a histogram, any number of them."""

import cv2
import numpy as np

from pipeline.classical._compiled import compiled


def histogram(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 to (256,) float32: how many pixels have each grey value."""
    return cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()


def otsu_thresholds(counts: np.ndarray, levels: int) -> list[int]:
    """The thresholds between `levels` groups of grey values that differ most between and least within; ascending.

    A value at or below the first threshold belongs to the first group, and so on. Of equal choices the lowest is taken. Where
    no more values than `levels` occur, each is a group of its own and there are fewer thresholds.

    All choices are compared, by dynamic programming over the values that occur: the sum over the groups of pixels times squared
    mean (H of Liao et al.) is greatest where the variance between the groups is.

    Parameters
    ----------
    counts : (256,) pixels of each grey value, at least one

    Examples
    --------
    >>> otsu_thresholds(np.bincount([10, 11, 100, 102, 250], minlength=256), 3)
    [11, 102]

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms, IEEE TSMC 9(1), section III; Liao, Chen and Chung 2001,
    A fast algorithm for multilevel thresholding, Journal of Information Science and Engineering 17.
    """
    values = np.flatnonzero(counts)  # (V,)
    if len(values) <= levels:
        return values[:-1].tolist()
    pixels = counts[values].astype(np.float64)
    return values[_last_of_groups(pixels, pixels * values, levels)].tolist()


@compiled("Tuple((float64, int64))(float64[::1], float64[::1], float64[::1], int64)")
def _first_group(pixels, sums, rest, start):
    """What the values from `start` on give at best, and where the first of their groups then ends; see `_last_of_groups`."""
    best, last, number, total = -np.inf, start, 0.0, 0.0
    for end in range(start, len(pixels)):
        number += pixels[end]
        total += sums[end]
        found = total * total / number + rest[end + 1]
        if found > best:
            best, last = found, end
    return best, last


@compiled("int64[::1](float64[::1], float64[::1], int64)")
def _last_of_groups(pixels, sums, levels):
    """(levels - 1,): the last value of each group but the highest; `pixels` and `sums` are (V,), those of each value."""
    count = len(pixels)
    best = np.full((levels + 1, count + 1), -np.inf)  # of the values from i on in no group, in one, in two, ...
    best[0, count] = 0.0
    last = np.zeros((levels + 1, count), np.int64)
    for groups in range(1, levels + 1):
        for start in range(count if groups < levels else 1):  # of all groups together, only from the first value on
            best[groups, start], last[groups, start] = _first_group(pixels, sums, best[groups - 1], start)
    ends, start = np.empty(levels - 1, np.int64), 0
    for group in range(levels - 1):
        ends[group] = last[levels - group, start]
        start = ends[group] + 1
    return ends
