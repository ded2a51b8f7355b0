"""Superpixels, and those merged that are alike."""

import cv2
import numpy as np
from skimage.segmentation import slic

from pipeline.classical._adjacency import merged
from pipeline.classical._method import lab
from pipeline.classical._regions import VotedRegions, relabelled, shrunk
from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace


class SlicMerge(VotedRegions):
    """SLIC superpixels, of which neighbours with alike mean colours become one region, the most similar first.

    Parameters
    ----------
    superpixels : about how many, before any merge
    compactness : m of the paper, CIE Lab units; larger ones give more even superpixels (paper: 1..40, often 10)
    iterations : of k-means (paper: 10; 5 follow borders as well on CamVid in half the time)
    merge : CIE Lab units, between mean colours; 0 merges none but equals
    max_side : px, a picture with a longer side is cut up at this size, and the regions brought back by nearest neighbour
    kinds, place : see `VotedRegions`

    References
    ----------
    Achanta et al. 2012, SLIC superpixels compared to state-of-the-art superpixel methods, IEEE TPAMI 34(11), algorithm 1.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        superpixels: int = 1000,
        compactness: float = 20.0,
        iterations: int = 5,
        merge: float = 2.0,
        max_side: int = 1024,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if min(superpixels, iterations, max_side) < 1 or not 0 < compactness < np.inf or not 0 <= merge < np.inf:
            raise ValueError(
                f"slic_merge: superpixels {superpixels}, compactness {compactness}, iterations {iterations}, merge {merge}, "
                f"max_side {max_side}; give at least 1, above 0, at least 1, 0 or more, and at least 1 px"
            )
        self.superpixels, self.compactness, self.iterations = superpixels, compactness, iterations
        self.merge, self.max_side = merge, max_side

    def segments(self, image, prompt=None):
        colours = lab(shrunk(image, self.max_side))
        found = relabelled(self.cut(colours))
        pixels = np.bincount(found.ravel())
        means = np.stack([np.bincount(found.ravel(), channel.ravel()) / pixels for channel in cv2.split(colours)])
        return resize_labels(merged(found, means, pixels, threshold=self.merge), *image.shape[:2])

    def cut(self, colours: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 CIE Lab to (H, W) integers, the superpixel of each pixel."""
        span = float(colours.max() - colours.min()) or 1.0  # scikit-image divides the colours by it, but not the compactness
        return slic(
            colours,
            n_segments=min(self.superpixels, colours[..., 0].size),
            compactness=self.compactness / span,
            max_num_iter=self.iterations,
            start_label=0,
            convert2lab=False,
        )
