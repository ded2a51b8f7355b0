"""Images annotated in V7 Darwin, exported as Darwin JSON 2.0: a folder of images and a .json file for each.

The format: https://docs.v7labs.com/reference/darwin-json and the parser of github.com/v7labs/darwin-py (darwin/utils/utils.py,
darwin/exporter/formats/mask.py). `darwin dataset pull` writes images/ and releases/NAME/annotations/.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.datasets import _own_data as own
from pipeline.datasets._outlines import Outlines, category_of, need_area
from pipeline.datasets._polygons import OutlineError, Piece, checked_points
from pipeline.image_files import fault, images_below, name_of, pictures_not_read, read_image
from pipeline.sources import Fault, FaultError, Source
from pipeline.structures import LabelSpace, Sample

AREAS = ("polygon", "ellipse", "mask", "bounding_box")  # a polygon has a bounding box too, so that comes last
NO_AREA = ("line", "keypoint", "skeleton", "cuboid", "string", "graph", "table", "simple_table")
OF_THE_IMAGE = ("tag", "raster_layer")  # the layer holds the pixels of the masks


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]] | None = None,
    background: bool = True,
    void: str | None = "__ignore__",
    name: str = "V7 Darwin",
    images: str = "images",
    annotations: str = "annotations",
    group_pattern: str | None = None,
) -> Source:
    """Find the image of every .json file by the item in it; the id of `images/a/b.jpg` is `a__b`.

    Polygons, ellipses, masks and boxes are objects, those of one class and `instance_id` parts of one. The paths of a polygon
    follow the even-odd rule: one inside another is a hole. An outline covers the pixels whose centre lies inside. Later
    annotations lie above earlier ones, as darwin-py draws them; the objects keep their whole masks. Tags are passed over;
    lines, points and masks without a pixel are left out, with a remark. Where `images` has folders train, val and test, they
    are the splits; else there is no official split.

    Parameters
    ----------
    source : the folder that holds `images` and `annotations`, or one whose only folder does
    classes : class names in order, things; or {name: ..., colour: [R, G, B], isthing: true}, the last two optional; None: the
        names found, sorted
    background : what no annotation covers is the class "background", in front where `classes` does not name it; false: void
    void : class of annotations whose pixels are to be ignored; None where there is none
    name : what the data set is called in the report
    annotations : "." or the same as `images` where the .json files lie beside the images; after `darwin dataset pull`
        releases/NAME/annotations
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, a folder is not there, or no annotation is found that could name a class.
    """
    source = Path(source)
    own.check_texts(name=name, images=images, annotations=annotations)
    pattern = own.compiled(group_pattern)
    home = own.find_home(source, {"images": images, "annotations": annotations})
    found = {path.relative_to(home / images).as_posix(): path for path in images_below(home / images)}
    files, labels, faults = _pairs(home / annotations, found, source)
    faults += pictures_not_read(home / images, source)
    if classes is None:
        classes = sorted(labels - {void, own.BACKGROUND})
        if not classes and not background:
            raise ValueError(f"{home / annotations}: no annotation with an area; annotate an image, or set the option classes")
    label_space = own.label_space(own.with_background(classes, own.BACKGROUND) if background else classes, things=True)
    is_split, records = own.has_splits(found), []
    decode = partial(_decode, root=source, label_space=label_space, background=background, void=void)
    for key, path in found.items():
        file, split = name_of(path, source), key.split("/")[0] if is_split else None
        if key not in files:
            faults.append(Fault("image_without_mask", file, "is the item of no .json file; export it, or remove the image"))
        elif is_split and split not in own.SPLITS:
            faults.append(own.stray(file))
        else:
            stem = PurePosixPath(key).with_suffix("").as_posix()
            records.append(own.record(stem, split, path, partial(decode, file=files[key]), pattern, files[key]))
    return Source(name, label_space, tuple(records), tuple(faults))


def _pairs(folder: Path, found: dict[str, Path], root: Path) -> tuple[dict[str, Path], set[str], list[Fault]]:
    """(image -> its .json file, the labels of annotations with an area, faults); other .json files are passed over."""
    files, labels = {}, set()
    faults, alike, has_folders = [], own.by_folded(found), any("/" in key for key in found)
    for path in own.files_below(folder, ".json"):
        file = name_of(path, root)
        try:
            content = _content(path, file)
        except FaultError as error:
            faults += error.faults
            continue
        if content is None:
            continue
        keys = _image_keys(content, has_folders=has_folders)
        key = next((key for key in keys if key in found), None)
        if key is None:
            message = f"its image {keys[-1]} is not in the folder of images; add it, or remove the file"
            faults.append(Fault("mask_without_image", file, message + own.hint(keys[-1], alike)))
        elif key in files:
            names = f"{files[key].name} and {path.name}"
            faults.append(Fault("two_masks", file, f"{key} is also the image of {files[key].name}; keep one", value=names))
        else:
            files[key] = path
            labels |= {_label(one) for one in content["annotations"] if _label(one) and _kind(one) in AREAS}
    return files, labels, faults


def _content(path: Path, file: str) -> dict | None:
    """The content of a .json file; None where it is not one of Darwin's."""
    content = own.read_json(path, file)
    if not isinstance(content, dict) or not content.keys() & {"item", "image"} or "annotations" not in content:
        return None
    item, annotations = content.get("item"), content["annotations"]
    named = isinstance(item, dict) and isinstance(item.get("name"), str) and item["name"].strip("/. ")
    if not named or not isinstance(annotations, list):
        raise fault("unreadable_annotation", file, "is no Darwin JSON 2.0 (an item with a name, annotations); export it as 2.0")
    kinds = [slot.get("type", "image") if isinstance(slot, dict) else slot for slot in _slots(content)]
    if kinds != ["image"]:
        message = f"its item has the slots {', '.join(map(str, kinds))}; wanted one image (of a video, export frames)"
        raise fault("unreadable_annotation", file, message, value=len(kinds))
    return content


