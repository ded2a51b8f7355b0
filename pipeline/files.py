"""Write small result files: whole or not at all, and the same bytes for the same content."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write beside `path` and move it there; folders are made. A full disk is an OSError that names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict:
    """The mapping in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: dict) -> None:
    """Write a mapping as indented JSON, keys in their order."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Sequence[dict], *, columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV; a missing value is an empty cell. `columns` come first, and are there even where no row has them."""
    names = list(dict.fromkeys([*(columns or ()), *(key for row in rows for key in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())
