"""Kinds of pixel by colour, and where asked by place: k-means over the training split's pixels."""

import cv2
import numpy as np

from pipeline.classical._colour import CELLS, SPACES, cell_colours, cells, drawn_pixels, look_up
from pipeline.classical._method import VotedSegments
from pipeline.structures import LabelSpace

SAMPLED = 100_000  # pixels, where their place counts


class KMeans(VotedSegments):
    """Clusters the colours of the training split; each cluster gets its class by vote on the training split.

    The centres are found once, on a sample of pixels or a histogram of all; an image is then a table look-up of its colours,
    quantised to 5 bits a channel. The classes come from the vote, not from the clusters: k-means has no notion of a class.

    Parameters
    ----------
    clusters : number of clusters, 2..256
    restarts : runs from different k-means++ starts, of which the tightest is kept
    sample_pixels : training pixels that the centres are found on, drawn evenly from all images; None takes every pixel, counted
        in 2^15 cells of colour, which costs less than drawn ones; with a `place`, which cells know nothing of, 100,000 drawn
    space : "lab", "rgb", or "hsv" with hue and saturation as a point on the colour circle; each spans about 100
    place : weight of a pixel's place beside its colour; at 1 the width or height of the image is as far as black from white.
        0 looks at colour alone and is fifty times as fast or more

    References
    ----------
    Lloyd 1982, Least squares quantization in PCM; Arthur and Vassilvitskii 2007, k-means++.
    """

    state_names = ("classes", "centres")

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        clusters: int = 8,
        restarts: int = 3,
        sample_pixels: int | None = None,
        space: str = "lab",
        place: float = 0.0,
    ):
        super().__init__(label_space)
        if not 2 <= clusters <= 256:
            raise ValueError(f"kmeans: clusters is {clusters}; choose 2..256")
        if restarts < 1 or (sample_pixels is not None and sample_pixels < 1):
            raise ValueError(f"kmeans: restarts is {restarts} and sample_pixels {sample_pixels}; give at least 1 of each")
        if space not in SPACES:
            raise ValueError(f"kmeans: space is {space!r}; choose one of: {', '.join(SPACES)}")
        if not 0 <= place < np.inf:
            raise ValueError(f"kmeans: place is {place}; give a weight of 0 or more")
        if place and sample_pixels is None:
            sample_pixels = SAMPLED
        self.num_segments, self.restarts, self.sample_pixels = clusters, restarts, sample_pixels
        self.space, self.place_scale = space, 100 * place
        self.centres = np.zeros((clusters, 5 if place else 3), np.float32)  # colour, then x and y times `place_scale`
        self._table = np.zeros(CELLS, np.uint8)

    def prepare(self, samples, rng):
        if self.sample_pixels is None:
            points, weights = self._histogram(samples)
        else:
            colours, places = drawn_pixels(self, samples, self.sample_pixels, rng)
            points, weights = SPACES[self.space](colours), None
            if self.place_scale:
                points = np.hstack([points, places * self.place_scale])
        self.centres = self._cluster(points, weights, seed=int(rng.integers(2**31)))
        self._make_table()

    def load(self, folder):
        super().load(folder)
        self._make_table()

    def _histogram(self, samples) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) colours of the cells that the split uses, and (N,) how many pixels each has."""
        counts = sum(self.each(lambda sample: np.bincount(cells(sample.image).ravel(), minlength=CELLS), samples))
        used = np.flatnonzero(counts)
        return SPACES[self.space](cell_colours()[used]), counts[used]

    def _cluster(self, points: np.ndarray, weights: np.ndarray | None, *, seed: int) -> np.ndarray:
        """(N, D) float32 points to (clusters, D) centres; fewer different points than clusters repeat the last one."""
        different = np.unique(points, axis=0)
        if len(different) <= self.num_segments:
            return np.concatenate([different, np.repeat(different[-1:], self.num_segments - len(different), axis=0)])
        if weights is not None:
            return _weighted_centres(points, weights, self.num_segments, restarts=self.restarts, seed=seed)
        cv2.setRNGSeed(seed)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
        _, _, centres = cv2.kmeans(points, self.num_segments, None, stop, self.restarts, cv2.KMEANS_PP_CENTERS)
        return centres[np.lexsort(centres.T)]

    def segments(self, image, prompt=None):
        return self._nearest_with_place(image) if self.place_scale else look_up(image, self._table)

    def _make_table(self) -> None:
        """The nearest centre of each cell, (2^15,) uint8; with place, what its colour adds to every distance, (2^15, K)."""
        colours = SPACES[self.space](cell_colours())
        distances = sum((colours[:, channel, None] - self.centres[:, channel]) ** 2 for channel in range(3))
        self._table = distances if self.place_scale else distances.argmin(axis=1).astype(np.uint8)

    def _nearest_with_place(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8: the nearest centre of each pixel, a squared distance being the sum of colour's, x's and y's."""
        height, width = image.shape[:2]
        along = _squares(width, self.place_scale, self.centres[:, 3])  # (W, K)
        down = _squares(height, self.place_scale, self.centres[:, 4])  # (H, K)
        found = np.empty((height, width), np.uint8)
        for row, of_row in enumerate(cells(image)):
            distances = self._table[of_row]  # (W, K)
            distances += along
            distances += down[row]
            found[row] = distances.argmin(axis=1)
        return found


def _squares(length: int, scale: float, centres: np.ndarray) -> np.ndarray:
    """(length, K) float32: squared distance along one axis of each pixel from each centre."""
    steps = ((np.arange(length, dtype=np.float32) + 0.5) / length * scale).astype(np.float32)
    return (steps[:, None] - centres) ** 2


def _weighted_centres(points: np.ndarray, weights: np.ndarray, count: int, *, restarts: int, seed: int) -> np.ndarray:
    """(count, D) float32, sorted: k-means of points that stand for several pixels each."""
    from sklearn.cluster import KMeans as WeightedKMeans
    from threadpoolctl import threadpool_limits

    search = WeightedKMeans(count, n_init=restarts, max_iter=50, random_state=seed)
    with threadpool_limits(1):  # threads add up in any order, which changes the last bits from run to run
        centres = search.fit(points.astype(np.float64), sample_weight=weights).cluster_centers_.astype(np.float32)
    return centres[np.lexsort(centres.T)]