def _slots(content: dict) -> list:
    """The slots of an item: one for each file in it. An early version has none."""
    slots = content["item"].get("slots")
    return slots if isinstance(slots, list) and slots else [{}]


def _image_keys(content: dict, *, has_folders: bool) -> list[str]:
    """Where the image of an item may lie below the folder of images, which darwin-py fills with folders or without."""
    item, files = content["item"], _slots(content)[0].get("source_files")
    name, folder = PurePosixPath(item["name"]), PurePosixPath(str(item.get("path") or "/").lstrip("/\\"))
    uploaded = files[0].get("file_name") if isinstance(files, list) and files and isinstance(files[0], dict) else None
    suffix = PurePosixPath(str(uploaded or "")).suffix or name.suffix
    local = name.with_suffix(suffix)  # V7 may name an item otherwise than its file
    return [str(folder / one if has_folders else one) for one in (local, name)]


def _label(annotation: object) -> str:
    """The class of an annotation; "" where it names none."""
    name = annotation.get("name") if isinstance(annotation, dict) else None
    return name.strip() if isinstance(name, str) else ""


def _kind(annotation: dict) -> str | None:
    return next((kind for kind in (*AREAS, *NO_AREA, *OF_THE_IMAGE) if kind in annotation), None)


def _decode(
    *, id, split, group, image: Path, file: Path, root: Path, label_space: LabelSpace, background: bool, void: str | None
) -> Sample:
    pixels, name = read_image(image, root=root), name_of(file, root)
    content = _content(file, name)
    own.check_size(pixels, _slots(content)[0].get("width"), _slots(content)[0].get("height"), name)
    outlines, pieces, numbers = Outlines(name, *pixels.shape[:2]), [], {}
    layer = _layer(content["annotations"], outlines)
    for index, one in enumerate(content["annotations"]):
        with outlines.part(f"annotation {index} ({_label(one)})", index):
            if not _label(one):
                raise OutlineError("has no name of a class; give it one")
            if _kind(one) in OF_THE_IMAGE:
                continue
            need_area(_kind(one), NO_AREA)
            category = None if _label(one) == void else category_of(_label(one), label_space)
            mask = _mask(one, layer, outlines)
            instance = one["instance_id"].get("value") if isinstance(one.get("instance_id"), dict) else None
            number = numbers.setdefault((index,) if instance is None else (_label(one), str(instance)), len(numbers))
            pieces.append(Piece(mask, category, number))
    return Sample(id, split, group, pixels, *outlines.truth(pieces, label_space, ground=own.BACKGROUND if background else None))


