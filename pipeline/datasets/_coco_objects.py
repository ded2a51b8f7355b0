"""The objects of an image in COCO's instances JSON, from its annotations to its truth: what the two COCO readers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets._coco_index import read_annotations
from pipeline.datasets._outlines import Outlines
from pipeline.datasets._polygons import OutlineError, Piece, run_length_mask
from pipeline.image_files import name_of, read_image
from pipeline.sources import Fault, FaultError
from pipeline.structures import LabelSpace, Sample


def read_sized_image(path: Path, entry: Mapping[str, Any], *, file: Path, root: Path) -> np.ndarray:
    """The picture of an entry of the table `images` in `file`; FaultError where it is of another size than that says."""
    pixels = read_image(path, root=root)
    height, width = pixels.shape[:2]
    said = (entry.get("width") or width, entry.get("height") or height)
    if said != (width, height):
        where = name_of(file, root)
        message = f"is {width}x{height}, and {where} says {said[0]}x{said[1]} (width x height); annotate it again"
        raise FaultError([Fault("size_mismatch", name_of(path, root), message, value=f"{said[0]}x{said[1]}")])
    return pixels


def decode_objects(
    *,
    id: str,
    split: str | None,
    group: str,
    image: Path,
    entry: Mapping[str, Any],
    file: Path,
    places: Sequence[int],
    names: Mapping[Any, str],
    root: Path,
    label_space: LabelSpace,
    ground: str | None,
    published: bool = False,
) -> Sample:
    """One image with the annotations that stand in `file` at `places`; crowds lie below all.

    Parameters
    ----------
    entry : of the table `images`
    names : id of a category -> its name
    ground : the class of what no annotation covers; None: void
    published : false: later annotations lie above earlier ones, and one that covers no pixel is a fault. True, for COCO's own
        files, which have no order and cannot be mended: of two objects the smaller lies above, and one that covers no pixel is
        left out, with a remark
    """
    pixels = read_sized_image(image, entry, file=file, root=root)
    where = name_of(file, root)
    pieces, outlines = [], Outlines(where, *pixels.shape[:2])
    for number, (index, annotation) in enumerate(read_annotations(file, places)):
        about, value = f"annotation {index} (id {annotation.get('id')!r}, {entry['file_name']})", annotation.get("id", index)
        with outlines.part(about, value):
            category = _category(annotation["category_id"], names, label_space)
            mask = _mask(annotation.get("segmentation"), outlines)
            if mask.any():
                pieces.append(Piece(mask, category, number, bool(annotation.get("iscrowd", False))))
            elif published:
                message = f"{about}: its segmentation covers no pixel; the object is left out"
                outlines.remarks.append(Fault("empty_outline", where, message, value=str(value)))
            else:
                raise OutlineError("its segmentation covers no pixel; draw it again, or remove it")
    if published:
        pieces.sort(key=lambda piece: -np.count_nonzero(piece.mask))
    pieces.sort(key=lambda piece: not piece.iscrowd)
    return Sample(id, split, group, pixels, *outlines.truth(pieces, label_space, ground=ground))


def _category(id: object, names: Mapping[Any, str], label_space: LabelSpace) -> int:
    if id not in names:
        raise OutlineError(f"category_id {id!r} is none of {', '.join(map(str, names))}; correct it", "missing_category")
    if names[id] not in label_space.names:
        known = ", ".join(label_space.names)
        raise OutlineError(f"category {names[id]!r} is none of {known}; add it to classes", "label_outside")
    return label_space.names.index(names[id])


def _mask(segmentation: object, outlines: Outlines) -> np.ndarray:
    """(H, W) bool: the pixels of an object."""
    if isinstance(segmentation, dict):
        return run_length_mask(segmentation, outlines.height, outlines.width)
    if not isinstance(segmentation, list) or not segmentation:
        raise OutlineError("has no segmentation; `python -m pipeline.annotate` makes one from its bbox, or remove it")
    mask = outlines.polygon(_pairs(segmentation[0]))
    for numbers in segmentation[1:]:
        mask |= outlines.polygon(_pairs(numbers))
    return mask


def _pairs(numbers: object) -> list:
    """[[x, y], ...] from [x, y, x, y, ...]."""
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise OutlineError(f"a polygon is {str(numbers)[:60]}; wanted [x, y, x, y, ...] in pixels")
    return [numbers[start : start + 2] for start in range(0, len(numbers), 2)]
