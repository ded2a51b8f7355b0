"""Draw the outlines of an image as masks, and collect what is wrong with them, with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from pipeline.datasets._polygons import OutlineError, Piece, polygon_mask, truth_of
from pipeline.label_space import LabelSpace
from pipeline.sources import Fault, FaultError
from pipeline.structures import InstanceSet, PanopticMap

SLACK_PX = 0.5  # so far outside the image no centre of a pixel lies: tools round corners to there
LEFT_OUT = ("empty_outline", "no_area")  # rules of outlines that are no mask and that the image can do without
_PAIRS = 1 << 18  # of edges, compared at once; bounds the memory


@dataclass
class Outlines:
    """The outlines of an image, and what is wrong with them.

    Parameters
    ----------
    file : that they stand in, as faults name it
    faults : of outlines that are no mask: the image cannot be used
    remarks : on outlines that are one or are left out, for `Sample.remarks`
    """

    file: str
    height: int
    width: int
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)
    _place: tuple[str, str] = ("", "")

    @contextmanager
    def part(self, where: str, value: object) -> Iterator[None]:
        """A block that reads one outline, called `where` in messages: an OutlineError in it becomes a fault of the image.

        Where its rule is one of `LEFT_OUT`, it becomes a remark.
        """
        self._place = where, str(value)
        try:
            yield
        except OutlineError as error:
            found = self.remarks if error.rule in LEFT_OUT else self.faults
            found.append(self._fault(error.rule, str(error)))

    def polygon(self, points: object) -> np.ndarray:
        """`polygon_mask`, with a remark where the polygon crosses itself or leaves the image."""
        mask = polygon_mask(points, self.height, self.width)
        corners = np.array(points, np.float64)
        self.keep_inside(corners)
        count = doubtful_pixels(corners, self.height, self.width)
        crossing = find_crossing(corners) if count else None
        if crossing:
            x, y = np.round(crossing, 6)  # what stands a hair before a pixel is that pixel's
            message = f"crosses itself at ({x:g}, {y:g}) and goes around {count} pixels twice or backwards; draw it again"
            pixel = min(max(int(x), 0), self.width - 1), min(max(int(y), 0), self.height - 1)
            self.remarks.append(self._fault("crossing_outline", message, pixel))
        return mask

    def box(self, x0: float, y0: float, x1: float, y1: float, turn_degrees: float = 0.0) -> np.ndarray:
        """(H, W) bool: a box from its upper left to its lower right corner, with a remark that it is no outline.

        Parameters
        ----------
        turn_degrees : around its centre, clockwise as the picture is seen
        """
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
        centre, turn = corners.mean(axis=0), np.deg2rad(turn_degrees)
        turned = (corners - centre) @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + centre
        mask = self.polygon(turned if turn_degrees else corners)
        self.remark("box_outline", "is a box; draw its outline, or `python -m pipeline.annotate` makes one from it")
        return mask

    def ellipse(self, centre: Sequence[float], radii: Sequence[float], turn_degrees: float = 0.0) -> np.ndarray:
        """(H, W) bool: the pixels whose centre lies in an ellipse or on its rim, with a remark where it leaves the image.

        Parameters
        ----------
        radii : along x and y
        turn_degrees : clockwise, as the picture is seen
        """
        if min(radii) <= 0:
            raise OutlineError(f"an ellipse has the radii {radii[0]:g} and {radii[1]:g}, wanted more than 0")
        turn = np.deg2rad(turn_degrees)
        cosine, sine = np.cos(turn), np.sin(turn)
        reach = np.hypot(np.array([cosine, sine]) * radii[0], np.array([sine, cosine]) * radii[1])
        self.keep_inside(np.array([centre - reach, centre + reach]))
        x, y = np.arange(self.width) + 0.5 - centre[0], (np.arange(self.height) + 0.5 - centre[1])[:, None]
        along, across = (x * cosine + y * sine), (y * cosine - x * sine)
        return (along * radii[1]) ** 2 + (across * radii[0]) ** 2 <= (radii[0] * radii[1]) ** 2

    def window(self, mask: np.ndarray, left: int, top: int) -> np.ndarray:
        """(H, W) bool with a smaller mask in it; OutlineError where that reaches outside the image."""
        (height, width), whole = mask.shape, np.zeros((self.height, self.width), bool)
        if left < 0 or top < 0 or left + width > self.width or top + height > self.height:
            size = f"{self.width}x{self.height} (width x height)"
            raise OutlineError(f"its mask reaches outside the image, {size}; draw it again")
        whole[top : top + height, left : left + width] = mask
        return whole

    def keep_inside(self, points: np.ndarray) -> None:
        """A remark where one of (N, 2) points lies outside the image."""
        beyond = ((points < -SLACK_PX) | (points > np.array([self.width, self.height]) + SLACK_PX)).any(axis=1)
        if beyond.any():
            x, y = points[beyond][0]
            message = f"the point ({x:g}, {y:g}) lies outside the image, {self.width}x{self.height} (width x height)"
            self.remark("outline_outside", f"{message}; what is outside is cut off")

    def truth(
        self, pieces: Sequence[Piece], label_space: LabelSpace, *, ground: str | None
    ) -> tuple[PanopticMap, InstanceSet | None, tuple[Fault, ...]]:
        """The last parts of a `Sample`: its truth, its things and the remarks.

        Parameters
        ----------
        ground : name of the class of what no piece covers; None: void

        Raises
        ------
        FaultError : an outline is no mask; all faults and remarks are in it.
        """
        if self.faults:
            raise FaultError([*self.faults, *self.remarks])
        below = None if ground is None else label_space.names.index(ground)
        return *truth_of(pieces, label_space, (self.height, self.width), ground=below), tuple(self.remarks)

    def remark(self, rule: str, message: str) -> None:
        """Remark on the outline of the current `part`."""
        self.remarks.append(self._fault(rule, message))

    def _fault(self, rule: str, message: str, pixel: tuple[int, int] | None = None) -> Fault:
        where, value = self._place
        return Fault(rule, self.file, f"{where}: {message}", pixel, value)


def need_area(kind: object, without: Sequence[str]) -> None:
    """OutlineError that leaves a shape out where its kind is one of those without an area."""
    if kind in without:
        raise OutlineError(f"of kind {kind}, has no area and is left out; draw a polygon where it stands for one", "no_area")


def category_of(label: str, label_space: LabelSpace) -> int:
    """The index of a class; OutlineError where it is none."""
    if label not in label_space.names:
        message = f"label {label!r} is none of {', '.join(label_space.names)}; correct it, or add it to classes"
        raise OutlineError(message, "label_outside")
    return label_space.names.index(label)


def doubtful_pixels(corners: np.ndarray, height: int, width: int) -> int:
    """How many pixels a polygon goes around more than once, or the other way than the rest: 0 where it does not cross itself.

    More than 0 is no proof of a crossing: a polygon that leads into a hole and back on one line goes around it twice, if in the
    same direction. A crossing so small that no centre of a pixel lies in it has none.

    Parameters
    ----------
    corners : (N, 2) float64, x and y

    Examples
    --------
    >>> doubtful_pixels(np.array([[0, 0], [4, 4], [4, 0], [0, 4]]), 4, 4)
    2
    """
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(int)  # the rows whose centres an edge crosses
    count = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(int) - first
    edge = np.repeat(np.arange(len(corners)), count)
    row = first[edge] + _within(count)
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    x = np.round(x, 6)  # so that there and back on one line meet
    order = np.lexsort((x, row))
    turns = np.cumsum(np.where(y1 > y0, 1, -1)[edge][order])[:-1]  # the winding number right of each edge; 0 behind a row
    left = np.clip(np.ceil(x[order] - 0.5), 0, width).astype(int)
    pixels = np.where(turns != 0, np.diff(left), 0)
    forward, backward = int(pixels[turns > 0].sum()), int(pixels[turns < 0].sum())
    return int(pixels[abs(turns) > 1].sum()) or min(forward, backward)


def find_crossing(corners: np.ndarray) -> tuple[float, float] | None:
    """Where an edge of a polygon passes through another; None where edges only touch, or lie in each other.

    Edges are compared with those whose columns they share: about N log N steps for an outline of short edges.

    Parameters
    ----------
    corners : (N, 2) float64, x and y

    Examples
    --------
    >>> find_crossing(np.array([[0, 0], [4, 4], [4, 0], [0, 4]]))
    (2.0, 2.0)
    >>> find_crossing(np.array([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]]))
    """
    corners = corners[(corners != np.roll(corners, -1, axis=0)).any(axis=1)]
    a, b, c = corners, np.roll(corners, -1, axis=0), np.roll(corners, -2, axis=0)
    order = np.argsort(np.minimum(a, b)[:, 0], kind="stable")
    a, b, c = a[order], b[order], c[order]
    low, high = np.minimum(a, b), np.maximum(a, b)
    count = np.searchsorted(low[:, 0], high[:, 0], side="right") - np.arange(len(a)) - 1  # the edges that begin within each
    start = 0
    while start < len(a):
        stop = max(int(np.searchsorted(np.cumsum(count[start:]), _PAIRS)), 1) + start
        i = np.repeat(np.arange(start, stop), count[start:stop])
        j = i + 1 + _within(count[start:stop])
        near = (low[i, 1] <= high[j, 1]) & (low[j, 1] <= high[i, 1])
        found = _first_crossing(*(ends[index[near]] for index in (i, j) for ends in (a, b, c)))
        if found:
            return found
        start = stop
    return None


def _first_crossing(a, b, c, d, e, f) -> tuple[float, float] | None:
    """Where the first edge a-b passes through its edge d-e; the corners c and f follow them. All are (P, 2)."""
    of_d, of_e, of_a, of_b = _side(a, b, d), _side(a, b, e), _side(d, e, a), _side(d, e, b)
    # an edge that ends on the other passes through it where the outline leaves on the other side
    behind_e = np.where(of_e == 0, _side(a, b, f), of_e)
    behind_b = np.where(of_b == 0, _side(d, e, c), of_b)
    through = (of_d * behind_e < 0) & (of_a * behind_b < 0) & ((of_b != 0) | (of_e != 0))
    if not through.any():
        return None
    at = int(through.argmax())
    x, y = a[at] + (b[at] - a[at]) * of_a[at] / (of_a[at] - of_b[at])
    return float(x), float(y)


def _side(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(P,) on which side of the lines from a to b points lie: the sign; 0: on it."""
    along, to = b - a, point - a
    return along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]


def _within(count: np.ndarray) -> np.ndarray:
    """0, 1, ... within each of consecutive runs of `count` entries: [2, 3] gives [0, 1, 0, 1, 2]."""
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
