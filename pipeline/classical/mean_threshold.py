"""Two kinds of pixel: not brighter than the picture's mean, and brighter."""

import numpy as np

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
        return (brightness > brightness.mean()).astype(np.uint8)
