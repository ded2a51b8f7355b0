"""A list of downloads: a .yaml file that pins the bytes of each by their checksum."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from pipeline.addresses import is_address

KEYS = ("url", "sha256", "md5", "name", "inner")
DIGITS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True)
class Download:
    """An entry of the list.

    Parameters
    ----------
    urls : addresses of the same bytes, tried in turn
    sums : "sha256", "md5" -> hex digits, at least one of them
    name : of the file
    inner : archives in it that are to be unpacked too
    """

    urls: tuple[str, ...]
    sums: dict[str, str]
    name: str
    inner: tuple[str, ...] = ()


def read_list(path: Path) -> list[Download]:
    """The downloads of a list; its entries are `- {url: ..., sha256: ..., name: ..., inner: [...]}`.

    `url` is an address or a list of mirrors. Where only an MD5 is published, `md5` stands instead of `sha256`. `name` is the
    last part of the first address where it is left out.

    Raises
    ------
    ValueError : every fault of the file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: wanted a list of downloads: - {{url: https://..., sha256: 64 hex digits}}")
    faults: list[str] = []
    entries = []
    for number, given in enumerate(content, start=1):
        entry = _complete(given if isinstance(given, dict) else {})
        faults += [f"entry {number}: {fault}" for fault in _entry_faults(entry)]
        entries.append(entry)
    names = [str(entry["name"]) for entry in entries]
    faults += [f"name {name!r} stands there twice" for name in sorted({one for one in names if names.count(one) > 1})]
    if faults:
        raise ValueError("\n".join(f"{path}: {fault}" for fault in faults))
    return [_download(entry) for entry in entries]


def _complete(given: dict[Any, Any]) -> dict[Any, Any]:
    """An entry with its name, its addresses as a list, and its sums in small letters."""
    entry = {"inner": [], **given}
    entry["url"] = entry.get("url") if isinstance(entry.get("url"), list) else [entry.get("url")]
    first = str(entry["url"][0]) if entry["url"] else ""
    entry.setdefault("name", unquote(PurePosixPath(urlsplit(first).path).name))
    entry.update({kind: entry[kind].lower() for kind in DIGITS if isinstance(entry.get(kind), str)})  # Windows prints capitals
    return entry


def _entry_faults(entry: dict[Any, Any]) -> list[str]:
    faults = []
    if unknown := sorted(map(str, entry.keys() - set(KEYS))):
        faults.append(f"unknown {', '.join(unknown)}; known: {', '.join(KEYS)}")
    wrong = [url for url in entry["url"] or [None] if not (isinstance(url, str) and is_address(url))]
    faults += [f"url is {url!r}; wanted an address such as https://..., or a list of them" for url in wrong]
    for kind in [kind for kind in DIGITS if entry.get(kind) is not None] or ["sha256"]:
        if not re.fullmatch(f"[0-9a-f]{{{DIGITS[kind]}}}", str(entry.get(kind, ""))):
            other = ", or md5 with 32" if kind == "sha256" else ""
            faults.append(
                f"{kind} is {entry.get(kind)!r}; wanted {DIGITS[kind]} hex digits{other}, so that the bytes are pinned"
            )
    if not re.fullmatch(r"[^/\\.][^/\\]*", str(entry["name"])):
        faults.append(f"name is {entry['name']!r}; wanted a plain file name")
    inner = entry["inner"]
    if not isinstance(inner, list) or not all(re.fullmatch(r"([^/\\.][^/\\]*/)*[^/\\.][^/\\]*", str(one)) for one in inner):
        faults.append(f"inner is {inner!r}; wanted a list of archives in it: [annotations/maps.zip]")
    return faults


def _download(entry: dict[str, Any]) -> Download:
    sums = {kind: str(entry[kind]) for kind in DIGITS if entry.get(kind) is not None}
    return Download(tuple(entry["url"]), sums, str(entry["name"]), tuple(map(str, entry["inner"])))
