"""Images with labels in the format of Ultralytics YOLO segmentation: data.yaml, and a line of numbers for each object.

The format: https://docs.ultralytics.com/datasets/segment and ultralytics/data/utils.py (`check_det_dataset`, `img2label_paths`,
`verify_image_label`, `polygons2masks_overlap`) and base.py (`get_img_files`) of github.com/ultralytics/ultralytics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from pipeline.datasets import _own_data as own
from pipeline.datasets._outlines import Outlines, category_of
from pipeline.datasets._polygons import OutlineError, Piece
from pipeline.image_files import fault, images_below, name_of, pictures_not_read, read_image
from pipeline.sources import Fault, Source
from pipeline.structures import LabelSpace, Sample

MOST = 65535  # classes
FAR = 2.0  # times the width or height: what lies further outside is no share of them, but pixels


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]] | None = None,
    background: bool = True,
    void: str | None = "__ignore__",
    name: str = "YOLO",
    data: str = "data.yaml",
    official: bool = True,
    group_pattern: str | None = None,
) -> Source:
    """Read the images that data.yaml names; the id of `images/train/b.jpg` or `train/images/b.jpg` is `train__b`.

    The labels of an image lie where the last folder `images` of its path is `labels`, or beside it where there is none. A line
    is a class and the corners of an object, x and y as shares of width and height; one of five numbers is a class and a box,
    its centre and its size. As Ultralytics does it, smaller objects lie above larger ones, a line that stands twice counts
    once, and an image without a file of labels has nothing on it.

    Parameters
    ----------
    source : the folder that holds `data`, or one whose only folder does
    classes : names of `data` in order, things; or {name: ..., colour: [R, G, B], isthing: true}, the last two optional; None:
        all of them
    background : what no object covers is the class "background", in front where no class has that name; false: void
    void : name of a class whose pixels are to be ignored; None where there is none
    name : what the data set is called in the report
    data : the YAML file with names, train, val and test: folders or lists of images. Of a path that does not exist the tail
        counts that does: such files are written for another computer
    official : its train, val and test are the splits; where it has no test, val is the split test and train is divided into
        train and val. False, or only one of them there: no official split
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, `data` is missing or wrong, or not one image has labels.
    """
    source = Path(source)
    own.check_texts(name=name, data=data)
    pattern = own.compiled(group_pattern)
    file = _find_data(source, data)
    content = _content(file)
    names, where = _names(content, file), name_of(file, source)
    given = [one for one in names.values() if one != void] if classes is None else classes
    label_space = own.label_space(own.with_background(given, own.BACKGROUND) if background else given, things=True)
    found, faults = _images(content, file, source)
    faults += pictures_not_read(file.parent, source)
    if list(names) != list(range(len(names))):
        message = f"the names count {', '.join(map(str, names))}; Ultralytics wants 0..{len(names) - 1}: number them anew"
        faults.append(Fault("category_ids", where, message, value=str(next(iter(names)))))
    labels = {image: label for image in found if (label := _label_file(image, file.parent)).is_file()}
    if found and not labels:
        image = next(iter(found))
        raise ValueError(f"no image of {file} has labels; wanted {_label_file(image, file.parent)} for {image}")
    faults += _faults_of_labels(found, labels, file.parent, source)
    splits = own.official_splits(found.values()) if official else {}
    decode = partial(_decode, root=source, names=names, label_space=label_space, background=background, void=void)
    records = []
    for image, split in found.items():
        label, key = labels.get(image), _key(image, file.parent)
        truth = () if label is None else (label,)
        records.append(own.record(key, splits.get(split), image, partial(decode, label=label), pattern, *truth))
    return Source(name, label_space, tuple(records), tuple(faults))


def _find_data(source: Path, data: str) -> Path:
    inner = [path for path in sorted(source.glob("*")) if path.is_dir() and not path.name.startswith(".")]
    for home in [source, *(inner if len(inner) == 1 else [])]:
        if (home / data).is_file():
            return home / data
    there = ", ".join(path.name for path in [*own.files_below(source, ".yaml"), *own.files_below(source, ".yml")][:9])
    raise ValueError(f"{source}: no file {data}; set the option data to the YAML file (found: {there or 'none'})")


def _content(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: no YAML, or damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: wanted names, train and val, as Ultralytics' data.yaml has")
    return content


def _names(content: dict, file: Path) -> dict[int, str]:
    """Number of each class -> its name, in order of the numbers."""
    names, count = content.get("names"), content.get("nc")
    if names is None and type(count) is int:
        if count > MOST:
            raise ValueError(f"{file}: nc: {count}; wanted {MOST} at most, as a mask holds no more classes: correct it")
        names = [f"class_{index}" for index in range(count)]  # as Ultralytics calls them
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not names or not all(str(key).isdecimal() for key in names):
        raise ValueError(f"{file}: names: {str(names)[:80]}; wanted [cat, dog] or {{0: cat, 1: dog}}")
    if count is not None and count != len(names):
        raise ValueError(f"{file}: nc: {count}, but there are {len(names)} names; correct one of them")
    return {int(key): str(names[key]) for key in sorted(names, key=int)}


def _images(content: dict, file: Path, root: Path) -> tuple[dict[Path, str], list[Fault]]:
    """(image -> its split, faults)."""
    found: dict[Path, str] = {}
    faults, wrong = [], []
    for split in own.SPLITS:
        given = content.get(split) or (content.get("validation") if split == "val" else None)
        for entry in given if isinstance(given, list) else [given] if given else []:
            place = _below(file.parent, str(PurePosixPath(str(content.get("path") or ""), str(entry))))
            if place is None:
                wrong.append(f"{file}: {split}: {entry!r} is neither a folder nor a list here; correct it, or remove the line")
                continue
            for line, image in _listed(place, file.parent):
                if image is None:
                    message = f"{line} does not exist; add it, or remove the line"
                    faults.append(Fault("mask_without_image", name_of(place, root), message, value=line))
                elif found.setdefault(image, split) != split:
                    message = f"stands in {found[image]} and in {split}; it is left in {found[image]}"
                    faults.append(Fault("duplicate_across_splits", name_of(image, root), message, value=split))
    if wrong or not any(content.get(split) for split in (*own.SPLITS, "validation")):
        raise ValueError("\n".join(wrong) or f"{file}: no train, val or test; name a folder of images")
    return found, faults


def _below(home: Path, place: str) -> Path | None:
    """What a path means that was written elsewhere: its longest tail that exists in `home`."""
    parts = [part for part in PurePosixPath(place.replace("\\", "/")).parts if part not in ("/", "..")]
    tails = (home.joinpath(*parts[start:]) for start in range(max(len(parts), 1)))
    return next((tail for tail in tails if tail.exists()), None)


def _listed(place: Path, home: Path) -> Iterator[tuple[str, Path | None]]:
    """(line, image) of each image in a folder or a list; None where it does not exist."""
    if place.is_dir():
        yield from ((path.name, path) for path in images_below(place))
        return
    for line in filter(None, map(str.strip, place.read_text(encoding="utf-8", errors="replace").splitlines())):
        # a line that begins with ./ counts from its list
        yield line, (_below(place.parent, line) if line.startswith("./") else None) or _below(home, line)


def _parts(image: Path, home: Path) -> tuple[list[str], int | None]:
    """The path of an image below the data set, and where in it the last folder `images` is."""
    parts = list(image.relative_to(home).parts)
    places = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    return parts, places[-1] if places else None


def _label_file(image: Path, home: Path) -> Path:
    parts, place = _parts(image, home)
    if place is not None:
        parts[place] = "labels"
    return home.joinpath(*parts).with_suffix(".txt")


def _key(image: Path, home: Path) -> str:
    parts, place = _parts(image, home)
    kept = [part for index, part in enumerate(parts) if index != place]
    return PurePosixPath(*kept).with_suffix("").as_posix()


def _faults_of_labels(found: dict[Path, str], labels: dict[Path, Path], home: Path, root: Path) -> Iterator[Fault]:
    """Images without a file of labels, and files without an image in the folders of labels."""
    folders = {_label_file(image, home).parent: image.parent for image in found}
    wanted = {_label_file(image, home) for folder in folders.values() for image in images_below(folder)}
    there = {path for folder in folders for path in folder.glob("*.txt") if path.name != "classes.txt"}
    alike, alike_labels = (own.by_folded(name_of(path, root) for path in paths) for paths in (wanted, there))
    for image in found:
        if image not in labels:
            label = name_of(_label_file(image, home), root)
            message = f"there is no {label}, which says that nothing is on it; an empty file says so, too"
            yield Fault("image_without_labels", name_of(image, root), message + own.hint(label, alike_labels))
    for path in sorted(there - wanted):
        if folders[path.parent] != path.parent:  # beside the images other texts may lie
            file = name_of(path, root)
            message = "there is no image of that name; add it, or remove the file"
            yield Fault("mask_without_image", file, message + own.hint(file, alike))


def _decode(
    *, id, split, group, image: Path, label: Path | None, root: Path, names: dict, label_space: LabelSpace, background, void
) -> Sample:
    pixels = read_image(image, root=root)
    outlines, pieces, seen = Outlines(name_of(label or image, root), *pixels.shape[:2]), [], set()
    for number, line in enumerate(_lines(label, outlines.file), start=1):
        words = tuple(line.split())
        with outlines.part(f"line {number}", number):
            if words in seen:
                outlines.remark("object_twice", "stands there before; remove one of them")
            elif words:
                seen.add(words)
                pieces.append(_piece(words, number, names, label_space, void, outlines))
    pieces.sort(key=lambda piece: -np.count_nonzero(piece.mask))
    return Sample(id, split, group, pixels, *outlines.truth(pieces, label_space, ground=own.BACKGROUND if background else None))


def _lines(label: Path | None, file: str) -> list[str]:
    try:
        return [] if label is None else label.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise fault("unreadable_annotation", file, "is no text; wanted lines of numbers") from None


def _piece(words: tuple, number: int, names: dict, label_space: LabelSpace, void: str | None, outlines: Outlines) -> Piece:
    try:
        index, *shares = map(float, words)
    except ValueError:
        raise OutlineError(f"is {' '.join(words)[:40]!r}; wanted numbers: class x1 y1 x2 y2 x3 y3 ...") from None
    if index not in names:
        known = ", ".join(map(str, names))
        raise OutlineError(f"class {index:g} is none of {known}; correct it, or add it to names", "missing_category")
    strange = next((one for one in shares if not (math.isfinite(one) and 1 - FAR <= one <= FAR)), None)
    if strange is not None:
        raise OutlineError(f"{strange:g} is no share of width or height; wanted 0..1: divide pixels by the size of the image")
    category = None if names[index] == void else category_of(names[index], label_space)
    size = [outlines.width, outlines.height]
    if len(shares) == 4:
        centre, half = np.array(shares[:2]) * size, np.array(shares[2:]) * size / 2
        mask = outlines.box(*(centre - half), *(centre + half))
    elif len(shares) >= 6 and len(shares) % 2 == 0:
        mask = outlines.polygon(np.reshape(shares, (-1, 2)) * size)
    else:
        raise OutlineError(f"has {len(shares)} numbers after the class; wanted x and y of 3 corners or more, or 4 of a box")
    if not mask.any():
        raise OutlineError("covers no pixel; draw it larger, or remove the line")
    return Piece(mask, category, number)
