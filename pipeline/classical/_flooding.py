"""Flooding from markers: over a relief, or over a picture in the order of likeness."""

import cv2
import numpy as np
from numba import njit, uint64

LEVELS = 256  # heights of a relief


def flooded(relief: np.ndarray, markers: np.ndarray, *, dams: np.ndarray | None = None) -> np.ndarray:
    """The watershed of a relief from markers: each pixel is reached over the lowest pass, of equal ones over the nearest.

    It is scikit-image's watershed with 4 neighbours, but for ties between markers.

    Parameters
    ----------
    relief : (H, W) uint8
    markers : (H, W) int32, 0 where there is none
    dams : (H, W) bool, what is not flooded; no marker stands there

    Returns
    -------
    (H, W) int32, the marker of each pixel; 0 on dams, and where no marker reaches

    References
    ----------
    Meyer 1992, Color image segmentation (the queue); Cousty et al. 2009, Watershed cuts, IEEE TPAMI 31(8) (a watershed from
    markers is a minimum spanning forest).
    """
    return np.maximum(_flood(relief, markers, dams)[1:-1, 1:-1], 0)


@njit(cache=True, nogil=True)
def _flood(relief, markers, dams):
    """(H + 2, W + 2) int32: the marker of each pixel, 0 on dams and on the frame, the height less LEVELS where dry.

    One array holds what is asked of a neighbour, and one the queues of all heights, one after the other, as long as each can
    become: on large pictures it is the memory that takes the time. Places are unsigned, else numba asks each whether it counts
    from the end.
    """
    height, width = relief.shape
    stride = width + 2
    basins = np.zeros((height + 2) * stride, np.int32)
    last = np.zeros(LEVELS + 1, np.int64)  # where the queue of a height ends; here its length, one place further on
    for row in range(height):
        for column in range(width):
            if dams is not None and dams[row, column]:
                continue
            marker = markers[row, column]
            basins[(row + 1) * stride + column + 1] = marker if marker > 0 else np.int32(relief[row, column]) - LEVELS
            last[relief[row, column] + 1] += 1
    last = np.cumsum(last)
    first = last.copy()
    queues = np.empty(last[LEVELS], np.uint32)

    up, left = uint64(stride), uint64(1)
    for row in range(height):
        for column in range(width):
            place = uint64((row + 1) * stride + column + 1)
            if basins[place] > 0 and (
                basins[place - up] < 0 or basins[place - left] < 0 or basins[place + left] < 0 or basins[place + up] < 0
            ):
                level = relief[row, column]
                queues[last[level]] = place
                last[level] += 1

    level = 0
    while level < LEVELS:
        if first[level] == last[level]:
            level += 1
            continue
        place = uint64(queues[uint64(first[level])])
        first[level] += 1
        for neighbour in (place - up, place - left, place + left, place + up):
            if basins[neighbour] < 0:
                beside = basins[neighbour] + LEVELS
                basins[neighbour] = basins[place]
                queues[uint64(last[uint64(beside)])] = neighbour
                last[uint64(beside)] += 1
                level = min(level, beside)  # water runs down
    return basins.reshape(height + 2, stride)


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
    labels = cv2.copyMakeBorder(markers, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.watershed(padded, labels)  # leaves lines between the regions, and a frame, below 0
    colours, flat, width = padded.reshape(-1, 3), labels.ravel(), labels.shape[1]
    is_open = np.zeros(labels.shape, bool)
    np.less_equal(labels[1:-1, 1:-1], 0, out=is_open[1:-1, 1:-1])
    open_pixels = np.flatnonzero(is_open)
    while open_pixels.size:
        best, label = np.full(open_pixels.shape, 256, np.int16), np.zeros(open_pixels.shape, np.int32)
        for step in (-width, -1, 1, width):
            neighbours = open_pixels + step
            beside, costs = flat[neighbours], cv2.absdiff(colours[open_pixels], colours[neighbours]).max(axis=1)
            is_better = (beside > 0) & (costs < best)
            np.copyto(best, costs, where=is_better)
            np.copyto(label, beside, where=is_better)
        flat[open_pixels] = label
        open_pixels = open_pixels[label == 0]  # inside a thick line; their neighbours have a label now
    return labels[1:-1, 1:-1]
