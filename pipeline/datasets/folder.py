"""Your own data: a folder of images and a folder of masks with the same names, of class indices or of colours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pipeline.datasets import _own_data as own
from pipeline.datasets._files import class_labels, colour_labels, same_size
from pipeline.image_files import images_below, name_of, pictures_not_read, read_colour_mask, read_image, read_index_mask
from pipeline.sources import Fault, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample


def read(
    source: Path,
    *,
    classes: list[str | dict[str, Any]],
    name: str = "folder",
    images: str = "images",
    masks: str = "masks",
    mask_kind: str = "index",
    void: int | list[int] | None = 255,
    group_pattern: str | None = None,
) -> Source:
    """Pair `images/a/b.jpg` with `masks/a/b.png`; its id is `a__b`.

    Where `images` has folders train, val and test, they are the splits; else there is no official split.

    Parameters
    ----------
    source : the folder that holds `images` and `masks`, or one whose only folder does
    classes : a name for each index, in order; or {name: ..., colour: [R, G, B], isthing: false}, the last two optional
    name : what the data set is called in the report
    mask_kind : what the masks hold; "index": class indices, "colour": the colours that every entry of `classes` then gives
    void : the value in the masks, or in masks of colours the [R, G, B], that means "ignore"; None where every pixel is labelled
    group_pattern : regular expression found in the id, whose first group names what must not fall into two splits (patient,
        scene); None: every image is a group of its own

    Raises
    ------
    ValueError : an option does not fit, or the two folders are not there.
    """
    source = Path(source)
    own.check_texts(name=name, images=images, masks=masks)
    label_space = own.label_space(classes)
    if mask_kind not in ("index", "colour"):
        raise ValueError(f"mask_kind: {mask_kind!r}; choose one of: index, colour")
    table = _table(classes, label_space, void) if mask_kind == "colour" else None
    void = void if table is None else None
    if void is not None and type(void) is not int:
        raise ValueError(f"void: {void!r}; wanted a whole number, or null")
    if void is not None and 0 <= void < label_space.num_classes:
        raise ValueError(f"void: {void} is also the class {label_space.names[void]!r}; choose a value no class has, or null")
    pattern = own.compiled(group_pattern)
    home = own.find_home(source, {"images": images, "masks": masks})
    found, found_masks = (own.by_key(folder, images_below(folder)) for folder in (home / images, home / masks))
    alike, alike_masks = own.by_folded(found), own.by_folded(found_masks)
    faults = [one for folder in (home / images, home / masks) for one in pictures_not_read(folder, source)]
    for key, files in found_masks.items():
        if key not in found:
            message = f"there is no image {images}/{key}.*; add it or remove the mask{own.hint(key, alike)}"
            faults.append(Fault("mask_without_image", name_of(files[0], source), message))
    is_split = own.has_splits(found)
    records = []
    for key, files in found.items():
        wanted = f"{masks}/{key}.png; add it or remove the image{own.hint(key, alike_masks)}"
        fault = _key_fault(key, files, found_masks.get(key, []), source, wanted=wanted, is_split=is_split)
        if fault:
            faults.append(fault)
        else:
            mask, split = found_masks[key][0], key.split("/")[0] if is_split else None
            decode = partial(_decode, mask=mask, root=source, label_space=label_space, void=void, table=table)
            records += [own.record(key, split, file, decode, pattern, mask) for file in files]
    return Source(name, label_space, tuple(records), tuple(faults))


def _table(classes: list, label_space: LabelSpace, void: object) -> dict[tuple[int, ...], int]:
    """Colour -> class index or void; only colours that are given count."""
    without = [
        name for one, name in zip(classes, label_space.names, strict=True) if isinstance(one, str) or "colour" not in one
    ]
    if without:
        raise ValueError(
            f"classes: {', '.join(without)} without a colour; masks of colours want {{name: ..., colour: [R, G, B]}}"
        )
    if isinstance(void, (list, tuple)) and (len(void) != 3 or not all(type(one) is int and 0 <= one <= 255 for one in void)):
        raise ValueError(f"void: {void!r}; wanted [R, G, B], each 0..255")
    colours = [*label_space.colours, *([tuple(void)] if isinstance(void, (list, tuple)) else [])]
    twice = [colour for index, colour in enumerate(colours) if colour in colours[:index]]
    if twice:
        raise ValueError(f"classes: the colour {list(twice[0])} stands there twice; give every class, and void, its own")
    return dict(zip(colours, [*range(label_space.num_classes), label_space.void], strict=False))


def _decode(
    *, id, split, group, image: Path, mask: Path, root: Path, label_space: LabelSpace, void: int | None, table: dict | None
) -> Sample:
    pixels, file = read_image(image, root=root), name_of(mask, root)
    truth = read_index_mask(mask, root=root) if table is None else read_colour_mask(mask, root=root)
    same_size(pixels, truth, file=file)
    if table is None:
        labels = class_labels(truth, label_space, void=void, file=file)
    else:
        labels = colour_labels(truth, table, label_space, file=file)
    return Sample(id, split, group, pixels, PanopticMap.from_labels(labels, label_space))


def _key_fault(key: str, images: list[Path], masks: list[Path], root: Path, *, wanted: str, is_split: bool) -> Fault | None:
    """What is wrong with the files of one key, as far as their names tell."""
    file = name_of(images[0], root)
    if not masks:
        return Fault("image_without_mask", file, f"there is no mask {wanted}")
    if len(masks) > 1:
        names = " and ".join(path.name for path in masks)
        return Fault("two_masks", file, f"has the masks {names}; keep one", value=names)
    if is_split and key.split("/")[0] not in own.SPLITS:
        return own.stray(file)
    return None
