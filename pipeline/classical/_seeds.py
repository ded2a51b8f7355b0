"""Where regions start: flat places of a picture, or what a person pointed at."""

import cv2
import numpy as np

from pipeline.classical._method import grey
from pipeline.classical._operators import derivative, smoothed

UNSEEN, TAKEN, NEW = 0, 1, 2  # of a flood's mask; OpenCV itself writes 1 into its frame


def flat_places(image: np.ndarray, spacing: int, *, sigma: float) -> np.ndarray:
    """(N, 2) int64, row and column of the flattest pixel of each cell of `spacing` px, from the flattest to the steepest.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    sigma : px, of the Gaussian before the gradient is taken (Sobel); the first pixel of equally flat ones is taken
    """
    slope = derivative(smoothed(grey(image).astype(np.float32), sigma), "sobel")
    height, width = slope.shape
    below, beside = -height % spacing, -width % spacing
    cells = cv2.copyMakeBorder(slope, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=float("inf"))
    cells = cells.reshape(len(cells) // spacing, spacing, -1, spacing).swapaxes(1, 2).reshape(-1, spacing * spacing)
    inside = cells.argmin(axis=1)  # (cells,)
    cell, across = np.arange(len(cells)), (width + beside) // spacing
    places = np.stack([cell // across * spacing + inside // spacing, cell % across * spacing + inside % spacing], axis=1)
    return places[np.argsort(cells[cell, inside], kind="stable")]


def pixels_of(points: np.ndarray, height: int, width: int, *, where: str) -> np.ndarray:
    """(N, 2) points, x and y in pixels, to (N, 2) int64 rows and columns.

    Raises
    ------
    ValueError : there is no point, or one lies outside the picture.
    """
    given = np.asarray(points, np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or not len(given):
        raise ValueError(f"{where}: points are {given.shape}, wanted (N, 2), x and y of at least one")
    is_inside = (given >= 0).all(axis=1) & (given < (width, height)).all(axis=1)
    if not is_inside.all():
        x, y = given[~is_inside][0]
        raise ValueError(
            f"{where}: the point x={x:g}, y={y:g} lies outside the picture, {width} x {height} px (width x height)"
        )
    return given[:, ::-1].astype(np.int64)


def grown_in_turn(colours: np.ndarray, seeds: np.ndarray, tolerance: float) -> np.ndarray:
    """Regions around seeds, one after the other; a seed that lies in a region already has none of its own.

    Parameters
    ----------
    colours : (H, W, 3) float32 CIE Lab
    seeds : (N, 2) rows and columns
    tolerance : CIE Lab units, in each channel; see `flood`

    Returns
    -------
    (H, W) int32: regions from 1; 0 where none reaches
    """
    regions = np.zeros(colours.shape[:2], np.int32)
    mask = np.zeros(np.add(regions.shape, 2), np.uint8)
    count = 0
    for row, column in seeds.tolist():
        if mask[row + 1, column + 1] != UNSEEN:
            continue
        x, y, width, height = flood(colours, mask, row, column, tolerance=tolerance)
        part = mask[y + 1 : y + height + 1, x + 1 : x + width + 1]
        is_new = part == NEW
        count += 1
        regions[y : y + height, x : x + width][is_new] = count
        part[is_new] = TAKEN
    return regions


def flood(
    colours: np.ndarray, mask: np.ndarray, row: int, column: int, *, tolerance: float, fixed: bool = True
) -> tuple[int, int, int, int]:
    """Write NEW into the mask where pixels hang together with a seed, over the 4 neighbours, and are like it.

    Parameters
    ----------
    colours : (H, W, 3)
    mask : (H + 2, W + 2) uint8, a frame of 1 px around the picture; only pixels UNSEEN are taken
    tolerance : greatest difference in each channel
    fixed : whether from the seed; else from the neighbour over which the flood comes

    Returns
    -------
    x, y, width and height of what was taken
    """
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (NEW << 8) | (cv2.FLOODFILL_FIXED_RANGE if fixed else 0)
    reach = (tolerance,) * 3
    return cv2.floodFill(colours, mask, (column, row), (0, 0, 0), reach, reach, flags)[3]
