"""Read boxes around objects: COCO's detection JSON, or {"picture.jpg": [{"box": [x0, y0, x1, y1], "label": "person"}]}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.pictures import read_picture
from pipeline.spread import spread

ROUNDING_PX = 0.5  # a box that reaches so far beyond its picture is cut; one that reaches further is a mistake
FORMS = (
    '{"a.jpg": [{"box": [x0, y0, x1, y1], "label": "person"}]} or COCO\'s '
    '{"images": [...], "annotations": [{"bbox": [x, y, width, height], ...}], "categories": [...]}'
)


@dataclass(frozen=True)
class Boxed:
    """A picture and the boxes in it.

    Parameters
    ----------
    file : its path relative to the folder of the pictures, with forward slashes
    path : where it lies
    boxes : (N, 4) float32, x0, y0, x1, y1 in pixels, x1 and y1 excluded
    labels : N names
    """

    file: str
    path: Path
    boxes: np.ndarray
    labels: tuple[str, ...]

    @property
    def key(self) -> str:
        """The path without its suffix: the name of what is made of the picture."""
        return PurePosixPath(self.file).with_suffix("").as_posix()


@dataclass
class _Given:
    """A picture as the file gives it, nothing checked."""

    file: str
    size: tuple[object, object] | None = None  # width and height, where the file says them
    entries: list[tuple[str, object, object]] = field(default_factory=list)  # place in the file, corners, label


def read(file: Path, images: Path, *, threads: int = 1) -> tuple[list[Boxed], list[dict]]:
    """The pictures with their boxes, and COCO's categories of the labels: [{"id": 1, "name": "person"}].

    A picture with an empty list, or without annotations, is among them: it holds no object. Every picture is opened.

    Parameters
    ----------
    file : the boxes
    images : the folder that the names of the pictures are relative to

    Raises
    ------
    ValueError : the file is of neither form; or every fault in it, a line each with picture, place and value.
    """
    content, faults = _content(file), []
    is_coco = {"images", "annotations"} <= content.keys()
    pictures = _from_coco(content, faults) if is_coco else _from_names(content, faults)
    sizes = list(spread(lambda picture: _size(picture, images), pictures, threads=threads))
    boxed: dict[str, Boxed] = {}
    for picture, size in zip(pictures, sizes, strict=True):
        if isinstance(size, str):
            faults.append(f"{picture.file}: {size}")
            continue
        found = _checked(picture, images / picture.file, size, faults)
        if found.key in boxed:
            faults.append(f"{found.file}: its files would be those of {boxed[found.key].file}; rename one")
        boxed[found.key] = found
    if not pictures and not faults:
        faults.append(f"no picture in it; wanted {FORMS}")
    if faults:
        raise ValueError("\n".join(f"{file}: {fault}" for fault in faults))
    if is_coco:
        return list(boxed.values()), [{"id": one["id"], "name": one["name"]} for one in content["categories"]]
    labels = sorted({label for one in boxed.values() for label in one.labels})
    return list(boxed.values()), [{"id": number, "name": label} for number, label in enumerate(labels, start=1)]


def _content(file: Path) -> dict:
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON, or damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: wanted {FORMS}")
    return content


def _once(pairs: Sequence[tuple[str, object]]) -> dict:
    """A mapping; ValueError where a key stands there twice, of which JSON would keep the last without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return content


def _from_names(content: dict, faults: list[str]) -> list[_Given]:
    pictures = []
    for name, boxes in content.items():
        if not isinstance(boxes, list):
            faults.append(f"{name}: {_short(boxes)}; wanted a list of boxes: {FORMS}")
            continue
        picture = _Given(name)
        for index, entry in enumerate(boxes):
            given = entry if isinstance(entry, dict) else {}
            picture.entries.append((f"box {index}", given.get("box", entry), given.get("label")))
        pictures.append(picture)
    return pictures


