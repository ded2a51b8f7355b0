"""The class of every superpixel from a bank of filters, by a forest or by boosted trees."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from skimage.segmentation import slic

from pipeline.classical._method import count_votes
from pipeline.classical._regions import relabelled
from pipeline.classical._tree_method import TreeMethod
from pipeline.structures import LabelSpace, SemanticMap


class SuperpixelClassifier(TreeMethod):
    """Classifies SLIC superpixels by the mean and the deviation of a bank of filters in each, and by its size.

    A training superpixel has the class of most of its labelled pixels, and weighs as much as they are; one without any is left
    out. Superpixels know where they are where the bank does (`place`).

    Parameters
    ----------
    superpixels : of an image, about
    compactness : of SLIC, how much nearness counts beside colour (scikit-image: 10)
    learner, trees, leaves, balance : see `TreeMethod`
    sigmas, texture_sigma, place : see `FilterBank`

    References
    ----------
    Achanta et al. 2012, SLIC Superpixels Compared to State-of-the-art Superpixel Methods, IEEE TPAMI 34(11); Fulkerson et al.
    2009, Class segmentation and object localization with superpixel neighborhoods, ICCV.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        superpixels: int = 600,
        compactness: float = 10.0,
        learner: str = "forest",
        trees: int | None = None,
        leaves: int | None = None,
        balance: float = 0.75,
        sigmas: Sequence[float] = (0.7, 1.6, 3.5, 5.0, 10.0, 20.0),
        texture_sigma: float = 5.0,
        place: bool = True,
    ):
        options = {"learner": learner, "trees": trees, "leaves": leaves, "balance": balance}
        super().__init__(label_space, **options, sigmas=sigmas, texture_sigma=texture_sigma, place=place)
        if superpixels < 1 or not 0 < compactness < np.inf:
            raise ValueError(
                f"superpixel_classifier: superpixels {superpixels}, compactness {compactness}; give 1 or more, and > 0"
            )
        self.superpixels, self.compactness = superpixels, compactness

    @property
    def num_features(self):
        return 2 * len(self.bank) + 1

    def regions(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB to (H, W) int32, the superpixel of each pixel, from 0 without gaps."""
        found = slic(image, n_segments=self.superpixels, compactness=self.compactness, start_label=0)
        return relabelled(found)

    def described(self, image: np.ndarray, regions: np.ndarray) -> np.ndarray:
        """(R, 2 D + 1) float32: mean and deviation of each filter in each region, and the logarithm of its area's share."""
        pixels = np.bincount(regions.ravel()).astype(np.float64)  # (R,)
        total = np.zeros((2, len(pixels), len(self.bank)))
        for rows, planes in self.bank.strips(image):
            inside = regions[rows].ravel()
            member = sparse.csr_matrix((np.ones(len(inside)), (inside, np.arange(len(inside)))), (len(pixels), len(inside)))
            for index, plane in enumerate(planes.reshape(len(planes), -1).astype(np.float64)):
                total[0, :, index] += member @ plane
                total[1, :, index] += member @ plane**2
        mean, square = total / pixels[:, None]
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        share = np.log(pixels / regions.size)
        return np.column_stack([mean, deviation, share]).astype(np.float32)

    def examples(self, sample, rng):
        regions = self.regions(sample.image)
        shape = (int(regions.max()) + 1, self.label_space.num_classes)
        votes = count_votes(regions, sample.truth.semantic(self.label_space), shape, self.label_space)
        known = votes.any(axis=1)
        labelled = votes[known]
        return self.described(sample.image, regions)[known], labelled.argmax(axis=1), labelled.sum(axis=1).astype(np.float64)

    def segment(self, image, prompt=None):
        regions = self.regions(image)
        probabilities = self.probabilities(self.described(image, regions))  # (R, C)
        labels = probabilities.argmax(axis=1).astype(self.label_space.dtype)
        return SemanticMap(labels[regions], np.ascontiguousarray(probabilities.T[:, regions]), regions)
