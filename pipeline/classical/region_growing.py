"""Regions grown from seeds: flat places of the picture, or points that a person set."""

import cv2
import numpy as np

from pipeline.classical._growing import grown
from pipeline.classical._method import lab
from pipeline.classical._operators import smoothed
from pipeline.classical._regions import VotedRegions
from pipeline.classical._seeds import NEW, flat_places, flood, grown_in_turn, pixels_of
from pipeline.structures import LabelSpace


class RegionGrowing(VotedRegions):
    """Seeded region growing.

    A region is what hangs together with its seed, over the 4 neighbours, and differs from the seed by a tolerance at most in
    L, a and b each. Without points the picture has a seed in the flattest pixel of each cell of `spacing` px; they grow one
    after the other, the flattest first, and a seed that lies in a region already has none of its own. Then all regions grow
    on together until they meet: of all pixels beside a region the one most like its neighbour inside joins next. (Adams and
    Bischof grow all at once from the start, and the pixel next that is most like the mean of a region beside it.)

    With `points` each is a seed, none grows beyond its tolerance, a pixel within reach of several belongs to the one most alike
    in colour, and what no seed reaches is one region, the last.

    Parameters
    ----------
    tolerance : CIE Lab units, in each channel, where the seeds are the picture's own
    point_tolerance : the same around points
    spacing : px, side of the cells that have a seed each
    sigma : px, of the Gaussian that smooths the picture first
    kinds, place : see `VotedRegions`

    References
    ----------
    Adams and Bischof 1994, Seeded region growing, IEEE TPAMI 16(6).
    """

    takes = ("points",)

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        tolerance: float = 4.0,
        point_tolerance: float = 10.0,
        spacing: int = 8,
        sigma: float = 1.0,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if not 0 <= tolerance < np.inf or not 0 <= point_tolerance < np.inf:
            raise ValueError(f"region_growing: tolerance {tolerance}, point_tolerance {point_tolerance}; give 0 or more")
        if not 1 <= spacing <= 1000 or not 0 <= sigma <= 100:
            raise ValueError(f"region_growing: spacing {spacing}, sigma {sigma}; give 1 to 1000 px, and 0 to 100 px")
        self.tolerance, self.point_tolerance, self.spacing, self.sigma = tolerance, point_tolerance, spacing, sigma

    def segments(self, image, prompt=None):
        smooth = smoothed(image, self.sigma)
        if prompt is not None and prompt.points is not None:
            seeds = pixels_of(prompt.points, *image.shape[:2], where="region_growing")
            return self._around(lab(smooth), seeds)
        seeds = flat_places(image, self.spacing, sigma=self.sigma)
        regions = grown_in_turn(lab(smooth), seeds, self.tolerance)
        return grown(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), regions)

    def _around(self, colours: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """(H, W) int32: the seed of each pixel, from 0; the number of seeds where none reaches."""
        regions = np.full(colours.shape[:2], len(seeds), np.int32)
        nearest = np.full(colours.shape[:2], np.inf, np.float32)
        for index, (row, column) in enumerate(seeds.tolist()):
            mask = np.zeros(np.add(regions.shape, 2), np.uint8)
            flood(colours, mask, row, column, tolerance=self.point_tolerance)
            difference = np.linalg.norm(colours - colours[row, column], axis=2)
            is_nearer = (mask[1:-1, 1:-1] == NEW) & (difference < nearest)
            regions[is_nearer], nearest[is_nearer] = index, difference[is_nearer]
        return regions
