"""Regions by where a random walk from each pixel comes to first."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from pipeline.classical._method import lab
from pipeline.classical._operators import smoothed
from pipeline.classical._prompts import refuse_together
from pipeline.classical._regions import VotedRegions, relabelled, shrunk
from pipeline.classical._seeds import flat_places, grown_in_turn, pixels_of
from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace, SemanticMap

BARRIER = 1e-10  # the weight that even the strongest edge lets through, so that every pixel reaches a seed


class RandomWalker(VotedRegions):
    """Grady's random walker: a pixel belongs to the seed that a walk from it, which shuns edges, most probably comes to first.

    Without a prompt seeds are what flat places grow to, as in `region_growing`, where that is `seed_size` px or more. Each of
    `points` is a seed. Of `scribbles` each class is a seed with all pixels drawn of it, and the label of a pixel is the class
    itself, so that nothing of the fit is used; the regions are then the classes. With one seed all is one region.

    Parameters
    ----------
    beta : how much a walk shuns edges: the weight between neighbours is exp(-beta d^2 / (10 sqrt(3) s)), d the distance of
        their colours in RGB, s the standard deviation of the picture in 0..1 (scikit-image: 130)
    max_side : px, a picture with a longer side is cut up at this size, and the regions brought back by nearest neighbour
    spacing, seed_size : px at that size; a cell of `spacing` px has a flat place
    tolerance : CIE Lab units in each channel, within which a seed grows
    kinds, place : see `VotedRegions`

    References
    ----------
    Grady 2006, Random walks for image segmentation, IEEE TPAMI 28(11), eq. 1 (weights), here scaled as
    `skimage.segmentation.random_walker`, and solved directly as in its mode "bf".
    """

    takes = ("points", "scribbles")

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        beta: float = 130.0,
        max_side: int = 256,
        spacing: int = 8,
        tolerance: float = 4.0,
        seed_size: int = 12,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if not (0 <= beta < np.inf and 0 <= tolerance < np.inf and min(max_side, seed_size) >= 1 and 1 <= spacing <= 1000):
            raise ValueError(
                f"random_walker: beta {beta}, tolerance {tolerance}, max_side {max_side}, spacing {spacing}, "
                f"seed_size {seed_size}; give 0 or more twice, and at least 1 px, 1 to 1000 px and at least 1 px"
            )
        self.beta, self.max_side, self.spacing = beta, max_side, spacing
        self.tolerance, self.seed_size = tolerance, seed_size

    def segment(self, image, prompt=None):
        if prompt is None or prompt.scribbles is None:
            return super().segment(image, prompt)
        classes = self.segments(image, prompt)
        return SemanticMap(classes.astype(self.label_space.dtype), regions=relabelled(classes))

    def segments(self, image, prompt=None):
        refuse_together(prompt, "points", "scribbles", method="random_walker")
        small = shrunk(image, self.max_side)
        seeds = np.zeros(small.shape[:2], np.int32)  # from 1
        if prompt is not None and prompt.scribbles is not None:
            self._draw(seeds, prompt.scribbles, image.shape[:2])
        elif prompt is not None and prompt.points is not None:
            places = pixels_of(prompt.points, *image.shape[:2], where="random_walker")
            _set(seeds, places[::-1], np.arange(len(places), 0, -1), image.shape[:2])  # of points in one pixel the first counts
        else:
            seeds = self._flat_seeds(small)
        return resize_labels((walked(small, seeds, self.beta) - 1).astype(np.int32), *image.shape[:2])

    def _draw(self, seeds: np.ndarray, scribbles: np.ndarray, shape: tuple[int, int]) -> None:
        self.label_space.check(scribbles, where="random_walker: scribbles")
        if scribbles.shape != shape:
            raise ValueError(f"random_walker: scribbles are {scribbles.shape}, wanted the picture's {shape} (height, width)")
        drawn = np.argwhere(scribbles != self.label_space.void)
        if not len(drawn):
            raise ValueError("random_walker: nothing is drawn in the scribbles; draw at least one pixel of a class")
        _set(seeds, drawn, scribbles[tuple(drawn.T)].astype(np.int32) + 1, shape)

    def _flat_seeds(self, image: np.ndarray) -> np.ndarray:
        """(H, W) int32 from 1; one seed at least, the largest, even where none has `seed_size` px."""
        places = flat_places(image, self.spacing, sigma=1.0)
        grown = grown_in_turn(lab(smoothed(image, 1.0)), places, self.tolerance)
        pixels = np.bincount(grown.ravel())
        pixels[0] = 0
        grown[pixels[grown] < min(self.seed_size, pixels.max())] = 0
        return grown


def walked(image: np.ndarray, seeds: np.ndarray, beta: float) -> np.ndarray:
    """The most probable seed of each pixel, of equally probable ones the lowest.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    seeds : (H, W) int32, 0 where there is none; at least one is positive
    beta : see `RandomWalker`

    Returns
    -------
    (H, W) int32, values of `seeds`
    """
    names, given = np.unique(seeds, return_inverse=True)
    is_open = seeds.ravel() == 0
    if len(names) == 1 or (len(names) == 2 and is_open.any()):
        return np.full_like(seeds, names[-1])
    if not is_open.any():
        return seeds
    laplacian = _laplacian(image, beta)[is_open]
    # eq. 8: what flows from the open pixels to each other, and to the seeds
    among, to_seeds = laplacian[:, is_open].tocsc(), laplacian[:, ~is_open]
    is_of = sparse.csr_matrix((np.ones((~is_open).sum()), given.ravel()[~is_open] - 1, np.arange((~is_open).sum() + 1)))
    # it is symmetric and its diagonal dominates: no pivot is needed, and the ordering for such a matrix fills in half as much
    solver = splu(among, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    probabilities = solver.solve(-(to_seeds @ is_of).toarray())  # (open pixels, seeds)
    found = seeds.ravel().copy()
    found[is_open] = names[1:][probabilities.argmax(axis=1)]
    return found.reshape(seeds.shape)


def _laplacian(image: np.ndarray, beta: float) -> sparse.csr_matrix:
    """(H W, H W): the weights between the 4 neighbours, negative, and their sums on the diagonal."""
    scaled = image.astype(np.float64) / 255
    index = np.arange(scaled[..., 0].size).reshape(scaled.shape[:2])
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    pixels = scaled.reshape(-1, 3)
    squares = ((pixels[first] - pixels[second]) ** 2).sum(axis=1)
    spread = 10 * np.sqrt(3) * scaled.std()
    weights = np.exp(-beta * squares / (spread or 1.0)) + BARRIER
    ends = np.concatenate([first, second]), np.concatenate([second, first])
    between = sparse.csr_matrix((np.concatenate([weights, weights]), ends), shape=(index.size, index.size))
    return (sparse.diags(between @ np.ones(index.size)) - between).tocsr()


def _set(seeds: np.ndarray, places: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> None:
    """Write seeds given by rows and columns of a picture of another size; of several in one pixel the last stays."""
    rows, columns = (places * seeds.shape // shape).T
    seeds[rows, columns] = values
