"""Text in pictures, readable on any background: dark or light on a filled rectangle."""

from collections.abc import Sequence

import cv2
import numpy as np

LUMA = (0.299, 0.587, 0.114)  # how light a colour is
DEPTH = 0.3  # of the text's height: room for what hangs below the line
WEIGHT = 600  # of the strokes, 400 is normal: half-bold stays readable where a page shows the picture smaller


def size(text: str, height_px: int) -> tuple[int, int]:
    """Width and height in px of a text on its rectangle."""
    width = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace("sans"), height_px, WEIGHT)[2]
    return width + 2 * _margin(height_px), height_px + round(DEPTH * height_px)


def write(picture: np.ndarray, text: str, place: Sequence[int], height_px: int, *, background: Sequence[int]) -> None:
    """Write a text in black or white, whichever is seen better.

    Parameters
    ----------
    picture : (H, W, 3) uint8 RGB, or (H, W, 4) RGBA; changed
    place : x0, y0, x1, y1 of its rectangle, of at least its `size`
    background : RGB that fills the rectangle
    """
    x0, y0, x1, y1 = place
    picture[y0:y1, x0:x1] = opaque(background, picture)
    ink = opaque((255, 255, 255) if np.dot(background, LUMA) < 150 else (0, 0, 0), picture)
    cv2.putText(picture, text, (x0 + _margin(height_px), y0 + height_px), ink, cv2.FontFace("sans"), height_px, WEIGHT)


def opaque(colour: Sequence[int], picture: np.ndarray) -> tuple[int, ...]:
    """An RGB colour as a pixel of an RGB or RGBA picture."""
    return (*map(int, colour), 255)[: picture.shape[2]]


def _margin(height_px: int) -> int:
    return max(1, round(0.2 * height_px))
