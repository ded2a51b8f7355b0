"""Two kinds of pixel: inside and outside of a flood from one point."""

import numpy as np

from pipeline.classical._method import VotedSegments, lab
from pipeline.classical._operators import smoothed
from pipeline.classical._seeds import NEW, flood, pixels_of
from pipeline.structures import LabelSpace

SPACES = ("lab", "rgb")


class FloodFill(VotedSegments):
    """Fills from the first of `points`, or from the middle of the picture; segment 1 is inside, 0 outside.

    A pixel is inside where it hangs together with the start, over the 4 neighbours, and differs from it by `tolerance` at most
    in each channel.

    Parameters
    ----------
    tolerance : in each channel, CIE Lab units or grey levels of 0..255
    space : lab or rgb
    fixed : whether a pixel is compared with the start; else with its neighbour that is inside already, so that the flood
        follows a slow change of colour
    sigma : px, of the Gaussian that smooths the picture first

    References
    ----------
    OpenCV's `floodFill`; `fixed` is its FLOODFILL_FIXED_RANGE.
    """

    num_segments = 2
    takes = ("points",)

    def __init__(
        self, label_space: LabelSpace, *, tolerance: float = 10.0, space: str = "lab", fixed: bool = True, sigma: float = 1.0
    ):
        super().__init__(label_space)
        if space not in SPACES:
            raise ValueError(f"flood_fill: space is {space!r}; choose {', '.join(SPACES)}")
        if not 0 <= tolerance < np.inf or not 0 <= sigma <= 100:
            raise ValueError(f"flood_fill: tolerance {tolerance}, sigma {sigma}; give 0 or more, and 0 to 100 px")
        self.tolerance, self.space, self.fixed, self.sigma = tolerance, space, fixed, sigma

    def segments(self, image, prompt=None):
        height, width = image.shape[:2]
        if prompt is None or prompt.points is None:
            row, column = height // 2, width // 2
        else:
            row, column = pixels_of(prompt.points[:1], height, width, where="flood_fill")[0].tolist()
        smooth = smoothed(image, self.sigma)
        mask = np.zeros((height + 2, width + 2), np.uint8)
        colours = lab(smooth) if self.space == "lab" else smooth
        flood(colours, mask, row, column, tolerance=self.tolerance, fixed=self.fixed)
        return (mask[1:-1, 1:-1] == NEW).astype(np.uint8)