def _mask(annotation: dict, layer: dict[str, np.ndarray] | None, outlines: Outlines) -> np.ndarray:
    """(H, W) bool: the pixels of an annotation, one at least."""
    kind = _kind(annotation)
    if kind not in AREAS:
        raise OutlineError(f"is of an unknown kind (keys {', '.join(annotation)}); known: {', '.join(AREAS)}")
    given = annotation[kind]
    if not isinstance(given, dict):
        raise OutlineError(f"its {kind} is {str(given)[:60]}; wanted an object with its parts")
    if kind == "mask":
        if layer is None:
            raise OutlineError("a mask has its pixels in the raster layer, and the file has none; export it again")
        mask = layer.get(str(annotation.get("id")))
        if mask is None or not mask.any():
            raise OutlineError("the mask has no pixel, and is left out", "empty_outline")  # drawn, and rubbed out again
    elif kind == "bounding_box":
        (x, y), (across, down) = _points([given, {"x": given.get("w"), "y": given.get("h")}], outlines)
        mask = outlines.box(x, y, x + across, y + down)
    elif kind == "ellipse":
        angle = {"x": given.get("angle", 0), "y": 0}  # in radians
        centre, radii, (turn, _) = _points([given.get("center"), given.get("radius"), angle], outlines)
        mask = outlines.ellipse(centre, radii, np.degrees(turn))
    else:
        mask = _polygon(given, outlines)
    if not mask.any():
        raise OutlineError(f"the {kind} covers no pixel of the image; draw it larger, or remove it")
    return mask


def _polygon(given: dict, outlines: Outlines) -> np.ndarray:
    """(H, W) bool: what an odd number of paths enclose; files of early versions have one path."""
    paths = given.get("paths") if "paths" in given else [given.get("path")]
    if not isinstance(paths, list) or not paths:
        raise OutlineError(f"its paths are {str(paths)[:60]}; wanted [[{{x, y}}, ...], ...]")
    return np.logical_xor.reduce([outlines.polygon(_points(path, outlines)) for path in paths])


def _points(path: object, outlines: Outlines) -> np.ndarray:
    """(N, 2) float64 from [{x, y}, ...]."""
    if not isinstance(path, list) or not all(isinstance(point, dict) for point in path):
        raise OutlineError(f"points are {str(path)[:60]}; wanted [{{x, y}}, ...] in pixels")
    return checked_points([[point.get("x"), point.get("y")] for point in path], outlines.height, outlines.width)


def _layer(annotations: list, outlines: Outlines) -> dict[str, np.ndarray] | None:
    """Id of a mask -> (H, W) bool; None where there is no raster layer, or none that can be read."""
    places = [index for index, one in enumerate(annotations) if isinstance(one, dict) and "raster_layer" in one]
    ids = {str(one.get("id")) for one in annotations if isinstance(one, dict) and "mask" in one}
    masks = None
    for index in places:
        with outlines.part(f"annotation {index} (raster layer)", index):
            if len(places) > 1:
                raise OutlineError("is not the only raster layer; wanted one for the image")
            masks = _layer_masks(annotations[index]["raster_layer"], ids, outlines.height, outlines.width)
    return masks


def _layer_masks(layer: object, ids: set, height: int, width: int) -> dict[str, np.ndarray]:
    """The masks of a raster layer: pairs of a value and how many pixels have it, row by row, and the value of each mask."""
    given = layer if isinstance(layer, dict) else {}
    runs, value_of = given.get("dense_rle"), given.get("mask_annotation_ids_mapping")
    if not isinstance(runs, list) or len(runs) % 2 or not all(type(one) is int and one >= 0 for one in runs):
        raise OutlineError(f"dense_rle is {str(runs)[:60]}; wanted [value, count, value, count, ...]")
    if not isinstance(value_of, dict) or not all(type(one) is int for one in value_of.values()):
        raise OutlineError(f"mask_annotation_ids_mapping is {str(value_of)[:60]}; wanted {{id of a mask: value}}")
    if sum(runs[1::2]) != height * width:
        message = f"dense_rle covers {sum(runs[1::2])} pixels, wanted {height}*{width} = {height * width}"
        raise OutlineError(message, "size_mismatch")
    strange = sorted(set(runs[::2]) - {0, *(value for id, value in value_of.items() if id in ids)})
    if strange:
        raise OutlineError(f"dense_rle holds the value {strange[0]}, which is no mask of the file; export it again")
    values = np.repeat(np.array(runs[::2], np.int64), runs[1::2]).reshape(height, width)
    return {id: values == value for id, value in value_of.items()}
