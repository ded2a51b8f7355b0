"""Read and write data/train: pictures decoded and resized once, plain or, where there are many, encoded.

arrays.json is written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.array_files import ArrayFiles, ArrayWriter
from pipeline.files import write_json
from pipeline.provenance import file_hash
from pipeline.resizing import resize_image, resize_labels, scaled_size
from pipeline.shards import Shards, ShardWriter
from pipeline.spread import spread
from pipeline.structures import InstanceSet, LabelSpace, Target

SPLITS = ("train", "val")
INDEX = "arrays.json"
OBJECTS = "objects.jsonl"
STORES = {"arrays": (ArrayWriter, ArrayFiles), "shards": (ShardWriter, Shards)}


def write(dataset, folder: str | Path, *, short_side: int | None, policy: dict, encode_above_gib: float = np.inf) -> None:
    """Decode the train and val splits of a data set once, on all cores.

    Parameters
    ----------
    dataset : pipeline.dataset.Dataset; not imported, so that its code is no part of a fit's identity
    folder : written anew; the same input gives the same bytes
    short_side : px of the shorter side of every picture; smaller ones are enlarged. None: native size
    policy : the options of `pipeline.transforms.augment`, kept with the arrays: a fit depends on both
    encode_above_gib : where plain arrays would be larger, pictures are stored as JPEG in shards, labels as PNG: the disk reads
        less, a processor decodes more. A number, not this machine's memory, so that all machines train on the same bytes

    Raises
    ------
    ValueError : a split has no image, or a picture is unreadable.
    OSError : no space left; names the file.
    """
    folder, space = Path(folder), dataset.label_space
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    statistics, splits = _Statistics(space), {}
    is_large = encode_above_gib < np.inf and _plain_bytes(dataset, short_side) > encode_above_gib * 2**30
    storage = "shards" if is_large else "arrays"
    for split in SPLITS:
        shutil.rmtree(folder / split, ignore_errors=True)
        (folder / split).mkdir()
        if not dataset.ids(split):
            raise ValueError(f"{dataset.name}: split {split} has no image; training needs at least one in train and in val")
        add = statistics.add if split == "train" else lambda picture: None
        splits[split] = _write_split(dataset, split, folder / split, short_side, storage, add)
    index = {
        "storage": storage,
        "has_things": dataset.has_things,
        "label_space": space.to_json(),
        "short_side": short_side,
        "policy": policy,
        **statistics.summary(),
        "splits": splits,
        "sha256": {file.relative_to(folder).as_posix(): file_hash(file) for file in sorted(folder.glob("*/*"))},
    }
    write_json(folder / INDEX, index)


def _plain_bytes(dataset, short_side: int | None) -> int:
    """What images and labels of both splits take as plain arrays."""
    sizes = (scaled_size(*dataset.size(split, one), short_side) for split in SPLITS for one in dataset.ids(split))
    return sum(height * width for height, width in sizes) * (3 + np.dtype(dataset.label_space.dtype).itemsize)


@dataclass
class _Picture:
    """One resized sample; `packed` is what the store keeps of image and labels."""

    id: str
    image: np.ndarray
    labels: np.ndarray
    packed: tuple
    objects: list[dict] | None


def _write_split(dataset, split: str, folder: Path, short_side: int | None, storage: str, see) -> list[dict]:
    """Write the pictures of a split; where each lies, in the order of the ids. `see` is called with each."""
    places, prepare = [], partial(_prepare, dataset, split, short_side, STORES[storage][0].packed)
    with STORES[storage][0](folder) as store, (folder / OBJECTS).open("wb") as objects:
        for picture in spread(prepare, dataset.ids(split), threads=os.cpu_count() or 1):
            height, width = picture.labels.shape
            place = {"id": picture.id, "height": height, "width": width, "place": list(store.add(*picture.packed))}
            if picture.objects is not None:
                place["objects"] = objects.tell()
                objects.write(json.dumps(picture.objects).encode() + b"\n")
            places.append(place)
            see(picture)
    if not dataset.has_things:
        (folder / OBJECTS).unlink()
    return places


def _prepare(dataset, split: str, short_side: int | None, pack, one: str) -> _Picture:
    sample, space = dataset.sample(split, one), dataset.label_space
    height, width = scaled_size(*sample.shape, short_side)
    image = resize_image(sample.image, height, width)
    labels = resize_labels(sample.truth.semantic(space), height, width)
    objects = _encode(sample.objects(space).resized(height, width)) if dataset.has_things else None
    return _Picture(one, image, labels, pack(image, labels), objects)


def _encode(objects: InstanceSet) -> list[dict]:
    """COCO run lengths; an object too small to have a pixel at this size is left out."""
    from pycocotools import mask as coco

    entries = []
    for mask, category, iscrowd in zip(objects.masks, objects.classes, objects.iscrowd, strict=True):
        if mask.any():
            code = coco.encode(np.asfortranarray(mask, np.uint8))
            rle = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
            entries.append({"class": int(category), "iscrowd": int(iscrowd), "segmentation": rle})
    return entries


def _decode(entries: list[dict], height: int, width: int) -> InstanceSet:
    from pycocotools import mask as coco

    if not entries:
        return InstanceSet.empty(height, width)
    masks = coco.decode([entry["segmentation"] for entry in entries])  # (H, W, N)
    return InstanceSet.build(
        np.ascontiguousarray(masks.transpose(2, 0, 1)),
        [entry["class"] for entry in entries],
        iscrowd=[entry["iscrowd"] for entry in entries],
    )


class _Statistics:
    """Exact counts over the training split."""

    def __init__(self, space: LabelSpace):
        self.space = space
        self.class_pixels = np.zeros(space.num_classes, np.int64)
        self.class_image_pixels = np.zeros(space.num_classes, np.int64)
        self.levels = np.zeros((3, 256), np.int64)

    def add(self, picture: _Picture) -> None:
        pixels = np.bincount(picture.labels.ravel(), minlength=self.space.void + 1)[: self.space.num_classes]
        self.class_pixels += pixels
        self.class_image_pixels[pixels > 0] += pixels.sum()
        for channel in range(3):
            self.levels[channel] += np.bincount(picture.image[..., channel].ravel(), minlength=256)

    def summary(self) -> dict:
        level = np.arange(256) / 255
        share = self.levels / self.levels.sum(axis=1, keepdims=True)
        mean = share @ level
        std = np.sqrt((share * (level - mean[:, None]) ** 2).sum(axis=1))
        return {
            "mean": mean.tolist(),
            "std": std.tolist(),
            "class_pixels": self.class_pixels.tolist(),
            "class_image_pixels": self.class_image_pixels.tolist(),
        }


class TrainingArrays:
    """The training arrays of a folder; files are opened when they are first read.

    Parameters
    ----------
    folder : as `write` left it

    Attributes
    ----------
    label_space : the classes
    short_side : px, or None for native sizes
    policy : options of `pipeline.transforms.augment`
    mean, std : (3,) float64 per RGB channel over the training split, in 0..1
    class_pixels : (C,) int64, pixels of each class in the training split
    class_image_pixels : (C,) int64, labelled pixels of the training images in which the class occurs
    has_things : objects are stored too
    storage : "arrays", plain, or "shards", encoded
    sha256 : name -> hash of every file; that of arrays.json covers the policy and the statistics

    Raises
    ------
    ValueError : the folder holds no finished arrays.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            raise ValueError(f"{path}: no such file; run `dvc repro augment` first")
        index = json.loads(path.read_text(encoding="utf-8"))
        self.label_space = LabelSpace.from_json(index["label_space"])
        self.short_side, self.policy = index["short_side"], index["policy"]
        self.mean, self.std = np.array(index["mean"]), np.array(index["std"])
        self.class_pixels = np.array(index["class_pixels"], np.int64)
        self.class_image_pixels = np.array(index["class_image_pixels"], np.int64)
        self.sha256 = {**index["sha256"], INDEX: file_hash(path)}
        self.has_things, self.storage, self._splits = index["has_things"], index["storage"], index["splits"]

    def split(self, name: str) -> ArraySplit:
        """The pictures of "train" or "val"."""
        if name not in self._splits:
            raise ValueError(f"{self.folder}: no split {name!r}; choose one of: {', '.join(self._splits)}")
        return ArraySplit(self.folder / name, self._splits[name], storage=self.storage)


class ArraySplit:
    """The pictures of one split, by index. Files are opened on first use in each process: it pickles and forks.

    Parameters
    ----------
    folder : of the split
    places : of each picture: id, height, width, its place in the store, and where it has objects, that in their file
    """

    def __init__(self, folder: Path, places: list[dict], *, storage: str):
        self.folder = folder
        self.ids = [place["id"] for place in places]
        self.sizes = [(place["height"], place["width"]) for place in places]
        self._places = [place["place"] for place in places]
        self._objects = [place.get("objects") for place in places]
        self._store = STORES[storage][1](folder)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, read-only where it is a view of a file."""
        return self._store.image(self.sizes[index], *self._places[index])

    def target(self, index: int, *, with_instances: bool = False) -> Target:
        """The truth. Objects are decoded where asked for; none without things."""
        target = Target(self._store.labels(self.sizes[index], *self._places[index]))
        if not with_instances:
            return target
        return replace(target, instances=_decode(self._objects_of(index), *self.sizes[index]))

    def _objects_of(self, index: int) -> list[dict]:
        if self._objects[index] is None:
            return []
        with (self.folder / OBJECTS).open("rb") as file:
            file.seek(self._objects[index])
            return json.loads(file.readline())
