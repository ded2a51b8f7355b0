"""Methods that cut every image into regions of its own, and how a region comes to its class."""

from abc import abstractmethod

import cv2
import numpy as np

from pipeline.classical._method import Segmenting, count_votes, decide, lab
from pipeline.structures import LabelSpace, Sample, SemanticMap

FIT_REGIONS = 50_000  # of the training split, on which the kinds are found
DESCRIPTORS = 7


class VotedRegions(Segmenting):
    """A method whose regions have no counterpart in another image: superpixels, catchment basins, grown regions.

    A region is described by colour, texture, place and size (`describe`); k-means over the regions of the training split gives
    `kinds` of region, and each kind gets the class that most of its pixels have there. A region of another image takes the
    class of the nearest kind.

    Parameters
    ----------
    kinds : number of kinds of region, at least 1
    place : weight of height in the image and of size beside colour and texture; 0 looks at colour and texture alone
    """

    state_names = ("classes", "kind_centres", "scale")

    def __init__(self, label_space: LabelSpace, *, kinds: int = 64, place: float = 1.0):
        super().__init__(label_space)
        if kinds < 1 or place < 0:
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
        weight = np.array([1, 1, 1, 1, 1, self.place, self.place], np.float32)
        self.scale = weight / np.maximum(descriptors.std(axis=0), 1e-6)
        scaled = descriptors * self.scale
        chosen = rng.permutation(len(scaled))[:FIT_REGIONS]
        self.kind_centres = _centres(scaled[np.sort(chosen)], self.kinds, seed=int(rng.integers(2**31)))
        kinds = _nearest(scaled, self.kind_centres)
        by_kind = np.zeros((len(self.kind_centres), votes.shape[1]), np.int64)
        np.add.at(by_kind, kinds, votes)
        self.classes = decide(by_kind)

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
    colours = lab(image)
    light = np.ascontiguousarray(colours[..., 0])
    slope = cv2.magnitude(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    flat = regions.ravel()
    pixels = np.bincount(flat).astype(np.float64)  # (R,)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, values.ravel()) / pixels

    means = [mean(colours[..., channel]) for channel in range(3)]
    deviation = np.sqrt(np.maximum(mean(light**2) - means[0] ** 2, 0))
    heights = np.broadcast_to((np.arange(len(image), dtype=np.float32)[:, None] + 0.5) / len(image), regions.shape)
    return np.stack([*means, deviation, mean(slope), mean(heights), np.log(pixels / flat.size)], axis=1).astype(np.float32)


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
