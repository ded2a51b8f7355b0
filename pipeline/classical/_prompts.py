"""Prompts, checked against the image that they point into and clipped to it; marks drawn at another size."""

import cv2
import numpy as np

from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace, Prompt


def refuse_together(prompt: Prompt | None, *parts: str, method: str) -> None:
    """Raise ValueError where a prompt has more than one of some parts of which a method uses one."""
    given = [part for part in parts if prompt is not None and getattr(prompt, part) is not None]
    if len(given) > 1:
        raise ValueError(f"{method}: the prompt has {' and '.join(given)}; give one of them alone")


def box_inside(prompt: Prompt, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the prompt's box in whole pixels (each pixel that it touches), clipped to an image of `shape`.

    Raises
    ------
    ValueError : the box is empty, or no part of it is inside the image.

    Examples
    --------
    >>> box_inside(Prompt(box=np.array([-3, 1.5, 4, 99])), (10, 20))
    (0, 1, 4, 10)
    """
    box = np.asarray(prompt.box, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"prompt: box is {box.tolist()}; give x0, y0, x1, y1 in pixels")
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"prompt: box {box.tolist()} is empty; x0 < x1 and y0 < y1 are wanted, in the image of {_size(shape)}")
    height, width = shape
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise ValueError(f"prompt: box {box.tolist()} lies outside the image of {_size(shape)}")
    return max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0), min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)


def points_inside(prompt: Prompt, shape: tuple[int, int]) -> np.ndarray:
    """(N, 2) int64: x and y of the pixel that each of the prompt's points lies in.

    Raises
    ------
    ValueError : there is no point, or one is outside the image of `shape`.

    Examples
    --------
    >>> points_inside(Prompt(points=np.array([[2.5, 0]])), (2, 3))
    array([[2, 0]])
    """
    points = np.asarray(prompt.points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"prompt: points are {points.shape}, wanted (N, 2), x and y of at least one point in pixels")
    is_inside = ((points >= 0) & (points < shape[::-1])).all(axis=1)  # not a number is inside nothing
    if not is_inside.all():
        raise ValueError(f"prompt: point {points[~is_inside][0].tolist()} (x, y) lies outside the image of {_size(shape)}")
    return points.astype(np.int64)


def polygon_mask(prompt: Prompt, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centre lies inside the prompt's polygon.

    Raises
    ------
    ValueError : it has no three corners, or covers no pixel of an image of `shape`.
    """
    corners = np.asarray(prompt.polygon, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"prompt: polygon is {corners.shape}, wanted (N, 2), x and y of at least three corners in pixels")
    mask = filled(corners, shape)
    if not mask.any():
        raise ValueError(f"prompt: polygon {corners.round(1).tolist()} covers no pixel of the image of {_size(shape)}")
    return mask


def scribbles_inside(prompt: Prompt, shape: tuple[int, int], label_space: LabelSpace) -> np.ndarray:
    """(H, W) the prompt's scribbles: class index where drawn, void elsewhere.

    Raises
    ------
    ValueError : they are not of the image's `shape`, hold what is no class, or nothing is drawn.
    """
    scribbles = np.asarray(prompt.scribbles)
    if scribbles.shape != tuple(shape):
        raise ValueError(f"prompt: scribbles are {scribbles.shape}, the image is {tuple(shape)} (height, width)")
    label_space.check(scribbles, where="prompt: scribbles")
    if (scribbles == label_space.void).all():
        raise ValueError("prompt: scribbles hold no class; draw at least one stroke, or leave them out")
    return scribbles


def region_mask(prompt: Prompt | None, shape: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool: inside the prompt's polygon, else inside its box; None where it has neither."""
    if prompt is None or (prompt.polygon is None and prompt.box is None):
        return None
    if prompt.polygon is not None:
        return polygon_mask(prompt, shape)
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = box_inside(prompt, shape)
    mask[y0:y1, x0:x1] = True
    return mask


def points_mask(prompt: Prompt, shape: tuple[int, int], *, radius_px: int) -> np.ndarray:
    """(H, W) bool: a disc around each of the prompt's points."""
    mask = np.zeros(shape, np.uint8)
    for x, y in points_inside(prompt, shape).tolist():
        cv2.circle(mask, (x, y), radius_px, 1, cv2.FILLED)
    return mask.view(bool)


def filled(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centre lies inside a polygon, by the even-odd rule.

    (`cv2.fillPoly` adds every pixel that the outline touches: a box of 4 x 3 px would become one of 5 x 4.)

    Parameters
    ----------
    corners : (N, 2) float, x and y in pixels; the last joins the first; they may lie outside the image

    Examples
    --------
    >>> filled(np.array([[1, 0], [3, 0], [3, 2], [1, 2]]), (3, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    height, width = shape
    starts, ends = np.asarray(corners, np.float64), np.roll(corners, -1, axis=0).astype(np.float64)
    low, high = np.sort(np.stack([starts[:, 1], ends[:, 1]]), axis=0)
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)  # the rows whose centre each side crosses
    count = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64) - first
    side = np.repeat(np.arange(len(starts)), count)
    rows = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
    slope = (ends[side, 0] - starts[side, 0]) / (ends[side, 1] - starts[side, 1])
    crossing = starts[side, 0] + (rows + 0.5 - starts[side, 1]) * slope
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    toggles = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.bitwise_xor.accumulate((toggles[:, :width] & 1).astype(bool), axis=1)


def shrunk_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at a smaller `shape`: a pixel is set where any of those that it stands for is, so that no mark is lost."""
    if mask.shape == tuple(shape):
        return mask
    small = np.zeros(shape, bool)
    rows, columns = np.nonzero(mask)
    small[rows * shape[0] // mask.shape[0], columns * shape[1] // mask.shape[1]] = True
    return small


def grown_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at a larger `shape`, its outline straight between pixels: interpolated, then cut at a half."""
    if mask.shape == tuple(shape):
        return mask
    if min(mask.shape) < 2:
        return resize_labels(mask.view(np.uint8), *shape).view(bool)
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]} px (width x height)"
