"""Open every record of a source once, list every fault, and stop where one is an error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.files import write_csv
from pipeline.gate.duplicates import fingerprint
from pipeline.gate.set_checks import Look, find_conversion, find_set_faults, is_grey
from pipeline.rules import LEVELS, RULES
from pipeline.sources import Fault, FaultError, Record, Source
from pipeline.structures import LabelSpace, Sample
from pipeline.worker_pool import in_processes

COLUMNS = ("level", "rule", "file", "x", "y", "value", "message")
FEW = 64  # records; below it, starting worker processes costs more than it saves
SHOWN = 10  # faults in the error message; all of them stand in the table


class GateError(ValueError):
    """The data set has faults that stop the line; `faults` are all of level error."""

    def __init__(self, faults: Sequence[Fault], *, name: str, table: Path, page: Path | None = None):
        self.faults = tuple(faults)
        counts = ", ".join(f"{count} {rule}" for rule, count in Counter(fault.rule for fault in faults).most_common())
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        advice = (
            "fix the data, or set the rule to warning or ignore (gate.rules in params.yaml; --rule where the gate runs alone)"
        )
        seen = f"; with pictures: {page}" if page else ""
        super().__init__(f"{name}: {len(faults)} errors ({counts}):\n{shown}{more}\nThe whole list: {table}{seen}; {advice}")


@dataclass(frozen=True)
class _Inspected:
    """What a worker sends back about a record: small, the picture stays there."""

    faults: tuple[Fault, ...]
    look: Look | None = None  # None: the record could not be opened
    kept: Any = None


def inspect(
    source: Source,
    *,
    table: Path,
    root: Path | None = None,
    rules: Mapping[str, str] | None = None,
    keep: Callable[[Record, Sample], Any] | None = None,
    page: Path | None = None,
    workers: int | None = None,
) -> list[tuple[Record, Any]]:
    """Open every record once, on all cores, and write all faults to a table.

    Parameters
    ----------
    table : the CSV file to write: level, rule, file, x, y, value, message; a row per fault
    root : files are named relative to this folder
    rules : rule -> error, warning or ignore, where it differs from `pipeline.rules.RULES`
    keep : called in the worker with each faultless sample; picklable. What it returns is returned for the record
    page : an HTML file to write, which shows the first faults of each rule with pictures; None: none
    workers : processes; None: one per core

    Returns
    -------
    (record, what `keep` returned) of every record that could be opened, in order. A record whose faults are set to
    warning or ignore and which cannot be opened is left out, and counted in the summary.

    Raises
    ------
    GateError : there is a fault of level error.
    ValueError : a rule or level in `rules` is unknown.
    """
    levels = levels_of(rules or {})
    stopping = frozenset(rule for rule, level in levels.items() if level == "error")
    name_of = partial(_name_of, root=root)
    records, faults = _one_of_each_id(source.records, name_of)
    work = partial(_inspect, label_space=source.label_space, name_of=name_of, stopping=stopping, keep=keep)
    done = in_processes(work, records, workers=workers or os.cpu_count() or 1, description="check", few=FEW)
    results = list(zip(records, done, strict=True))
    faults += [*source.faults, *(fault for _, result in results for fault in result.faults)]
    faults += find_set_faults(source, [(record, result.look) for record, result in results if result.look], name_of)
    told = _told(faults, levels)
    write_csv(table, [_row(level, fault) for level, fault in told], columns=COLUMNS)
    if page:
        owners = {fault: record for record, result in results for fault in result.faults}
        _write_page(page, source, told, owners=owners, name_of=name_of, table=table, root=root)
    opened = [(record, result.kept) for record, result in results if result.look]
    _print_summary(source.name, told, left_out=len(source.records) - len(opened), total=len(source.records))
    errors = [fault for fault in faults if levels.get(fault.rule, "error") == "error"]
    if errors:
        raise GateError(errors, name=source.name, table=table, page=page)
    return opened


def levels_of(rules: Mapping[str, str]) -> dict[str, str]:
    """The level of every rule; ValueError where a rule or a level in `rules` is unknown."""
    for rule, level in rules.items():
        if rule not in RULES:
            raise ValueError(f"gate.rules: unknown rule {rule!r}; choose one of: {', '.join(RULES)}")
        if level not in LEVELS:
            raise ValueError(f"gate.rules.{rule}: {level!r}; choose one of: {', '.join(LEVELS)}")
    return {rule: rules.get(rule, level) for rule, (level, _) in RULES.items()}


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """What OpenCV says of a damaged file on the console, the table says better."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _inspect(record: Record, *, label_space: LabelSpace, name_of, stopping: frozenset[str], keep) -> _Inspected:
    """Open one record, check it, and keep what the caller wants of it."""
    remarks: tuple[Fault, ...] = ()
    try:
        with _quiet_opencv():
            sample = record.decode()
        remarks = sample.remarks
        faults, classes = _check(sample, label_space, name_of(record))
    except FaultError as error:
        return _Inspected((*remarks, *error.faults))
    faults = [*remarks, *find_conversion(record.image_file, name_of(record, record.image_file)), *faults]
    wanted = keep is not None and not any(fault.rule in stopping for fault in faults)
    kept = keep(record, sample) if wanted else None
    return _Inspected(tuple(faults), Look(fingerprint(sample.image), classes, is_grey(sample.image)), kept)


