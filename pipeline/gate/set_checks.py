"""What is wrong with a data set as a whole, seen once all its images have been opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.gate.duplicates import Fingerprint, Seen, find_alike_names, find_duplicates, find_sequences
from pipeline.sources import Fault, Record, Source
from pipeline.splits import SPLITS, TRAINVAL, find_faults

WHOLE = "(data set)"  # stands where a fault has no file
EXACT = ("1", "L", "P", "RGB")  # Pillow's modes that become RGB without a loss, where they have no alpha


@dataclass(frozen=True)
class Look:
    """What is kept of an opened image for the checks of the whole set: small, the picture stays with the worker."""

    fingerprint: Fingerprint
    classes: frozenset[int]
    is_grey: bool


def find_set_faults(source: Source, opened: Sequence[tuple[Record, Look]], name_of: Callable[[Record], str]) -> list[Fault]:
    """The faults of a data set that no image has alone.

    Parameters
    ----------
    opened : the records that could be opened
    name_of : how faults name a record
    """
    faults = []
    if not source.records and not source.faults:
        faults.append(Fault("no_image", WHOLE, "the source holds no image; check its path and the reader's options"))
    faults += _idle_classes(source.label_space.names, opened)
    faults += find_faults(source.records, usable=[record for record, _ in opened])
    faults += find_alike_names({record.id: name_of(record) for record in source.records})
    faults += _mixed_colour([(name_of(record), record.split, look.is_grey) for record, look in opened])
    images = [Seen(name_of(record), record.split, look.fingerprint, record.group) for record, look in opened]
    return faults + find_duplicates(images) + find_sequences(images)


def find_conversion(image: Path | None, file: str) -> list[Fault]:
    """A fault where an image becomes RGB only by a conversion: from CMYK, Lab, or with an alpha channel."""
    if image is None:
        return []
    with Image.open(image) as header:
        mode, has_alpha = header.mode, header.has_transparency_data
    if mode in EXACT and not has_alpha:
        return []
    if has_alpha:
        message = f"has an alpha channel ({mode}), opaque all over, which is left out; save it as RGB to have it as it is used"
    else:
        message = f"is {mode}, turned into RGB without its colour profile; convert it yourself to have the colours you see"
    return [Fault("converted_image", file, message, value=mode)]


def is_grey(image: np.ndarray) -> bool:
    """Whether no pixel of an (H, W, 3) image has a colour.

    Examples
    --------
    >>> is_grey(np.full((4, 4, 3), 7)), is_grey(np.array([[[1, 1, 1], [1, 1, 2]]]))
    (True, False)
    """
    some = image[::16, ::16]  # enough for most coloured images, and quick
    return bool((some == some[..., :1]).all() and (image == image[..., :1]).all())


def _idle_classes(names: Sequence[str], opened: Sequence[tuple[Record, Look]]) -> list[Fault]:
    """Classes that no mask holds, and those that are to be judged and cannot be learnt."""
    used: dict[str | None, set[int]] = {}
    for record, look in opened:
        used.setdefault(record.split, set()).update(look.classes)
    learnt = used.get("train", set()) | used.get(TRAINVAL, set()) | used.get(None, set())
    faults = []
    for index, name in enumerate(names) if opened else ():
        there = [split for split in SPLITS if index in used.get(split, ())]
        if index not in learnt and not there:
            message = f"no mask holds {name!r} (label {index}); does another value stand for it, such as 255?"
            faults.append(Fault("unused_class", WHOLE, message, value=name))
        elif index not in learnt and learnt:
            message = f"no training image shows {name!r} (label {index}), and {' and '.join(there)} ask for it"
            faults.append(Fault("untrained_class", WHOLE, f"{message}; move images of it, or leave it out", value=name))
    return faults


def _mixed_colour(images: Sequence[tuple[str, str | None, bool]]) -> list[Fault]:
    """A fault where some images are grey and others are not; it names the first of those that are fewer."""
    count = sum(grey for _, _, grey in images)
    if not 0 < count < len(images):
        return []
    fewer = 2 * count <= len(images)
    file = next(name for name, _, grey in images if grey == fewer)
    parts = _count_by_split(images)
    where = f" ({', '.join(f'{grey} of {all} in {split}' for split, (grey, all) in parts.items())})" if parts else ""
    message = (
        f"is {'grey' if fewer else 'in colour'}: {count} of {len(images)} images are grey{where}, the others in colour, so "
        "that a method may go by the camera; make all of them grey, or see that they are meant"
    )
    return [Fault("mixed_colour", file, message, value=f"{count} of {len(images)} grey")]


def _count_by_split(images: Sequence[tuple[str, str | None, bool]]) -> Mapping[str, tuple[int, int]]:
    """Split -> how many images are grey, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for split in (TRAINVAL, *SPLITS):
        here = [grey for _, one, grey in images if one == split]
        if here:
            found[split] = sum(here), len(here)
    return found
