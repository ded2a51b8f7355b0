"""Two kinds of pixel: not brighter than their surroundings, and brighter."""

import cv2
import numpy as np

from pipeline.classical._method import VotedSegments, grey
from pipeline.structures import LabelSpace

KINDS = ("gaussian", "mean")


class AdaptiveThreshold(VotedSegments):
    """Splits the picture at the mean brightness around each pixel; both sides get their class by vote on the training split.

    A pixel is light where its grey value is above the window's mean, rounded to a whole grey value, less `offset`. Past
    the border the picture goes on with its outermost pixels.

    Parameters
    ----------
    kind : "mean" weighs the window's pixels equally; "gaussian" as `cv2.getGaussianKernel` does for a window of this size:
        sigma is 0.15 window_px + 0.35 px, and windows up to 9 px have fixed weights near to that
    window_px : px, side of the square window; odd, at least 3
    offset : grey values, -255..255; above 0 the mean itself is light, so that even surfaces are

    References
    ----------
    OpenCV's adaptiveThreshold; Bradley and Roth 2007, Adaptive thresholding using the integral image, Journal of Graphics Tools
    12(2), the same with a threshold in percent of the mean.
    """

    num_segments = 2

    def __init__(self, label_space: LabelSpace, *, kind: str = "mean", window_px: int = 51, offset: float = 0.0):
        super().__init__(label_space)
        if kind not in KINDS:
            raise ValueError(f"adaptive_threshold: kind is {kind!r}; choose one of: {', '.join(KINDS)}")
        if window_px < 3 or window_px % 2 == 0:
            raise ValueError(f"adaptive_threshold: window_px is {window_px}; give an odd number from 3 on")
        if not -255 <= offset <= 255:
            raise ValueError(f"adaptive_threshold: offset is {offset}; give a grey value in -255..255")
        self.kind, self.window_px, self.offset = kind, window_px, offset

    def segments(self, image, prompt=None):
        light = grey(image)
        if self.kind == "mean":
            return cv2.adaptiveThreshold(light, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, self.window_px, self.offset)
        # what cv2.adaptiveThreshold gives with ADAPTIVE_THRESH_GAUSSIAN_C, but for ties, without its slow detour over floats
        weights = cv2.getGaussianKernel(self.window_px, 0)
        around = cv2.sepFilter2D(light, cv2.CV_8U, weights, weights, borderType=cv2.BORDER_REPLICATE)
        return (cv2.subtract(light, around, dtype=cv2.CV_16S) > -self.offset).view(np.uint8)
