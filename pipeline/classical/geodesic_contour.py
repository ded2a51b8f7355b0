"""A contour that grows or shrinks until the picture's edges stop it."""

import cv2
import numpy as np
from skimage.segmentation import inverse_gaussian_gradient

from pipeline.classical._contours import border, evolve, start_mask
from pipeline.classical._method import VotedSegments, grey
from pipeline.classical._prompts import grown_mask, refuse_together, shrunk_mask
from pipeline.classical._regions import shrunk
from pipeline.structures import LabelSpace

SQUARE = np.ones((3, 3), np.uint8)
OUTSIDE = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}  # what lies outside the picture is outside the contour


class GeodesicContour(VotedSegments):
    """The geodesic active contour, moved by morphology; kind 1 is its inside.

    From the prompt's polygon or box it shrinks, from the prompt's points it grows; without a prompt it shrinks from the border
    of the picture. Scribbles are not looked at.

    Parameters
    ----------
    iterations : how often the contour moves (by a pixel at most); it ends earlier where it stands still
    smoothing : how often it is smoothed after each move; the authors suggest 1..4, of which even numbers hold a contour better
    alpha : steepness of the stopping function 1 / sqrt(1 + alpha |gradient|), of brightness in 0..1
    sigma : px at the reduced size, of the Gaussian in that gradient
    edge_share : share of the picture, where its gradient is steepest, that holds a growing or shrinking contour up (0.4 is
        scikit-image's, and lets it slip over weak edges)
    max_side : px, larger pictures are worked on at this length of their longer side
    point_radius : px, of the disc around each of the prompt's points

    References
    ----------
    Marquez-Neila, Baumela and Alvarez 2014, A Morphological Approach to Curvature-Based Evolution of Curves and Surfaces,
    IEEE TPAMI 36(1); Caselles, Kimmel and Sapiro 1997, Geodesic Active Contours, IJCV 22(1).
    """

    takes = ("box", "polygon", "points")
    num_segments = 2

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        iterations: int = 200,
        smoothing: int = 2,
        alpha: float = 100.0,
        sigma: float = 2.0,
        edge_share: float = 0.6,
        max_side: int = 256,
        point_radius: int = 5,
    ):
        super().__init__(label_space)
        if iterations < 1 or not 0 <= smoothing <= 100 or max_side < 1 or not 0 <= point_radius <= 1000:
            raise ValueError(
                f"geodesic_contour: iterations {iterations}, smoothing {smoothing}, max_side {max_side}, "
                f"point_radius {point_radius}; give >= 1, 0 to 100, >= 1 and 0 to 1000"
            )
        if not 0 < alpha < np.inf or not 0 < sigma <= 100 or not 0 <= edge_share < 1:
            raise ValueError(
                f"geodesic_contour: alpha {alpha}, sigma {sigma}, edge_share {edge_share}; "
                "give > 0, above 0 to 100, and 0 to below 1"
            )
        self.iterations, self.smoothing, self.max_side, self.point_radius = iterations, smoothing, max_side, point_radius
        self.alpha, self.sigma, self.edge_share = alpha, sigma, edge_share

    def segments(self, image, prompt=None):
        shape = image.shape[:2]
        refuse_together(prompt, "box", "polygon", "points", method="geodesic_contour")
        pointed_at = start_mask(prompt, shape, radius_px=self.point_radius)
        light = grey(shrunk(image, self.max_side)) / 255
        start = np.ones(light.shape, bool) if pointed_at is None else shrunk_mask(pointed_at, light.shape)
        grows = prompt is not None and prompt.points is not None
        return grown_mask(self._evolved(light, start, grows=grows), shape).astype(np.uint8)

    def _evolved(self, light: np.ndarray, level: np.ndarray, *, grows: bool) -> np.ndarray:
        """(H, W) bool: the inside of the contour at its end, from the one at its start."""
        if min(light.shape) < 2:  # it has no gradient
            return level
        stop = inverse_gaussian_gradient(light, alpha=self.alpha, sigma=self.sigma)
        is_free = stop >= np.percentile(stop, 100 * self.edge_share)  # equal in a flat picture, where it may move too
        slopes = np.gradient(stop)

        def move(inside: np.ndarray) -> np.ndarray:
            blown = (cv2.dilate if grows else cv2.erode)(inside.view(np.uint8), SQUARE, **OUTSIDE).view(bool)
            moved = np.where(is_free, blown, inside)
            at = np.nonzero(border(moved))
            pull = slopes[0][at] * _difference(moved, at, axis=0) + slopes[1][at] * _difference(moved, at, axis=1)
            attached = moved.copy()
            attached[at] = np.where(pull == 0, moved[at], pull > 0)
            return attached

        return evolve(level, move, iterations=self.iterations, smoothing=self.smoothing)


def _difference(level: np.ndarray, at: tuple[np.ndarray, np.ndarray], *, axis: int) -> np.ndarray:
    """(N,) the central difference of (H, W) bool `level` at some pixels; one-sided at the border, as `numpy.gradient`."""
    after, before = list(at), list(at)
    after[axis] = np.minimum(at[axis] + 1, level.shape[axis] - 1)
    before[axis] = np.maximum(at[axis] - 1, 0)
    change = level[tuple(after)].astype(np.float64) - level[tuple(before)]
    return change / (after[axis] - before[axis])
