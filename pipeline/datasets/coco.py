"""COCO 2017: 118,287 and 5,000 photographs of everyday scenes with 80 kinds of things and 91 of stuff.

Lin et al. 2014, Microsoft COCO: Common Objects in Context, ECCV; Caesar et al. 2018, COCO-Stuff, CVPR, arXiv:1612.03716;
Kirillov et al. 2019, Panoptic Segmentation, CVPR, arXiv:1801.00868. The formats: https://cocodataset.org/#format-data, and as
pycocotools, github.com/nightrome/cocostuffapi and github.com/cocodataset/panopticapi read them. The reader of other data in
this format is `coco_json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.datasets import _own_data as own
from pipeline.datasets._coco_classes import MERGED_STUFF, STUFF, THINGS, Categories
from pipeline.datasets._coco_index import INSTANCES, PANOPTIC, Index, find_strays, read_annotations, read_index
from pipeline.datasets._coco_objects import decode_objects, read_sized_image
from pipeline.datasets._files import home_of, mapped_labels, same_size
from pipeline.image_files import SUFFIXES, fault, name_of, read_image, read_index_mask
from pipeline.sources import Fault, FaultError, Record, Source
from pipeline.splits import TRAINVAL
from pipeline.structures import LabelSpace, PanopticMap, Sample, Segment

# task -> its categories and the archive of its annotations
TASKS: dict[str, tuple[Categories, str]] = {
    "instances": (THINGS, "annotations_trainval2017.zip"),
    "stuff": (STUFF, "stuff_annotations_trainval2017.zip"),
    "panoptic": (THINGS | MERGED_STUFF, "panoptic_annotations_trainval2017.zip"),
}
BACKGROUND_COLOUR = (70, 70, 70)


def read(source: Path, *, task: str = "instances", background: bool = True, official: bool = True) -> Source:
    """Read `train2017/` and `val2017/`, beside or in `images/`, with the files of `annotations/`.

    The truth of the official test is kept on a server, so that the field trains on train and reports on val. Here the official
    val is the split test, and the official train is divided into train and val by their shares in `dataset.splits`. Where only
    one of the folders is there, as val2017 alone makes a small data set, its images are divided into all three splits.

    Parameters
    ----------
    source : the folder that holds `annotations`, or one whose only folder does
    task : "instances": 80 things. The objects keep their whole masks; in the panoptic truth, where they overlap, the smaller
        lies above the larger, since COCO gives no order and its tables include what stands on them, and crowds lie below all.
        "stuff": 91 kinds, and "other" for all things, from `stuff_*2017_pixelmaps/` where that is there, else from the JSON;
        what is unlabelled is void. "panoptic": the 80 things and 53 kinds of stuff, some of them merged, from the maps in
        `panoptic_*2017/`; what no segment covers is void
    background : of the instances, what no object covers is the class "background"; false: void
    official : false: the images of both folders are divided into all three splits

    Raises
    ------
    ValueError : an option does not fit, or a folder or file is missing or not COCO's; the message says which to fetch.
    """
    if task not in TASKS:
        raise ValueError(f"task: {task!r}; choose one of: {', '.join(TASKS)}")
    source, (categories, archive) = Path(source), TASKS[task]
    home = home_of(source, "annotations", advice=f"unpack train2017.zip, val2017.zip and {archive} into one folder")
    places = {split: (home / f"{split}2017", home / f"images/{split}2017") for split in ("train", "val")}
    folders = {split: next(filter(Path.is_dir, both)) for split, both in places.items() if any(map(Path.is_dir, both))}
    if not folders:
        raise ValueError(
            f"{home}: no train2017/ and no val2017/; unpack train2017.zip, val2017.zip or both beside annotations/"
        )
    parts = {"train": TRAINVAL, "val": "test"} if official and len(folders) == 2 else {}
    label_space = _label_space(categories, background=task == "instances" and background)
    records, faults = [], []
    for split, folder in folders.items():
        for found in _KINDS[task](home, f"{split}2017", folder, label_space, source):
            if isinstance(found, Fault):
                faults.append(found)
            else:
                id, decode, image, truth = found
                part = parts.get(split)
                records.append(Record(id, part, id, partial(decode, id=id, split=part, image=image), image, truth))
    return Source(f"COCO 2017 {task}", label_space, tuple(records), tuple(faults))


_Found = tuple[str, partial, Path, tuple[Path, ...]]  # id, what decodes it, image, files of the truth


def _label_space(categories: Categories, *, background: bool) -> LabelSpace:
    ground = [(own.BACKGROUND, BACKGROUND_COLOUR)] if background else []
    names, colours = zip(*ground, *categories.values(), strict=True)
    return LabelSpace(names, colours, (*(False for _ in ground), *(id in THINGS for id in categories)))


def _objects(
    home: Path, part: str, folder: Path, label_space: LabelSpace, root: Path, *, task: str = "instances"
) -> Iterator[_Found | Fault]:
    categories, _ = TASKS[task]
    index = _index(home / f"annotations/{task}_{part}.json", task)
    names = {id: name for id, (name, _) in categories.items()}
    ground = own.BACKGROUND if own.BACKGROUND in label_space.names else None
    decode = partial(_decode_objects, file=index.path, names=names, root=root, label_space=label_space, ground=ground)
    for entry in _images(index, folder, root):
        if isinstance(entry, Fault):
            yield entry
        else:
            places = index.annotations.get(entry["id"], ())
            image = folder / entry["file_name"]
            yield image.stem, partial(decode, entry=entry, places=places), image, ()
    yield from find_strays(index, root)


def _stuff(home: Path, part: str, folder: Path, label_space: LabelSpace, root: Path) -> Iterator[_Found | Fault]:
    maps = _folder(home, f"stuff_{part}_pixelmaps")
    if maps is None:
        yield from _objects(home, part, folder, label_space, root, task="stuff")
        return
    images, masks = _names(folder), _names(maps)
    for stem, name in images.items():
        if stem in masks:
            mask = maps / masks[stem]
            yield stem, partial(_decode_pixelmap, mask=mask, root=root, label_space=label_space), folder / name, (mask,)
        else:
            message = f"there is no {name_of(maps, root)}/{stem}.png; unpack {maps.name}.zip again"
            yield Fault("image_without_mask", name_of(folder / name, root), message)
    for stem in sorted(masks.keys() - images.keys()):
        message = f"there is no {name_of(folder, root)}/{stem}.jpg; unpack {part}.zip again"
        yield Fault("mask_without_image", name_of(maps / masks[stem], root), message)


def _panoptic(home: Path, part: str, folder: Path, label_space: LabelSpace, root: Path) -> Iterator[_Found | Fault]:
    index = _index(home / f"annotations/panoptic_{part}.json", "panoptic", PANOPTIC)
    maps = _folder(home, f"panoptic_{part}")
    if maps is None:
        raise ValueError(f"{home}: no annotations/panoptic_{part}/; unpack annotations/panoptic_{part}.zip where it lies")
    there = _names(maps)
    classes = {id: number for number, id in enumerate(TASKS["panoptic"][0])}
    decode = partial(_decode_panoptic, file=index.path, root=root, label_space=label_space, classes=classes)
    for entry in _images(index, folder, root):
        if isinstance(entry, Fault):
            yield entry
            continue
        image, places = folder / entry["file_name"], index.annotations.get(entry["id"], ())
        if image.stem not in there or len(places) != 3:
            found = (
                f"{len(places) // 3} entries in {name_of(index.path, root)}, {int(image.stem in there)} maps in {maps.name}/"
            )
            message = f"it has {found}; wanted one of each: unpack {TASKS['panoptic'][1]} again"
            yield Fault("image_without_mask", name_of(image, root), message)
        else:
            mask = maps / there[image.stem]
            yield image.stem, partial(decode, entry=entry, mask=mask, places=places), image, (mask,)
    yield from find_strays(index, root)


_KINDS = {"instances": _objects, "stuff": _stuff, "panoptic": _panoptic}


def _index(path: Path, task: str, tables=INSTANCES) -> Index:
    categories, archive = TASKS[task]
    if not path.is_file():
        raise ValueError(f"{path}: no such file; unpack {archive} beside the folders of the images")
    index = read_index(path, tables, kind=task)
    strange = [one for one in index.categories if categories.get(one["id"], ("",))[0] != one["name"]]
    if strange:
        first = f"{strange[0]['id']} is {strange[0]['name']!r}"
        raise ValueError(f"{path}: {len(strange)} categories are not COCO's ({first}); the reader coco_json takes any")
    return index


def _folder(home: Path, name: str) -> Path | None:
    """Where maps were unpacked: beside their archive, or beside the images."""
    return next((folder for folder in (home / "annotations" / name, home / name) if folder.is_dir()), None)


def _names(folder: Path) -> dict[str, str]:
    """Stem -> name of every image file, sorted; one listing instead of a question to the disk for each of 118,287 files."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return {name.rpartition(".")[0]: name for name in names}


