"""Contours moved by morphology: the curvature operator, the loop around it, and where a contour starts.

scikit-image's `morphological_*` take their two curvature operators in turn from one counter that all callers share, so that a
result depends on what ran before and on other threads. Here the count starts with each picture; results are otherwise equal
to scikit-image's (tests/test_contours.py), at ten times the speed or more.
"""

from collections.abc import Callable
from functools import reduce

import numpy as np

from pipeline.classical._prompts import points_mask, region_mask
from pipeline.structures import Prompt

LINES = (((0, 0), (2, 2)), ((0, 1), (2, 1)), ((0, 2), (2, 0)), ((1, 0), (1, 2)))  # both ends of each line of three pixels


def evolve(level: np.ndarray, move: Callable, *, iterations: int, smoothing: int) -> np.ndarray:
    """Move a contour `iterations` times, and smooth it `smoothing` times after each.

    Parameters
    ----------
    level : (H, W) bool, the inside of the contour at the start
    move : takes the inside and gives that of the next step, as a new array
    """
    last, last_but_one, turn = None, None, 0
    for left in range(iterations, 0, -1):
        last, last_but_one, level = level, last, move(level)
        for _ in range(smoothing):
            level = _dilated(_eroded(level)) if turn % 2 else _eroded(_dilated(level))
            turn += 1
        if last_but_one is not None and np.array_equal(level, last_but_one):
            return level if left % 2 else last  # it goes to and fro for ever, or stands still
    return level


def border(level: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels where a central difference of (H, W) bool `level` is not 0."""
    padded = np.pad(level, 1, mode="edge")
    return (padded[2:, 1:-1] ^ padded[:-2, 1:-1]) | (padded[1:-1, 2:] ^ padded[1:-1, :-2])


def start_mask(prompt: Prompt | None, shape: tuple[int, int], *, radius_px: int) -> np.ndarray | None:
    """(H, W) bool: the prompt's polygon, else its box, else discs around its points; None where it has none of them."""
    if prompt is not None and prompt.polygon is None and prompt.box is None and prompt.points is not None:
        return points_mask(prompt, shape, radius_px=radius_px)
    return region_mask(prompt, shape)


def _eroded(level: np.ndarray) -> np.ndarray:
    """The union of the erosions by four lines; outside the picture is outside the contour. (The authors' SI.)"""
    return level & reduce(np.logical_or, [one & other for one, other in _ends(level)])


def _dilated(level: np.ndarray) -> np.ndarray:
    """The intersection of the dilations by four lines. (The authors' IS.)"""
    return level | reduce(np.logical_and, [one | other for one, other in _ends(level)])


def _ends(level: np.ndarray) -> list[list[np.ndarray]]:
    """For each line, the levels at both of its ends."""
    padded, (height, width) = np.pad(level, 1), level.shape
    return [[padded[y : y + height, x : x + width] for y, x in line] for line in LINES]
