"""Flooding from markers, in OpenCV's watershed: over a relief, or over a picture in the order of likeness."""

from collections.abc import Callable

import cv2
import numpy as np

DAM = np.int32(2**30)  # the marker of what is never flooded


def flooded(relief: np.ndarray, markers: np.ndarray, *, dams: np.ndarray | None = None) -> np.ndarray:
    """The watershed of a relief from markers: each pixel is reached over the lowest pass.

    OpenCV floods a picture in the order of the greatest difference between two neighbours in any channel, the relief is one
    number. So the pixels of a chessboard's white fields show their height in the first channel and the black ones in the
    second, zero elsewhere: two neighbours then differ by the height of the higher one, which is the relief's flooding order.

    Parameters
    ----------
    relief : (H, W) uint8
    markers : (H, W) int32, 0 where there is none; at least one is positive
    dams : (H, W) bool, what is not flooded; the relief must be 255 there, and no marker

    Returns
    -------
    (H, W) int32, the marker of each pixel, 0 on and behind dams. OpenCV leaves a line between two basins; its pixels go to the
    marker of their lowest neighbour.

    References
    ----------
    Meyer 1992, Color image segmentation (the queue); Cousty et al. 2009, Watershed cuts, IEEE TPAMI 31(8) (a watershed from
    markers is a minimum spanning forest).
    """
    height, width = relief.shape
    fields = np.zeros((height + 2, width + 2, 3), np.uint8)  # with a frame of 1 px, which OpenCV never floods
    for row, column in ((0, 0), (1, 1), (0, 1), (1, 0)):
        fields[1 + row : -1 : 2, 1 + column : -1 : 2, row ^ column] = relief[row::2, column::2]
    heights = np.pad(relief, 1).ravel()
    return _watershed(fields, markers, lambda _, neighbour: heights[neighbour], dams)


def grown(image: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Markers grown over a picture; of all pixels beside a region the one most like its neighbour inside joins next.

    Likeness is the greatest difference in a channel.

    Parameters
    ----------
    image : (H, W, 3) uint8
    markers : (H, W) int32, 0 where there is none; at least one is positive

    Returns
    -------
    (H, W) int32, the marker of each pixel
    """
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    colours = padded.reshape(-1, 3)
    return _watershed(padded, markers, lambda pixel, neighbour: cv2.absdiff(colours[pixel], colours[neighbour]).max(axis=1))


def _watershed(
    padded: np.ndarray,
    markers: np.ndarray,
    cost: Callable[[np.ndarray, np.ndarray], np.ndarray],
    dams: np.ndarray | None = None,
) -> np.ndarray:
    """OpenCV's watershed of a picture with a frame of 1 px, then its lines given to the neighbour of least cost."""
    labels = cv2.copyMakeBorder(markers, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = labels[1:-1, 1:-1]
    if dams is not None:
        np.copyto(inner, DAM, where=dams)
    cv2.watershed(padded, labels)
    is_open = np.zeros(labels.shape, bool)
    np.less_equal(inner, 0, out=is_open[1:-1, 1:-1])
    if dams is not None:
        np.copyto(inner, 0, where=inner == DAM)
        is_open[1:-1, 1:-1] |= (inner == 0) & ~dams  # only dams were beside it
    flat, width = labels.ravel(), labels.shape[1]
    open_pixels = np.flatnonzero(is_open)
    while open_pixels.size:
        best, label = np.full(open_pixels.shape, 256, np.int16), np.zeros(open_pixels.shape, np.int32)
        for step in (-width, -1, 1, width):
            neighbours = open_pixels + step
            beside, costs = flat[neighbours], cost(open_pixels, neighbours)
            is_better = (beside > 0) & (costs < best)
            np.copyto(best, costs, where=is_better)
            np.copyto(label, beside, where=is_better)
        if not label.any():
            flat[open_pixels] = 0
            break  # behind a dam where no marker is
        flat[open_pixels] = label
        open_pixels = open_pixels[label == 0]  # inside a thick line; their neighbours have a label now
    return inner
