"""Otsu's thresholds of a histogram, any number of them."""

import cv2
import numpy as np
from numba import njit


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


@njit(cache=True, nogil=True)
def _last_of_groups(pixels, sums, levels):
    """(levels - 1,): the last value of each group but the highest; `pixels` and `sums` are (V,), those of each value."""
    count = len(pixels)
    best = np.zeros((levels, count))  # of the values from i on, in one group, in two, ...
    last = np.zeros((levels, count), np.int64)  # where the first of these groups ends
    for more in range(levels):  # groups after the first
        for start in range(count - more if more < levels - 1 else 1):  # of all groups together, only from the first value on
            number, total = 0.0, 0.0
            for end in range(start, count - more):
                number += pixels[end]
                total += sums[end]
                if more == 0 and end < count - 1:
                    continue
                found = total * total / number + (best[more - 1, end + 1] if more else 0.0)
                if found > best[more, start]:
                    best[more, start], last[more, start] = found, end
    ends = np.empty(levels - 1, np.int64)
    start = 0
    for group in range(levels - 1):
        ends[group] = last[levels - 1 - group, start]
        start = ends[group] + 1
    return ends
