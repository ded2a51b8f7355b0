"""Where the rows of each image stand in a large CSV file, to be read when they are wanted.

The boxes of Open Images are 14.6 million rows in 2.2 GB: gone through once, only the places of wanted rows kept in memory.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

IMAGE, LABEL = "ImageID", "LabelName"


class Table:
    """A CSV file with a header, the columns ImageID and LabelName among others, and no line break within a row.

    Parameters
    ----------
    needed : further columns that it has

    Raises
    ------
    ValueError : the file has other columns.
    """

    def __init__(self, path: Path, needed: Sequence[str]):
        self.path = path
        with path.open("rb") as file:
            self._header = next(csv.reader([file.readline().decode("utf-8-sig", "replace")]), [])
        missing = [column for column in (IMAGE, LABEL, *needed) if column not in self._header]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}, it has {', '.join(self._header)[:120]}; fetch it again")

    def places(self, labels: Container[str], *, only: Container[str] | None = None) -> tuple[dict[str, array], set[str]]:
        """Go through the file once.

        Parameters
        ----------
        labels : of the rows that are wanted
        only : ids of images; None: all

        Returns
        -------
        image id -> the first bytes of its wanted rows, and every label in the file
        """
        image_at, label_at, commas = self._header.index(IMAGE), self._header.index(LABEL), len(self._header) - 1
        last = max(image_at, label_at) + 1
        found: dict[str, array] = {}
        seen: set[str] = set()
        with self.path.open("rb") as file:
            at = len(file.readline())
            for number, line in enumerate(file, start=2):
                if line.count(b",") < commas:
                    text = line.decode("utf-8", "replace").strip()
                    raise ValueError(f"{self.path} line {number}: {text[:80]!r}; wanted {commas + 1} columns; fetch it again")
                cells = line.split(b",", last)
                image, label = cells[image_at].decode("latin-1"), cells[label_at].decode("latin-1")
                seen.add(label)
                if label in labels and (only is None or image in only):
                    found.setdefault(image, array("q")).append(at)
                at += len(line)
        return found, seen

    def rows(self, places: Sequence[int]) -> Iterator[dict[str, str]]:
        """The rows that begin at these bytes, column -> text."""
        with self.path.open("rb") as file:
            for at in places:
                file.seek(at)
                cells = next(csv.reader([file.readline().decode("utf-8", "replace")]))
                yield dict(zip(self._header, cells, strict=False))
