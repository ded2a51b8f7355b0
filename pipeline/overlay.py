"""A picture with its segments laid over it: coloured, with a line around each."""

import cv2
import numpy as np

OPACITY = 0.5
LINE_SHARE = 1 / 600  # of the shorter side: how thick a line is
LINED_SHARE = 2e-4  # of the picture; lines around smaller pieces, the noise of pixel-wise methods, would hide all else
FIRST_COLOURS = (  # of segments without a class; far apart from each other, then `segment_colours` goes round the hues
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)),
    *((240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (170, 110, 40)),
)
GOLDEN = 0.618034  # of a turn: the hues of neighbours in number lie far apart, however many there are


def draw(
    image: np.ndarray, labels: np.ndarray, parts: np.ndarray, *, colours: np.ndarray, clear: int | None = None
) -> np.ndarray:
    """Lay the colours of `labels` over a picture, and lines where `parts` meet.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    labels : (H, W) integers, what is coloured
    parts : (H, W) integers, what a line is drawn around: the labels, or the objects in them
    colours : (N, 3) uint8, of each label
    clear : a label that is left as it is

    Returns
    -------
    (H, W, 3) uint8 RGB
    """
    painted = cv2.addWeighted(image, 1 - OPACITY, colours[labels], OPACITY, 0)
    if clear is not None:
        painted[labels == clear] = image[labels == clear]
    painted[lines(parts, thickness=max(1, round(min(labels.shape) * LINE_SHARE)))] = 255
    return painted


def lines(parts: np.ndarray, *, thickness: int) -> np.ndarray:
    """(H, W) bool: a line of so many px where neighbouring pixels differ, but for pieces below LINED_SHARE."""
    from skimage import measure

    pieces = measure.label(parts, background=-1, connectivity=1)
    is_large = (np.bincount(pieces.ravel()) >= LINED_SHARE * parts.size)[pieces]
    edges = np.zeros(parts.shape, np.uint8)
    edges[:, :-1] |= (parts[:, :-1] != parts[:, 1:]) & is_large[:, :-1] & is_large[:, 1:]
    edges[:-1] |= (parts[:-1] != parts[1:]) & is_large[:-1] & is_large[1:]
    return cv2.dilate(edges, np.ones((thickness, thickness), np.uint8)).astype(bool)


def segment_colours(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB: a colour for each segment number."""
    further = np.arange(max(0, count - len(FIRST_COLOURS)))
    hues = further * GOLDEN % 1
    values = np.array([1.0, 0.75, 0.55])[further % 3]
    hsv = np.stack([hues * 360, np.full(len(further), 0.75), values], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] if len(further) else hsv
    return np.concatenate([np.array(FIRST_COLOURS, np.uint8), np.rint(rgb * 255).astype(np.uint8)])[:count]
