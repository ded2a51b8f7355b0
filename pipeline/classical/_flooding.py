"""Flooding of a relief from markers."""

import numpy as np
from numba import uint64

from pipeline.classical._compiled import compiled

LEVELS = 256  # heights of a relief


def flooded(relief: np.ndarray, markers: np.ndarray, *, dams: np.ndarray | None = None) -> np.ndarray:
    """The watershed of a relief from markers: each pixel is reached over the lowest pass.

    On level ground water spreads at an even pace. It is scikit-image's watershed with 4 neighbours, but for ties of markers.

    Parameters
    ----------
    relief : (H, W) uint8
    markers : (H, W) int32, 0 where there is none
    dams : (H, W) bool, what is not flooded, markers there included

    Returns
    -------
    (H, W) int32, the marker of each pixel; 0 on dams, and where no marker reaches

    Raises
    ------
    ValueError : relief and markers differ in size.

    References
    ----------
    Meyer 1992, Color image segmentation (the queues); Cousty et al. 2009, Watershed cuts, IEEE TPAMI 31(8) (a watershed from
    markers is a minimum spanning forest).
    """
    if relief.shape != markers.shape:  # compiled loops do not look
        raise ValueError(f"flooded: the relief is {relief.shape} and the markers are {markers.shape}")
    dams = np.zeros(relief.shape, bool) if dams is None else dams
    relief, markers, dams = (np.require(one, requirements="CW") for one in (relief, markers, dams))  # as they are compiled for
    basins = _laid_out(relief, markers, dams)
    _flood(relief, basins)
    return np.maximum(basins[1:-1, 1:-1], 0)


@compiled("int32[:,::1](uint8[:,::1], int32[:,::1], boolean[:,::1])")
def _laid_out(relief, markers, dams):
    """(H + 2, W + 2): the marker of a pixel, 0 on dams and on a frame, the height less LEVELS where dry.

    So one look tells all of a neighbour: on large pictures it is the memory that takes the time.
    """
    height, width = relief.shape
    basins = np.zeros((height + 2, width + 2), np.int32)
    for row in range(height):
        for column in range(width):
            marker = markers[row, column]
            if not dams[row, column]:
                basins[row + 1, column + 1] = marker if marker > 0 else np.int32(relief[row, column]) - LEVELS
    return basins


@compiled("void(int64, int32[::1], uint64, uint32[::1], uint64, uint32[::1], int64[::1])")
def _flood_level(level, flat, up, order, count, queues, last):
    """Flood what `count` places in `order` reach at a level; what lies higher waits in its queue."""
    one, taken = uint64(1), uint64(0)
    while taken < count:
        place = uint64(order[taken])
        taken += one
        for neighbour in (place - up, place - one, place + one, place + up):
            height = flat[neighbour] + LEVELS
            if height >= LEVELS:
                continue  # wet already, or a dam
            flat[neighbour] = flat[place]
            if height <= level:
                order[count] = neighbour
                count += one
            else:
                queues[uint64(last[uint64(height)])] = neighbour
                last[uint64(height)] += 1


@compiled("void(uint8[:,::1], int32[:,::1])")
def _flood(relief, basins):
    """Flood in place: at each level first the pixels that wait for it, in the order in which they were reached.

    Places are unsigned, else numba asks of each whether it counts from the end.
    """
    height, width = relief.shape
    flat, up, one = basins.ravel(), uint64(width + 2), uint64(1)
    lengths = np.bincount(relief.ravel(), minlength=LEVELS)
    last = np.cumsum(lengths) - lengths  # one array holds the queues of all heights, one after the other
    queues, order = np.empty(relief.size, np.uint32), np.empty(relief.size, np.uint32)
    for row in range(height):
        for column in range(width):
            place = uint64(row + 1) * up + uint64(column + 1)
            if flat[place] > 0 and min(flat[place - up], flat[place - one], flat[place + one], flat[place + up]) < 0:
                queues[last[relief[row, column]]] = place
                last[relief[row, column]] += 1
    start = 0
    for level in range(LEVELS):
        count = last[level] - start
        order[:count] = queues[start : last[level]]
        _flood_level(level, flat, up, order, uint64(count), queues, last)
        start += lengths[level]
