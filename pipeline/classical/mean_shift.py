"""Regions of even colour: every pixel climbs to the nearest peak of density in place and colour."""

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.classical._method import lab
from pipeline.classical._regions import VotedRegions
from pipeline.resizing import resize_image, resize_labels
from pipeline.structures import LabelSpace


class MeanShift(VotedRegions):
    """Mean-shift filtering, then regions of one colour.

    Filtered colours are whole numbers of CIE Lab; neighbours of equal ones belong to one region, and regions smaller than
    `min_size` join the neighbour nearest in colour. (Joining neighbours that differ by a step or two was tried: it leaks from
    road to pavement to wall.)

    Parameters
    ----------
    spatial_radius_px : px, how far a pixel looks, at the size worked on
    colour_radius : how different the colours are that it looks at, in units of CIE Lab with L in 0..100
    min_size : px at the size worked on, smaller regions join a neighbour
    max_side : px, a picture with a longer side is worked on reduced to it; the regions come back by nearest neighbour
    kinds, place : see `VotedRegions`

    References
    ----------
    Comaniciu and Meer 2002, Mean shift: a robust approach toward feature space analysis, IEEE TPAMI 24(5), section 4, there in
    CIE Luv. The filter is OpenCV's pyrMeanShiftFiltering with a pyramid of two levels.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        spatial_radius_px: float = 8.0,
        colour_radius: float = 8.0,
        min_size: int = 100,
        max_side: int = 512,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if not (1 <= spatial_radius_px <= 100 and 0 < colour_radius <= 100):
            raise ValueError(
                f"mean_shift: spatial_radius_px is {spatial_radius_px} and colour_radius {colour_radius}; give 1..100, "
                f"and above 0 to 100"
            )
        if min_size < 1 or max_side < 8:
            raise ValueError(f"mean_shift: min_size is {min_size} and max_side {max_side}; give at least 1 and 8 px")
        self.spatial_radius_px, self.colour_radius = spatial_radius_px, colour_radius
        self.min_size, self.max_side = min_size, max_side

    def segments(self, image, prompt=None):
        height, width = image.shape[:2]
        shrink = min(1.0, self.max_side / max(height, width))
        small = resize_image(image, max(1, round(height * shrink)), max(1, round(width * shrink)))
        centre = np.array([0, 128, 128], np.float32)
        colours = np.rint(lab(small) + centre).astype(np.uint8)  # what the filter takes; a step is 1 of Lab in each channel
        filtered = cv2.pyrMeanShiftFiltering(colours, self.spatial_radius_px, self.colour_radius, maxLevel=1)
        return resize_labels(without_small(filtered, even_regions(filtered), self.min_size), height, width)


def even_regions(colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) colours to (H, W) int32, from 0: connected regions of one colour, diagonals apart.

    Examples
    --------
    >>> even_regions(np.array([[[5, 0, 0], [5, 0, 0], [5, 0, 1]]], np.uint8))
    array([[0, 0, 1]], dtype=int32)
    """
    height, width = colours.shape[:2]
    # pixels at even places and between them whether they belong together, so that each region is a connected part
    joined = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    joined[::2, ::2] = 1
    joined[1::2, ::2] = (colours[1:] == colours[:-1]).all(axis=2)
    joined[::2, 1::2] = (colours[:, 1:] == colours[:, :-1]).all(axis=2)
    _, parts = cv2.connectedComponents(joined, connectivity=4)
    return np.ascontiguousarray(parts[::2, ::2]) - 1


def without_small(colours: np.ndarray, regions: np.ndarray, min_size: int) -> np.ndarray:
    """(H, W) int32, from 0: regions below `min_size` px join the neighbour of the nearest mean colour, again and again.

    Parameters
    ----------
    colours : (H, W, 3)
    regions : (H, W) int32, 0..R - 1, each with a pixel

    Examples
    --------
    >>> without_small(np.array([[[9], [9], [8], [1], [1]]]).repeat(3, axis=2), np.array([[0, 0, 1, 2, 2]], np.int32), 2)
    array([[0, 0, 0, 1, 1]], dtype=int32)
    """
    flat = regions.ravel()
    pixels = np.bincount(flat)  # (R,)
    sums = np.stack([np.bincount(flat, colours[..., channel].ravel()) for channel in range(3)], axis=1)  # (R, 3)
    pairs = _neighbours(regions)
    owner = np.arange(len(pixels))  # region -> region that it belongs to by now
    while len(pairs) and (pixels < min_size).any():
        joining = _nearest(pairs[pixels[pairs[:, 0]] < min_size], sums / pixels[:, None])
        forest = coo_array((np.ones(len(joining), bool), tuple(joining.T)), shape=(len(pixels), len(pixels)))
        count, joined = connected_components(forest, directed=False)
        owner = joined[owner]
        pixels = np.bincount(joined, pixels, count)
        sums = np.stack([np.bincount(joined, one, count) for one in sums.T], axis=1)
        pairs = _different(joined[pairs])
    return owner.astype(np.int32)[regions]


def _neighbours(regions: np.ndarray) -> np.ndarray:
    """(P, 2): all pairs of different regions that touch, in both orders."""
    beside = [(regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])]
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], axis=1) for one, other in beside])
    return _different(np.concatenate([pairs, pairs[:, ::-1]]))


def _different(pairs: np.ndarray) -> np.ndarray:
    """The pairs of two different regions, each once, sorted."""
    first, second = pairs[pairs[:, 0] != pairs[:, 1]].astype(np.int64).T
    base = int(second.max(initial=0)) + 1
    return np.stack(np.divmod(np.unique(first * base + second), base), axis=1)  # sorting numbers is faster than sorting rows


def _nearest(pairs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(S, 2): of the (P, 2) pairs, for each first region that of the nearest mean colour, the first of equals."""
    distances = ((means[pairs[:, 0]] - means[pairs[:, 1]]) ** 2).sum(axis=1)
    order = np.lexsort((pairs[:, 1], distances, pairs[:, 0]))
    _, start = np.unique(pairs[order, 0], return_index=True)
    return pairs[order[start]]
