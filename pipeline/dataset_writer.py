"""Write the canonical data set that `pipeline.dataset` reads: check, split and store a source in one pass."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipeline import coco_form, insight
from pipeline.dataset import Dataset
from pipeline.files import write_json, write_text
from pipeline.gate import inspection as gate
from pipeline.sources import FaultError, Record, Source
from pipeline.splits import SPLITS, assign
from pipeline.structures import InstanceSet, LabelSpace, Sample

# run lengths: less time than the default on photographs, smaller files on maps
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}


@dataclass(frozen=True)
class _Written:
    """What the tables say about a sample whose files are written."""

    file_name: str
    shape: tuple[int, int]
    segments: list[dict]
    objects: list[dict]
    digest: str
    measured: insight.Measured | None = None


def write(
    source: Source,
    folder: str | Path,
    *,
    splits: Mapping[str, float],
    seed: int,
    rules: Mapping[str, str],
    origin: Mapping[str, Any],
    root: str | Path | None = None,
    insight_folder: str | Path | None = None,
    workers: int | None = None,
) -> Dataset:
    """Check, split and write a source; each record is opened once, on all cores.

    Parameters
    ----------
    folder : what an earlier call wrote there is replaced
    splits : shares of train, val and test; used where the source has no official splits
    rules : gate rule -> level, where it differs from `pipeline.rules.RULES`
    origin : where the data came from: reader, options, source, SHA-256 of every source file; no absolute path
    root : the source's folder, which the gate's table leaves out of file names
    insight_folder : gets what `pipeline.insight` writes, and the page of what the gate found; None: neither

    Raises
    ------
    GateError : the data has faults; `folder` then holds gate.csv, the other folder gate.html, and both nothing else.
    OSError : no space left; `folder` is emptied.
    """
    folder, root = Path(folder), None if root is None else Path(root)
    seen = None if insight_folder is None else Path(insight_folder)
    _clear(folder)
    for name in insight.FILES if seen else ():
        (seen / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    source = _with_splits(source, splits, seed)
    keep = partial(_write_sample, folder=folder, label_space=source.label_space, is_measured=seen is not None)
    page = seen / "gate.html" if seen else None
    with ExitStack() as undo:
        undo.callback(_clear, folder)
        written = gate.inspect(source, table=folder / "gate.csv", root=root, rules=rules, keep=keep, page=page, workers=workers)
        _write_tables(folder, source, written, origin)
        dataset = Dataset(folder)
        if seen:
            by_split = {one: {record.id: kept.measured for record, kept in written if record.split == one} for one in SPLITS}
            insight.write(seen, dataset, by_split)
        undo.pop_all()
    return dataset


def _clear(folder: Path) -> None:
    """Remove what `write` makes, except the gate's table."""
    for name in ("images", "panoptic"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in ("dataset.json", *(f"{kind}_{split}.json" for kind in ("panoptic", "instances") for split in SPLITS)):
        (folder / file).unlink(missing_ok=True)


def _with_splits(source: Source, shares: Mapping[str, float], seed: int) -> Source:
    if not source.records:
        return source
    try:
        return replace(source, records=assign(source.records, shares=shares, seed=seed))
    except FaultError as error:  # told together with the others, after the files have been opened
        records = tuple(replace(record, split="train") for record in source.records)
        return replace(source, records=records, faults=(*source.faults, *error.faults))


def _write_sample(record: Record, sample: Sample, *, folder: Path, label_space: LabelSpace, is_measured: bool) -> _Written:
    """Write the image and the panoptic map of one sample, in a worker process."""
    suffix = _suffix_of_copy(record.image_file)
    image_file = folder / "images" / record.split / f"{record.id}{suffix or '.png'}"
    panoptic_file = folder / "panoptic" / record.split / f"{record.id}.png"
    for file in (image_file, panoptic_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    if suffix:
        shutil.copyfile(record.image_file, image_file)
    else:
        _write_png(image_file, cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
    segments = np.ascontiguousarray(sample.truth.segments, "<i4")
    # the bytes of a little-endian id are R, G, B and 0
    _write_png(panoptic_file, cv2.cvtColor(segments.view(np.uint8).reshape(*sample.shape, 4), cv2.COLOR_RGBA2BGR))
    described = coco_form.segment_info(segments, sample.truth.info)
    objects = _describe_objects(sample.objects(label_space)) if label_space.has_things else []
    digest = hashlib.sha256(sample.image.tobytes())
    digest.update(segments.tobytes() + json.dumps([sample.shape, described, objects]).encode())
    measured = _measure(segments, described, objects, label_space) if is_measured else None
    return _Written(image_file.name, sample.shape, described, objects, digest.hexdigest(), measured)


def _measure(
    segments: np.ndarray, described: Sequence[dict], objects: Sequence[dict], label_space: LabelSpace
) -> insight.Measured:
    """What `insight` keeps of a sample, which knows classes and no table of ours."""
    areas = [(one["id"], one["category_id"] - 1, one["area"]) for one in described]
    things = [(one["category_id"] - 1, one["area"]) for one in objects if not one["iscrowd"]]
    return insight.measure(segments, areas, things, label_space)


def _suffix_of_copy(file: Path | None) -> str | None:
    """The suffix under which a file's bytes may be copied; None where the picture must be stored anew."""
    if file is None:
        return None
    with Image.open(file) as header:
        return _SUFFIXES.get(header.format) if header.mode in ("L", "RGB") else None


def _write_png(file: Path, pixels: np.ndarray) -> None:
    data = cv2.imencode(".png", pixels, _PNG)[1]
    try:
        file.write_bytes(data)  # OpenCV would say no more than that a full disk is no success
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def _describe_objects(objects: InstanceSet) -> list[dict]:
    return [
        {"category_id": int(category) + 1, **coco_form.run_lengths(mask), "iscrowd": int(iscrowd)}
        for mask, category, iscrowd in zip(objects.masks, objects.classes, objects.iscrowd, strict=True)
    ]


def _write_tables(folder: Path, source: Source, written: Sequence[tuple[Record, _Written]], origin: Mapping[str, Any]) -> None:
    space, groups = source.label_space, {}
    content = hashlib.sha256()
    for split in SPLITS:
        here = [(record, files) for record, files in written if record.split == split]
        groups[split] = {record.id: record.group for record, _ in here}
        for record, files in here:
            content.update(json.dumps([split, record.id, record.group, files.digest]).encode())
        _write_split(folder, split, here, space)
    description = {
        "name": source.name,
        **space.to_json(),
        "origin": dict(origin),
        "content": content.hexdigest(),  # shows what the source's bytes cannot: another reader, another decoder
        "groups": groups,
    }
    write_json(folder / "dataset.json", description)


def _write_split(folder: Path, split: str, written: Sequence[tuple[Record, _Written]], space: LabelSpace) -> None:
    categories = coco_form.categories(space)
    images, maps, objects = [], [], []
    for number, (record, files) in enumerate(written, start=1):
        height, width = files.shape
        images.append({"id": number, "file_name": files.file_name, "height": height, "width": width})
        maps.append({"image_id": number, "file_name": f"{record.id}.png", "segments_info": files.segments})
        objects += [{"image_id": number, **one} for one in files.objects]
    _write_coco(folder / f"panoptic_{split}.json", images, maps, categories)
    if space.has_things:
        numbered = [{"id": number, **one} for number, one in enumerate(objects, start=1)]  # COCOeval takes id 0 for "no match"
        _write_coco(folder / f"instances_{split}.json", images, numbered, [one for one in categories if one["isthing"]])


def _write_coco(file: Path, images: list, annotations: list, categories: list) -> None:
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    write_text(file, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
