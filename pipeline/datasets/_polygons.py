"""From outlines and run lengths to masks, and from the masks of an image to its truth: what readers of annotations share.

Coordinates count from the upper left corner of the upper left pixel, in COCO as in labelme: the square (0, 0), (1, 0), (1, 1),
(0, 1) is that pixel and no other. pycocotools decides which pixels a polygon covers: those whose centre lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as coco

from pipeline.label_space import LabelSpace
from pipeline.sources import Fault, FaultError
from pipeline.structures import InstanceSet, PanopticMap, Segment

UNUSABLE = "unusable_outline"  # the rule of the gate that an outline without sense breaks
SLACK_PX = 0.5  # so far outside the image no centre of a pixel lies: tools round corners to there


class OutlineError(ValueError):
    """An outline or a run length code that describes no mask; `rule` is the gate's."""

    def __init__(self, message: str, rule: str = UNUSABLE):
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Piece:
    """A part of an object.

    Parameters
    ----------
    mask : (H, W) bool
    category : class index; None: the pixels below become void
    number : of the object, counted within the image from 0; parts of one object have one number
    """

    mask: np.ndarray
    category: int | None
    number: int
    iscrowd: bool = False


@dataclass
class Outlines:
    """The outlines of an image, and what is wrong with them.

    Parameters
    ----------
    file : that they stand in, as faults name it
    faults : of outlines that are no mask: the image cannot be used
    remarks : on outlines that are one, for `Sample.remarks`
    """

    file: str
    height: int
    width: int
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)
    _place: tuple[str, str] = ("", "")

    @contextmanager
    def part(self, where: str, value: object) -> Iterator[None]:
        """A block that reads one outline, called `where` in messages: an OutlineError in it becomes a fault of the image."""
        self._place = where, str(value)
        try:
            yield
        except OutlineError as error:
            self.faults.append(self._fault(error.rule, str(error)))

    def polygon(self, points: object) -> np.ndarray:
        """`polygon_mask`, with a remark where the polygon crosses itself or leaves the image."""
        mask = polygon_mask(points, self.height, self.width)
        corners = np.array(points, np.float64)
        self.keep_inside(corners)
        crossed = crossed_pixels(corners, self.height, self.width)
        if crossed:
            count, pixel = crossed
            message = f"crosses itself: it goes around {count} pixels twice or backwards, first around this one; draw it again"
            self.remarks.append(self._fault("crossing_outline", message, pixel))
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
            self.remarks.append(self._fault("outline_outside", f"{message}; what is outside is cut off"))

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

    def _fault(self, rule: str, message: str, pixel: tuple[int, int] | None = None) -> Fault:
        where, value = self._place
        return Fault(rule, self.file, f"{where}: {message}", pixel, value)


def truth_of(
    pieces: Sequence[Piece], label_space: LabelSpace, shape: tuple[int, int], *, ground: int | None
) -> tuple[PanopticMap, InstanceSet | None]:
    """The panoptic truth of an image, later pieces above earlier ones, and its things with their whole masks.

    Parameters
    ----------
    shape : height and width
    ground : the class of what no piece covers; None: void

    Returns
    -------
    (panoptic map, instances); instances are None where no class is a thing
    """
    segments = np.full(shape, 0 if ground is None else ground + 1, np.int32)
    info = {} if ground is None else {ground + 1: Segment(ground + 1, ground)}
    masks: dict[int, np.ndarray] = {}
    things: dict[int, Piece] = {}
    for piece in pieces:
        if piece.category is None:
            segments[piece.mask] = 0
            continue
        isthing = label_space.isthing[piece.category]
        id = label_space.num_classes + 1 + piece.number if isthing else piece.category + 1
        segments[piece.mask] = id
        info[id] = Segment(id, piece.category, piece.iscrowd)
        if isthing:
            before = masks.get(piece.number)
            masks[piece.number] = piece.mask if before is None else before | piece.mask
            things[piece.number] = piece
    present = set(np.flatnonzero(np.bincount(segments.ravel())).tolist())
    truth = PanopticMap(segments, tuple(info[id] for id in sorted(info) if id in present))
    if not label_space.has_things:
        return truth, None
    if not masks:
        return truth, InstanceSet.empty(*shape)
    classes = [things[number].category for number in masks]
    return truth, InstanceSet.build(
        np.stack(list(masks.values())), classes, iscrowd=[things[number].iscrowd for number in masks]
    )


