"""Kinds of pixel by colour: k-means over the training split's colours."""

import cv2
import numpy as np

from pipeline.classical._method import VotedSegments
from pipeline.structures import LabelSpace

TABLE_BITS = 5  # colours are looked up in a table of 2^15 cells, 8 grey levels wide


class KMeans(VotedSegments):
    """Clusters the colours of the training split; each cluster gets its class by vote on the training split.

    The centres are found once, on a sample of pixels; an image is then a table look-up of its colours, quantised to
    5 bits a channel. The classes come from the vote, not from the clusters: k-means itself has no notion of a class.

    Parameters
    ----------
    clusters : number of clusters, 2..256
    restarts : runs from different k-means++ starts, of which the tightest is kept
    sample_pixels : training pixels that the centres are found on, drawn evenly from all images

    References
    ----------
    Lloyd 1982, Least squares quantization in PCM; Arthur and Vassilvitskii 2007, k-means++.
    """

    state_names = ("classes", "centres")

    def __init__(self, label_space: LabelSpace, *, clusters: int = 8, restarts: int = 3, sample_pixels: int = 100_000):
        super().__init__(label_space)
        if not 2 <= clusters <= 256:
            raise ValueError(f"kmeans: clusters is {clusters}; choose 2..256")
        self.num_segments, self.restarts, self.sample_pixels = clusters, restarts, sample_pixels
        self.centres = np.zeros((clusters, 3), np.float32)  # Lab
        self._table: np.ndarray | None = None

    def prepare(self, samples, rng):
        share = max(1, self.sample_pixels // len(samples))
        drawn = [
            sample.image.reshape(-1, 3)[rng.integers(sample.image.shape[0] * sample.image.shape[1], size=share)]
            for sample in samples
        ]
        colours = np.concatenate(drawn)  # (N, 3)
        self.centres = self._cluster(_lab(colours), seed=int(rng.integers(2**31)))
        self._table = None

    def _cluster(self, colours: np.ndarray, *, seed: int) -> np.ndarray:
        """(N, 3) float32 colours to (clusters, 3) centres; fewer different colours than clusters repeat the last one."""
        different = np.unique(colours, axis=0)
        if len(different) <= self.num_segments:
            return np.concatenate([different, np.repeat(different[-1:], self.num_segments - len(different), axis=0)])
        cv2.setRNGSeed(seed)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
        _, _, centres = cv2.kmeans(colours, self.num_segments, None, stop, self.restarts, cv2.KMEANS_PP_CENTERS)
        return centres[np.lexsort(centres.T)]

    def segments(self, image, prompt=None):
        if self._table is None:
            self._table = self._nearest_centres()
        quantised = image >> (8 - TABLE_BITS)
        cells = quantised[..., 0].astype(np.uint16) << (2 * TABLE_BITS)
        cells |= quantised[..., 1].astype(np.uint16) << TABLE_BITS
        cells |= quantised[..., 2]
        return self._table[cells]

    def _nearest_centres(self) -> np.ndarray:
        """(2^15,) uint8: the nearest centre of the middle of each colour cell."""
        side = 1 << TABLE_BITS
        red, green, blue = np.meshgrid(*[np.arange(side, dtype=np.uint8)] * 3, indexing="ij")
        half = 1 << (7 - TABLE_BITS)
        middles = (np.stack([red, green, blue], axis=-1).reshape(-1, 3) << (8 - TABLE_BITS)) + half
        distance = ((_lab(middles)[:, None] - self.centres[None]) ** 2).sum(axis=2)  # (2^15, clusters)
        return distance.argmin(axis=1).astype(np.uint8)


def _lab(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB to (N, 3) float32 CIE Lab, L in 0..100."""
    return cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
