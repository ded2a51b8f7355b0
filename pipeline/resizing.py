"""Other sizes of pictures and of label maps; one rule for training arrays and inference."""

import cv2
import numpy as np


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an (H, W) integer map by nearest neighbour, sampled at pixel centres."""
    if labels.shape == (height, width):
        return labels
    if labels.dtype == np.int32:  # OpenCV's exact mode takes what float32 and float64 hold; ids stay below 2^24
        return cv2.resize(labels.astype(np.float64), (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an (H, W) bool mask: by nearest neighbour; where it grows bilinearly, cut at one half, without stairs."""
    if height < mask.shape[0] or width < mask.shape[1]:
        return resize_labels(mask.view(np.uint8), height, width).view(bool)
    return cv2.resize(mask.view(np.uint8) * np.uint8(255), (width, height), interpolation=cv2.INTER_LINEAR) > 127


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width with the shorter one at `short_side` px and the aspect kept; None keeps both.

    Examples
    --------
    >>> scaled_size(360, 480, 192)
    (192, 256)
    """
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an (H, W, 3) uint8 image: by area where it shrinks, bilinearly where it grows."""
    if image.shape[:2] == (height, width):
        return image
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)
