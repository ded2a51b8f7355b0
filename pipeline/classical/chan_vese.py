"""Two kinds of pixel, each near to its own mean brightness, with a smooth border between them."""

import cv2
import numpy as np

from pipeline.classical._contours import border, evolve, start_mask
from pipeline.classical._method import VotedSegments, grey
from pipeline.classical._prompts import grown_mask, refuse_together, region_mask, shrunk_mask
from pipeline.classical._regions import shrunk
from pipeline.structures import LabelSpace

SQUARE = 5  # px, of the checkerboard


class ChanVese(VotedSegments):
    """Chan and Vese's active contour without edges, moved by morphology.

    A contour starts from the prompt's polygon or box, else from a checkerboard of 5 px squares, and moves until each side is
    near to its own mean brightness. Without a prompt, the brighter side is kind 1; with one, it is the side that fills more of
    the polygon, box or points than of the rest of the picture. Scribbles are not looked at.

    Parameters
    ----------
    iterations : how often the contour moves (by a pixel at most); it ends earlier where it stands still
    smoothing : how often it is smoothed after each move; the authors suggest 1..4
    lambda1, lambda2 : weights of the inside's and of the outside's deviation from their means
    max_side : px, larger pictures are worked on at this length of their longer side

    References
    ----------
    Marquez-Neila, Baumela and Alvarez 2014, A Morphological Approach to Curvature-Based Evolution of Curves and Surfaces,
    IEEE TPAMI 36(1); Chan and Vese 2001, Active Contours Without Edges, IEEE TIP 10(2).
    """

    takes = ("box", "polygon", "points")
    num_segments = 2

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        iterations: int = 500,
        smoothing: int = 1,
        lambda1: float = 1.0,
        lambda2: float = 1.0,
        max_side: int = 1024,
    ):
        super().__init__(label_space)
        if iterations < 1 or not 0 <= smoothing <= 100 or max_side < 1:
            raise ValueError(
                f"chan_vese: iterations {iterations}, smoothing {smoothing}, max_side {max_side}; give >= 1, 0 to 100 and >= 1"
            )
        if not 0 < lambda1 < np.inf or not 0 < lambda2 < np.inf:
            raise ValueError(f"chan_vese: lambda1 is {lambda1} and lambda2 {lambda2}; give weights above 0")
        self.iterations, self.smoothing, self.max_side = iterations, smoothing, max_side
        self.lambda1, self.lambda2 = lambda1, lambda2

    def segments(self, image, prompt=None):
        shape = image.shape[:2]
        refuse_together(prompt, "box", "polygon", "points", method="chan_vese")
        light = grey(shrunk(image, self.max_side))
        region, pointed_at = region_mask(prompt, shape), start_mask(prompt, shape, radius_px=0)
        start = checkerboard(light.shape) if region is None else shrunk_mask(region, light.shape)
        inside = self._evolved(light, start)
        if pointed_at is None:
            is_kind_1 = inside if _mean(light, inside) > _mean(light, ~inside) else ~inside
        else:
            pointed_at = shrunk_mask(pointed_at, light.shape)
            is_kind_1 = inside if _share(inside, pointed_at) >= _share(inside, ~pointed_at) else ~inside
        return grown_mask(is_kind_1, shape).astype(np.uint8)

    def _evolved(self, light: np.ndarray, level: np.ndarray) -> np.ndarray:
        """(H, W) bool: the inside of the contour at its end, from the one at its start."""
        if light.min() == light.max():  # no side fits better than the other
            return np.zeros_like(level)
        levels = np.arange(256)

        def move(inside: np.ndarray) -> np.ndarray:
            from_inside, from_outside = ((levels - _mean(light, side)) ** 2 for side in (inside, ~inside))
            pull = self.lambda1 * from_inside - self.lambda2 * from_outside  # (256,) below 0: nearer to the inside
            joins, leaves = (cv2.LUT(light, found.astype(np.uint8)).view(bool) for found in (pull < 0, pull > 0))
            at = border(inside)
            return inside & ~(at & leaves) | (at & joins)

        return evolve(level, move, iterations=self.iterations, smoothing=self.smoothing)


def checkerboard(shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: squares of 5 px, the first one False."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows // SQUARE + columns // SQUARE) % 2).astype(bool)


def _mean(light: np.ndarray, mask: np.ndarray) -> float:
    """Mean brightness where `mask` is set; 0 where it is nowhere."""
    return cv2.mean(light, mask.view(np.uint8))[0]


def _share(mask: np.ndarray, within: np.ndarray) -> float:
    """The share of `within` that `mask` fills; a half where it holds no pixel."""
    return mask[within].mean() if within.any() else 0.5
