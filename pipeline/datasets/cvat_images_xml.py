"""Images annotated in CVAT, exported as "CVAT for images 1.1": one annotations.xml, and a folder of images.

The format: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and cvat/apps/dataset_manager/formats/cvat.py and
transformations.py (turned boxes, run lengths) of github.com/cvat-ai/cvat.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

import numpy as np

from pipeline.datasets import _own_data as own
from pipeline.datasets._outlines import Outlines, category_of, need_area
from pipeline.datasets._polygons import OutlineError, Piece
from pipeline.image_files import images_below, name_of, pictures_not_read, read_image
from pipeline.sources import Fault, Source
from pipeline.structures import LabelSpace, Sample

NO_AREA = ("polyline", "points", "cuboid", "skeleton")
SUBSETS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}  # other names of the splits


@dataclass
class _File:
    """An annotations.xml."""

    labels: list[dict[str, str]] = field(default_factory=list)  # name, color, type and parent of each, as far as given
    images: list[tuple[dict[str, str], list]] = field(default_factory=list)  # attributes, and the shapes: (kind, attributes)


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]] | None = None,
    background: bool = True,
    void: str | None = "__ignore__",
    name: str = "CVAT",
    images: str = "images",
    annotations: str = "annotations.xml",
    group_pattern: str | None = None,
) -> Source:
    """Read the images that the file lists; the id of `images/a/b.jpg` is `a__b`.

    Polygons, masks, boxes and ellipses are objects, those of one label and `group_id` parts of one. An outline covers the
    pixels whose centre lies inside. Shapes lie above each other by their `z_order`, those of one order as they stand in the
    file; the objects keep their whole masks. Tags are passed over; lines and points are left out, with a remark. The subsets
    Train, Validation and Test of a project, or else folders train, val and test in the names, are the splits; where there is no
    test, val is the split test and train is divided into train and val.

    Parameters
    ----------
    source : the folder that holds `images`, or one whose only folder does
    classes : labels in order, things; or {name: ..., colour: [R, G, B], isthing: true}, the last two optional; None: those of
        the file with their colours, but for labels of tags, lines and points
    background : what no shape covers is the class "background", in front where no label has that name; false: void
    void : label of shapes whose pixels are to be ignored; None where there is none
    name : what the data set is called in the report
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, or `annotations` is missing, damaged or of another format.
    """
    source = Path(source)
    own.check_texts(name=name, images=images, annotations=annotations)
    pattern = own.compiled(group_pattern)
    home = own.find_home(source, {"images": images})
    file = home / annotations
    content = _read_file(file)
    given = [_entry(one) for one in content.labels if _has_area(one) and one["name"] != void] if classes is None else classes
    label_space = own.label_space(own.with_background(given, own.BACKGROUND) if background else given, things=True)
    found, faults = _images(content, home / images, file, source)
    faults += pictures_not_read(home / images, source)
    named = {path: _split(key, attributes) for path, (key, attributes, _) in found.items()}
    splits, records = own.official_splits(filter(None, named.values())), []
    known = [one["name"] for one in content.labels]
    decode = partial(_decode, root=source, known=known, label_space=label_space, background=background, void=void)
    for path, (key, attributes, shapes) in found.items():
        if splits and named[path] is None:
            faults.append(own.stray(name_of(path, source)))
        else:
            stem = PurePosixPath(key).with_suffix("").as_posix()
            opened = partial(decode, where=name_of(file, source), attributes=attributes, shapes=shapes)
            records.append(own.record(stem, splits.get(named[path]), path, opened, pattern))
    return Source(name, label_space, tuple(records), tuple(faults))


def _read_file(file: Path) -> _File:
    """What stands in the file. No entity is expanded, and nothing is read that the file points to."""
    if not file.is_file():
        raise ValueError(f"{file}: no such file; set the option annotations to the XML file of the export")
    reader, parser = _Reader(file), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = reader.text.append, reader.refuse
    try:
        with file.open("rb") as stream:
            parser.ParseFile(stream)
    except (expat.ExpatError, LookupError) as error:  # the second: an encoding that nobody knows
        raise ValueError(f"{file}: is no XML, or damaged: {error}") from None
    content = reader.content
    for kind, entries in (("image", [attributes for attributes, _ in content.images]), ("label", content.labels)):
        for index, one in enumerate(entries):
            if not one.get("name"):
                raise ValueError(f"{file}: {kind} {index} has no name; export it again")
    if not content.labels:  # the meta part was taken out
        shapes = (shape for _, shapes in content.images for kind, shape in shapes if kind not in ("tag", *NO_AREA))
        content.labels = [{"name": name} for name in sorted({shape.get("label", "") for shape in shapes})]
    return content


class _Reader:
    """What the parser calls: it keeps labels, images and shapes of the file, and passes over everything else."""

    def __init__(self, file: Path):
        self.content, self.text = _File(), []
        self._file, self._path = file, []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "annotations":
            raise ValueError(f"{self._file}: begins with <{tag}>; wanted <annotations>: export as CVAT for images 1.1")
        if tag == "track":
            raise ValueError(f"{self._file}: holds tracks of a video; export as CVAT for images 1.1: a frame is an image there")
        self._path.append(tag)
        self.text.clear()
        if self._path == ["annotations", "image"]:
            self.content.images.append((attributes, []))
        elif self._path[:2] == ["annotations", "image"] and len(self._path) == 3:
            self.content.images[-1][1].append((tag, attributes))
        elif self._path[-2:] == ["labels", "label"]:
            self.content.labels.append({})

    def end(self, tag: str) -> None:
        if self._path[-3:-1] == ["labels", "label"] and tag in ("name", "color", "type", "parent"):
            self.content.labels[-1][tag] = "".join(self.text).strip()
        self._path.pop()

    def refuse(self, *_: object) -> None:
        raise ValueError(f"{self._file}: has a DOCTYPE, which CVAT does not write, and which can hold attacks; export it again")


def _has_area(label: dict[str, str]) -> bool:
    return label.get("type") not in ("tag", *NO_AREA) and not label.get("parent")  # a part of a skeleton has a parent


def _entry(label: dict[str, str]) -> dict[str, Any]:
    """The option `classes` that a label stands for."""
    colour = re.fullmatch("#([0-9a-fA-F]{6})", label.get("color", ""))
    return {"name": label["name"]} | ({"colour": list(bytes.fromhex(colour[1]))} if colour else {})


def _images(content: _File, folder: Path, file: Path, root: Path) -> tuple[dict[Path, tuple], list[Fault]]:
    """(image -> its place in the folder, its attributes, its shapes; faults)."""
    there = {path.relative_to(folder).as_posix(): path for path in images_below(folder)}
    found: dict[Path, tuple] = {}
    faults, where, alike = [], name_of(file, root), own.by_folded(there)
    for attributes, shapes in content.images:
        name = attributes["name"]
        # the images of a project lie in folders of its subsets
        keys = [str(PurePosixPath(attributes.get("subset", ""), name)), str(PurePosixPath(name))]
        key = next((key for key in keys if key in there), None)
        if key is None:
            message = f"image {name} does not exist in {name_of(folder, root)}/; add it, or export with images"
            faults.append(Fault("mask_without_image", where, message + own.hint(keys[0], alike), value=name))
        elif there[key] in found:
            faults.append(Fault("two_masks", where, f"image {name} stands there twice; keep one of them", value=name))
        else:
            found[there[key]] = key, attributes, shapes
    for path in there.values():
        if path not in found:
            message = f"no image of {where} has that name; add it to the task, or remove the file"
            faults.append(Fault("image_without_mask", name_of(path, root), message))
    return found, faults


def _split(key: str, attributes: dict[str, str]) -> str | None:
    """The split that the subset of an image means, or else the first folder of its name; None: neither is one."""
    names = (attributes.get("subset", "").lower(), key.split("/")[0].lower() if "/" in key else "")
    return next((SUBSETS.get(name, name) for name in names if SUBSETS.get(name, name) in own.SPLITS), None)


def _decode(
    *, id, split, group, image: Path, where: str, attributes, shapes, root, known, label_space: LabelSpace, background, void
) -> Sample:
    pixels, name = read_image(image, root=root), attributes["name"]
    own.check_size(pixels, attributes.get("width"), attributes.get("height"), where, about=f"image {name}: ")
    outlines, pieces, numbers = Outlines(where, *pixels.shape[:2]), [], {}
    for index, (kind, shape) in enumerate(shapes):
        label, group_id = shape.get("label", ""), shape.get("group_id", "0")
        with outlines.part(f"image {name}, shape {index} ({kind} {label})", f"{name} {index}"):
            if kind == "tag":
                continue
            need_area(kind, NO_AREA)
            if label not in known:
                raise OutlineError(f"label {label!r} is none of the file's: {', '.join(known)}; correct it", "missing_category")
            category = None if label == void else category_of(label, label_space)
            number = numbers.setdefault((index,) if group_id == "0" else (label, group_id), len(numbers))
            pieces.append((_numbers(shape, "z_order", "0")[0], Piece(_mask(kind, shape, outlines), category, number)))
    pieces = [piece for _, piece in sorted(pieces, key=lambda pair: pair[0])]
    return Sample(id, split, group, pixels, *outlines.truth(pieces, label_space, ground=own.BACKGROUND if background else None))


def _mask(kind: str, shape: dict[str, str], outlines: Outlines) -> np.ndarray:
    """(H, W) bool: the pixels of a shape, one at least."""
    turn = _numbers(shape, "rotation", "0")[0]  # degrees, clockwise
    if kind == "polygon":
        mask = outlines.polygon([_numbers({"points": pair}, "points") for pair in shape.get("points", "").split(";")])
    elif kind == "box":
        mask = outlines.box(*(_numbers(shape, key)[0] for key in ("xtl", "ytl", "xbr", "ybr")), turn)
    elif kind == "ellipse":
        x, y, across, down = (_numbers(shape, key)[0] for key in ("cx", "cy", "rx", "ry"))
        mask = outlines.ellipse([x, y], [across, down], turn)
    elif kind == "mask":
        mask = _run_lengths(shape, outlines)
    else:
        raise OutlineError("is of an unknown kind; known: polygon, box, ellipse, mask")
    if not mask.any():
        raise OutlineError("covers no pixel of the image; draw it larger, or remove it")
    return mask


def _run_lengths(shape: dict[str, str], outlines: Outlines) -> np.ndarray:
    """(H, W) bool from the lengths of runs within a window, row by row, the first one outside of the object."""
    left, top, width, height = (int(_numbers(shape, key)[0]) for key in ("left", "top", "width", "height"))
    if not (0 < width <= outlines.width and 0 < height <= outlines.height):
        raise OutlineError(f"its window is {width}x{height}, its image {outlines.width}x{outlines.height} (width x height)")
    lengths = [int(one) for one in _numbers(shape, "rle")]
    if min(lengths) < 0 or sum(lengths) != width * height:
        message = f"its rle covers {sum(lengths)} pixels, wanted {width}*{height} = {width * height} (width x height)"
        raise OutlineError(message, "size_mismatch")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return outlines.window(inside.reshape(height, width), left, top)


def _numbers(shape: dict[str, str], key: str, default: str = "") -> list[float]:
    """The numbers of an attribute, divided by commas."""
    text = shape.get(key, default)
    try:
        numbers = [float(one) for one in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise OutlineError(f"its {key} is {text[:60]!r}; wanted numbers")
    return numbers
