"""Images annotated with labelme: a folder of images, and a folder of .json files with the same names.

`python -m pipeline.annotate` writes such files from boxes; labelme opens them for correction.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets import _own_data as own
from pipeline.datasets._outlines import Outlines, category_of, need_area
from pipeline.datasets._polygons import OutlineError, Piece, checked_points
from pipeline.image_files import fault, images_below, name_of, pictures_not_read, read_image
from pipeline.sources import Fault, FaultError, Source
from pipeline.structures import LabelSpace, Sample

BACKGROUND = own.BACKGROUND
NO_AREA = ("line", "linestrip", "point", "points")


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]] | None = None,
    background: bool = True,
    void: str | None = "__ignore__",
    name: str = "labelme",
    images: str = "images",
    annotations: str = "annotations",
    group_pattern: str | None = None,
) -> Source:
    """Pair `images/a/b.jpg` with `annotations/a/b.json`; its id is `a__b`.

    Each shape is an object, or with the others of its label and `group_id` a part of one. A shape covers the pixels whose
    centre lies inside; lines and points are left out, with a remark. Later shapes lie above earlier ones, as labelme draws
    them; the objects keep their whole masks. Where `images` has folders train, val and test, they are the splits; else there is
    no official split.

    Parameters
    ----------
    source : the folder that holds `images` and `annotations`, or one whose only folder does
    classes : the labels in order, things; or {name: ..., colour: [R, G, B], isthing: true}, the last two optional; None: the
        labels found, sorted
    background : what no shape covers is the class "background", in front where `classes` does not name it; false: void
    void : label of shapes whose pixels are to be ignored; None where there is none
    name : what the data set is called in the report
    annotations : "." or the same as `images` where the .json files lie beside the images
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, a folder is not there, or no shape is found that could name a class.
    """
    source = Path(source)
    own.check_texts(name=name, images=images, annotations=annotations)
    pattern = own.compiled(group_pattern)
    home = own.find_home(source, {"images": images, "annotations": annotations})
    found = own.by_key(home / images, images_below(home / images))
    keyed = own.by_key(home / annotations, own.files_below(home / annotations, ".json"))
    files = {key: paths[0] for key, paths in keyed.items()}
    if classes is None:
        classes = sorted(set().union(*map(_labels, files.values())) - {void, BACKGROUND} if files else [])
        if not classes and not background:
            raise ValueError(f"{home / annotations}: no shape with a label; label an image, or set the option classes")
    classes = own.with_background(classes, BACKGROUND) if background else classes
    label_space = own.label_space(classes, things=True)
    faults = [*_faults_of_files(keyed, found, source, images), *pictures_not_read(home / images, source)]
    is_split, records, alike = own.has_splits(found), [], own.by_folded(files)
    decode = partial(_decode, root=source, label_space=label_space, background=background, void=void)
    for key, paths in found.items():
        file = name_of(paths[0], source)
        if key not in files:
            message = f"there is no {annotations}/{key}.json; annotate the image (labelme saves one without any shape too)"
            faults.append(Fault("image_without_mask", file, message + own.hint(key, alike)))
        elif is_split and key.split("/")[0] not in own.SPLITS:
            faults.append(own.stray(file))
        else:
            split, opened = key.split("/")[0] if is_split else None, partial(decode, file=files[key])
            records += [own.record(key, split, image, opened, pattern, files[key]) for image in paths]
    return Source(name, label_space, tuple(records), tuple(faults))


def _faults_of_files(files: dict[str, list[Path]], found: dict[str, list[Path]], root: Path, images: str) -> Iterator[Fault]:
    """What is wrong with the .json files, as far as their names tell."""
    alike = own.by_folded(found)
    for key, paths in files.items():
        if key not in found and _is_annotation(paths[0]):
            message = f"there is no image {images}/{key}.*; add it or remove the file{own.hint(key, alike)}"
            yield Fault("mask_without_image", name_of(paths[0], root), message)
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            yield Fault("two_masks", name_of(paths[0], root), f"{names} are for one image; keep one", value=names)


def _is_annotation(file: Path) -> bool:
    """Whether a .json file without an image is one of labelme's: a COCO file beside them is not, a damaged one may be."""
    try:
        content = own.read_json(file, file.name)
    except FaultError:
        return True
    return isinstance(content, dict) and "shapes" in content


