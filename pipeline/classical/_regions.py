"""Methods that cut every image into regions of its own, and how a region comes to its class."""

from abc import abstractmethod

import cv2
import numpy as np
from scipy import sparse

from pipeline.classical._method import Segmenting, count_votes, decide, lab, reduced_size
from pipeline.resizing import resize_image
from pipeline.structures import LabelSpace, Sample, SemanticMap

DRAWS = 50_000  # of regions of the training split, on which the kinds are found; the larger a region the more often
DESCRIPTORS = 7
BAND_PIXELS = 1 << 18  # described at a time: what stays in the cache


class VotedRegions(Segmenting):
    """A method whose regions have no counterpart in another image: superpixels, catchment basins, grown regions.

    A region is described by colour, texture, place and size (`describe`); k-means over the regions of the training split, each
    as heavy as it is large, gives `kinds` of region, and each kind gets the class that most of its pixels have there. A region
    of another image takes the class of the nearest kind.

    Parameters
    ----------
    kinds : number of kinds of region, at least 1
    place : weight of height in the image and of size beside colour and texture; 0 looks at colour and texture alone
    """

    state_names = ("classes", "kind_centres", "scale")

    def __init__(self, label_space: LabelSpace, *, kinds: int = 64, place: float = 1.0):
        super().__init__(label_space)
        if kinds < 1 or not 0 <= place < np.inf:
            raise ValueError(f"kinds is {kinds} and place {place}; give at least 1 kind, and a weight of 0 or more")
        self.kinds, self.place = kinds, place
        self.classes = np.zeros(1, np.int64)  # (kinds,) class of each kind
        self.kind_centres = np.zeros((1, DESCRIPTORS), np.float32)
        self.scale = np.ones(DESCRIPTORS, np.float32)  # what a descriptor is multiplied by before distances are taken

    @abstractmethod
    def segments(self, image, prompt=None):
        """(H, W, 3) uint8 RGB to (H, W) int32, the region of each pixel."""

    def fit(self, samples, rng):
        self.prepare(samples, rng)
        described = list(self.each(self._described, samples))
        descriptors = np.concatenate([one for one, _ in described])  # (N, D)
        votes = np.concatenate([one for _, one in described])  # (N, C)
        share = np.exp(descriptors[:, -1].astype(np.float64))
        share /= share.sum()  # (N,) of the training split's pixels, all images alike
        self.scale = self._scale(descriptors, share)
        scaled = descriptors * self.scale
        drawn = np.searchsorted(np.cumsum(share), (np.arange(DRAWS) + rng.random()) / DRAWS)
        drawn = np.minimum(drawn, len(share) - 1)  # where the sum is a rounding below 1
        self.kind_centres = _centres(scaled[drawn], self.kinds, seed=int(rng.integers(2**31)))
        kinds = _nearest(scaled, self.kind_centres)
        by_kind = np.zeros((len(self.kind_centres), votes.shape[1]), np.int64)
        np.add.at(by_kind, kinds, votes)
        self.classes = decide(by_kind)

    def _scale(self, descriptors: np.ndarray, share: np.ndarray) -> np.ndarray:
        """(7,) float32: 1 over the standard deviation of each descriptor, by area; place and size times their weight."""
        spread = np.sqrt(share @ (descriptors - share @ descriptors) ** 2)
        varies = spread > 1e-5 * np.maximum(np.abs(descriptors).max(axis=0), 1)  # what is always the same tells nothing
        weight = np.array([1, 1, 1, 1, 1, self.place, self.place])
        return np.where(varies, weight / np.where(varies, spread, 1), 0).astype(np.float32)

    def _described(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """(R, D) descriptors and (R, C) votes of an image's regions."""
        regions = relabelled(self.segments(sample.image))
        shape = (int(regions.max()) + 1, self.label_space.num_classes)
        votes = count_votes(regions, sample.truth.semantic(self.label_space), shape, self.label_space)
        return describe(sample.image, regions), votes

    def segment(self, image, prompt=None):
        regions = relabelled(self.segments(image, prompt))
        kinds = _nearest(describe(image, regions) * self.scale, self.kind_centres)
        return SemanticMap(self.classes.astype(self.label_space.dtype)[kinds][regions], regions=regions)


def relabelled(regions: np.ndarray) -> np.ndarray:
    """(H, W) int32, the same regions with the numbers 0..R - 1, in the order of the old ones.

    Examples
    --------
    >>> relabelled(np.array([[7, 7, 2]]))
    array([[1, 1, 0]], dtype=int32)
    """
    lowest = int(regions.min())
    is_used = np.bincount(regions.ravel() - lowest) > 0
    return (np.cumsum(is_used) - 1).astype(np.int32)[regions - lowest]


def describe(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """What a region looks like, (R, 7) float32.

    Mean L, a and b (CIE Lab), standard deviation of L, mean length of L's gradient, height of its centre (0 at the top, 1 at
    the bottom), logarithm of its share of the image.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    regions : (H, W) int32, 0..R - 1, each with a pixel
    """
    height, width = regions.shape
    sums = np.zeros((int(regions.max()) + 1, DESCRIPTORS))
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        values = _values(image, top, bottom)
        # an entry in each column: the product sums the rows of `values` that belong to a region, in one pass over them
        entries = (np.ones(len(values)), regions[top:bottom].ravel(), np.arange(len(values) + 1, dtype=np.int32))
        sums += sparse.csc_matrix(entries, shape=(len(sums), len(values))) @ values
    pixels = sums[:, 0]
    means = sums[:, 1:] / pixels[:, None]  # of L, a, b, L^2, slope, height
    deviation = np.sqrt(np.maximum(means[:, 3] - means[:, 0] ** 2, 0))
    return np.column_stack([means[:, :3], deviation, means[:, 4:], np.log(pixels / regions.size)]).astype(np.float32)


def _values(image: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """(N, 7) float64, for the pixels of rows `top` to `bottom`: 1, L, a, b, L^2, length of L's gradient, height in 0..1."""
    above = max(top - 1, 0)  # one row more on both sides, for the gradient
    colours = lab(image[above : bottom + 1])
    light = np.ascontiguousarray(colours[..., 0])
    slope = cv2.magnitude(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    rows = slice(top - above, bottom - above)
    values = np.empty((bottom - top, image.shape[1], DESCRIPTORS))
    values[..., 0] = 1
    values[..., 1:4] = colours[rows]
    np.square(values[..., 1], out=values[..., 4])
    values[..., 5] = slope[rows]
    values[..., 6] = ((np.arange(top, bottom) + 0.5) / len(image))[:, None]
    return values.reshape(-1, DESCRIPTORS)


def shrunk(image: np.ndarray, max_side: int) -> np.ndarray:
    """The (H, W, 3) image with its longer side at `max_side` px at most, the aspect kept."""
    return resize_image(image, *reduced_size(*image.shape[:2], max_side))


def _centres(points: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """(N, D) float32 to (count, D) centres by k-means, sorted; the different points themselves where they are no more."""
    different = np.unique(points, axis=0)
    if len(different) <= count:
        return different
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.01)
    _, _, centres = cv2.kmeans(points, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return centres[np.lexsort(centres.T)]


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N,) int64: the nearest of (K, D) centres to each of (N, D) points."""
    squares = (centres**2).sum(axis=1)
    return (squares - 2 * points @ centres.T).argmin(axis=1)  # |x|^2 is the same for every centre
