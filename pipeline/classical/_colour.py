"""Colours as the clusterings see them: their spaces, pixels drawn from a split, and a table with an answer for each colour."""

import cv2
import numpy as np

from pipeline.classical._method import Method, Samples, lab

TABLE_BITS = 5  # colours are looked up in a table of 2^15 cells, 8 grey levels wide
CELLS = 1 << (3 * TABLE_BITS)


def rgb_colours(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB to (N, 3) float32, each channel in 0..100."""
    return colours.astype(np.float32) * (100 / 255)


def hsv_colours(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB to (N, 3) float32: value in 0..100 and hue as a point, saturation its distance from grey in 0..100.

    Hue is an angle: reds just above 0 and just below 360 degrees lie side by side here, and the hue of greys is no noise.
    """
    hue, saturation, value = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0].T
    angle = np.deg2rad(hue)
    return 100 * np.stack([value, saturation * np.cos(angle), saturation * np.sin(angle)], axis=1)


def lab_colours(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB to (N, 3) float32 CIE Lab, L in 0..100."""
    return lab(colours[None])[0]


SPACES = {"hsv": hsv_colours, "lab": lab_colours, "rgb": rgb_colours}


def drawn_pixels(method: Method, samples: Samples, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels drawn evenly from all images, at least one from each.

    Returns
    -------
    (N, 3) uint8 RGB, and (N, 2) float32 of where they lie, x and y in 0..1 of the image
    """
    share = max(1, count // len(samples))
    colours, places = [], []
    for image in method.each(lambda sample: sample.image, samples):
        height, width = image.shape[:2]
        chosen = rng.integers(height * width, size=share)
        colours.append(image.reshape(-1, 3)[chosen])
        places.append(np.stack([(chosen % width + 0.5) / width, (chosen // width + 0.5) / height], axis=1))
    return np.concatenate(colours), np.concatenate(places).astype(np.float32)


def cells(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W) uint16: the table's cell of each pixel, 5 bits of red, then of green, then of blue."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR555).view(np.uint16)[..., 0]


def cell_colours() -> np.ndarray:
    """(2^15, 3) uint8 RGB: the middle of each cell."""
    side = np.arange(1 << TABLE_BITS, dtype=np.uint8)
    corners = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3) << (8 - TABLE_BITS)
    return corners + (1 << (7 - TABLE_BITS))


def look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W) uint8: the entry of each pixel's cell in a table of (2^15,) uint8."""
    return cv2.LUT(cells(image), np.concatenate([table, table])[None])  # OpenCV wants all 16 bits; the highest is 0 here
