"""What the readers of your own data share: the classes you name, splits and groups, files that belong together by name."""

from __future__ import annotations

import colorsys
import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.sources import Fault, FaultError, Record, folded
from pipeline.splits import SPLITS, TRAINVAL
from pipeline.structures import LabelSpace

BACKGROUND = "background"  # the class of what no outline covers


def label_space(classes: list[str | dict[str, Any]], *, things: bool = False) -> LabelSpace:
    """The classes that an option names.

    Parameters
    ----------
    classes : names in order, or {name: ..., colour: [R, G, B], isthing: false}, the last two optional
    things : what `isthing` is where an entry does not say

    Raises
    ------
    ValueError : an entry is something else.
    """
    if not isinstance(classes, list) or not classes:
        raise ValueError(f"classes: {classes!r}; wanted a list of names, such as [background, object]")
    names, colours, isthing = [], [], []
    for index, (entry, colour) in enumerate(zip(classes, distinct_colours(len(classes)), strict=True)):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or "name" not in entry or not entry.keys() <= {"name", "colour", "isthing"}:
            raise ValueError(
                f"classes: entry {index} is {entry!r}; wanted a name, or {{name: ..., colour: [R, G, B], isthing: false}}"
            )
        colour = entry.get("colour", colour)
        is_three = isinstance(colour, (list, tuple)) and len(colour) == 3
        if not is_three or not all(isinstance(one, int) and 0 <= one <= 255 for one in colour):
            raise ValueError(f"classes: colour of {entry['name']!r} is {colour!r}; wanted [R, G, B], each 0..255")
        names.append(str(entry["name"]))
        colours.append(tuple(colour))
        isthing.append(bool(entry.get("isthing", things)))
    return LabelSpace(tuple(names), tuple(colours), tuple(isthing))


def with_background(classes: list[str | dict[str, Any]], background: str) -> list[str | dict[str, Any]]:
    """The classes with a stuff class of that name: the entry that has it already, else one more in front.

    Examples
    --------
    >>> with_background(["cat"], "background")
    [{'name': 'background', 'isthing': False}, 'cat']
    """
    if not isinstance(classes, list):
        return classes  # `label_space` says what is wrong
    stuff = {"name": background, "isthing": False}
    given = [{**stuff, **one} if isinstance(one, dict) and one.get("name") == background else one for one in classes]
    given = [stuff if one == background else one for one in given]
    named = any(isinstance(one, dict) and one.get("name") == background for one in given)
    return given if named else [stuff, *given]


def distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """`count` bright colours, neighbours in the list far apart: hue steps by the golden ratio, lightness alternates.

    Examples
    --------
    >>> distinct_colours(2)
    [(242, 13, 13), (27, 63, 152)]
    """
    colours = []
    for index in range(count):
        hue, (lightness, saturation) = index * 0.618034 % 1, [(0.5, 0.9), (0.35, 0.7), (0.75, 0.8)][index % 3]
        colours.append(tuple(round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation)))
    return colours


