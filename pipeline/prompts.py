"""What a person points at, from the texts of a command: a box, points, a polygon, a file of scribbles."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from pipeline.classical._prompts import box_inside, points_inside, polygon_mask, scribbles_inside
from pipeline.image_files import read_index_mask
from pipeline.sources import FaultError
from pipeline.structures import LabelSpace, Prompt

PARTS = tuple(field.name for field in fields(Prompt))


def parse(
    *, box: str | None = None, points: Sequence[str] = (), polygon: str | None = None, scribbles: Path | None = None
) -> Prompt | None:
    """The prompt that the texts describe; None where there is none.

    Parameters
    ----------
    box : "x0,y0,x1,y1" in pixels, x1 and y1 excluded
    points : "x,y" or "x,y;x,y" in pixels, all together
    polygon : "x,y;x,y;x,y", its corners in pixels
    scribbles : PNG of class indices where drawn, 255 elsewhere

    Raises
    ------
    ValueError : a text is no list of numbers, too short, or empty inside; the file is no index mask or nothing is drawn in it.
    """
    given = {}
    if box is not None:
        given["box"] = _box(box)
    if points:
        given["points"] = _pairs(";".join(points), name="points")
    if polygon is not None:
        given["polygon"] = _pairs(polygon, name="polygon")
        if len(given["polygon"]) < 3:
            raise ValueError(f"--polygon {polygon}: {len(given['polygon'])} corners, wanted 3 or more: x,y;x,y;x,y")
    if scribbles is not None:
        given["scribbles"] = _scribbles(scribbles)
    return Prompt(**given) if given else None


def parts(prompt: Prompt | None) -> tuple[str, ...]:
    """The names of the parts that are given."""
    return tuple(name for name in PARTS if prompt is not None and getattr(prompt, name) is not None)


def check(prompt: Prompt | None, shape: tuple[int, int], label_space: LabelSpace) -> None:
    """Raise ValueError where a part lies outside a picture of this shape (height, width), or scribbles hold other classes."""
    if prompt is None:
        return
    if prompt.box is not None:
        box_inside(prompt, shape)
    if prompt.points is not None:
        points_inside(prompt, shape)
    if prompt.polygon is not None:
        polygon_mask(prompt, shape)
    if prompt.scribbles is not None:
        scribbles_inside(prompt, shape, label_space)


def with_classes_of(prompt: Prompt | None, label_space: LabelSpace) -> Prompt | None:
    """The prompt with its scribbles in the type of the method's labels; ValueError where they hold other classes."""
    if prompt is None or prompt.scribbles is None:
        return prompt
    labels = prompt.scribbles.astype(np.uint16)
    labels[prompt.scribbles == _void(prompt.scribbles)] = label_space.void
    label_space.check(labels, where="--scribbles")
    return replace(prompt, scribbles=labels.astype(label_space.dtype))


def num_classes(prompt: Prompt | None) -> int:
    """How many classes the scribbles name, counted from 0; 0 without any."""
    if prompt is None or prompt.scribbles is None:
        return 0
    return int(prompt.scribbles[prompt.scribbles != _void(prompt.scribbles)].max()) + 1


def _box(text: str) -> np.ndarray:
    numbers = _numbers(text, name="box", form="x0,y0,x1,y1")
    if len(numbers) != 4:
        raise ValueError(f"--box {text}: {len(numbers)} numbers, wanted 4: x0,y0,x1,y1")
    x0, y0, x1, y1 = numbers
    if x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"--box {text}: nothing lies in it; give its left, top, right and bottom: x0,y0,x1,y1 with x0 < x1, y0 < y1"
        )
    return np.array(numbers, np.float32)


def _pairs(text: str, *, name: str) -> np.ndarray:
    """(N, 2) float32 from "x,y;x,y"."""
    pairs = [_numbers(one, name=name, form="x,y;x,y") for one in text.split(";") if one.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"--{name} {text}: wanted two numbers for each, x,y;x,y (in quotes, as the shell takes ; for itself)")
    return np.array(pairs, np.float32)


def _numbers(text: str, *, name: str, form: str) -> list[float]:
    try:
        numbers = [float(one) for one in text.split(",")]
    except ValueError:
        raise ValueError(f"--{name} {text}: {text!r} is no list of numbers; write {form}, in pixels") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"--{name} {text}: wanted finite numbers, in pixels")
    return numbers


def _scribbles(path: Path) -> np.ndarray:
    """(H, W) uint8 or uint16."""
    try:
        drawn = read_index_mask(path, root=path.parent)
    except FaultError as error:
        raise ValueError(f"--scribbles {path}: {error.faults[0].message}") from None
    if (drawn == _void(drawn)).all():
        raise ValueError(f"--scribbles {path}: nothing is drawn in it; give classes 0, 1, ... where you drew, 255 elsewhere")
    return drawn


def _void(drawn: np.ndarray) -> int:
    """What stands for "not drawn" in a file of 8 or 16 bits."""
    return 65535 if drawn.dtype == np.uint16 and drawn.max() == 65535 else 255