def _labels(file: Path) -> set[str]:
    """The labels of the shapes in a file; none where it is damaged, which decoding it tells."""
    try:
        shapes = _content(file, file.name)["shapes"]
    except FaultError:
        return set()
    shapes = [shape for shape in shapes if isinstance(shape, dict) and shape.get("shape_type") not in NO_AREA]
    return {shape["label"] for shape in shapes if isinstance(shape.get("label"), str)}


def _content(file: Path, name: str) -> dict:
    content = own.read_json(file, name)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise fault("unreadable_annotation", name, "has no list of shapes, as labelme's files have; annotate the image again")
    return content


def _decode(
    *, id, split, group, image: Path, file: Path, root: Path, label_space: LabelSpace, background: bool, void: str | None
) -> Sample:
    pixels, name = read_image(image, root=root), name_of(file, root)
    content = _content(file, name)
    own.check_size(pixels, content.get("imageWidth"), content.get("imageHeight"), name)
    pieces, numbers, outlines = [], {}, Outlines(name, *pixels.shape[:2])
    for index, shape in enumerate(content["shapes"]):
        with outlines.part(f"shape {index}{_named(shape)}", index):
            label, key = _label_and_key(shape, index)
            need_area(shape.get("shape_type"), NO_AREA)
            category = None if label == void else category_of(label, label_space)
            number = numbers.setdefault(key, len(numbers))
            pieces.append(Piece(_mask(shape, outlines), category, number))
    return Sample(id, split, group, pixels, *outlines.truth(pieces, label_space, ground=BACKGROUND if background else None))


def _named(shape: object) -> str:
    return f" ({shape['label']})" if isinstance(shape, dict) and "label" in shape else ""


def _label_and_key(shape: object, index: int) -> tuple[str, tuple]:
    """The label of a shape, and what the parts of one object have in common."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise OutlineError("has no label; give it one")
    group = shape.get("group_id")
    return shape["label"], (index,) if group is None else (shape["label"], str(group))


def _mask(shape: dict, outlines: Outlines) -> np.ndarray:
    """(H, W) bool: the pixels of a shape, one at least."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if kind == "mask":
        mask = _bitmap(shape, _pair(points, kind, outlines), outlines)
    elif kind in ("rectangle", "circle"):
        mask = (_rectangle if kind == "rectangle" else _circle)(_pair(points, kind, outlines), outlines)
    elif kind in ("polygon", "oriented_rectangle"):
        mask = outlines.polygon(points)
    else:
        raise OutlineError(f"shape_type {kind!r} is unknown; known: rectangle, circle, polygon, oriented_rectangle, mask")
    if not mask.any():
        raise OutlineError(f"the {kind} covers no pixel of the image; draw it larger, or remove it")
    return mask


def _pair(points: object, kind: str, outlines: Outlines) -> np.ndarray:
    """(2, 2) float64."""
    pair = checked_points(points, outlines.height, outlines.width)
    if len(pair) != 2:
        raise OutlineError(f"a {kind} has {len(pair)} points, wanted 2")
    return pair


def _rectangle(pair: np.ndarray, outlines: Outlines) -> np.ndarray:
    return outlines.box(*pair.min(axis=0), *pair.max(axis=0))


def _circle(pair: np.ndarray, outlines: Outlines) -> np.ndarray:
    """The first point is the centre, the second lies on the rim."""
    centre, rim = pair
    square = ((rim - centre) ** 2).sum()
    outlines.keep_inside(np.array([centre - square**0.5, centre + square**0.5]))
    x, y = np.arange(outlines.width) + 0.5 - centre[0], np.arange(outlines.height) + 0.5 - centre[1]
    return y[:, None] ** 2 + x**2 <= square


def _bitmap(shape: dict, pair: np.ndarray, outlines: Outlines) -> np.ndarray:
    """labelme's shape "mask": a PNG in base64, and the first and last pixel of its box, both in it."""
    (x0, y0), (x1, y1) = pair.astype(int).tolist()
    try:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or "", validate=True))))
    except (OSError, SyntaxError, TypeError, ValueError):
        raise OutlineError("its mask is no PNG in base64; draw it again") from None
    if picture.shape != (y1 - y0 + 1, x1 - x0 + 1):
        size = f"{x1 - x0 + 1}x{y1 - y0 + 1}"
        raise OutlineError(f"its mask is {'x'.join(map(str, picture.shape[::-1]))}, its points give {size} (width x height)")
    return outlines.window(picture != 0, x0, y0)