def polygon_mask(points: object, height: int, width: int) -> np.ndarray:
    """(H, W) bool inside a polygon; where it meets itself, what an odd number of turns encloses is inside.

    Parameters
    ----------
    points : [[x, y], ...] of 3 corners or more, in pixels; no corner further outside the image than its longer side

    Raises
    ------
    OutlineError : they are something else.
    """
    corners = checked_points(points, height, width)
    if len(corners) < 3:
        raise OutlineError(f"has {len(corners)} corners, wanted 3 or more")
    # at the size of the image: in a window of it, pycocotools would round some pixels at the rim the other way
    code = coco.frPyObjects([corners.ravel().tolist()], height, width)[0]
    return coco.decode(code).astype(bool)


def checked_points(points: object, height: int, width: int) -> np.ndarray:
    """(N, 2) float64 from [[x, y], ...]; OutlineError where they are no such list, or lie far outside the image."""
    try:
        corners = np.array(points, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise OutlineError(f"points are {str(points)[:60]}; wanted [[x, y], ...] in pixels")
    # pycocotools walks along every line in steps of a fifth of a pixel: a slip of the pen would cost all memory
    reach = max(height, width)
    outside = ((corners < -reach) | (corners > [width + reach, height + reach])).any(axis=1)
    if outside.any():
        x, y = corners[outside][0]
        raise OutlineError(f"the point ({x:g}, {y:g}) lies far outside the image, {width}x{height} (width x height)")
    return corners


def crossed_pixels(corners: np.ndarray, height: int, width: int) -> tuple[int, tuple[int, int]] | None:
    """How many pixels a polygon goes around more than once, or the other way than the rest, and the first as (x, y).

    None where there is none: a polygon that does not cross itself goes around every pixel at most once, and around all in the
    same direction. It may touch itself, and may lead into a hole and back on one line, as is usual. A crossing so small that no
    centre of a pixel lies in it is passed over.

    Parameters
    ----------
    corners : (N, 2) float64, x and y

    Examples
    --------
    >>> crossed_pixels(np.array([[0, 0], [4, 4], [4, 0], [0, 4]]), 4, 4)
    (2, (0, 1))
    """
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(int)  # the rows whose centres an edge crosses
    rows_of = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(int) - first
    edge = np.repeat(np.arange(len(corners)), rows_of)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    x = np.round(x, 6)  # so that there and back on one line meet
    order = np.lexsort((x, row))
    turns = np.cumsum(np.where(y1 > y0, 1, -1)[edge][order])  # the winding number to the right of each crossing; 0 after a row
    left = np.clip(np.ceil(x[order] - 0.5), 0, width).astype(int)
    pixels = np.where(turns[:-1] != 0, left[1:] - left[:-1], 0)
    turns = turns[:-1]
    main = 1 if pixels[turns > 0].sum() >= pixels[turns < 0].sum() else -1
    crossed = (turns != main) & (pixels > 0)
    if not crossed.any():
        return None
    at = int(crossed.argmax())
    return int(pixels[crossed].sum()), (int(left[at]), int(row[order][at]))


def run_length_mask(code: dict, height: int, width: int) -> np.ndarray:
    """(H, W) bool from COCO's run lengths: {"size": [height, width], "counts": a list of numbers, or a string}.

    Raises
    ------
    OutlineError : it is of another size (rule size_mismatch), or does not fill its size.
    """
    size, counts = code.get("size"), code.get("counts")
    if size != [height, width]:
        message = f"run lengths are of size {size}, their image of [{height}, {width}] (height, width)"
        raise OutlineError(message, "size_mismatch")
    lengths = _lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(one) is int and one >= 0 for one in lengths):
        raise OutlineError("counts of the run lengths are neither a list of numbers nor COCO's string")
    # pycocotools would fill what is missing with whatever lies in memory
    if sum(lengths) != height * width:
        message = f"run lengths cover {sum(lengths)} pixels, wanted {height}*{width} = {height * width}"
        raise OutlineError(message, "size_mismatch")
    return coco.decode(coco.frPyObjects({"size": size, "counts": lengths}, height, width)).astype(bool)


def _lengths(text: str) -> list[int]:
    """The run lengths in COCO's string: base 32 with a continuation bit, each but the first three less the last but one.

    Examples
    --------
    >>> _lengths("0<")
    [0, 12]
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text.encode("latin-1", "replace"):
        part = letter - 48
        if not 0 <= part < 64:
            raise OutlineError(f"counts of the run lengths hold {chr(letter)!r}, which COCO's string has not")
        value |= (part & 31) << shift
        shift += 5
        if not part & 32:
            value -= (part & 16) and 1 << shift  # the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise OutlineError("counts of the run lengths end in the middle of a number")
    return lengths