def _images(index: Index, folder: Path, root: Path) -> Iterator[dict | Fault]:
    """The images that are there, as `index` describes them, and a fault for each that only one of the two has."""
    where, there = name_of(index.path, root), set(_names(folder).values())
    for entry in index.images:
        if entry["file_name"] in there:
            yield entry
        else:
            name = entry["file_name"]
            message = (
                f"image {entry['id']!r}: {name} does not exist in {name_of(folder, root)}/; unpack {folder.name}.zip again"
            )
            yield Fault("mask_without_image", where, message, value=name)
    for name in sorted(there - {entry["file_name"] for entry in index.images}):
        yield Fault("image_without_mask", name_of(folder / name, root), f"{where} does not list it; remove it")


def _decode_objects(*, id: str, **about) -> Sample:
    return decode_objects(id=id, group=id, published=True, **about)


def _decode_pixelmap(*, id: str, split: str | None, image: Path, mask: Path, root: Path, label_space: LabelSpace) -> Sample:
    """The pixels of a map are ids of categories, 0 unlabelled (cocostuffhelper.cocoSegmentationToPng)."""
    pixels, ids, file = read_image(image, root=root), read_index_mask(mask, root=root), name_of(mask, root)
    same_size(pixels, ids, file=file)
    table = {0: label_space.void} | {category: index for index, category in enumerate(STUFF)}
    labels = mapped_labels(ids, table, label_space, file=file)
    return Sample(id, split, id, pixels, PanopticMap.from_labels(labels, label_space))


