"""Images annotated in COCO's instances JSON, as `python -m pipeline.annotate`, CVAT, Label Studio and others write it.

Lin et al. 2014, Microsoft COCO: Common Objects in Context, ECCV; the format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.datasets import _own_data as own
from pipeline.datasets._coco_index import Index, find_strays, read_index
from pipeline.datasets._coco_objects import decode_objects
from pipeline.image_files import images_below, name_of, pictures_not_read
from pipeline.sources import Fault, Record, Source


@dataclass(frozen=True)
class _File:
    """A JSON file, and the split that it is of."""

    index: Index
    split: str | None

    @cached_property
    def names(self) -> dict[Any, str]:
        return {category["id"]: category["name"] for category in self.index.categories}


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]] | None = None,
    background: bool = True,
    name: str = "COCO",
    images: str = "images",
    annotations: str | dict[str, str] = "annotations/annotations.json",
    group_pattern: str | None = None,
) -> Source:
    """Read the images that a JSON file lists, with their polygons and run lengths; the id of `a/b.jpg` is `a__b`.

    A polygon covers the pixels whose centre lies inside. Annotations lie above each other in the order of the file, crowds
    below all; the objects keep their whole masks. Where file names have folders train, val and test, they are the splits; else
    there is no official split.

    Parameters
    ----------
    source : the folder that holds `images`, or one whose only folder does
    classes : categories by name in order, things; or {name: ..., colour: [R, G, B], isthing: true}, the last two optional;
        None: the categories of the file in order of their ids, which may be any numbers
    background : what no annotation covers is the class "background", in front where no class has that name; false: void
    name : what the data set is called in the report
    images : folder of the files that the JSON names
    annotations : the JSON file; or split -> file where each split has its own, with its images in `images`/split or `images`
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, or a file is not there or no instances JSON.
    """
    source = Path(source)
    own.check_texts(name=name, images=images)
    pattern = own.compiled(group_pattern)
    home = own.find_home(source, {"images": images})
    files = [_read_file(home / file, split) for split, file in _by_split(annotations)]
    classes = _categories(files) if classes is None else classes
    label_space = own.label_space(own.with_background(classes, own.BACKGROUND) if background else classes, things=True)
    is_split = own.has_splits(image["file_name"] for file in files for image in file.index.images)
    ground = own.BACKGROUND if background else None
    decode = partial(decode_objects, root=source, label_space=label_space, ground=ground)
    records: list[Record] = []
    faults = [fault for file in files for fault in _faults_of(file, source)]
    for file in files:
        for image in file.index.images:
            found = _record(file, image, home / images, decode, pattern, is_split=is_split)
            (records if isinstance(found, Record) else faults).append(found)
    listed = {_image_path(image["file_name"], home / images, file.split) for file in files for image in file.index.images}
    for path in images_below(home / images):
        if path not in listed:
            message = f"no entry of {_names(files, source)} lists it; add it, or remove the image"
            faults.append(Fault("image_without_mask", name_of(path, source), message))
    faults += pictures_not_read(home / images, source)
    return Source(name, label_space, tuple(records), tuple(faults))


def _by_split(annotations: str | dict[str, str]) -> list[tuple[str | None, str]]:
    if isinstance(annotations, str):
        return [(None, annotations)]
    if not isinstance(annotations, dict) or not annotations or not annotations.keys() <= set(own.SPLITS):
        raise ValueError(f"annotations: {annotations!r}; wanted a file, or {{train: file, val: file, test: file}}")
    return list(annotations.items())


def _names(files: list[_File], root: Path) -> str:
    return ", ".join(name_of(file.index.path, root) for file in files)


def _read_file(path: Path, split: str | None) -> _File:
    """Every entry without which no image can be told from another is an error here; the rest are faults of single images."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; set the option annotations to the instances JSON")
    return _File(read_index(path), split)


def _categories(files: list[_File]) -> list[dict[str, Any]]:
    """The option `classes` that the categories stand for: one of each name, in order of the ids."""
    given = [one for file in files for one in file.index.categories]
    given.sort(key=lambda one: (isinstance(one["id"], str), one["id"]))
    found: dict[str, dict[str, Any]] = {}
    for one in given:
        entry = {"name": one["name"], "isthing": bool(one.get("isthing", one["name"] != own.BACKGROUND))}
        found.setdefault(one["name"], entry | ({"colour": one["color"]} if one.get("color") else {}))
    return list(found.values())


def _faults_of(file: _File, root: Path) -> Iterator[Fault]:
    """Ids of categories that count from neither 0 nor 1, and annotations of images that the file does not list."""
    where, ids = name_of(file.index.path, root), list(file.names)
    if ids and not {0, 1} & set(ids):
        least = min(ids, key=lambda id: (isinstance(id, str), id))
        message = f"the ids of the categories start at {least!r}: here their order counts, elsewhere an id may be the label"
        yield Fault("category_ids", where, f"{message}; count from 0 or 1", value=str(least))
    yield from find_strays(file.index, root)


def _image_path(file_name: str, images: Path, split: str | None) -> Path:
    """Where an image lies: in the folder of its split where there is one."""
    inner = images / split / file_name if split else None
    return inner if inner is not None and inner.is_file() else images / file_name


def _record(
    file: _File, image: dict, images: Path, decode: partial, pattern: re.Pattern | None, *, is_split: bool
) -> Record | Fault:
    root, key = decode.keywords["root"], PurePosixPath(image["file_name"])
    where, said = name_of(file.index.path, root), f"image {image['id']!r}: {image['file_name']}"
    if key.is_absolute() or ".." in key.parts:
        return Fault("mask_without_image", where, f"{said} lies outside the folder of the images", value=image["file_name"])
    path, split = _image_path(image["file_name"], images, file.split), file.split
    if not path.is_file():
        message = f"{said} does not exist in {name_of(images, root)}/; add it, remove the entry, or set the option images"
        return Fault("mask_without_image", where, message, value=image["file_name"])
    if split is None and is_split:
        split = key.parts[0]
        if split not in own.SPLITS:
            message = f"lies beside the folders {', '.join(own.SPLITS)}; move it into one of them"
            return Fault("outside_splits", name_of(path, root), message)
    id = "__".join(path.relative_to(images).with_suffix("").parts)
    group = own.group_of(id, pattern)
    about = {"id": id, "split": split, "group": group, "image": path, "entry": image, "file": file.index.path}
    truth = {"places": file.index.annotations.get(image["id"], ()), "names": file.names}
    return Record(id, split, group, partial(decode, **about, **truth), path)  # the gate names the image, not the file of all