def find_home(source: Path, folders: Mapping[str, str]) -> Path:
    """The folder with all of `folders` in it: the source, or the only one in it, as an archive often wraps everything.

    Parameters
    ----------
    folders : option -> the name of the folder that it gives
    """
    wanted = " and ".join(f"{name}/" for name in dict.fromkeys(folders.values()))
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; wanted one with {wanted} in it")
    inner = [path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for home in [source, *(inner if len(inner) == 1 else [])]:
        if all((home / name).is_dir() for name in folders.values()):
            return home
    there = ", ".join(f"{path.name}/" for path in inner) or "no folder"
    many = "s" if len(folders) > 1 else ""
    raise ValueError(f"{source}: wanted the folder{many} {wanted}, found {there}; set the option{many} {' and '.join(folders)}")


def files_below(folder: Path, suffix: str) -> list[Path]:
    """Every file with the suffix in `folder` and below, sorted; hidden files and folders are passed over."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() == suffix and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_json(path: Path, file: str) -> Any:
    """The content of a file of annotations, which faults name `file`.

    Raises
    ------
    FaultError : it is empty or no JSON.
    """
    data = path.read_bytes()
    if not data:
        raise FaultError([Fault("zero_byte", file, "is empty (0 bytes); annotate the image again")])
    try:
        return json.loads(data)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise FaultError([Fault("unreadable_annotation", file, f"is no JSON, or damaged: {error}")]) from None


def check_size(pixels: np.ndarray, width: object, height: object, file: str, *, about: str = "") -> None:
    """FaultError where an annotation says another size of its image than (H, W, 3) `pixels` have; None: it says none."""
    is_tall, is_wide = pixels.shape[:2]
    said = f"{width or is_wide}x{height or is_tall}"
    if said != f"{is_wide}x{is_tall}":
        message = f"{about}is for an image of {said}, its image is {is_wide}x{is_tall} (width x height); annotate it again"
        raise FaultError([Fault("size_mismatch", file, message, value=said)])


def by_key(folder: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Path without suffix, relative to `folder` -> the files of that name."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def by_folded(keys: Iterable[str]) -> dict[str, str]:
    """The keys by what they are on a disk that knows no upper case, for `hint`."""
    return {folded(key): key for key in keys}


def hint(key: str, others: Mapping[str, str]) -> str:
    """Words for the end of "there is no ...": the other file that was meant, where its name differs only in case or Unicode.

    Examples
    --------
    >>> hint("Bild", by_folded(["bild", "b"]))
    "; 'bild' differs from it only in case or form of Unicode: rename one"
    """
    other = others.get(folded(key))
    return f"; {other!a} differs from it only in case or form of Unicode: rename one" if other else ""


def has_splits(keys: Iterable[str]) -> bool:
    """Whether files lie in folders train, val and test, which are then the official splits."""
    return any(key.split("/")[0] in SPLITS for key in keys if "/" in key)


def official_splits(found: Iterable[str]) -> dict[str, str | None]:
    """Names of splits that a source uses -> the splits they stand for here.

    Where there is no test, val is the split test; where val is then missing, train is divided into train and val from the
    seed: nothing is chosen on what is reported. A single split is none.

    Examples
    --------
    >>> official_splits(["train", "val"])
    {'train': 'trainval', 'val': 'test'}
    """
    there = set(found)
    found = [split for split in SPLITS if split in there]
    if len(found) == 1:
        return {found[0]: None}
    names: dict[str, str | None] = {split: split for split in found}
    if found == ["train", "val"]:
        return {"train": TRAINVAL, "val": "test"}
    return names | ({"train": TRAINVAL} if found == ["train", "test"] else {})


def stray(file: str) -> Fault:
    """An image beside the folders of the splits."""
    return Fault("outside_splits", file, f"lies beside the folders {', '.join(SPLITS)}; move it into one of them")


def record(key: str, split: str | None, image: Path, decode: partial, pattern: re.Pattern | None, *truth: Path) -> Record:
    """The record of an image; its id is the key with __ for /.

    Parameters
    ----------
    decode : takes id, split, group and image besides what it has
    pattern : that finds the group in the id
    truth : the files of its annotation
    """
    id = key.replace("/", "__")
    group = group_of(id, pattern)
    return Record(id, split, group, partial(decode, id=id, split=split, group=group, image=image), image, truth)


def check_texts(**options: object) -> None:
    """ValueError where an option that is a name or a pattern is no text, such as 5 or a list, each on its line."""
    wrong = [f"{name}: {value!r}; wanted a text" for name, value in options.items() if not isinstance(value, str)]
    if wrong:
        raise ValueError("\n".join(wrong))


def compiled(pattern: str | None) -> re.Pattern | None:
    """The option `group_pattern`, ready to use.

    Raises
    ------
    ValueError : it is no regular expression, or has no group.
    """
    if pattern is None:
        return None
    check_texts(group_pattern=pattern)
    try:
        regular = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_pattern: {pattern!r} is no regular expression: {error}") from None
    if not regular.groups:
        raise ValueError(f"group_pattern: {pattern!r} has no group; put the part that names the group in brackets: '^([^_]+)_'")
    return regular


def group_of(id: str, pattern: re.Pattern | None) -> str:
    """What must not fall into two splits: the first group that the pattern finds in the id; without a pattern, the id."""
    if pattern is None:
        return id
    match = pattern.search(id)
    if match is None or match[1] is None:
        raise ValueError(f"group_pattern: {pattern.pattern!r} finds no group in the id {id!r}; make it fit every id")
    return match[1]
