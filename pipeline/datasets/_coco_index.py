"""The tables of a COCO file without its annotations: where each of these stands in the file, to be read when it is wanted.

`instances_train2017.json` holds 860,001 annotations in 448 MB; parsed whole they take several times that, in every process that
has them. Here they are gone through once, a window of the file in memory at a time, and only their places are kept.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.image_files import name_of
from pipeline.sources import Fault

WINDOW = 1 << 22  # bytes of the file in memory at once; more where a single entry is larger
_ID = (int, str)
# table -> the keys that its entries have: text that is not empty, lists, ids that can be compared
INSTANCES = {
    "images": {"id": _ID, "file_name": str},
    "annotations": {"image_id": _ID, "category_id": _ID},
    "categories": {"id": _ID, "name": str},
}
PANOPTIC = INSTANCES | {"annotations": {"image_id": _ID, "file_name": str, "segments_info": list}}
KEPT = ("id", "file_name", "width", "height")  # of an image; the addresses in COCO's files take five times the room
_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\n\r]*")
_TAIL = 16  # letters at the end of a window in which a word or a number may be cut off
_SCAN = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Index:
    """A COCO file, in its order.

    Parameters
    ----------
    images : with the keys of `KEPT` that they have
    annotations : image id -> three numbers for each of its annotations: which of the file it is, its first byte, the one behind
    """

    path: Path
    images: list[dict]
    categories: list[dict]
    annotations: dict[Any, array]


def read_index(path: Path, tables: Mapping[str, Mapping[str, Any]] = INSTANCES, *, kind: str = "instances") -> Index:
    """Go through a COCO file once.

    Parameters
    ----------
    tables : `INSTANCES` or `PANOPTIC`
    kind : what the errors call such a file

    Raises
    ------
    ValueError : it is no JSON, has no such tables, or entries that lack a key; all such entries are listed.
    """
    images, categories, places, wrong = [], [], {}, []
    found: set[str] = set()
    with path.open("rb") as file:
        for table, number, entry, first, end in _entries(_Text(file, path), tables):
            found.add(table)
            if number is None:
                continue
            if not _has(entry, tables[table]):
                keys = ", ".join(tables[table])
                wrong.append(f"{path}: {table}, entry {number}: wanted {{{keys}, ...}}, got {str(entry)[:80]}")
            elif table == "annotations":
                places.setdefault(entry["image_id"], array("q")).extend((number, first, end))
            elif table == "images":
                images.append({key: entry[key] for key in KEPT if key in entry})
            else:
                categories.append(entry)
    if found != set(tables):
        raise ValueError(f"{path}: wanted COCO's {kind} JSON: {{images: [...], annotations: [...], categories: [...]}}")
    if wrong:
        raise ValueError("\n".join(wrong))
    for table, entries in (("images", images), ("categories", categories)):
        twice = _twice([entry["id"] for entry in entries])
        if twice:
            raise ValueError(f"{path}: {table}: the ids {', '.join(map(str, twice[:9]))} stand there twice; ids must differ")
    return Index(path, images, categories, places)


def read_annotations(path: Path, places: Sequence[int]) -> list[tuple[int, dict]]:
    """The annotations at the places that `Index.annotations` gives for an image, each with its number in the file."""
    read = []
    with path.open("rb") as file:
        for number, first, end in zip(places[::3], places[1::3], places[2::3], strict=True):
            file.seek(first)
            read.append((number, json.loads(file.read(end - first))))
    return read


def find_strays(index: Index, root: Path) -> Iterator[Fault]:
    """The annotations of images that the file does not list."""
    known = {image["id"] for image in index.images}
    for id, places in index.annotations.items():
        for number in places[::3] if id not in known else ():
            message = f"annotation {number}: image_id {id!r} is none of its images; correct it, or remove the annotation"
            yield Fault("mask_without_image", name_of(index.path, root), message, value=str(id))


def _twice(ids: list) -> list:
    seen: set = set()
    return list(dict.fromkeys(id for id in ids if id in seen or seen.add(id)))


def _has(entry: object, keys: Mapping[str, Any]) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), kind) and entry[key] != "" for key, kind in keys.items())


def _entries(text: _Text, tables: Mapping[str, Any]) -> Iterator[tuple[str, int | None, Any, int, int]]:
    """(table, number, entry, first byte, byte behind) of every entry of the named tables; number None once for each table.

    Nothing where the file holds another value than an object, and no table where it is no list.
    """
    at = text.behind("{", 0)
    if at is None:
        text.end(text.value(0)[1])
        return
    while text.peek(at) != "}":
        name, at = text.value(at)
        at = text.must(":", at)
        inner = text.behind("[", at) if name in tables else None
        if inner is None:
            _, at = text.value(at)
        else:
            yield name, None, None, inner, inner
            number, at = 0, inner
            while text.peek(at) != "]":
                at = text.skip(at)
                entry, end = text.value(at)
                yield name, number, entry, at, end
                number, at = number + 1, text.comma(end, "]")
            at = text.must("]", at)
        at = text.comma(at, "}")
    text.end(text.must("}", at))


class _Text:
    """The text of a file by the offset of its bytes, a window of it in memory.

    Latin-1 gives every byte a letter, so that the parser's offsets are those of the bytes; what is not ASCII is parsed again.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self._path = file, path
        self._start = 0
        self._size = path.stat().st_size
        self._text = ""
        self._load(0, WINDOW)

    def skip(self, at: int) -> int:
        """The offset of the next letter that is no space; an error at the end of the file."""
        while True:
            if not self._start <= at <= self._start + len(self._text):
                self._load(at, WINDOW)
            end = self._start + _SPACE.match(self._text, at - self._start).end()
            if end < self._start + len(self._text):
                return end
            if end >= self._size:
                raise self._damaged("ends too early", end)
            self._load(end, WINDOW)
            at = end

    def peek(self, at: int) -> str:
        """The next letter that is no space."""
        at = self.skip(at)
        return self._text[at - self._start]

    def behind(self, letter: str, at: int) -> int | None:
        """The offset behind a letter; None where another one stands there."""
        return self.skip(at) + 1 if self.peek(at) == letter else None

    def must(self, letter: str, at: int) -> int:
        behind = self.behind(letter, at)
        if behind is None:
            raise self._damaged(f"wanted {letter!r}", self.skip(at))
        return behind

    def comma(self, at: int, closing: str) -> int:
        """The offset behind a comma, or of the closing bracket."""
        if self.peek(at) == closing:
            return self.skip(at)
        behind = self.must(",", at)
        if self.peek(behind) == closing:
            raise self._damaged("a comma before a closing bracket", behind)
        return behind

    def value(self, at: int) -> tuple[Any, int]:
        """The value that starts here, and the offset behind it."""
        at = self.skip(at)
        while True:
            first, whole = at - self._start, self._start + len(self._text) >= self._size
            try:
                value, end = _SCAN(self._text, first)
                if whole or end <= len(self._text) - _TAIL:  # else it may be the first part of a number
                    source = self._text[first:end]
                    return (value if source.isascii() else self._again(source, at)), self._start + end
            except json.JSONDecodeError as error:
                is_cut = error.pos > len(self._text) - _TAIL or error.msg.startswith("Unterminated")
                if whole or not is_cut:
                    raise self._damaged(error.msg, self._start + error.pos) from None
            except RecursionError:
                raise self._damaged("brackets in brackets without end", at) from None
            self._load(at, max(WINDOW, 2 * len(self._text) if first == 0 else 0))

    def end(self, at: int) -> None:
        """An error where anything but spaces follows."""
        while at < self._size:
            self._load(at, WINDOW)
            rest = _SPACE.match(self._text).end()
            if rest < len(self._text):
                raise self._damaged("more than one value", at + rest)
            at += rest

    def _load(self, at: int, size: int) -> None:
        self._file.seek(at)
        data = self._file.read(size)
        if at == 0 and data.startswith(_BOM):
            data = b"   " + data[3:]
        self._start, self._text = at, data.decode("latin-1")

    def _again(self, source: str, at: int) -> Any:
        try:
            return json.loads(source.encode("latin-1").decode())
        except UnicodeDecodeError:
            raise self._damaged("not UTF-8", at) from None

    def _damaged(self, message: str, at: int) -> ValueError:
        return ValueError(f"{self._path}: is no JSON, or damaged: {message} (byte {at})")
