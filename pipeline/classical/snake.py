"""A closed elastic curve that contracts until the picture's edges hold it."""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.segmentation import active_contour

from pipeline.classical._method import VotedSegments, grey
from pipeline.classical._prompts import box_inside, filled, polygon_mask, refuse_together
from pipeline.classical._regions import shrunk
from pipeline.structures import LabelSpace, Prompt


class Snake(VotedSegments):
    """Kass, Witkin and Terzopoulos' active contour; kind 1 is its inside.

    It starts from the prompt's polygon, or from the ellipse that its box holds, else from the one that the picture holds with
    a margin, and moves by a pixel at most in each step. Points and scribbles are not looked at.

    Parameters
    ----------
    alpha : of the curve's length; a larger one contracts faster
    beta : of its bending; a larger one is smoother
    gamma : what each step keeps of the last one's place; a larger one moves slower
    w_line : how brightness draws the curve; below 0, darkness does
    w_edge : how edges draw it
    sigma : px at the reduced size, of the Gaussian that smooths the picture first; 0 does not
    iterations : steps at most; it ends earlier where no point moves by more than 0.1 px
    corners : of the curve
    margin : between the first curve and each side of a picture without a prompt, as a share of its width and height
    max_side : px, larger pictures are worked on at this length of their longer side

    References
    ----------
    Kass, Witkin and Terzopoulos 1988, Snakes: Active Contour Models, IJCV 1(4); solved as in scikit-image's `active_contour`.
    """

    takes = ("box", "polygon")
    num_segments = 2

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        alpha: float = 0.01,
        beta: float = 0.1,
        gamma: float = 0.01,
        w_line: float = 0.0,
        w_edge: float = 1.0,
        sigma: float = 2.0,
        iterations: int = 2500,
        corners: int = 200,
        margin: float = 0.05,
        max_side: int = 256,
    ):
        super().__init__(label_space)
        if not (0 <= alpha < np.inf and 0 <= beta < np.inf and 0 < gamma < np.inf and 0 <= sigma <= 100):
            raise ValueError(
                f"snake: alpha {alpha}, beta {beta}, gamma {gamma}, sigma {sigma}; give >= 0, >= 0, > 0 and 0 to 100"
            )
        if not np.isfinite((w_line, w_edge)).all():
            raise ValueError(f"snake: w_line {w_line}, w_edge {w_edge}; give finite weights")
        if iterations < 1 or not 5 <= corners <= 2000 or max_side < 1:
            raise ValueError(
                f"snake: iterations {iterations}, corners {corners}, max_side {max_side}; give >= 1, 5 to 2000 and >= 1"
            )
        if not 0 <= margin < 0.5:
            raise ValueError(f"snake: margin is {margin}; give a share from 0 to below 0.5")
        self.options = {"alpha": alpha, "beta": beta, "gamma": gamma, "w_line": w_line, "w_edge": w_edge}
        self.sigma, self.iterations, self.corners, self.margin, self.max_side = sigma, iterations, corners, margin, max_side

    def segments(self, image, prompt=None):
        shape = image.shape[:2]
        outline = self._start(prompt, shape)  # (N, 2) x and y
        light = grey(shrunk(image, self.max_side)) / 255
        if min(light.shape) >= 3:  # the splines that interpolate the picture need so many pixels
            scale = np.array(light.shape[::-1]) / shape[::-1]
            outline = (self._moved(light, outline * scale - 0.5) + 0.5) / scale
        return filled(outline, shape).astype(np.uint8)

    def _start(self, prompt: Prompt | None, shape: tuple[int, int]) -> np.ndarray:
        """(N, 2) x and y in pixels of the picture of `shape`: the curve before it moves."""
        refuse_together(prompt, "box", "polygon", method="snake")
        if prompt is not None and prompt.polygon is not None:
            polygon_mask(prompt, shape)  # refuses what is no polygon inside the picture
            return evenly(np.asarray(prompt.polygon, np.float64), self.corners)
        if prompt is not None and prompt.box is not None:
            low, high = np.reshape(box_inside(prompt, shape), (2, 2))
        else:
            low, high = self.margin * np.array(shape[::-1]), (1 - self.margin) * np.array(shape[::-1])
        angles = np.linspace(0, 2 * np.pi, self.corners, endpoint=False)
        return (low + high) / 2 + (high - low) / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def _moved(self, light: np.ndarray, outline: np.ndarray) -> np.ndarray:
        """(N, 2) the curve at its end; x and y are 0 in the middle of the first pixel."""
        smooth = gaussian_filter(light, self.sigma, mode="nearest") if self.sigma else light
        return active_contour(smooth, outline[:, ::-1], max_num_iter=self.iterations, **self.options)[:, ::-1]


def evenly(corners: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) points along a closed polygon, the same way apart.

    Examples
    --------
    >>> evenly(np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]]), 8)[:3].tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    """
    closed = np.concatenate([corners, corners[:1]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.linspace(0, way[-1], count, endpoint=False)
    return np.stack([np.interp(places, way, closed[:, axis]) for axis in range(2)], axis=1)
