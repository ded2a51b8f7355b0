"""Regions by splitting a picture into uniform squares and merging those that are alike."""

import cv2
import numpy as np

from pipeline.classical._adjacency import merged
from pipeline.classical._method import lab
from pipeline.classical._regions import VotedRegions, relabelled
from pipeline.structures import LabelSpace


class SplitMerge(VotedRegions):
    """Horowitz and Pavlidis' split and merge.

    The picture is cut into squares of `largest` px. A square whose colours spread more than `deviation` is split into four,
    down to `smallest` px. Then neighbours whose mean colours differ by `merge` at most become one region, the most similar
    first.

    Parameters
    ----------
    deviation : CIE Lab units, root of the mean square distance of a square's colours to their mean
    merge : CIE Lab units, between mean colours
    largest, smallest : px, sides of squares, powers of two; in a square that sticks out of the picture its last row or column
        goes on
    min_size : px, a smaller region joins the neighbour that it is most like
    kinds, place : see `VotedRegions`

    References
    ----------
    Horowitz and Pavlidis 1976, Picture segmentation by a tree traversal algorithm, JACM 23(2).
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        deviation: float = 4.0,
        merge: float = 4.0,
        largest: int = 64,
        smallest: int = 2,
        min_size: int = 20,
        kinds: int = 64,
        place: float = 1.0,
    ):
        super().__init__(label_space, kinds=kinds, place=place)
        if not 0 <= deviation < np.inf or not 0 <= merge < np.inf or min_size < 1:
            raise ValueError(
                f"split_merge: deviation {deviation}, merge {merge}, min_size {min_size}; give 0 or more, and at least 1 px"
            )
        if not 1 <= smallest <= largest <= 4096 or (smallest & (smallest - 1)) or (largest & (largest - 1)):
            raise ValueError(
                f"split_merge: smallest {smallest}, largest {largest}; give powers of two, the first no larger, to 4096"
            )
        self.deviation, self.merge, self.largest, self.smallest = deviation, merge, largest, smallest
        self.min_size = min_size

    def segments(self, image, prompt=None):
        colours = lab(image)
        squares = relabelled(self.squares(colours))
        names = squares.ravel()
        pixels = np.bincount(names)
        means = np.stack([np.bincount(names, channel.ravel()) / pixels for channel in cv2.split(colours)])
        return merged(squares, means, pixels, threshold=self.merge, min_size=self.min_size)

    def squares(self, colours: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 colours to (H, W) int32: the square of each pixel, named by its upper left one."""
        height, width = colours.shape[:2]
        below, beside = -height % self.largest, -width % self.largest
        means = cv2.copyMakeBorder(colours, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        variances, is_split = np.zeros(means.shape[:2], np.float32), []
        for _ in range(self.largest.bit_length() - 1):  # squares of 2, 4, ... px
            means, variances = _joined(means, variances)
            is_split.append(variances > self.deviation**2)
        side, across = self.largest, width + beside
        names, is_open = _names(*means.shape[:2], side=side, across=across), True
        while side > self.smallest:
            is_open &= is_split.pop()
            side //= 2
            names, is_open = (one.repeat(2, axis=0).repeat(2, axis=1) for one in (names, is_open))
            names = np.where(is_open, _names(*names.shape, side=side, across=across), names)
        return names.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


def _joined(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours (h, w, 3) and variances (h, w) of squares to those of squares twice as wide."""
    quarters = [(slice(row, None, 2), slice(column, None, 2)) for row in (0, 1) for column in (0, 1)]
    mean = sum(means[part] for part in quarters) / 4
    within = sum(variances[part] for part in quarters)
    between = sum(((means[part] - mean) ** 2).sum(axis=2) for part in quarters)
    return mean, (within + between) / 4


def _names(rows: int, columns: int, *, side: int, across: int) -> np.ndarray:
    """(rows, columns) int32: the number of the upper left pixel of each square, in a picture `across` px wide."""
    return (np.arange(rows, dtype=np.int32)[:, None] * across + np.arange(columns, dtype=np.int32)) * side
