"""Two kinds of pixel, split where their brightness differs most between and least within."""

import cv2

from pipeline.classical._method import VotedSegments, grey


class Otsu(VotedSegments):
    """Splits the picture at Otsu's threshold; both sides get their class by vote on the training split.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms, IEEE TSMC 9(1), eq. 16.
    """

    num_segments = 2

    def segments(self, image, prompt=None):
        _, binary = cv2.threshold(grey(image), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        return binary
