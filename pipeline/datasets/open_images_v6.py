"""Open Images V6: photographs with masks of 2.8 million objects of 350 classes, in train, validation and test.

Kuznetsova et al. 2020, The Open Images Dataset V4, IJCV 128; Benenson et al. 2019, Large-scale interactive object segmentation
with human annotators, CVPR, arXiv:1903.10830. The files: https://storage.googleapis.com/openimages/web/download_v6.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets import _own_data as own
from pipeline.datasets._csv_index import IMAGE, LABEL, Table
from pipeline.datasets._open_images_files import BOXES, MASKS, PARTS, Tree, joined
from pipeline.datasets._polygons import Piece, truth_of
from pipeline.image_files import fault, name_of, read_image, read_index_mask
from pipeline.resizing import resize_labels
from pipeline.sources import Fault, FaultError, Record, Source
from pipeline.splits import SPLITS, TRAINVAL
from pipeline.structures import InstanceSet, Sample

CORNERS = ("XMin", "YMin", "XMax", "YMax")  # shares of width and height
SAME_BOX = 1e-5  # the tables of masks and of boxes round the same numbers differently
SAME_ASPECT = 0.02


def read(
    source: Path, *, classes: list[str | dict[str, Any]] | None = None, background: bool = True, official: bool = True
) -> Source:
    """Read the images that have a mask of a wanted class; tables, images and masks may lie anywhere below the source.

    A mask is resized to its image by nearest neighbour: both are copies of the original, of different sizes
    (github.com/openimages/dataset/issues/92). The objects keep their whole masks; in the panoptic truth, where they overlap,
    the smaller lies above the larger. A box that `IsGroupOf` marks is a crowd: with its mask, or, since such boxes have none
    as a rule, all of the box, as in the official evaluation (tensorflow/models, oid_challenge_evaluation_utils.py).

    Masks are not exhaustive. Where the table of boxes is there, what lies in a box of a wanted class without a mask is void.
    All else that no mask covers is "background": people have looked for the objects of the classes that an image is known to
    show, so that some are missed. An object has the most special of its labels only: the class Person holds no Man.

    Where masks of train, validation and test are there, they are the splits; of two parts, the first is divided into train and
    val, the other is test; the images of a single part are divided into all three splits.

    Parameters
    ----------
    classes : display names in order, such as Cat, things; or {name: ..., labels: [Man, Woman], colour: [R, G, B]}, where the
        optional `labels` are the display names that the class joins; None: all that have masks, in order of the descriptions
    background : false: what no mask covers is void
    official : false: the images of all parts are divided into all three splits

    Raises
    ------
    ValueError : a file is missing or damaged, or an option does not fit.
    """
    source = Path(source)
    tree = Tree(source)
    masks = {part: Table(path, ("MaskPath", *(f"Box{one}" for one in CORNERS))) for part, path in tree.tables(MASKS)}
    if not masks:
        raise ValueError(f"{source}: no {MASKS[0].format('PART')} of {', '.join(PARTS)}; fetch one, with its images and masks")
    boxes = {part: Table(path, ("IsGroupOf", *CORNERS)) for part, path in tree.tables(BOXES)}
    names = tree.names()
    given, class_of = (None, names) if classes is None else joined(classes, names)
    places, labels = {}, set()
    for part, table in masks.items():
        places[part], seen = table.places(class_of)
        labels |= seen
    given = _present(labels, names) if classes is None else given
    label_space = own.label_space(own.with_background(given, own.BACKGROUND) if background else given, things=True)
    ground = own.BACKGROUND if background else None
    about = {"root": source, "label_space": label_space, "classes": class_of, "folders": tree.folders, "ground": ground}
    images = {part: tree.find(of_image) for part, of_image in places.items()}
    there = [part for part, found in images.items() if found]
    splits = _splits(there) if official else dict.fromkeys(there)
    records: list[Record] = []
    for part in there:
        of_box, _ = boxes[part].places(class_of, only=images[part]) if part in boxes else ({}, set())
        for id, image in images[part].items():
            own_rows = {"masks": (masks[part], places[part][id]), "boxes": (boxes.get(part), of_box.get(id, ()))}
            decode = partial(_decode, id=id, split=splits[part], image=image, part=part, **own_rows, **about)
            records.append(Record(id, splits[part], id, decode, image))
    return Source("Open Images V6", label_space, tuple(records), tuple(_left_out(tree, masks, places, images, source)))


def _present(labels: set[str], names: Mapping[str, str]) -> list[str]:
    """The classes that have masks, in the order of the descriptions."""
    strange = sorted(labels - names.keys())
    if strange:
        raise ValueError(f"no display name for {', '.join(strange[:5])}; fetch the descriptions of all classes, or set classes")
    return list(dict.fromkeys(name for label, name in names.items() if label in labels))


def _splits(parts: Sequence[str]) -> dict[str, str | None]:
    if len(parts) == len(PARTS):
        return dict(zip(PARTS, SPLITS, strict=True))
    return {parts[0]: TRAINVAL, parts[1]: "test"} if len(parts) == 2 else dict.fromkeys(parts)


def _left_out(tree: Tree, masks, places, images, root: Path) -> Iterator[Fault]:
    """What is not read, in one line for each reason."""
    if not any(images.values()):
        message = f"none of the {sum(map(len, places.values()))} images with a mask of a wanted class is there; fetch some"
        yield Fault("no_image", "(data set)", message)
        return
    for part, of_image in places.items():
        missing = len(of_image) - len(images[part])
        if missing:
            message = f"{missing} of the {len(of_image)} images with a mask of a wanted class are not there, and are left out"
            yield Fault("not_fetched", name_of(masks[part].path, root), message, value=str(missing))
    more = tree.images - sum(map(len, images.values()))
    if more > 0:
        message = f"{more} images have no mask of a wanted class, and are left out"
        yield Fault("unlisted_image", "(data set)", message, value=str(more))


def _decode(
    *, id: str, split: str | None, image: Path, part: str, masks, boxes, root: Path, label_space, classes, folders, ground
) -> Sample:
    pixels = read_image(image, root=root)
    shape = pixels.shape[:2]
    boxed = [(classes[row[LABEL]], _corners(row, boxes[0].path, ""), row["IsGroupOf"] == "1") for row in _rows(*boxes)]
    pieces, faults, remarks = [], [], []
    for number, row in enumerate(_rows(*masks)):
        name, corners = classes[row[LABEL]], _corners(row, masks[0].path, "Box")
        same = [one for one in boxed if one[0] == name and np.abs(one[1] - corners).max() < SAME_BOX]
        boxed = [one for one in boxed if all(one is not other for other in same)]
        try:
            mask = _mask(row["MaskPath"], folders, shape, part, image, root)
        except FaultError as error:
            faults += error.faults
            continue
        if mask.any():
            pieces.append(Piece(mask, label_space.names.index(name), number, any(crowd for *_, crowd in same)))
        else:
            message = f"{row['MaskPath']} covers no pixel of its image; the object is left out"
            remarks.append(Fault("empty_outline", name_of(image, root), message, value=row["MaskPath"]))
    if faults:
        raise FaultError(faults)
    pieces.sort(key=lambda piece: (not piece.iscrowd, -np.count_nonzero(piece.mask)))
    regions = [Piece(_region(corners, shape), None, 0) for _, corners, _ in boxed]
    below = None if ground is None else label_space.names.index(ground)
    truth, objects = truth_of([*regions, *pieces], label_space, shape, ground=below)
    crowds = [(region.mask, name) for region, (name, _, crowd) in zip(regions, boxed, strict=True) if crowd]
    return Sample(id, split, id, pixels, truth, _with_crowds(objects, crowds, label_space), tuple(remarks))


def _rows(table: Table | None, places: Sequence[int]) -> Iterator[dict[str, str]]:
    return iter(()) if table is None else table.rows(places)


def _corners(row: Mapping[str, str], file: Path, before: str) -> np.ndarray:
    """(4,) float64: x0, y0, x1, y1 as shares of width and height."""
    texts = [row[before + one] for one in CORNERS]
    try:
        corners = np.array([float(text) for text in texts])
    except ValueError:
        corners = np.full(4, np.nan)
    if not np.isfinite(corners).all():
        message = f"image {row[IMAGE]} has a box from {texts[:2]} to {texts[2:]}; wanted numbers in 0..1: fetch the file again"
        raise fault("unreadable_annotation", file.name, message, value=row[IMAGE])
    return corners


def _mask(name: str, folders: Sequence[Path], shape: tuple[int, int], part: str, image: Path, root: Path) -> np.ndarray:
    """(H, W) bool at the size of the image."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None) if Path(name).name == name else None
    if path is None:
        message = f"its mask {name} is in no folder; unpack {part}-masks-{image.stem[0]}.zip"
        raise fault("image_without_mask", name_of(image, root), message, value=name)
    mask = read_index_mask(path, root=root) != 0
    (height, width), (own_height, own_width) = shape, mask.shape
    if abs(own_width * height - own_height * width) > SAME_ASPECT * own_height * width:
        message = (
            f"mask is {own_width}x{own_height}, its image {width}x{height} (width x height): of another shape; fetch both again"
        )
        raise fault("size_mismatch", name_of(path, root), message, value=f"{own_width}x{own_height}")
    return resize_labels(mask.view(np.uint8), height, width).view(bool)


def _region(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels that a box touches."""
    (height, width), mask = shape, np.zeros(shape, bool)
    x0, y0, x1, y1 = np.round(corners * [width, height, width, height], 3)
    mask[max(int(np.floor(y0)), 0) : int(np.ceil(y1)), max(int(np.floor(x0)), 0) : int(np.ceil(x1))] = True
    return mask


def _with_crowds(objects: InstanceSet | None, crowds: Sequence[tuple[np.ndarray, str]], label_space) -> InstanceSet | None:
    """The objects, and the crowds of things without a mask."""
    found = [(mask, label_space.names.index(name)) for mask, name in crowds]
    found = [(mask, category) for mask, category in found if label_space.isthing[category]]
    if objects is None or not found:
        return objects
    masks = np.concatenate([objects.masks, np.stack([mask for mask, _ in found])])
    classes = [*objects.classes, *(category for _, category in found)]
    return InstanceSet.build(masks, classes, iscrowd=[*objects.iscrowd, *(True for _ in found)])
