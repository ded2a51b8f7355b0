"""Where the files of Open Images lie, and which of its labels are wanted."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets import _own_data as own

PARTS = ("train", "validation", "test")
# how the path of a file ends: as it is fetched by hand, and as FiftyOne, which the publishers recommend, lays it down
MASKS = ("{}-annotations-object-segmentation.csv", "{}/labels/segmentations.csv")
BOXES = ("{}-annotations-bbox.csv", "{}/labels/detections.csv")  # the first also with oidv6- before it
NAMES = ("class-descriptions-boxable.csv", "class-descriptions.csv", "metadata/classes.csv")


class Tree:
    """The folders of a source, walked through once; its images are looked up when it is known which.

    Attributes
    ----------
    folders : that hold masks
    images : how many there are
    """

    def __init__(self, source: Path):
        self._source, self._csv, self._with_images = source, [], []
        self.folders: list[Path] = []
        self.images = 0
        for place, folders, files in os.walk(source):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            images = sum(name.endswith(".jpg") for name in files)
            self.images += images
            self._with_images += [Path(place)] if images else []
            self.folders += [Path(place)] if any(name.endswith(".png") for name in files) else []
            self._csv += [Path(place, name) for name in sorted(files) if name.endswith(".csv")]

    def tables(self, endings: Sequence[str]) -> Iterator[tuple[str, Path]]:
        """(part, file) of each part that has a table."""
        for part in PARTS:
            found = self._find([ending.format(part) for ending in endings])
            if found:
                yield part, found

    def names(self) -> dict[str, str]:
        """Label -> display name, in the order of the file."""
        path = self._find(NAMES)
        if path is None:
            address = "https://storage.googleapis.com/openimages/v5/class-descriptions-boxable.csv"
            raise ValueError(f"{self._source}: no {NAMES[0]}; fetch {address}")
        names = {}
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if len(row) != 2:
                    raise ValueError(f"{path} line {number}: {row}; wanted a label and its name: /m/01yrx,Cat")
                if row != ["LabelName", "DisplayName"]:
                    names[row[0]] = row[1]
        return names

    def find(self, ids: Container[str]) -> dict[str, Path]:
        """Id -> file of the images that are there, in order of the ids."""
        found = {}
        for folder in self._with_images:
            found |= {path.stem: path for path in folder.iterdir() if path.suffix == ".jpg" and path.stem in ids}
        return dict(sorted(found.items()))

    def _find(self, endings: Sequence[str]) -> Path | None:
        found = [path for ending in endings for path in self._csv if path.as_posix().endswith(ending)]
        return found[0] if found else None


def joined(classes: list[Any], names: Mapping[str, str]) -> tuple[list[Any], dict[str, str]]:
    """The option `classes` without its key `labels`, and label -> name of the class that it belongs to.

    Parameters
    ----------
    names : label -> display name

    Raises
    ------
    ValueError : it is no list, there is no such display name, or one belongs to two classes.

    Examples
    --------
    >>> joined([{"name": "Person", "labels": ["Man", "Woman"]}, "Cat"], {"/m/1": "Man", "/m/2": "Woman", "/m/3": "Cat"})
    ([{'name': 'Person'}, 'Cat'], {'/m/1': 'Person', '/m/2': 'Person', '/m/3': 'Cat'})
    """
    if not isinstance(classes, list) or not classes:
        raise ValueError(f"classes: {classes!r}; wanted a list of display names, such as [Cat, Dog], or null for all")
    labels_of: dict[str, list[str]] = {}
    for label, name in names.items():
        labels_of.setdefault(name, []).append(label)
    plain, class_of = [], {}
    for entry in classes:
        described = entry if isinstance(entry, dict) else {"name": entry}
        plain.append({key: value for key, value in entry.items() if key != "labels"} if isinstance(entry, dict) else entry)
        if described.get("name") == own.BACKGROUND:
            continue
        for name in described.get("labels", [described.get("name")]):
            if name not in labels_of:
                near = difflib.get_close_matches(str(name), labels_of, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"{NAMES[0]} has them all"
                raise ValueError(f"classes: there is no display name {name!r}; {hint}")
            for label in labels_of[name]:
                if class_of.setdefault(label, described["name"]) != described["name"]:
                    raise ValueError(
                        f"classes: {name!r} belongs to {class_of[label]!r} and to {described['name']!r}; choose one"
                    )
    return plain, class_of
