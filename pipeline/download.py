"""Bring a source into data/raw: copy a folder, unpack an archive, fetch a list of downloads."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from pipeline.archive import extract, is_archive
from pipeline.fetch import fetch
from pipeline.files import write_json
from pipeline.provenance import file_hash

INDEX = "source.json"
AT_ONCE = 4  # downloads side by side


def obtain(source: str | Path, folder: str | Path, *, sha256: str | None = None, downloads: str | Path = "downloads") -> None:
    """Fill `folder` from a source, and write source.json: the source, and the SHA-256 of every file.

    Parameters
    ----------
    source : a folder (copied, hidden files passed over); a zip or tar archive (unpacked); a .yaml list of downloads,
        `- {url: ..., sha256: ..., name: ..., inner: [...]}`, the name optional (fetched side by side, archives unpacked, and
        then the archives `inner` that were in them, each where it lies); or the .py file of a generator (nothing to bring)
    folder : emptied first; on a fault nothing is left in it
    sha256 : of the archive, in hex; None: not checked
    downloads : where fetched and half-fetched files stay, so that a killed download continues; may be deleted at any time

    Raises
    ------
    ValueError : the source is missing, of no known kind, empty or damaged, or not the one of `sha256`.
    OSError : no space left; names a file or `folder`.
    """
    path, folder = Path(source), Path(folder)
    kind = _kind(path)
    if sha256 is not None and kind is not _unpack:
        raise ValueError(f"dataset.sha256: belongs to an archive, and {source} is none; set it to null")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            kind(path, folder, sha256=sha256, downloads=Path(downloads))
            if (folder / INDEX).exists():
                raise ValueError(f"{source}: has a file {INDEX} of its own, which this pipeline writes; rename it")
            files = {source_name(path): file_hash(path)} if kind is _generate else _hashes(folder)
            write_json(folder / INDEX, {"source": source_name(path), "files": files})
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                raise OSError(error.errno, error.strerror, str(folder)) from None
            raise
        undo.pop_all()


def source_name(source: str | Path) -> str:
    """How outputs name a source: as given if that is relative; of an absolute path, which means nothing elsewhere, the end."""
    path = Path(source)
    return path.name if path.is_absolute() else path.as_posix()


def _kind(path: Path):
    if path.is_dir():
        return _copy
    if not path.is_file():
        raise ValueError(
            f"dataset.source: {path}: no such file or folder (from {Path.cwd()}); put it there or correct the path"
        )
    if is_archive(path):
        return _unpack
    kinds = {".py": _generate, ".yaml": _fetch_all, ".yml": _fetch_all}
    if path.suffix not in kinds:
        wanted = "a folder, a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive, a .yaml list of downloads, or a .py generator"
        raise ValueError(f"dataset.source: {path}: wanted {wanted}")
    return kinds[path.suffix]


def _generate(path: Path, folder: Path, **_: Any) -> None:
    """Nothing to bring: the reader makes the data."""


def _unpack(path: Path, folder: Path, *, sha256: str | None, **_: Any) -> None:
    if sha256 is not None and (got := file_hash(path)) != sha256:
        raise ValueError(
            f"{path}: SHA-256 is {got}, wanted {sha256} (dataset.sha256); fetch the archive again or correct the number"
        )
    extract(path, folder)


def _copy(path: Path, folder: Path, **_: Any) -> None:
    if folder.resolve().is_relative_to(path.resolve()):
        raise ValueError(f"dataset.source: {path} holds the output {folder}; give the folder of the data alone")
    names = list(_visible_files(path))
    if not names:
        raise ValueError(f"dataset.source: {path}: holds no file")
    wanted, free = sum((path / name).stat().st_size for name in names), shutil.disk_usage(folder).free
    if wanted > free:
        raise OSError(errno.ENOSPC, f"{wanted:,} bytes to copy, {free:,} free", str(folder))
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: shutil.copyfile(path / name, folder / name), names))


def _fetch_all(path: Path, folder: Path, *, downloads: Path, **_: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    entries = _entries(path)
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(AT_ONCE) as pool:

        def bring(entry: dict[str, Any]) -> Path:
            task = progress.add_task(entry["name"], total=None)
            # beside its SHA-256, so that a new version never meets the half file of an old one
            target = downloads / entry["sha256"][:16] / entry["name"]
            return fetch(
                entry["url"],
                target,
                sha256=entry["sha256"],
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )

        waiting = [pool.submit(bring, entry) for entry in entries]
    faults = [str(one.exception()) for one in waiting if isinstance(one.exception(), ValueError)]
    if faults:
        raise ValueError("\n".join(faults))
    for entry, one in zip(entries, waiting, strict=True):
        file = one.result()
        if is_archive(file):
            extract(file, folder)
        else:
            shutil.copyfile(file, folder / file.name)
        for inner in entry.get("inner", ()):
            _extract_inner(folder / inner, where=f"{path}: {inner}: not in {file.name}")


def _extract_inner(archive: Path, *, where: str) -> None:
    """Unpack an archive that came out of another beside itself, and remove it."""
    if not is_archive(archive):
        raise ValueError(f"{where}, or no archive; correct inner")
    extract(archive, archive.parent)
    archive.unlink()


def _entries(path: Path) -> list[dict[str, Any]]:
    """The downloads of a list, each with url, sha256, name and perhaps inner; every fault of the file in one error."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: wanted a list of downloads: - {{url: https://..., sha256: 64 hex digits}}")
    faults, entries = [], []
    for number, given in enumerate(content, start=1):
        entry = dict(given) if isinstance(given, dict) else {}
        entry.setdefault("name", unquote(PurePosixPath(urlsplit(str(entry.get("url", ""))).path).name))
        entries.append(entry)
        if unknown := sorted(map(str, entry.keys() - {"url", "sha256", "name", "inner"})):
            faults.append(f"entry {number}: unknown {', '.join(unknown)}; known: url, sha256, name, inner")
        if not re.match(r"[a-z][a-z0-9+.-]*://", str(entry.get("url", ""))):
            faults.append(f"entry {number}: url is {entry.get('url')!r}; wanted an address such as https://...")
        if not re.fullmatch("[0-9a-f]{64}", str(entry.get("sha256", ""))):
            faults.append(
                f"entry {number}: sha256 is {entry.get('sha256')!r}; wanted 64 hex digits, so that the bytes are pinned"
            )
        if not re.fullmatch(r"[^/\\.][^/\\]*", str(entry["name"])):
            faults.append(f"entry {number}: name is {entry['name']!r}; wanted a plain file name")
        inner = entry.get("inner", [])
        if not isinstance(inner, list) or not all(re.fullmatch(r"([^/\\.][^/\\]*/)*[^/\\.][^/\\]*", str(one)) for one in inner):
            faults.append(f"entry {number}: inner is {inner!r}; wanted a list of archives in it: [annotations/maps.zip]")
    names = [entry["name"] for entry in entries]
    faults += [f"name {name!r} stands there twice" for name in sorted({str(one) for one in names if names.count(one) > 1})]
    if faults:
        raise ValueError("\n".join(f"{path}: {fault}" for fault in faults))
    return entries


def _visible_files(folder: Path) -> Iterator[Path]:
    """Every file below, relative to `folder`, sorted; links are followed, hidden files and folders passed over."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and os.path.realpath(Path(place, one)) not in seen
        )
        yield from sorted(Path(place, one).relative_to(folder) for one in files if not one.startswith("."))


def _hashes(folder: Path) -> dict[str, str]:
    """Path relative to `folder` -> SHA-256, sorted; hashing releases the interpreter's lock, so threads help."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(file_hash, [folder / name for name in names])
        return {name.as_posix(): one for name, one in zip(names, hashes, strict=True)}
