"""Operators that say how strong an edge is at each pixel, and the smoothing that stands before them."""

import cv2
import numpy as np

SMOOTH = {"prewitt": (1, 1, 1), "scharr": (3, 10, 3), "sobel": (1, 2, 1)}  # across the derivative; each divided by its sum


def smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) or (H, W, C) blurred by a Gaussian of `sigma` px; 0 leaves it."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image


def derivative(light: np.ndarray, operator: str) -> np.ndarray:
    """Length of the gradient by 3 x 3 differences, as scikit-image's filters of the same name scale it.

    Parameters
    ----------
    light : (H, W) float32
    operator : prewitt, scharr or sobel

    Returns
    -------
    (H, W) float32; a step of height 1 along a row or column has sqrt(1/2) on both sides

    References
    ----------
    Prewitt 1970; Sobel and Feldman 1968; Scharr 2000; the scale is that of `skimage.filters`.
    """
    across = np.array(SMOOTH[operator], np.float32) / sum(SMOOTH[operator])
    along = np.array([-1, 0, 1], np.float32) * np.float32(0.5**0.5)
    pairs = (along, across), (across, along)
    parts = [cv2.sepFilter2D(light, cv2.CV_32F, *pair, borderType=cv2.BORDER_REFLECT) for pair in pairs]
    return cv2.magnitude(*parts)


def roberts(light: np.ndarray) -> np.ndarray:
    """Length of the gradient by differences along both diagonals of 2 x 2 pixels, of which a pixel is the upper left one.

    References
    ----------
    Roberts 1963; the scale (root of half the sum of squares) and the place are those of `skimage.filters.roberts`.
    """
    size = np.float32(0.5**0.5)
    kernels = np.array([[[-1, 0], [0, 1]], [[0, -1], [1, 0]]], np.float32) * size
    one, two = (cv2.filter2D(light, cv2.CV_32F, kernel, anchor=(0, 0), borderType=cv2.BORDER_REFLECT) for kernel in kernels)
    return cv2.magnitude(one, two)


def gaussian_laplace(light: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) float32: the Laplacian of `light` blurred by a Gaussian of `sigma` px, cut at 4 sigma.

    SciPy's `gaussian_laplace` but for its answer to level ground, which is not 0: there each level would have a sign.
    """
    radius = int(4 * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 * (places / sigma) ** 2)
    bell /= bell.sum()
    bend = bell * (places**2 / sigma**4 - 1 / sigma**2)  # its second derivative
    bend -= bend.sum() * bell
    pairs = (bend, bell), (bell, bend)
    return sum(cv2.sepFilter2D(light, cv2.CV_32F, *pair, borderType=cv2.BORDER_REFLECT) for pair in pairs)


def zero_crossings(response: np.ndarray) -> np.ndarray:
    """How far a response jumps where it changes sign to the right or below; 0 elsewhere.

    Parameters
    ----------
    response : (H, W) float32, such as a Laplacian

    Returns
    -------
    (H, W) float32, at the pixel of the pair that is nearer to 0 (the first one where both are as near)

    References
    ----------
    Marr and Hildreth 1980, Theory of edge detection: an edge is a zero crossing.
    """
    strength = np.zeros_like(response)
    for axis in (0, 1):
        first, second = (np.moveaxis(response, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        jump = np.where(first * second < 0, np.abs(first - second), 0)
        at_first = np.abs(first) <= np.abs(second)
        moved = np.moveaxis(strength, axis, 0)  # a view
        np.maximum(moved[:-1], np.where(at_first, jump, 0), out=moved[:-1])
        np.maximum(moved[1:], np.where(at_first, 0, jump), out=moved[1:])
    return strength
