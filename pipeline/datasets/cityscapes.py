"""Cityscapes: street scenes of 2048x1024 from 50 cities, 19 classes, 8 of them things.

Cordts et al. 2016, The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR, arXiv:1604.01685. Behind a login.

Labels and colours are those of helpers/labels.py in github.com/mcordts/cityscapesScripts; what is not scored there
(`ignoreInEval`: the own car, parking, bridges, caravans ...) is void. As in its preparation/createPanopticImgs.py, a region of
a thing without a number, such as a row of parked bicycles, is a crowd.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.datasets._files import mapped_labels, panoptic_of, same_size
from pipeline.image_files import name_of, read_image, read_index_mask
from pipeline.sources import Fault, Record, Source
from pipeline.splits import TRAINVAL
from pipeline.structures import LabelSpace, Sample


class Label(NamedTuple):
    """A label that is scored: its name, its value in labelIds, its colour, and whether its objects are numbered."""

    name: str
    id: int
    colour: tuple[int, int, int]
    isthing: bool = False


LABELS = (
    Label("road", 7, (128, 64, 128)),
    Label("sidewalk", 8, (244, 35, 232)),
    Label("building", 11, (70, 70, 70)),
    Label("wall", 12, (102, 102, 156)),
    Label("fence", 13, (190, 153, 153)),
    Label("pole", 17, (153, 153, 153)),
    Label("traffic light", 19, (250, 170, 30)),
    Label("traffic sign", 20, (220, 220, 0)),
    Label("vegetation", 21, (107, 142, 35)),
    Label("terrain", 22, (152, 251, 152)),
    Label("sky", 23, (70, 130, 180)),
    Label("person", 24, (220, 20, 60), isthing=True),
    Label("rider", 25, (255, 0, 0), isthing=True),
    Label("car", 26, (0, 0, 142), isthing=True),
    Label("truck", 27, (0, 0, 70), isthing=True),
    Label("bus", 28, (0, 60, 100), isthing=True),
    Label("train", 31, (0, 80, 100), isthing=True),
    Label("motorcycle", 32, (0, 0, 230), isthing=True),
    Label("bicycle", 33, (119, 11, 32), isthing=True),
)
LABEL_SPACE = LabelSpace(*zip(*((label.name, label.colour, label.isthing) for label in LABELS), strict=True))
TABLE = dict.fromkeys(range(34), LABEL_SPACE.void) | {label.id: index for index, label in enumerate(LABELS)}
NUMBERED = 1000  # in instanceIds: label * 1000 + number of an object; below it, the label of stuff or of a group
IMAGE = "_leftImg8bit.png"


def read(source: Path, *, coarse: bool = False, official: bool = True) -> Source:
    """Pair `leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png` with `gtFine/SPLIT/CITY/ID_gtFine_{labelIds,instanceIds}.png`.

    The truth of the official test is kept on a server, so that the field trains on train and reports on val. Here the official
    val is the split test, and the official train is divided into train and val by their shares in `dataset.splits`, in whole
    cities, each a group: nothing is chosen on what is reported.

    Parameters
    ----------
    source : the folder with `leftImg8bit` and `gtFine`, or with `leftImg8bit_trainvaltest` and `gtFine_trainvaltest` that hold
        them
    coarse : add the 19,998 images of `leftImg8bit/train_extra` with their polygons of `gtCoarse` to train
    official : false: the cities of both are divided into all three splits

    Raises
    ------
    ValueError : a folder is missing, or an option does not fit; the message says what to fetch, where and how.
    """
    source = Path(source)
    if coarse and not official:
        raise ValueError("coarse: adds to the official train only; set official to true, or coarse to false")
    parts = [("train", "gtFine", TRAINVAL), ("val", "gtFine", "test"), ("train_extra", "gtCoarse", "train")]
    parts = parts if coarse else parts[:2]
    folders = _folders(source, [f"{kind}/{part}" for part, truth, _ in parts for kind in ("leftImg8bit", truth)])
    records, faults = [], []
    for part, truth, split in parts:
        masks = folders[f"{truth}/{part}"]
        images = sorted(folders[f"leftImg8bit/{part}"].glob(f"*/*{IMAGE}"))
        faults += _without_image(images, masks, truth, source)
        for image in images:
            found = _record(image, masks, truth, split if official else None, source)
            (records if isinstance(found, Record) else faults).append(found)
    return Source("Cityscapes", LABEL_SPACE, tuple(records), tuple(faults))


def _folders(source: Path, names: list[str]) -> dict[str, Path]:
    """Where each folder lies: in the source, or in a folder there, as tools that unpack often make one for each archive."""
    found = {name: [one for one in [source / name, *sorted(source.glob(f"*/{name}"))] if one.is_dir()] for name in names}
    missing = [f"{name}/" for name, folders in found.items() if not folders]
    if missing:
        from pipeline.datasets import BY_HAND

        raise ValueError(f"{source}: no folder {', '.join(missing)}. {BY_HAND['cityscapes']}")
    return {name: folders[0] for name, folders in found.items()}


def _without_image(images: list[Path], folder: Path, truth: str, root: Path) -> list[Fault]:
    end, names = f"_{truth}_labelIds.png", {(image.parent.name, image.name.removesuffix(IMAGE)) for image in images}
    return [
        Fault("mask_without_image", name_of(mask, root), "its image is not in leftImg8bit; unpack again, or remove the mask")
        for mask in sorted(folder.glob(f"*/*{end}"))
        if (mask.parent.name, mask.name.removesuffix(end)) not in names
    ]


def _record(image: Path, folder: Path, truth: str, split: str | None, root: Path) -> Record | Fault:
    id, city = image.name.removesuffix(IMAGE), image.parent.name
    masks = tuple(folder / city / f"{id}_{truth}_{kind}.png" for kind in ("labelIds", "instanceIds"))
    missing = [name_of(mask, root) for mask in masks if not mask.is_file()]
    if missing:
        return Fault("image_without_mask", name_of(image, root), f"{' and '.join(missing)} missing; unpack again")
    decode = partial(_decode, id=id, split=split, city=city, image=image, masks=masks, root=root)
    return Record(id, split, city, decode, image, masks)


def _decode(*, id: str, split: str | None, city: str, image: Path, masks: tuple[Path, ...], root: Path) -> Sample:
    pixels = read_image(image, root=root)
    label_ids, instance_ids = (read_index_mask(mask, root=root) for mask in masks)
    for mask, file in zip((label_ids, instance_ids), masks, strict=True):
        same_size(pixels, mask, file=name_of(file, root))
    labels = mapped_labels(label_ids, TABLE, LABEL_SPACE, file=name_of(masks[0], root))
    objects = np.where(instance_ids < NUMBERED, 0, instance_ids)
    return Sample(id, split, city, pixels, panoptic_of(labels, objects, LABEL_SPACE))
