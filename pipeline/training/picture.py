"""A picture of what a network sees while it learns: input | truth | prediction."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline import files
from pipeline.structures import LabelSpace, Prediction

GAP_PX = 4


def progress_picture(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    predictions: Sequence[Prediction],
    label_space: LabelSpace,
    rows: int = 3,
) -> None:
    """Write a PNG with a row for each of the first pictures: input, truth, prediction.

    Parameters
    ----------
    images : (B, H, W, 3) uint8
    labels : (B, H, W) uint8 or uint16
    predictions : B of them, of any kind
    """
    lines = []
    for image, truth, prediction in list(zip(images, labels, predictions, strict=True))[:rows]:
        tiles = [image, label_space.paint(truth), label_space.paint(prediction.semantic(label_space))]
        lines.append(np.concatenate([_framed(tile) for tile in tiles], axis=1))
    sheet = np.concatenate(lines, axis=0)
    files.write_bytes(path, cv2.imencode(".png", sheet[..., ::-1])[1].data)


def _framed(tile: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(tile, GAP_PX, GAP_PX, GAP_PX, GAP_PX, cv2.BORDER_CONSTANT, value=(255, 255, 255))