def _decode_panoptic(
    *, id: str, split: str | None, image: Path, entry: dict, mask: Path, file: Path, places, root: Path, label_space, classes
) -> Sample:
    """The pixels of a map are segment ids, R + 256 G + 65536 B; an entry whose id the map does not hold is of no account."""
    pixels = read_sized_image(image, entry, file=file, root=root)
    colours, name = read_image(mask, root=root).astype(np.int32), name_of(mask, root)
    same_size(pixels, colours, file=name)
    ids = colours[..., 0] + (colours[..., 1] << 8) + (colours[..., 2] << 16)
    ((number, annotation),) = read_annotations(file, places)
    segments, info = np.zeros(ids.shape, np.int32), []
    for new, described in enumerate(annotation["segments_info"], start=1):
        if not isinstance(described, dict) or described.get("category_id") not in classes:
            message = f"annotation {number} ({mask.name}): {str(described)[:80]} has no category_id of COCO"
            raise fault("missing_category", name_of(file, root), message, value=new - 1)
        inside = ids == described.get("id", -1)
        if inside.any():
            segments[inside] = new
            info.append(Segment(new, classes[described["category_id"]], bool(described.get("iscrowd", False))))
    unknown = (segments == 0) & (ids != 0)
    if unknown.any():
        raise FaultError([_unknown(ids, id, name, name_of(file, root)) for id in np.unique(ids[unknown])[:9]])
    return Sample(id, split, id, pixels, PanopticMap(segments, tuple(info)))


def _unknown(ids: np.ndarray, id: int, name: str, file: str) -> Fault:
    y, x = divmod(int((ids == id).argmax()), ids.shape[1])
    message = f"segment {id} ({np.count_nonzero(ids == id)} pixels) is none of the segments_info in {file}"
    return Fault("label_outside", name, message, (x, y), str(id))
