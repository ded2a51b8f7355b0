"""Regions between edges: the edges are closed, and what lies inside a closed line is a region."""

import cv2
import numpy as np

from pipeline.classical._method import grey
from pipeline.classical._operators import derivative, gaussian_laplace, roberts, smoothed, zero_crossings
from pipeline.classical._regions import VotedRegions
from pipeline.structures import LabelSpace

OPERATORS = ("canny", "laplacian_of_gaussian", "prewitt", "roberts", "scharr", "sobel")
ROUNDING = 1e-5  # what level ground may answer; a step of one grey level answers a hundred times as much
LOWER_SHARE = 0.4  # of Canny's upper threshold is the lower one
CANNY_SCALE = 4 * 255 * 2**0.5  # from the strength of `derivative(..., "sobel")` to that of OpenCV's Canny


class EdgeRegions(VotedRegions):
    """Closed regions from edges.

    Edges are the pixels where an operator's strength is above a threshold. Gaps in them are closed by a morphological closing,
    what is left falls into 4-connected components, and the edges and the components that are too small go to the nearest
    region.

    Parameters
    ----------
    operator : canny, laplacian_of_gaussian (its zero crossings, as strong as the Laplacian jumps there), prewitt, roberts,
        scharr or sobel; strengths are those of `skimage.filters` on a picture in 0..1
    sigma : px, of the Gaussian before the operator; of laplacian_of_gaussian its own, which must be above 0; null: 1, there 2
    threshold : strength above which a pixel is an edge; of canny the upper one, in sobel's scale, the lower is 0.4 of it;
        null: the strength that a share `quiet` of the picture's pixels stay below
    quiet : share of pixels, 0..1; not used where `threshold` is given
    gap : px, diameter of the disc that closes gaps; 0 closes none
    min_size : px, smaller regions join the nearest one
    kinds, place : see `VotedRegions`

    References
    ----------
    Canny 1986, A computational approach to edge detection, IEEE TPAMI 8(6); Marr and Hildreth 1980, Theory of edge detection,
    Proc. R. Soc. B 207. The share of quiet pixels as the automatic threshold is a rule of thumb, as in MATLAB's `edge`.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        operator: str = "canny",
        sigma: float | None = None,
        threshold: float | None = None,
        quiet: float = 0.7,
        gap: int = 5,
        min_size: int = 20,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if operator not in OPERATORS:
            raise ValueError(f"edge_regions: operator is {operator!r}; choose {', '.join(OPERATORS)}")
        if sigma is None:
            sigma = 2.0 if operator == "laplacian_of_gaussian" else 1.0
        if not 0 <= sigma <= 100 or (sigma == 0 and operator == "laplacian_of_gaussian"):
            raise ValueError(f"edge_regions: sigma is {sigma} with {operator}; give 0 to 100 px, above 0 for its Gaussian")
        if not (threshold is None or 0 <= threshold < np.inf) or not 0 <= quiet <= 1:
            raise ValueError(f"edge_regions: threshold {threshold}, quiet {quiet}; give 0 or more (or null), and 0..1")
        if not 0 <= gap <= 100 or min_size < 1:
            raise ValueError(f"edge_regions: gap {gap}, min_size {min_size}; give 0 to 100 px, and at least 1 px")
        self.operator, self.sigma, self.threshold, self.quiet = operator, sigma, threshold, quiet
        self.gap, self.min_size = gap, min_size

    def segments(self, image, prompt=None):
        edges = self.edges(image).astype(np.uint8)
        if self.gap:
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self.gap, self.gap))
            edges = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, disc)
        return between(edges, min_size=self.min_size)

    def edges(self, image: np.ndarray) -> np.ndarray:
        """(H, W) bool, the pixels of edges before gaps are closed."""
        light = grey(image)
        if self.operator == "laplacian_of_gaussian":
            response = gaussian_laplace(light.astype(np.float32) / 255, self.sigma)
            response[np.abs(response) < ROUNDING] = 0
            return self._above(zero_crossings(response))
        light = smoothed(light, self.sigma)
        scaled = light.astype(np.float32) / 255
        if self.operator == "canny":
            upper = CANNY_SCALE * self._threshold(derivative(scaled, "sobel"))
            return cv2.Canny(light, LOWER_SHARE * upper, upper, L2gradient=True) > 0
        strength = roberts(scaled) if self.operator == "roberts" else derivative(scaled, self.operator)
        return self._above(strength)

    def _above(self, strength: np.ndarray) -> np.ndarray:
        return strength > max(self._threshold(strength), ROUNDING)

    def _threshold(self, strength: np.ndarray) -> float:
        if self.threshold is not None:
            return self.threshold
        above = strength[strength > ROUNDING]  # apart from the zeros, of which there may be too many to sort quickly
        place = round(self.quiet * (strength.size - 1)) - (strength.size - above.size)
        return 0.0 if place < 0 else float(np.partition(above, place)[place])


def between(edges: np.ndarray, *, min_size: int) -> np.ndarray:
    """The 4-connected components of what is no edge, the rest given to the nearest of them.

    Parameters
    ----------
    edges : (H, W) uint8, not 0 on edges
    min_size : px, smaller components count as edges

    Returns
    -------
    (H, W) int32 from 1; zeros where no component is large enough
    """
    _, components, statistics, _ = cv2.connectedComponentsWithStats((edges == 0).view(np.uint8), connectivity=4)
    is_kept = statistics[:, cv2.CC_STAT_AREA] >= min_size
    is_kept[0] = False
    inside = is_kept[components]
    if not inside.any():
        return np.zeros_like(components)
    _, nearest = cv2.distanceTransformWithLabels((~inside).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(int(nearest.max()) + 1, np.int32)
    table[nearest[inside]] = components[inside]
    return table[nearest]
