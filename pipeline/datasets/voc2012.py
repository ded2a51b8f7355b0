"""PASCAL VOC 2012, its segmentation part: 1,464 images of the official train and 1,449 of val, 20 kinds of objects.

Everingham et al. 2015, The PASCAL Visual Object Classes Challenge: A Retrospective, IJCV 111; the development kit,
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Hariharan et al. 2011, Semantic Contours from Inverse
Detectors, ICCV, annotated 11,355 images of VOC 2011 anew: the data set SBD. Its images beyond VOC's train and val make train
the "train_aug" of 10,582 that most published networks are trained on (mmsegmentation's voc_aug.py).

Masks hold class indices in a palette, 0 background, 1..20 in alphabetical order, 255 void: a border around every object, and
the objects that are marked `difficult`, says the development kit. So no box XML is read. SBD has neither border nor void.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets._files import class_labels, panoptic_of, same_size
from pipeline.image_files import fault, name_of, read_image, read_index_mask
from pipeline.sources import Fault, Record, Source
from pipeline.splits import TRAINVAL
from pipeline.structures import LabelSpace, Sample

VOID = 255
NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def _colour(index: int) -> tuple[int, ...]:
    """The development kit's VOClabelcolormap: the bits of the index, in turns, are the high bits of red, green and blue."""
    bits = [(index >> bit & 1) << 7 - bit // 3 for bit in range(8)]
    return tuple(sum(bits[channel::3]) for channel in range(3))


LABEL_SPACE = LabelSpace(NAMES, tuple(map(_colour, range(len(NAMES)))), (False, *(True,) * 20))


def read(source: Path, *, sbd: str | None = None, official: bool = True) -> Source:
    """Read the images that the lists of `ImageSets/Segmentation` name; every image is a group of its own.

    The masks of the official test were never published, so that the field trains on train and reports on val. Here the
    official val is the split test, and the official train is divided into train and val by their shares in `dataset.splits`:
    nothing is chosen on what is reported.

    Parameters
    ----------
    source : the folder `VOC2012`, or one that holds it or `VOCdevkit/VOC2012`
    sbd : folder of SBD below `source`, `benchmark_RELEASE/dataset` in its archive, or of PNG masks, the widespread
        `SegmentationClassAug`, which has no objects: there a class is one region of objects that nobody told apart. Its images
        that are in no official list are added to train; the others keep the masks of VOC. None: VOC alone
    official : false: the images of both lists are divided into all three splits

    Raises
    ------
    ValueError : a list or a folder is missing, or an option does not fit.
    """
    source = Path(source)
    home = _home(source)
    listed = {name: _ids(home / f"ImageSets/Segmentation/{name}.txt") for name in ("train", "val")}
    if sbd is not None and not official:
        raise ValueError("sbd: adds to the official train only; set official to true, or sbd to null")
    found = []
    for name, ids in listed.items():
        split = (TRAINVAL if name == "train" else "test") if official else None
        for id in ids:
            masks = tuple(home / folder / f"{id}.png" for folder in ("SegmentationClass", "SegmentationObject"))
            found.append(_record(id, split, home, masks, source))
    if sbd is not None:
        taken = {id for ids in listed.values() for id in ids}
        pairs = _masks_of_sbd(source / sbd)
        found += [_record(id, "train", home, masks, source) for id, masks in pairs.items() if id not in taken]
    records = tuple(one for one in found if isinstance(one, Record))
    return Source("PASCAL VOC 2012", LABEL_SPACE, records, tuple(one for one in found if isinstance(one, Fault)))


def _home(source: Path) -> Path:
    for home in (source, source / "VOC2012", source / "VOCdevkit/VOC2012"):
        if (home / "ImageSets/Segmentation").is_dir():
            return home
    raise ValueError(
        f"{source}: no VOCdevkit/VOC2012/ImageSets/Segmentation; wanted VOCtrainval_11-May-2012.tar, unpacked: JPEGImages/, "
        "SegmentationClass/, SegmentationObject/, ImageSets/Segmentation/"
    )


def _ids(file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError(f"{file}: no such file; unpack VOCtrainval_11-May-2012.tar again")
    ids = file.read_text(encoding="utf-8").split()
    wrong = [id for id in ids if not re.fullmatch(r"\w[\w-]*", id)]
    if wrong:
        raise ValueError(f"{file}: {wrong[0]!r}; wanted an image a line, such as 2007_000032")
    return ids


def _masks_of_sbd(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Image -> the file of classes and, in SBD's own layout, that of objects."""
    classes = folder / "cls"
    if classes.is_dir():
        return {path.stem: (path, folder / "inst" / path.name) for path in sorted(classes.glob("*.mat"))}
    found = {path.stem: (path,) for path in sorted(folder.glob("*.png"))}
    if not found:
        raise ValueError(f"sbd: {folder}: wanted the folders cls/ and inst/ of SBD's benchmark.tgz, or PNG masks")
    return found


def _record(id: str, split: str | None, home: Path, masks: tuple[Path, ...], root: Path) -> Record | Fault:
    image = home / "JPEGImages" / f"{id}.jpg"
    if not image.is_file():
        return Fault("mask_without_image", name_of(image, root), "does not exist; unpack VOCtrainval_11-May-2012.tar again")
    missing = [name_of(mask, root) for mask in masks if not mask.is_file()]
    if missing:
        message = f"{' and '.join(missing)} missing; unpack again"
        return Fault("image_without_mask", name_of(image, root), message)
    return Record(id, split, id, partial(_decode, id=id, split=split, image=image, masks=masks, root=root), image, masks)


def _decode(*, id: str, split: str | None, image: Path, masks: tuple[Path, ...], root: Path) -> Sample:
    pixels = read_image(image, root=root)
    found = [_read_mask(mask, variable, root) for mask, variable in zip(masks, ("GTcls", "GTinst"), strict=False)]
    for mask, file in zip(found, masks, strict=True):
        same_size(pixels, mask, file=name_of(file, root))
    labels = class_labels(found[0], LABEL_SPACE, void=VOID, file=name_of(masks[0], root))
    objects = found[1] if len(found) > 1 else np.zeros_like(labels)
    return Sample(id, split, id, pixels, panoptic_of(labels, np.where(objects == VOID, 0, objects), LABEL_SPACE))


def _read_mask(file: Path, variable: str, root: Path) -> np.ndarray:
    """(H, W) uint8 or uint16 from a palette PNG, or from the struct of that name in a file of SBD."""
    if file.suffix != ".mat":
        return read_index_mask(file, root=root)
    try:
        return _matlab_mask(file.read_bytes(), variable)
    except (OSError, IndexError, KeyError, ValueError, struct.error, zlib.error) as error:
        message = f"is damaged, or no file of SBD ({error}); unpack benchmark.tgz again"
        raise fault("unreadable_image", name_of(file, root), message) from None


# MathWorks, MAT-File Format, chapter 1: level 5. Not scipy.io.loadmat, which some damaged files crash or keep busy for ever.
LARGEST = 1 << 26  # bytes that a variable may unpack to, against bombs
SMALL_KINDS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
MATRIX, COMPRESSED, STRUCT = 14, 15, 2


def _matlab_mask(data: bytes, variable: str) -> np.ndarray:
    """(H, W) uint16, the field Segmentation of a 1x1 struct."""
    if data[126:128] != b"IM":
        raise ValueError("it is no little-endian MAT-file of level 5")
    for kind, content in _elements(memoryview(data)[128:]):
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj().decompress(content, LARGEST)
            kind, content = next(_elements(memoryview(unpacked)), (0, content))
        parts = list(_elements(content)) if kind == MATRIX else []
        if len(parts) > 5 and bytes(parts[2][1]) == variable.encode() and parts[0][1][0] == STRUCT:
            length = int(_numbers(parts[3])[0])
            names = [bytes(parts[4][1][at : at + length]).rstrip(b"\0") for at in range(0, len(parts[4][1]), max(length, 1))]
            field = list(_elements(parts[5 + names.index(b"Segmentation")][1]))
            height, width = _numbers(field[1]).tolist()
            mask = _numbers(field[3]).reshape(height, width, order="F")
            if mask.min() < 0 or mask.max() > 65535 or (mask % 1).any():
                raise ValueError("its Segmentation holds no whole numbers in 0..65535")
            return mask.astype(np.uint16)
    raise ValueError(f"it has no struct {variable}")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of one data element after the other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind >> 16:  # a small one: its size in the upper half, its content in place of the size
            yield kind & 0xFFFF, data[at + 4 : at + 4 + min(kind >> 16, 4)]
            at += 8
            continue
        if at + 8 + size > len(data):
            raise ValueError("it is cut off")
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + (0 if kind == COMPRESSED else -size % 8)


def _numbers(element: tuple[int, memoryview]) -> np.ndarray:
    return np.frombuffer(element[1], SMALL_KINDS[element[0]])
