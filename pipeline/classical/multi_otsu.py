"""Several kinds of pixel from dark to light, split where their brightness differs most between and least within."""

import cv2
import numpy as np

from pipeline.classical._method import VotedSegments, grey
from pipeline.classical._otsu import histogram, otsu_thresholds
from pipeline.structures import LabelSpace


class MultiOtsu(VotedSegments):
    """Splits the picture at Otsu's thresholds; each level gets its class by vote on the training split.

    A picture with fewer grey values than levels has as many levels as values, the darkest first.

    Parameters
    ----------
    levels : number of kinds, 2..256; 2 is `otsu`

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms, IEEE TSMC 9(1), section III; Liao, Chen and Chung 2001,
    A fast algorithm for multilevel thresholding, Journal of Information Science and Engineering 17.
    """

    def __init__(self, label_space: LabelSpace, *, levels: int = 3):
        super().__init__(label_space)
        if not 2 <= levels <= 256:
            raise ValueError(f"multi_otsu: levels is {levels}; choose 2..256")
        self.num_segments = levels

    def segments(self, image, prompt=None):
        brightness = grey(image)
        thresholds = otsu_thresholds(histogram(brightness), self.num_segments)
        table = np.searchsorted(thresholds, np.arange(256)).astype(np.uint8)  # how many thresholds lie below each value
        return cv2.LUT(brightness, table)
