"""Draw objects on a clear layer, which is laid over their picture: areas, outlines, boxes and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline import lettering, tags
from pipeline.resizing import resize_labels

OPACITY = 0.5
LINE_SHARE = 1 / 300  # of the longer side: how thick a line is
TEXT_SHARE, LEAST_TEXT_PX = 1 / 34, 11  # of the longer side: how high a text is
SPECK_LINES = 8  # a side of so many lines' widths; an outline within a smaller box would hide the object
DARK = (20, 20, 20)  # beside every line, so that it is seen on its own colour too


@dataclass(frozen=True)
class Objects:
    """What is drawn of N objects, the one on top first.

    Parameters
    ----------
    masks : (N, H, W) bool
    boxes : (N, 4) x0, y0, x1, y1 in pixels of the masks
    colours : (N, 3) uint8 RGB
    texts : of each, the longest first; a shorter one is taken where there is little room
    """

    masks: np.ndarray
    boxes: np.ndarray
    colours: np.ndarray
    texts: Sequence[tuple[str, ...]]


def draw(found: np.ndarray, objects: Objects) -> None:
    """Draw objects on a layer: the areas first, so that where some overlap all outlines stay visible; the texts last.

    Parameters
    ----------
    found : (h, w, 4) uint8 RGBA of any size, changed
    """
    height, width = found.shape[:2]
    boxes = objects.boxes * np.divide([width, height] * 2, [*objects.masks.shape[:0:-1]] * 2)
    shares, rings = np.zeros((height, width), np.float32), []
    for mask, colour in zip(objects.masks[::-1], objects.colours[::-1], strict=True):
        pixels = resize_labels(mask.view(np.uint8), height, width)
        found[pixels == 1] = *colour, round(255 * OPACITY)
        shares += pixels / np.float32(max(1, np.count_nonzero(pixels)))
        rings.append(cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0])
    line = max(1, round(max(height, width) * LINE_SHARE))
    for outline, box, colour in zip(rings, boxes[::-1], objects.colours[::-1], strict=True):
        is_speck = min(box[2] - box[0], box[3] - box[1]) < SPECK_LINES * line
        for edge, ink in ((1, DARK), (0, colour)):
            pixel = lettering.opaque(ink, found)
            if not is_speck:
                cv2.drawContours(found, outline, -1, pixel, line + 2 * edge)
            _frame(found, box, pixel, line=line, edge=edge)
    text_px = max(LEAST_TEXT_PX, round(max(height, width) * TEXT_SHARE))
    placed = tags.place(boxes, objects.texts, shares, measure=lambda text: lettering.size(text, text_px))
    for tag, colour in zip(placed, objects.colours, strict=True):
        if tag:
            lettering.write(found, *tag, text_px, background=colour)


def _frame(found: np.ndarray, box: np.ndarray, pixel: tuple[int, ...], *, line: int, edge: int) -> None:
    """A line around a box and outside of it, but for the picture's border, with so much of an edge on both sides."""
    height, width = found.shape[:2]
    low = np.maximum(np.rint(box[:2]).astype(int), line)
    high = np.minimum(np.rint(box[2:]).astype(int), [width - line, height - line])
    (x0, y0), (x1, y1) = np.maximum(low - line - edge, 0), high + line + edge
    inner = line + 2 * edge
    for rows, columns in (
        (slice(y0, y0 + inner), slice(x0, x1)),
        (slice(max(y1 - inner, 0), y1), slice(x0, x1)),
        (slice(y0, y1), slice(x0, x0 + inner)),
        (slice(y0, y1), slice(max(x1 - inner, 0), x1)),
    ):
        found[rows, columns] = pixel
