"""Regions as catchment basins: water rises over a relief from its low places, and borders stand where waters meet."""

import cv2
import numpy as np

from pipeline.classical._flooding import flooded
from pipeline.classical._method import grey
from pipeline.classical._operators import derivative, smoothed
from pipeline.classical._regions import VotedRegions
from pipeline.structures import LabelSpace

RELIEFS = ("distance", "gradient")


class Watershed(VotedRegions):
    """Watershed from markers, over the gradient or over the distance to the background.

    `gradient`: the relief is the length of Sobel's gradient of the grey picture, rounded to grey levels, and a marker is a flat
    place: pixels with no lower one within `spacing` px; those that touch are one marker. `distance`: the picture is split at
    Otsu's threshold; the relief of its bright side is the Euclidean distance to the dark side, turned over, in 255 steps, and
    the markers are its peaks, so that round things which touch come apart; the dark side is one region.

    Parameters
    ----------
    on : gradient or distance
    spacing : px, a marker is the lowest place within so many rows and columns; larger ones give fewer regions
    sigma : px, of the Gaussian that smooths the picture first
    bright : on distance, whether the bright side of the threshold holds the things; else the dark one does
    kinds, place : see `VotedRegions`

    References
    ----------
    Meyer and Beucher 1990, Morphological segmentation, JVCIR 1(1) (markers); Vincent and Soille 1991, Watersheds in digital
    spaces, IEEE TPAMI 13(6).
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        on: str = "gradient",
        spacing: int = 7,
        sigma: float = 2.0,
        bright: bool = True,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if on not in RELIEFS:
            raise ValueError(f"watershed: on is {on!r}; choose {', '.join(RELIEFS)}")
        if not 1 <= spacing <= 1000 or not 0 <= sigma <= 100:
            raise ValueError(f"watershed: spacing {spacing}, sigma {sigma}; give 1 to 1000 px, and 0 to 100 px")
        self.on, self.spacing, self.sigma, self.bright = on, spacing, sigma, bright

    def segments(self, image, prompt=None):
        light = grey(image)
        return self._on_gradient(light) if self.on == "gradient" else self._on_distance(light)

    def _on_gradient(self, light: np.ndarray) -> np.ndarray:
        slope = derivative(smoothed(light.astype(np.float32), self.sigma), "sobel")
        relief = cv2.convertScaleAbs(slope)  # rounded: what is flat but for noise becomes one place
        lowest = relief == cv2.erode(relief, self._window())
        _, markers = cv2.connectedComponents(lowest.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        return flooded(relief, markers)

    def _on_distance(self, light: np.ndarray) -> np.ndarray:
        kind = cv2.THRESH_BINARY if self.bright else cv2.THRESH_BINARY_INV
        _, things = cv2.threshold(smoothed(light, self.sigma), 0, 1, kind | cv2.THRESH_OTSU)
        is_thing = things.view(bool)
        if is_thing.all() or not is_thing.any():
            return np.zeros(light.shape, np.int32)
        distance = cv2.distanceTransform(things, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        relief = cv2.convertScaleAbs(distance, alpha=-254 / distance.max(), beta=255)
        is_peak = (relief == cv2.erode(relief, self._window())) & is_thing
        count, markers = cv2.connectedComponents(is_peak.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        regions = flooded(relief, markers, dams=~is_thing)
        is_lost = (regions == 0) & is_thing  # a small thing without a peak, in the shade of a large one: a region as a whole
        if is_lost.any():
            _, lost = cv2.connectedComponents(is_lost.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
            cv2.add(lost, count, dst=regions, mask=is_lost.view(np.uint8))
        return regions

    def _window(self) -> np.ndarray:
        return np.ones((2 * self.spacing + 1, 2 * self.spacing + 1), np.uint8)
