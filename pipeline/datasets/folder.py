"""Your own data: a folder of images and a folder of index masks with the same names."""

from __future__ import annotations

import colorsys
import re
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.datasets._files import class_labels, images_below, name_of, read_image, read_index_mask, same_size
from pipeline.sources import Fault, Record, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample

SPLITS = ("train", "val", "test")


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]],
    name: str = "folder",
    images: str = "images",
    masks: str = "masks",
    void: int | None = 255,
    group_pattern: str | None = None,
) -> Source:
    """Pair `images/a/b.jpg` with `masks/a/b.png`; its id is `a__b`.

    Where `images` has folders train, val and test, they are the splits; else there is no official split.

    Parameters
    ----------
    source : the folder that holds `images` and `masks`, or one whose only folder does
    classes : a name for each index, in order; or {name: ..., colour: [R, G, B], isthing: false}, the last two optional
    name : what the data set is called in the report
    void : the value in the masks that means "ignore"; None where every pixel is labelled
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, or the two folders are not there.
    """
    source = Path(source)
    label_space = _label_space(classes)
    if void is not None and 0 <= void < label_space.num_classes:
        raise ValueError(f"void: {void} is also the class {label_space.names[void]!r}; choose a value no class has, or null")
    pattern = _compiled(group_pattern)
    home = _home(source, images, masks)
    found, found_masks = _by_key(home / images), _by_key(home / masks)
    faults = [
        Fault("mask_without_image", name_of(files[0], source), f"there is no image {images}/{key}.*; add it or remove the mask")
        for key, files in found_masks.items()
        if key not in found
    ]
    is_split = any(key.split("/")[0] in SPLITS for key in found if "/" in key)
    records = []
    for key, files in found.items():
        fault = _key_fault(key, files, found_masks.get(key, []), source, wanted=f"{masks}/{key}", is_split=is_split)
        if fault:
            faults.append(fault)
        else:
            decode = partial(_decode, mask=found_masks[key][0], root=source, label_space=label_space, void=void)
            records += [_record(key, file, decode, pattern, is_split=is_split) for file in files]
    return Source(name, label_space, tuple(records), tuple(faults))


def _record(key: str, image: Path, decode: partial, pattern: re.Pattern | None, *, is_split: bool) -> Record:
    id, split = key.replace("/", "__"), key.split("/")[0] if is_split else None
    group = _group(id, pattern)
    return Record(
        id, split, group, partial(decode, id=id, split=split, group=group, image=image), image, (decode.keywords["mask"],)
    )


def _decode(*, id, split, group, image: Path, mask: Path, root: Path, label_space: LabelSpace, void: int | None) -> Sample:
    pixels, indices = read_image(image, root=root), read_index_mask(mask, root=root)
    file = name_of(mask, root)
    same_size(pixels, indices, file=file)
    labels = class_labels(indices, label_space, void=void, file=file)
    return Sample(id, split, group, pixels, PanopticMap.from_labels(labels, label_space))


def _home(source: Path, images: str, masks: str) -> Path:
    """The folder with both folders in it; an archive often wraps everything in one more."""
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; wanted one with {images}/ and {masks}/ in it")
    inner = [path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for home in [source, *(inner if len(inner) == 1 else [])]:
        if (home / images).is_dir() and (home / masks).is_dir():
            return home
    there = ", ".join(f"{path.name}/" for path in inner) or "no folder"
    raise ValueError(f"{source}: wanted the folders {images}/ and {masks}/, found {there}; set the options images and masks")


def _by_key(folder: Path) -> dict[str, list[Path]]:
    """Path without suffix, relative to `folder` -> the files of that name."""
    found: dict[str, list[Path]] = {}
    for path in images_below(folder):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def _key_fault(key: str, images: list[Path], masks: list[Path], root: Path, *, wanted: str, is_split: bool) -> Fault | None:
    """What is wrong with the files of one key, as far as their names tell."""
    file = name_of(images[0], root)
    if not masks:
        return Fault("image_without_mask", file, f"there is no mask {wanted}.png; add it or remove the image")
    if len(masks) > 1:
        names = " and ".join(path.name for path in masks)
        return Fault("two_masks", file, f"has the masks {names}; keep one", value=names)
    if is_split and key.split("/")[0] not in SPLITS:
        return Fault("outside_splits", file, f"lies beside the folders {', '.join(SPLITS)}; move it into one of them")
    return None


def _compiled(pattern: str | None) -> re.Pattern | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_pattern: {pattern!r} is no regular expression: {error}") from None
    if not compiled.groups:
        raise ValueError(f"group_pattern: {pattern!r} has no group; put the part that names the group in brackets: '^([^_]+)_'")
    return compiled


def _group(id: str, pattern: re.Pattern | None) -> str:
    if pattern is None:
        return id
    match = pattern.search(id)
    if match is None or match[1] is None:
        raise ValueError(f"group_pattern: {pattern.pattern!r} finds no group in the id {id!r}; make it fit every id")
    return match[1]


def _label_space(classes: list[str | dict[str, Any]]) -> LabelSpace:
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
        if len(colour) != 3 or not all(isinstance(one, int) and 0 <= one <= 255 for one in colour):
            raise ValueError(f"classes: colour of {entry['name']!r} is {colour!r}; wanted [R, G, B], each 0..255")
        names.append(str(entry["name"]))
        colours.append(tuple(colour))
        isthing.append(bool(entry.get("isthing", False)))
    return LabelSpace(tuple(names), tuple(colours), tuple(isthing))


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
