"""Otsu's thresholds of a histogram, any number of them."""

import cv2
import numpy as np


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
    number, total = (np.concatenate([[0.0], np.cumsum(one)]) for one in (pixels, pixels * values))  # (V + 1,)
    with np.errstate(divide="ignore", invalid="ignore"):
        groups = (total[1:] - total[:-1, None]) ** 2 / (number[1:] - number[:-1, None])  # (V, V): of the values i..j
    groups[np.tri(len(values), k=-1, dtype=bool)] = -np.inf
    best, ends = groups[:, -1], []  # best[i]: of the values from i on in one group, in two, ...
    for left in range(levels - 1, 0, -1):
        needed = groups[: 1 if left == 1 else None, :-1]  # of all groups together, only those from the first value on
        split = needed + best[1:]
        ends.append(split.argmax(axis=1))  # where the first of these groups ends
        best = split[np.arange(len(split)), ends[-1]]
    found, start = [], 0
    for end in reversed(ends):
        found.append(int(values[end[start]]))
        start = end[start] + 1
    return found
