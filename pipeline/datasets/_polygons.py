"""From outlines and run lengths to masks, and from the masks of an image to its truth: what readers of annotations share.

Coordinates count from the upper left corner of the upper left pixel, in COCO as in labelme: the square (0, 0), (1, 0), (1, 1),
(0, 1) is that pixel and no other. pycocotools decides which pixels a polygon covers: those whose centre lies inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as coco

from pipeline.label_space import LabelSpace
from pipeline.structures import InstanceSet, PanopticMap, Segment

UNUSABLE = "unusable_outline"  # the rule of the gate that an outline without sense breaks


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
    return _decoded(code)


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
    return _decoded(coco.frPyObjects({"size": size, "counts": lengths}, height, width))


def _decoded(code: dict) -> np.ndarray:
    """(H, W) bool, row after row: pycocotools goes down the columns, and painting with such a mask takes five times as long."""
    return cv2.transpose(coco.decode(code).T).view(bool)


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
