"""Read and write data/train: pictures decoded and resized once, in arrays that are mapped into memory.

Pictures of one size share an array file. arrays.json is written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pipeline.files import write_json, write_text
from pipeline.provenance import file_hash
from pipeline.resizing import resize_image, resize_labels, scaled_size
from pipeline.spread import spread
from pipeline.structures import InstanceSet, LabelSpace, Target

SPLITS = ("train", "val")
INDEX = "arrays.json"
OPEN_FILES = 128  # array files mapped at once: each holds a file descriptor, and sources have up to hundreds of sizes


def write(dataset, folder: str | Path, *, short_side: int | None, policy: dict) -> None:
    """Decode the train and val splits of a data set once, on all cores, into array files.

    Parameters
    ----------
    dataset : pipeline.dataset.Dataset; not imported, so that its code is no part of a fit's identity
    folder : written anew; the same input gives the same bytes
    short_side : px of the shorter side of every picture; smaller ones are enlarged. None: native size
    policy : the options of `pipeline.transforms.augment`, kept with the arrays: a fit depends on both

    Raises
    ------
    ValueError : a split has no image, or a picture is unreadable.
    OSError : no space left; names the file.
    """
    folder, space = Path(folder), dataset.label_space
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    statistics, splits = _Statistics(space), {}
    for split in SPLITS:
        shutil.rmtree(folder / split, ignore_errors=True)
        (folder / split).mkdir()
        if not dataset.ids(split):
            raise ValueError(f"{dataset.name}: split {split} has no image; training needs at least one in train and in val")
        splits[split] = _write_split(dataset, split, folder / split, short_side, statistics if split == "train" else None)
    index = {
        "label_space": space.to_json(),
        "short_side": short_side,
        "policy": policy,
        **statistics.summary(),
        "splits": splits,
        "sha256": {file.relative_to(folder).as_posix(): file_hash(file) for file in sorted(folder.glob("*/*"))},
    }
    write_json(folder / INDEX, index)


@dataclass
class _Picture:
    """One resized sample."""

    id: str
    image: np.ndarray
    labels: np.ndarray
    objects: list[dict] | None


def _write_split(dataset, split: str, folder: Path, short_side: int | None, statistics: _Statistics | None) -> list[dict]:
    """Write the array files of a split; where each picture lies, in the order of the ids."""
    places, objects, counts = [], {}, {}
    for picture in spread(partial(_prepare, dataset, split, short_side), dataset.ids(split), threads=os.cpu_count() or 1):
        height, width = picture.labels.shape
        row = counts.get((height, width), 0)
        for kind, array in (("images", picture.image), ("labels", picture.labels)):
            _append(folder / _file_name(kind, height, width), array, first=row == 0)
        counts[height, width] = row + 1
        places.append({"id": picture.id, "height": height, "width": width, "row": row})
        if picture.objects is not None:
            objects[picture.id] = picture.objects
        if statistics is not None:
            statistics.add(picture)
    for (height, width), count in counts.items():
        for kind, array in (("images", picture.image), ("labels", picture.labels)):
            shape = (count, height, width, *array.shape[2:])
            _write_header(folder / _file_name(kind, height, width), shape, array.dtype, mode="r+b")
    if dataset.has_things:
        write_text(folder / "instances.json", json.dumps(objects) + "\n")
    return places


def _prepare(dataset, split: str, short_side: int | None, one: str) -> _Picture:
    sample, space = dataset.sample(split, one), dataset.label_space
    height, width = scaled_size(*sample.shape, short_side)
    image = resize_image(sample.image, height, width)
    labels = resize_labels(sample.truth.semantic(space), height, width)
    objects = _encode(sample.objects(space).resized(height, width)) if dataset.has_things else None
    return _Picture(one, image, labels, objects)


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


def _file_name(kind: str, height: int, width: int) -> str:
    return f"{kind}_{height}x{width}.npy"


def _append(path: Path, array: np.ndarray, *, first: bool) -> None:
    """Add one row to a .npy file whose length is not known yet; the header is written again at the end."""
    if first:
        _write_header(path, (0, *array.shape), array.dtype, mode="wb")
    try:
        with path.open("ab") as file:
            file.write(np.ascontiguousarray(array).data)
    except OSError as error:  # a full disk does not say which file
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write_header(path: Path, shape: tuple[int, ...], dtype: np.dtype, *, mode: str) -> None:
    """The header keeps its length: NumPy leaves room for the first axis to grow."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open(mode) as file:
        np.lib.format.write_array_header_1_0(file, header)


class TrainingArrays:
    """The training arrays of a folder; array files are opened when they are first read.

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
        self.has_things = f"{SPLITS[0]}/instances.json" in self.sha256
        self._splits = index["splits"]

    def split(self, name: str) -> ArraySplit:
        """The pictures of "train" or "val"."""
        if name not in self._splits:
            raise ValueError(f"{self.folder}: no split {name!r}; choose one of: {', '.join(self._splits)}")
        return ArraySplit(self.folder / name, self._splits[name])


class ArraySplit:
    """The pictures of one split, by index. Maps are opened on first use in each process: it pickles and forks.

    Parameters
    ----------
    folder : of the split
    places : id, height, width and row in the array file of each picture
    """

    def __init__(self, folder: Path, places: list[dict]):
        self.folder = folder
        self.ids = [place["id"] for place in places]
        self.sizes = [(place["height"], place["width"]) for place in places]
        self._rows = [place["row"] for place in places]
        self._open: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_objects"} | {"_open": {}}

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, a read-only view of the file."""
        return self._map("images", index)

    def target(self, index: int, *, with_instances: bool = False) -> Target:
        """The truth; labels are a read-only view of the file. Objects are decoded where asked for; none without things."""
        target = Target(self._map("labels", index))
        if not with_instances:
            return target
        return replace(target, instances=_decode(self._objects.get(self.ids[index], []), *self.sizes[index]))

    @cached_property
    def _objects(self) -> dict[str, list[dict]]:
        path = self.folder / "instances.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _map(self, kind: str, index: int) -> np.ndarray:
        name = _file_name(kind, *self.sizes[index])
        if name not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.clear()
            # a plain array over the map: slicing np.memmap itself costs more than reading a small picture
            self._open[name] = np.asarray(np.lib.format.open_memmap(self.folder / name, mode="r"))
        return self._open[name][self._rows[index]]
