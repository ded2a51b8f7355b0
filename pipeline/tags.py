"""Where the names of objects stand in a picture: beside their boxes, over as little as possible, never over each other."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

MOST_HIDDEN = 0.3  # of one object, or of several together; a tag that would hide more is shortened, then left out
PREFERRED = 0.01  # of an object: what hides so much more is as good as the next place

Rectangle = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 excluded


def place(
    boxes: np.ndarray,
    texts: Sequence[Sequence[str]],
    shares: np.ndarray,
    *,
    measure: Callable[[str], tuple[int, int]],
) -> list[tuple[str, Rectangle] | None]:
    """A tag for each object, the first ones with the first choice of place.

    Parameters
    ----------
    boxes : (N, 4) x0, y0, x1, y1 in pixels of the picture
    texts : of each object, the longest first; a shorter one is taken where the longer would hide too much
    shares : (H, W) float32, which share of an object each pixel is; of several, their sum
    measure : width and height of a text in px

    Returns
    -------
    the text and its place within the picture, or None where every place hides more than MOST_HIDDEN
    """
    height, width = shares.shape
    integral = cv2.integral(shares, sdepth=cv2.CV_64F)
    taken: list[Rectangle] = []
    found: list[tuple[str, Rectangle] | None] = []
    for box, choices in zip(np.rint(boxes).astype(int).tolist(), texts, strict=True):
        chosen = None
        for text in choices:
            size = measure(text)
            if size[0] > width or size[1] > height:
                continue
            free = [one for one in _places(box, size, (height, width)) if not any(_meet(one, other) for other in taken)]
            costs = [_sum(integral, one) + PREFERRED * index for index, one in enumerate(free)]
            if costs and min(costs) <= MOST_HIDDEN:
                chosen = text, free[int(np.argmin(costs))]
                taken.append(chosen[1])
                break
        found.append(chosen)
    return found


def _places(box: Sequence[int], size: tuple[int, int], shape: tuple[int, int]) -> list[Rectangle]:
    """Above the box, below it, beside it and within it, at its corners and at last amid it, moved into the picture."""
    (x0, y0, x1, y1), (width, height) = box, size
    corners = [(x, y) for y in (y0 - height, y1) for x in (x0, x1 - width)] + [(x1, y0), (x0 - width, y0)]
    corners += [(x, y) for y in (y0, y1 - height) for x in (x0, x1 - width)]
    corners += [((x0 + x1 - width) // 2, y0 + share * (y1 - y0 - height) // 4) for share in (2, 1, 3)]
    inside = [(min(max(x, 0), shape[1] - width), min(max(y, 0), shape[0] - height)) for x, y in corners]
    return [(x, y, x + width, y + height) for x, y in dict.fromkeys(inside)]


def _meet(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _sum(integral: np.ndarray, place: Rectangle) -> float:
    x0, y0, x1, y1 = place
    return float(integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0])
