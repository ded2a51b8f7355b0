"""The script that MLflow runs to get a published model. It holds no weights: those are files beside it."""

from pathlib import Path

import numpy as np

from pipeline import files, inference, tracking


def load(folder: Path, predict: Path) -> inference.Fitted:
    """The fitted method in `folder`, with the prediction options it was scored with, a JSON file."""
    return inference.load(folder, predict=files.read_json(predict))


def label_maps(method: inference.Fitted, images: np.ndarray) -> np.ndarray:
    """Segment a batch.

    Parameters
    ----------
    images : (N, H, W, 3) RGB, numbers in 0..255

    Returns
    -------
    (N, H, W) uint8 or uint16, class index or void

    Raises
    ------
    ValueError : another shape, or values outside 0..255.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.shape}, wanted (N, H, W, 3): a batch of RGB pictures of one size")
    if images.size and not (images.min() >= 0 and images.max() <= 255):  # false for NaN too
        raise ValueError(f"images hold values in {images.min()}..{images.max()}, wanted 0..255")
    labels = np.zeros(images.shape[:3], method.label_space.dtype)
    for index, image in enumerate(np.rint(images).astype(np.uint8)):
        labels[index] = method.segment(image).semantic(method.label_space)
    return labels


tracking.serve(load, label_maps)
