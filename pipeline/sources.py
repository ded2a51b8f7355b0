"""What a reader gives: the records of a source, not yet opened, and the faults it has seen on the way."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.structures import LabelSpace, Sample


class FaultError(ValueError):
    """One or more `Fault`s; the message lists them all."""

    def __init__(self, faults: Sequence[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True)
class Fault:
    """Something wrong with a data set: the rule it breaks, where, and what to do."""

    rule: str  # a key of pipeline.rules.RULES
    file: str  # relative to the source
    message: str  # got, wanted, and what to do
    pixel: tuple[int, int] | None = None  # (x, y) of the first offender
    value: str = ""

    def __str__(self) -> str:
        place = f" at pixel x={self.pixel[0]}, y={self.pixel[1]}" if self.pixel else ""
        return f"{self.file}{place}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Record:
    """A sample that a reader has found and not yet opened.

    `decode` opens it and raises `FaultError` with everything wrong with it. It is picklable (a `functools.partial`
    of a module's function), since convert decodes on all cores.
    """

    id: str
    split: str | None
    group: str
    decode: Callable[[], Sample]
    image_file: Path | None = None  # 8-bit JPEG or PNG bytes are copied from here untouched; None for generated images
    truth_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Source:
    """What a reader found in a source: the classes, the records, and the faults seen without opening any file."""

    name: str
    label_space: LabelSpace
    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def folded(name: str) -> str:
    """What a disk that knows neither upper from lower case nor composed from decomposed Unicode takes a name for.

    Examples
    --------
    >>> folded("Bu\u0308ro.PNG") == folded("b\u00fcro.png")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())