def _from_coco(content: dict, faults: list[str]) -> list[_Given]:
    pictures: dict[object, _Given] = {}
    for index, entry in _entries(content, "images", ("id", "file_name"), faults):
        if entry["id"] in pictures:
            faults.append(f"images, entry {index}: id {entry['id']!r} stands there twice")
        size = (entry["width"], entry["height"]) if {"width", "height"} <= entry.keys() else None
        pictures[entry["id"]] = _Given(str(entry["file_name"]), size)
    names = {}
    for index, entry in _entries(content, "categories", ("id", "name"), faults):
        if entry["id"] in names or entry["name"] in names.values():
            faults.append(f"categories, entry {index}: {entry['id']!r} or {entry['name']!r} stands there twice")
        names[entry["id"]] = entry["name"]
    for index, entry in _entries(content, "annotations", ("image_id", "category_id", "bbox"), faults):
        place = f"annotation {index}"
        if entry["image_id"] not in pictures:
            faults.append(f"{place}: image_id {entry['image_id']!r} is none of its images")
        elif entry["category_id"] not in names:
            known = ", ".join(map(str, names)) or "none"
            faults.append(f"{place}: category_id {entry['category_id']!r} is none of its categories: {known}")
        elif entry.get("iscrowd"):
            faults.append(f"{place}: is a crowd, which has no outline; remove it")
        else:
            given = (place, _corners(entry["bbox"]), names[entry["category_id"]])
            pictures[entry["image_id"]].entries.append(given)
    return list(pictures.values())


def _entries(content: dict, part: str, keys: tuple[str, ...], faults: list[str]) -> list[tuple[int, dict]]:
    """The entries of a part that have these keys, with their places; a fault for each other one."""
    given = content.get(part)
    if not isinstance(given, list):
        faults.append(f"{part}: {_short(given)}; wanted a list")
        return []
    usable = []
    for index, entry in enumerate(given):
        kinds = {key: list if key == "bbox" else str if key.endswith("name") else (int, str) for key in keys}
        if isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
            usable.append((index, entry))
        else:
            faults.append(f"{part}, entry {index}: {_short(entry)}; wanted {', '.join(keys)}")
    return usable


def _corners(bbox: list) -> object:
    """x, y, width, height as x0, y0, x1, y1; what is something else stays as it is."""
    if len(bbox) == 4 and all(_is_number(one) for one in bbox):
        x, y, width, height = bbox
        return [x, y, x + width, y + height]
    return bbox


def _size(picture: _Given, images: Path) -> tuple[int, int] | str:
    """Width and height of a picture, or what is wrong with it."""
    path = PurePosixPath(picture.file)
    if path.is_absolute() or ".." in path.parts or not (images / path).is_file():
        return f"no such picture in {images}"
    try:
        height, width = read_picture(images / path, may_turn=False).shape[:2]
    except ValueError as error:
        return str(error).removeprefix(f"{images / path}: ")
    if picture.size is not None and picture.size != (width, height):
        return f"is {width}x{height}, and the boxes are for {picture.size[0]}x{picture.size[1]} (width x height)"
    return width, height


def _checked(picture: _Given, path: Path, size: tuple[int, int], faults: list[str]) -> Boxed:
    """The boxes of a picture; those that are wrong become faults."""
    boxes, labels = [], []
    for place, corners, label in picture.entries:
        fault = _fault(corners, *size)
        if fault is None and (not isinstance(label, str) or not label):
            fault = "no label" if label is None else f"label {label!r}; wanted a text"
        if fault:
            faults.append(f"{picture.file}: {place}: {fault}")
        else:
            boxes.append(_inside(corners, *size))
            labels.append(label)
    return Boxed(picture.file, path, np.array(boxes, np.float32).reshape(-1, 4), tuple(labels))


def _fault(corners: object, width: int, height: int) -> str | None:
    if not isinstance(corners, list) or len(corners) != 4 or not all(_is_number(one) for one in corners):
        return f"{_short(corners)}; wanted the four numbers of a box, in pixels"
    x0, y0, x1, y1 = corners
    if x0 >= x1 or y0 >= y1:
        return f"{corners} is empty; wanted x0 < x1 and y0 < y1 (x0, y0, x1, y1)"
    if min(x0, y0) < -ROUNDING_PX or x1 > width + ROUNDING_PX or y1 > height + ROUNDING_PX:
        return f"{corners} lies outside the picture, {width}x{height} (width x height)"
    x0, y0, x1, y1 = _inside(corners, width, height)
    if x0 >= x1 or y0 >= y1:
        return f"{corners} holds nothing of the picture, {width}x{height} (width x height)"
    return None


def _inside(corners: list, width: int, height: int) -> np.ndarray:
    """(4,) float32: a box cut at the rim of its picture."""
    return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


def _is_number(one: object) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9  # so no NaN either


def _short(given: object) -> str:
    text = json.dumps(given, ensure_ascii=False)
    return text if len(text) < 60 else f"{text[:57]}..."