def _check(sample: Sample, label_space: LabelSpace, file: str) -> tuple[list[Fault], frozenset[int]]:
    """The faults of an opened sample, and the classes in its truth.

    Raises FaultError where the truth names a class that does not exist.
    """
    classes = {segment.category for segment in sample.truth.info}
    objects = () if sample.instances is None else sample.instances.classes.tolist()
    strange = sorted(one for one in classes.union(objects) if not 0 <= one < label_space.num_classes)
    strange += sorted({one for one in objects if one not in strange and not label_space.isthing[one]})
    if strange:
        message = "is the class of a segment or an object, and no class (or for objects, no thing) of the data set"
        raise FaultError([Fault("label_outside", file, f"{one} {message}", value=str(one)) for one in strange])
    ignored = int(sample.truth.segments.size - np.count_nonzero(sample.truth.segments))
    classes.update(objects)
    if not classes:
        return [Fault("all_void", file, "no pixel is labelled; label it, or remove image and mask")], frozenset()
    if len(classes) == 1 and not ignored:
        name = label_space.names[min(classes)]
        return [Fault("constant_mask", file, f"every pixel is {name!r}; is that so?", value=name)], frozenset(classes)
    return [], frozenset(classes)


def _one_of_each_id(records: Sequence[Record], name_of) -> tuple[list[Record], list[Fault]]:
    """The first record of every id, and a fault for each other one."""
    first: dict[str, Record] = {}
    faults = []
    for record in records:
        other = first.setdefault(record.id, record)
        if other is not record:
            file, twin = (name_of(one, one.image_file) for one in (record, other))
            faults.append(Fault("id_twice", file, f"has the id {record.id!r}, as {twin} has; rename one"))
    return list(first.values()), faults


def _name_of(record: Record, file: Path | None = None, *, root: Path | None) -> str:
    """A file of the record, the first where none is given, relative to `root`; its id where it has none."""
    file = file or next(iter([*record.truth_files, *([record.image_file] if record.image_file else [])]), None)
    if file is None:
        return record.id
    return file.relative_to(root).as_posix() if root and file.is_relative_to(root) else file.name


def _told(faults: Sequence[Fault], levels: Mapping[str, str]) -> list[tuple[str, Fault]]:
    """Level and fault, errors first; ignored rules are left out."""
    told = [(levels.get(fault.rule, "error"), fault) for fault in faults]
    told = [one for one in told if one[0] != "ignore"]
    return sorted(told, key=lambda one: (LEVELS.index(one[0]), one[1].rule, one[1].file, (one[1].pixel or (0, 0))[::-1]))


def _row(level: str, fault: Fault) -> dict:
    x, y = fault.pixel or (None, None)
    return dict(zip(COLUMNS, (level, fault.rule, fault.file, x, y, fault.value, fault.message), strict=True))


def _write_page(
    page: Path,
    source: Source,
    told: Sequence[tuple[str, Fault]],
    *,
    owners: Mapping[Fault, Record],
    name_of: Callable[[Record], str],
    table: Path,
    root: Path | None,
) -> None:
    from pipeline.gate.page import write_page
    from pipeline.gate.pictures import FaultPictures

    pictures = FaultPictures(source.label_space, {name_of(record): record for record in reversed(source.records)}, root)
    shown = table.name if table.is_absolute() else table.as_posix()
    with _quiet_opencv():
        write_page(
            page,
            told,
            name=source.name,
            total=len(source.records),
            table=shown,
            pictures=lambda fault: pictures(fault, owners.get(fault)),
        )


def _print_summary(name: str, told: Sequence[tuple[str, Fault]], *, left_out: int, total: int) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False, emoji=False)
    counts = Counter((level, fault.rule) for level, fault in told)
    show = partial(console.print, soft_wrap=True)
    show(f"gate: {escape(name)}, {total} images, " + (f"{len(told)} remarks" if told else "no remark"))
    for (level, rule), count in counts.items():
        colour = "red" if level == "error" else "yellow"
        show(f"  [{colour}]{level:8}[/] {count:6} {rule}: {RULES[rule][1]}")
    if left_out:
        show(f"  {left_out} images cannot be used and are left out")
