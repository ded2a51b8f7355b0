"""Two kinds of pixel: not brighter than the picture's mean, and brighter."""

import cv2

from pipeline.classical._method import VotedSegments, grey


class MeanThreshold(VotedSegments):
    """Splits the picture at its mean brightness; both halves get their class by vote on the training split.

    References
    ----------
    Glasbey 1993, An analysis of histogram-based thresholding algorithms, CVGIP 55(6), section 2.
    """

    num_segments = 2

    def segments(self, image, prompt=None):
        brightness = grey(image)
        mean = int(cv2.sumElems(brightness)[0]) // brightness.size  # whole numbers: all are above 8.7 that are above 8
        _, binary = cv2.threshold(brightness, mean, 1, cv2.THRESH_BINARY)
        return binary
