"""The canonical data set on disk, as everything after convert reads it; `pipeline.dataset_writer` writes it.

    images/SPLIT/ID.(jpg|png)    the source's bytes where they are 8-bit JPEG or PNG, else PNG
    panoptic/SPLIT/ID.png        COCO panoptic: segment id = R + 256 G + 65536 B, 0 = void
    panoptic_SPLIT.json          what each segment is; a category id is the class index + 1
    instances_SPLIT.json         COCO instances, RLE; only where the data has things; alone may hold overlaps and crowds
    dataset.json                 name, classes, origin, the group of every image, and a digest of all pixels

No other file than these two knows the format. They are two so that a change of the gate refits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.files import read_json
from pipeline.provenance import file_hash
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment

_COLOUR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class Dataset:
    """A data set in the canonical form.

    Attributes
    ----------
    name, label_space, origin : as they were written
    sha256 : the identity of the data, in hex; any change of a source byte, a pixel, a class, a split or a group shows in it
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        file = self.folder / "dataset.json"
        if not file.is_file():
            raise ValueError(f"{file}: no such file; run the convert stage (dvc repro convert)")
        description = read_json(file)
        self.name: str = description["name"]
        self.label_space = LabelSpace.from_json(description)
        self.origin: dict = description["origin"]
        self.sha256 = file_hash(file)
        self._groups: dict[str, dict[str, str]] = description["groups"]
        self._entries: dict[str, dict[str, _Entry]] = {}  # of each split, read when first asked for

    @property
    def has_things(self) -> bool:
        return self.label_space.has_things

    def ids(self, split: str) -> list[str]:
        """The ids of a split, always in the same order."""
        if split not in self._groups:
            raise ValueError(f"{self.name}: no split {split!r}; choose one of: {', '.join(self._groups)}")
        return list(self._groups[split])

    def group(self, id: str) -> str:
        """The group of an image of any split."""
        for groups in self._groups.values():
            if id in groups:
                return groups[id]
        raise ValueError(f"{self.name}: no image {id!r}")

    def samples(self, split: str) -> Samples:
        """The samples of a split, opened one by one in the order of `ids`, each time they are walked through."""
        return Samples(self, split)

    def image_file(self, split: str, id: str) -> Path:
        """The image as it is stored, JPEG or PNG."""
        return self.folder / "images" / split / self._entry(split, id).file_name

    def size(self, split: str, id: str) -> tuple[int, int]:
        """Height and width of an image, without opening it."""
        return self._entry(split, id).size

    def sample(self, split: str, id: str) -> Sample:
        """Open one sample; where the data has things, `instances` holds every object of it.

        Raises
        ------
        ValueError : the split has no such id, or a file is missing or damaged.
        """
        entry = self._entry(split, id)
        pixels = _decode(self.folder / "panoptic" / split / f"{id}.png", cv2.IMREAD_COLOR)
        # B G R -> R G B 0: the four bytes of a little-endian id
        ids = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA)
        ids[..., 3] = 0
        segments = ids.view("<i4").reshape(pixels.shape[:2]).astype(np.int32, copy=False)
        return Sample(
            id=id,
            split=split,
            group=self._groups[split][id],
            image=_decode(self.image_file(split, id), _COLOUR),
            truth=PanopticMap(segments, tuple(map(_segment, entry.segments))),
            instances=_instances(entry.objects, segments.shape) if self.has_things else None,
        )

    def _entry(self, split: str, id: str) -> _Entry:
        if split not in self._entries:
            self._entries[split] = self._read_entries(split)
        if id not in self._entries[split]:
            raise ValueError(f"{self.name}: split {split} has no image {id!r}")
        return self._entries[split][id]

    def _read_entries(self, split: str) -> dict[str, _Entry]:
        ids = self.ids(split)
        maps = read_json(self.folder / f"panoptic_{split}.json")
        segments = {one["image_id"]: one["segments_info"] for one in maps["annotations"]}
        objects: dict[int, list[dict]] = {}
        if self.has_things:
            for one in read_json(self.folder / f"instances_{split}.json")["annotations"]:
                objects.setdefault(one["image_id"], []).append(one)
        return {
            id: _Entry(one["file_name"], (one["height"], one["width"]), segments[one["id"]], objects.get(one["id"], []))
            for id, one in zip(ids, maps["images"], strict=True)
        }


@dataclass(frozen=True)
class Samples(Sequence):
    """The samples of one split, opened when they are asked for and not kept."""

    dataset: Dataset
    split: str

    def __len__(self) -> int:
        return len(self.dataset.ids(self.split))

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.sample(self.split, self.dataset.ids(self.split)[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self.dataset.sample(self.split, id) for id in self.dataset.ids(self.split))


@dataclass(frozen=True)
class _Entry:
    """What the COCO tables say about one image."""

    file_name: str
    size: tuple[int, int]
    segments: list[dict]
    objects: list[dict]


def _decode(file: Path, flags: int) -> np.ndarray:
    """(H, W, 3) uint8 pixels of a file, in the order of channels that `flags` ask for."""
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), flags) if file.is_file() and file.stat().st_size else None
    if pixels is None:
        raise ValueError(f"{file}: missing or damaged; run the convert stage again (dvc repro -f convert)")
    return pixels


def _segment(described: dict) -> Segment:
    return Segment(described["id"], described["category_id"] - 1, bool(described["iscrowd"]))


def _instances(objects: list[dict], shape: tuple[int, int]) -> InstanceSet:
    from pycocotools import mask as coco

    if not objects:
        return InstanceSet.empty(*shape)
    masks = coco.decode([one["segmentation"] for one in objects])  # (H, W, N) uint8
    classes, iscrowd = ([one[key] for one in objects] for key in ("category_id", "iscrowd"))
    return InstanceSet.build(masks.transpose(2, 0, 1), np.array(classes) - 1, iscrowd=iscrowd)
