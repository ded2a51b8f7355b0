"""A person or thing cut out of its surroundings by the colours of both, from a box, a polygon, points or scribbles."""

import cv2
import numpy as np

from pipeline.classical._method import VotedSegments
from pipeline.classical._prompts import (
    box_inside,
    grown_mask,
    points_inside,
    points_mask,
    refuse_together,
    region_mask,
    scribbles_inside,
    shrunk_mask,
)
from pipeline.classical._regions import shrunk
from pipeline.structures import LabelSpace, Prompt, SemanticMap

UNMARKED = 255  # beside OpenCV's GC_BGD and GC_FGD
MODEL_SIZE = 65  # numbers of OpenCV's five Gaussians: a weight, a mean and a covariance each
SEED = 0  # of the k-means that starts the colour models; OpenCV keeps a generator for each thread


class GrabCut(VotedSegments):
    """GrabCut: graph cuts between two mixtures of five Gaussians, learnt in turn with the cut. Kind 1 is the foreground.

    What lies outside the prompt's polygon or box is background; what is inside is cut. Points are foreground. With two
    scribbled classes the lower index is background and the other foreground, and these two classes are the segments; with one,
    it is the foreground. Without a prompt, the box leaves a margin on each side, and both sides have the classes that the
    training split voted for.

    Parameters
    ----------
    iterations : turns of cutting and learning
    margin : between that box and the sides of the picture, as a share of its width and height
    context : how far around the region the background is learnt, as a share of the region's width and height on each side; a
        large one takes the whole picture, as the paper does
    core : size of an ellipse amid a box that comes without points and scribbles, as a share of the box; it is surely
        foreground. 0, the paper's, has none, and often loses the whole object to the background: with the paper's context and
        core, the mean IoU of Penn-Fudan's 423 pedestrians in tight boxes is 0.48, with the defaults 0.69
    max_side : px, a region with larger surroundings is cut at this length of their longer side
    point_radius : px, of the disc around each of the prompt's points; a box or polygon cuts it off

    References
    ----------
    Rother, Kolmogorov and Blake 2004, GrabCut: Interactive Foreground Extraction Using Iterated Graph Cuts, ACM TOG 23(3).
    """

    takes = ("box", "polygon", "points", "scribbles")
    num_segments = 2

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        iterations: int = 5,
        margin: float = 0.1,
        context: float = 0.25,
        core: float = 0.5,
        max_side: int = 512,
        point_radius: int = 8,
    ):
        super().__init__(label_space)
        if iterations < 1 or max_side < 1 or not 0 <= point_radius <= 1000:
            raise ValueError(
                f"grabcut: iterations {iterations}, max_side {max_side}, point_radius {point_radius}; "
                "give >= 1, >= 1 and 0 to 1000"
            )
        if not 0 < margin < 0.5 or not 0 < context < np.inf or not 0 <= core < 1:
            raise ValueError(
                f"grabcut: margin {margin}, context {context}, core {core}; give between 0 and 0.5, above 0, and 0 to below 1"
            )
        self.iterations, self.margin, self.context, self.core = iterations, margin, context, core
        self.max_side, self.point_radius = max_side, point_radius

    def segments(self, image, prompt=None):
        foreground = self._foreground(image, prompt)
        if len(drawn := self._scribbled(prompt, image.shape[:2])) < 2:
            return foreground.astype(np.uint8)
        return np.array(drawn, np.int32)[foreground.astype(np.uint8)]

    def segment(self, image, prompt=None):
        foreground = self._foreground(image, prompt).astype(np.int32)
        classes = self._scribbled(prompt, foreground.shape)
        if len(classes) == 1:
            classes = [next((one for one in self.classes if one != classes[0]), classes[0]), *classes]
        return SemanticMap(np.array(classes or self.classes, self.label_space.dtype)[foreground], regions=foreground)

    def works_at(self, shape, prompt=None):
        _, drawn, _ = self._marks(prompt, shape)
        return super().works_at(drawn.shape) if max(drawn.shape) > self.max_side else shape

    def _foreground(self, image: np.ndarray, prompt: Prompt | None) -> np.ndarray:
        """(H, W) bool."""
        region, drawn, window = self._marks(prompt, image.shape[:2])
        part = np.ascontiguousarray(image[window])
        small = shrunk(part, self.max_side)
        cut = grown_mask(self._cut(small, _trimap(region, drawn, small.shape[:2])), part.shape[:2])
        cut = cut if region is None else cut & region  # marks and regions are larger at the small size
        found = np.zeros(image.shape[:2], bool)
        found[window] = np.where(drawn == UNMARKED, cut, drawn == cv2.GC_FGD)
        return found

    def _marks(
        self, prompt: Prompt | None, shape: tuple[int, int]
    ) -> tuple[np.ndarray | None, np.ndarray, tuple[slice, slice]]:
        """What is cut, (H, W) bool or None for all, and what is sure, see `_drawn`, in the part of the picture worked on."""
        refuse_together(prompt, "box", "polygon", method="grabcut")
        region = region_mask(prompt, shape)
        drawn = self._drawn(prompt, shape, region)
        if region is None and (drawn == UNMARKED).all():
            region = _amid(shape, self.margin)
        if region is None:
            return None, drawn, (slice(None), slice(None))
        window = _around(region | (drawn != UNMARKED), self.context)
        return region[window], drawn[window], window

    def _drawn(self, prompt: Prompt | None, shape: tuple[int, int], region: np.ndarray | None) -> np.ndarray:
        """(H, W) uint8: GC_FGD and GC_BGD where that is sure, UNMARKED elsewhere and outside of a box or polygon."""
        drawn = np.full(shape, UNMARKED, np.uint8)
        if prompt is None:
            return drawn
        if prompt.scribbles is not None:
            *background, foreground = self._scribbled(prompt, shape)
            drawn[prompt.scribbles == foreground] = cv2.GC_FGD
            for one in background:
                drawn[prompt.scribbles == one] = cv2.GC_BGD
        if prompt.points is not None:
            self._refuse_points_outside(prompt, shape, region)
            discs = points_mask(prompt, shape, radius_px=self.point_radius)
            drawn[discs if region is None else discs & region] = cv2.GC_FGD
        if self.core and prompt.box is not None and (drawn == UNMARKED).all():
            drawn[_ellipse(box_inside(prompt, shape), self.core, shape)] = cv2.GC_FGD
        return drawn

    def _refuse_points_outside(self, prompt: Prompt, shape: tuple[int, int], region: np.ndarray | None) -> None:
        columns, rows = points_inside(prompt, shape).T
        if region is not None and not (is_inside := region[rows, columns]).all():
            around = "polygon" if prompt.box is None else "box"
            x, y = prompt.points[~is_inside][0].tolist()
            raise ValueError(
                f"grabcut: the point x={x:g}, y={y:g} lies outside the {around}, where all is background; move one of them"
            )

    def _scribbled(self, prompt: Prompt | None, shape: tuple[int, int]) -> list[int]:
        """The one or two classes drawn, in order; none without scribbles."""
        if prompt is None or prompt.scribbles is None:
            return []
        scribbles = scribbles_inside(prompt, shape, self.label_space)
        drawn = np.unique(scribbles[scribbles != self.label_space.void]).tolist()
        if len(drawn) > 2:
            names = ", ".join(self.label_space.names[one] for one in drawn)
            raise ValueError(f"grabcut: scribbles hold {len(drawn)} classes ({names}); draw two at most, or use random_walker")
        return drawn

    def _cut(self, image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        """(H, W) bool foreground from OpenCV's marks, in which both sides may be sure or probable."""
        is_foreground = (trimap & 1).astype(bool)  # GC_FGD is 1 and GC_PR_FGD 3
        if is_foreground.all() or not is_foreground.any():
            return is_foreground  # there is nothing to tell it from
        models = np.zeros((1, MODEL_SIZE)), np.zeros((1, MODEL_SIZE))
        cv2.setRNGSeed(SEED)
        if (trimap == cv2.GC_PR_FGD).any():
            cv2.grabCut(image, trimap, None, *models, self.iterations, cv2.GC_INIT_WITH_MASK)
        else:  # marks alone: the first models know nothing else, if both sides have some
            is_sure = trimap < 2
            is_known = is_sure if (trimap == cv2.GC_BGD).any() else np.ones_like(is_sure)
            cv2.grabCut(image[is_known][None], trimap[is_known][None], None, *models, 0, cv2.GC_INIT_WITH_MASK)
            cv2.grabCut(image, trimap, None, *models, 1, cv2.GC_EVAL_FREEZE_MODEL)
            cv2.grabCut(image, trimap, None, *models, self.iterations, cv2.GC_EVAL)
        return (trimap & 1).astype(bool)


def _trimap(region: np.ndarray | None, drawn: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 marks for OpenCV at a smaller `shape`, no mark lost: outside the region is background."""
    if region is None:
        trimap = np.full(shape, cv2.GC_PR_BGD, np.uint8)
    else:
        trimap = np.where(shrunk_mask(region, shape), cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    for mark in (cv2.GC_BGD, cv2.GC_FGD):
        trimap[shrunk_mask(drawn == mark, shape)] = mark
    return trimap


def _amid(shape: tuple[int, int], margin: float) -> np.ndarray:
    """(H, W) bool: all but a margin, of a pixel at least, on each side; the whole width or height where that leaves nothing."""
    mask = np.zeros(shape, bool)
    edges = [min(max(round(margin * side), 1), (side - 1) // 2) for side in shape]
    mask[edges[0] : shape[0] - edges[0], edges[1] : shape[1] - edges[1]] = True
    return mask


def _around(mask: np.ndarray, context: float) -> tuple[slice, slice]:
    """The rows and columns that hold `mask` and its surroundings."""
    found = []
    for axis, side in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=1 - axis))
        first, last = int(used[0]), int(used[-1]) + 1
        more = int(np.ceil(context * (last - first)))
        found.append(slice(max(first - more, 0), min(last + more, side)))
    return tuple(found)


def _ellipse(box: tuple[int, int, int, int], share: float, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the ellipse amid a box whose axes are a share of the box's sides."""
    x0, y0, x1, y1 = box
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    across, along = (columns + 0.5 - (x0 + x1) / 2) / (x1 - x0), (rows + 0.5 - (y0 + y1) / 2) / (y1 - y0)
    return across**2 + along**2 <= (share / 2) ** 2
