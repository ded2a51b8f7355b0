"""Regions of a graph of pixels: two join where their border is no stronger than what is inside them."""

import numpy as np
from skimage import segmentation

from pipeline.classical._regions import VotedRegions, shrunk
from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace


class Felzenszwalb(VotedRegions):
    """Felzenszwalb and Huttenlocher's graph-based segmentation.

    Parameters
    ----------
    scale : k of the paper; larger ones give larger regions (scikit-image takes colours in 0..1, so 100 here is its 100)
    sigma : px, of the Gaussian that smooths the picture first (paper: 0.8)
    min_size : px, smaller regions join a neighbour
    max_side : px, a picture with a longer side is cut up at this size, and the regions brought back by nearest neighbour
    kinds, place : see `VotedRegions`

    References
    ----------
    Felzenszwalb and Huttenlocher 2004, Efficient Graph-Based Image Segmentation, IJCV 59(2), algorithm 1.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        scale: float = 100.0,
        sigma: float = 0.8,
        min_size: int = 50,
        max_side: int = 1024,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if not 0 < scale < np.inf or not 0 <= sigma <= 100 or min(min_size, max_side) < 1:
            raise ValueError(
                f"felzenszwalb: scale {scale}, sigma {sigma}, min_size {min_size}, max_side {max_side}; "
                "give > 0, 0 to 100, >= 1 and >= 1"
            )
        self.scale_k, self.sigma, self.min_size, self.max_side = scale, sigma, min_size, max_side

    def segments(self, image, prompt=None):
        small = shrunk(image, self.max_side)
        found = segmentation.felzenszwalb(small, scale=self.scale_k, sigma=self.sigma, min_size=self.min_size)
        return resize_labels(found.astype(np.int32), *image.shape[:2])
