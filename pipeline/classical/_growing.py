"""Markers grown over a picture, in the order of likeness."""

import cv2
import numpy as np


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
