"""What readers share: where a published layout lies, and masks of indices as labels or as a panoptic truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.image_files import fault
from pipeline.sources import Fault, FaultError
from pipeline.structures import LabelSpace, PanopticMap, Segment


def home_of(source: Path, *names: str, advice: str) -> Path:
    """The folder with all of `names` in it: the source, or the only folder in it, as an archive often wraps everything.

    Parameters
    ----------
    names : of folders and files that a published layout has
    advice : what to do where they are not there

    Raises
    ------
    ValueError : neither folder has them all.
    """
    inner = [path for path in sorted(source.iterdir()) if not path.name.startswith(".")] if source.is_dir() else []
    folders = [path for path in inner if path.is_dir()]
    for home in [source, *(folders if len(folders) == 1 else [])]:
        if all((home / name).exists() for name in names):
            return home
    there = ", ".join(path.name for path in inner[:5]) + (" ..." if len(inner) > 5 else "")
    raise ValueError(f"{source}: wanted {', '.join(names)}, found {there or 'nothing'}; {advice}")


def class_labels(mask: np.ndarray, label_space: LabelSpace, *, void: int | None, file: str) -> np.ndarray:
    """Index mask -> labels of `label_space`; the value `void` becomes its void.

    Parameters
    ----------
    mask : (H, W) uint8 or uint16
    void : the value in the file that means "ignore"; None where there is none

    Raises
    ------
    FaultError : a value is neither a class nor `void`; one fault for each such value, with its first pixel.
    """
    is_void = mask == void if void is not None else np.zeros(mask.shape, bool)
    wrong = (mask >= label_space.num_classes) & ~is_void
    if wrong.any():
        raise FaultError([_outside(mask, value, label_space, void, file) for value in np.unique(mask[wrong])])
    labels = mask.astype(label_space.dtype)
    labels[is_void] = label_space.void
    return labels


def mapped_labels(mask: np.ndarray, table: Mapping[int, int], label_space: LabelSpace, *, file: str) -> np.ndarray:
    """Index mask -> labels of `label_space`, where the values in the file are no class indices.

    Parameters
    ----------
    mask : (H, W) uint8 or uint16
    table : value in the file -> class index or `label_space.void`

    Raises
    ------
    FaultError : a value is not in the table; one fault for each such value, with its first pixel.
    """
    counts = np.bincount(mask.ravel(), minlength=max(table) + 1)
    strange = [value for value in np.flatnonzero(counts).tolist() if value not in table]
    if strange:
        raise FaultError([_unknown(mask, value, table, file) for value in strange])
    labels = np.zeros(len(counts), label_space.dtype)
    labels[list(table)] = list(table.values())
    return labels[mask]


def colour_labels(
    colours: np.ndarray, table: Mapping[tuple[int, ...], int], label_space: LabelSpace, *, file: str
) -> np.ndarray:
    """Mask of colours, (H, W, 3) uint8 -> labels of `label_space`.

    Parameters
    ----------
    table : (red, green, blue) -> class index or `label_space.void`

    Raises
    ------
    FaultError : colours are not in the table; a fault for each of the most frequent five, with its first pixel.
    """
    red, green, blue = (colours[..., one].astype(np.uint32) for one in range(3))
    codes = red << 16 | green << 8 | blue
    by_code = {r << 16 | g << 8 | b: label for (r, g, b), label in table.items()}
    known = np.array(sorted(by_code), np.uint32)
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    strange, counts = np.unique(codes[known[place] != codes], return_counts=True)
    faults = []
    for one in np.argsort(-counts, kind="stable")[:5].tolist():
        y, x = divmod(int((codes == strange[one]).argmax()), codes.shape[1])
        value = ",".join(map(str, colours[y, x].tolist()))
        message = f"colour {value} ({counts[one]} pixels) is none of the table; add it to classes, or save the mask unsmoothed"
        faults.append(Fault("label_outside", file, message, (x, y), value))
    if faults:
        raise FaultError(faults)
    return np.array([by_code[code] for code in known.tolist()], label_space.dtype)[place]


def panoptic_of(labels: np.ndarray, objects: np.ndarray, label_space: LabelSpace) -> PanopticMap:
    """The panoptic truth of a mask of classes and a mask of objects, as VOC and Cityscapes come.

    The labels stay what they are. An object has the class of most of its pixels; pixels of a thing that belong to no object of
    their class become a crowd of the class: objects that nobody told apart.

    Parameters
    ----------
    labels : (H, W) uint8 or uint16, class index or void
    objects : (H, W) uint8 or uint16, the number of the object, any that is no 0; 0 where there is none

    Examples
    --------
    >>> space = LabelSpace(("road", "car"), ((0, 0, 0), (0, 0, 9)), (False, True))
    >>> panoptic_of(np.array([[0, 1, 1, 1, 255]], np.uint8), np.array([[0, 7, 9, 0, 9]], np.uint8), space).segments
    array([[1, 3, 4, 2, 0]], dtype=int32)
    """
    is_thing = np.zeros(label_space.void + 1, bool)
    is_thing[: label_space.num_classes] = label_space.isthing
    inside = is_thing[labels] & (objects != 0)
    number, own = objects[inside], labels[inside].astype(np.intp)
    numbers = np.flatnonzero(np.bincount(number))
    table = np.zeros(1 + max(numbers, default=0), np.intp)
    table[numbers] = np.arange(len(numbers))
    rank = table[number]
    counts = np.bincount(rank * label_space.num_classes + own, minlength=len(numbers) * label_space.num_classes)
    classes = counts.reshape(len(numbers), label_space.num_classes).argmax(axis=1)
    segments = np.where(labels == label_space.void, 0, labels.astype(np.int32) + 1).astype(np.int32)
    first = label_space.num_classes + 1
    segments[inside] = np.where(classes[rank] == own, first + rank, own + 1)
    left = np.flatnonzero(np.bincount(segments.ravel(), minlength=first)[:first]).tolist()
    whole = [Segment(id, id - 1, iscrowd=label_space.isthing[id - 1]) for id in left if id]
    return PanopticMap(segments, (*whole, *(Segment(first + one, int(category)) for one, category in enumerate(classes))))


def same_size(image: np.ndarray, mask: np.ndarray, *, file: str) -> None:
    """Raise FaultError where an image and its mask `file` differ in height or width."""
    if image.shape[:2] != mask.shape[:2]:
        height, width = image.shape[:2]
        message = (
            f"mask is {mask.shape[1]}x{mask.shape[0]}, its image {width}x{height} (width x height); export one of them again"
        )
        raise fault("size_mismatch", file, message, value=f"{mask.shape[1]}x{mask.shape[0]}")


def _outside(mask: np.ndarray, value: int, label_space: LabelSpace, void: int | None, file: str) -> Fault:
    where = mask == value
    y, x = divmod(int(where.argmax()), mask.shape[1])
    ignored = "there is no void" if void is None else f"is not void ({void})"
    message = (
        f"label {value} ({np.count_nonzero(where)} pixels) is outside 0..{label_space.num_classes - 1} and {ignored}; "
        "fix the mask, add the class, or set void"
    )
    return Fault("label_outside", file, message, (x, y), str(value))


def _unknown(mask: np.ndarray, value: int, table: Mapping[int, int], file: str) -> Fault:
    where = mask == value
    y, x = divmod(int(where.argmax()), mask.shape[1])
    known = sorted(table)
    whole = len(known) > 2 and known == list(range(known[0], known[-1] + 1))
    wanted = f"{known[0]}..{known[-1]}" if whole else ", ".join(map(str, known))
    message = f"value {value} ({np.count_nonzero(where)} pixels) is none of {wanted}; fetch or export the mask again"
    return Fault("label_outside", file, message, (x, y), str(value))
