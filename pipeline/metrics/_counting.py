"""Count pairs of true and predicted labels, exactly and near the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

STRIP_PIXELS = 1 << 19  # calcHist counts in float32, exact below 2^24; small strips stay in the processor's cache
FEW_CLASSES = 15  # with void they fit four bits


def count_pairs(truth: np.ndarray, predicted: np.ndarray, *, num_classes: int, void: int) -> np.ndarray:
    """How many pixels of each true class got each predicted class.

    Parameters
    ----------
    truth, predicted : (H, W) uint8 or uint16, class index or `void`, of one size
    num_classes : C
    void : label outside the classes; a pixel with this truth counts nowhere, one with this prediction as "nothing"

    Returns
    -------
    (C, C + 1) int64, exact at any size: rows are true classes, columns predicted ones, the last column "nothing".

    Raises
    ------
    ValueError : the shapes differ, a type is wrong, or a label is neither class nor void (also under a void truth).

    Examples
    --------
    >>> truth, predicted = np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 255, 1]], np.uint8)
    >>> count_pairs(truth, predicted, num_classes=2, void=255)
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    _check_maps(truth, predicted, num_classes, void)
    count = _count_wide
    if void <= 255:
        truth, predicted = (_as_bytes(labels, num_classes, void) for labels in (truth, predicted))
        count = _count_few if num_classes <= FEW_CLASSES and void == 255 else _count_bytes
    matrix = np.zeros((num_classes, num_classes + 1), np.int64)
    for truth_strip, predicted_strip in _strips(truth, predicted):
        matrix += count(truth_strip, predicted_strip, num_classes, void)
    return matrix


def _check_maps(truth: np.ndarray, predicted: np.ndarray, num_classes: int, void: int) -> None:
    for name, labels in (("truth", truth), ("prediction", predicted)):
        if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"count_pairs: {name} is {labels.shape} {labels.dtype}, wanted (H, W) uint8 or uint16")
    if truth.shape != predicted.shape:
        raise ValueError(
            f"count_pairs: truth is {truth.shape} and prediction {predicted.shape} (height, width); "
            "resize the prediction to the truth before scoring"
        )
    if not 1 <= num_classes <= void <= 65535:
        raise ValueError(f"count_pairs: {num_classes} classes and void {void}; void must lie in num_classes..65535")


def _strips(truth: np.ndarray, predicted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both maps in equal pieces of at most STRIP_PIXELS; a view of the whole where it fits."""
    if truth.size <= STRIP_PIXELS:
        yield truth, predicted
        return
    truth, predicted = truth.reshape(1, -1), predicted.reshape(1, -1)
    for start in range(0, truth.size, STRIP_PIXELS):
        chosen = slice(start, start + STRIP_PIXELS)
        yield truth[:, chosen], predicted[:, chosen]


def _as_bytes(labels: np.ndarray, num_classes: int, void: int) -> np.ndarray:
    """(H, W) uint8; a label that does not fit is refused before it could wrap into a class."""
    if labels.dtype == np.uint8:
        return labels
    if labels.max(initial=0) > 255:
        _refuse_outside(labels, labels, num_classes, void)
    return labels.astype(np.uint8)


def _count_few(truth: np.ndarray, predicted: np.ndarray, num_classes: int, void: int) -> np.ndarray:
    """Counts of up to 15 classes: truth and prediction share a byte, and each step of the histogram takes two pixels."""
    pairs, low = truth.reshape(1, -1) + np.uint8(1), predicted.reshape(1, -1) + np.uint8(1)  # void, 255, wraps to 0
    if pairs.size and max(pairs.max(), low.max()) > num_classes:
        _refuse_outside(truth, predicted, num_classes, void)
    pairs *= np.uint8(16)
    pairs += low
    half = pairs.size // 2
    counts = np.zeros(256, np.int64)
    if half:
        joint = cv2.calcHist([pairs[:, :half], pairs[:, half : 2 * half]], [0, 1], None, [256, 256], [0, 256, 0, 256])
        for axis in (0, 1):
            counts += cv2.reduce(joint, axis, cv2.REDUCE_SUM).ravel().astype(np.int64)
    if pairs.size % 2:
        counts[pairs[0, -1]] += 1
    labelled = counts.reshape(16, 16)[1 : num_classes + 1]
    return np.hstack([labelled[:, 1 : num_classes + 1], labelled[:, :1]])


def _count_bytes(truth: np.ndarray, predicted: np.ndarray, num_classes: int, void: int) -> np.ndarray:
    """Counts by a histogram over all 256 x 256 pairs: no value is dropped, so that a wrong one is found by a sum."""
    if not truth.size:
        return np.zeros((num_classes, num_classes + 1), np.int64)
    pairs = cv2.calcHist([truth, predicted], [0, 1], None, [256, 256], [0, 256, 0, 256])
    columns = [*range(num_classes), void]
    valid = pairs[:num_classes][:, columns].astype(np.int64)
    ignored = pairs[void][columns].astype(np.int64)
    if valid.sum() + ignored.sum() != truth.size:
        _refuse_outside(truth, predicted, num_classes, void)
    return valid


def _count_wide(truth: np.ndarray, predicted: np.ndarray, num_classes: int, void: int) -> np.ndarray:
    """Counts where labels need 16 bits."""
    _refuse_outside(truth, predicted, num_classes, void)
    labelled = truth != void
    column = np.minimum(predicted[labelled], num_classes).astype(np.int64)  # void is above all classes
    pairs = truth[labelled].astype(np.int64) * (num_classes + 1) + column
    return np.bincount(pairs, minlength=num_classes * (num_classes + 1)).reshape(num_classes, num_classes + 1)


def _refuse_outside(truth: np.ndarray, predicted: np.ndarray, num_classes: int, void: int) -> None:
    for name, labels in (("truth", truth), ("prediction", predicted)):
        wrong = (labels >= num_classes) & (labels != void)
        if wrong.any():
            raise ValueError(
                f"count_pairs: {name} holds label {labels[wrong][0]}, outside 0..{num_classes - 1} and not void ({void}); "
                f"fix the {'mask' if name == 'truth' else 'method'} or add the class"
            )
