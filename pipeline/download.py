"""Bring a source into data/raw: copy a folder, unpack an archive, fetch an address or a list of downloads."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.addresses import Version, announced_size, is_address, versions_at
from pipeline.archive import SUFFIXES, check_room, extract, is_archive
from pipeline.download_list import Download, read_list
from pipeline.fetch import fetch
from pipeline.files import write_json
from pipeline.provenance import file_hash

INDEX = "source.json"
AT_ONCE = 4  # downloads side by side
FORMS = "a folder, a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive"
BARS = 20  # more downloads than this share one bar


def obtain(source: str | Path, folder: str | Path, *, sha256: str | None = None, downloads: str | Path = "downloads") -> None:
    """Fill `folder` from a source, and write source.json: the source, and the SHA-256 of every file.

    Parameters
    ----------
    source : a folder (copied, hidden files passed over); a zip or tar archive (unpacked); the address of one of these, as
        fsspec takes it: s3://bucket/photos; a .yaml list of downloads as `pipeline.download_list` reads it (fetched side by
        side, archives unpacked, and then the archives `inner` that were in them, each where it lies); or the .py file of a
        generator (nothing to bring)
    folder : emptied first; on a fault nothing is left in it
    sha256 : of the archive, in hex; None: not checked
    downloads : where fetched and half-fetched files stay, so that a killed download continues; may be deleted at any time

    Raises
    ------
    ValueError : the source is missing, of no known kind, empty or damaged, or not the one of `sha256`.
    OSError : no space left; names a file or `folder`.
    """
    path, folder = (str(source) if is_address(source) else Path(source)), Path(folder)
    kind = _kind(path)
    if sha256 is not None and kind not in (_unpack, _fetch_address):
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
    """How outputs name a source: as given if that is relative; of an absolute path, which means nothing elsewhere, the end.

    Of an address without what may be secret in it: user, password, query.
    """
    if is_address(source):
        parts = urlsplit(str(source))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    path = Path(source)
    return path.name if path.is_absolute() else path.as_posix()


def dvc_advice(source: str | Path) -> str:
    """What to do about a source that is not there and that DVC tracks, alone or in a folder; "" where it does not."""
    tracked = [Path(f"{one}.dvc") for one in (Path(source), *Path(source).parents) if one.name]
    known = next((file for file in tracked if file.is_file()), None)
    return f"DVC tracks it ({known}): dvc pull" if known else ""


def _kind(path: Path | str):
    if isinstance(path, str):
        return _fetch_address
    if path.is_dir():
        return _copy
    if not path.is_file():
        advice = dvc_advice(path) or "put it there or correct the path"
        raise ValueError(f"dataset.source: {path}: no such file or folder (from {Path.cwd()}); {advice}")
    if is_archive(path):
        return _unpack
    kinds = {".py": _generate, ".yaml": _fetch_all, ".yml": _fetch_all}
    if path.suffix not in kinds:
        raise ValueError(f"dataset.source: {path}: wanted {FORMS}, a .yaml list of downloads, or a .py generator")
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
    lost = [name for name in names if not (path / name).exists()]
    if lost:
        more = f" and {len(lost) - 1} more links lead" if len(lost) > 1 else " leads"
        place = f"{path / lost[0]} (to {(path / lost[0]).readlink()})"
        raise ValueError(f"dataset.source: the link {place}{more} nowhere; put its target there, or remove it")
    check_room(folder, sum((path / name).stat().st_size for name in names), what=f"{path}: to copy")
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: shutil.copyfile(path / name, folder / name), names))


@dataclass(frozen=True)
class _Wanted:
    """A file to fetch, and where it stays, under a name that no other version of it has."""

    urls: tuple[str, ...]
    target: Path
    sums: dict[str, str] = field(default_factory=dict)
    size: int | None = None


def _fetch_all(path: Path, folder: Path, *, downloads: Path, **_: Any) -> None:
    entries = read_list(path)
    targets = [downloads / next(iter(entry.sums.values()))[:16] / entry.name for entry in entries]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = list(pool.map(_size_of, entries, targets))
    wanted = [
        _Wanted(entry.urls, target, entry.sums, size) for entry, target, size in zip(entries, targets, sizes, strict=True)
    ]
    for entry, file in zip(entries, _bring(wanted, folder, source=path), strict=True):
        if is_archive(file):
            extract(file, folder)
        else:
            shutil.copyfile(file, folder / file.name)
        for inner in entry.inner:
            _extract_inner(folder / inner, where=f"{path}: {inner}: not in {file.name}")


def _fetch_address(address: str, folder: Path, *, sha256: str | None, downloads: Path) -> None:
    """A folder file by file, so that files which have not changed since the last time are not fetched again; or an archive."""
    found = versions_at(address)
    if "" not in found:
        if sha256 is not None:
            raise ValueError(f"dataset.sha256: belongs to an archive, and {address} is a folder; set it to null")
        if not found:
            raise ValueError(f"dataset.source: {address}: holds no file")
        wanted = [
            _Wanted((one.url,), downloads / _key(one) / PurePosixPath(name).name, size=one.total) for name, one in found.items()
        ]
        for name, file in zip(found, _bring(wanted, folder, source=address), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        return
    name = unquote(PurePosixPath(urlsplit(address).path).name)
    if not name.lower().endswith(SUFFIXES):
        raise ValueError(f"dataset.source: {address}: wanted {FORMS}; for single files write a .yaml list of downloads")
    if sha256 is None and not found[""].tag:
        raise ValueError(f"dataset.sha256: wanted for {address}, so that its bytes are pinned")
    target = downloads / (sha256[:16] if sha256 else _key(found[""])) / name
    one = _Wanted((address,), target, {"sha256": sha256} if sha256 else {}, found[""].total)
    extract(_bring([one], folder, source=address)[0], folder)


def _key(version: Version) -> str:
    return hashlib.sha256(f"{version.url} {version.tag} {version.total}".encode()).hexdigest()[:16]


def _size_of(entry: Download, target: Path) -> int | None:
    """Bytes of a download: of the file that is there, or what the first mirror that knows says."""
    if target.is_file():
        return target.stat().st_size
    return next((size for size in map(announced_size, entry.urls) if size is not None), None)


def _bring(wanted: Sequence[_Wanted], folder: Path, *, source: object) -> list[Path]:
    """Fetch files side by side, with a progress bar, after a look at the disk."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    _check_disks(wanted, folder, source=source)
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    is_over = threading.Event()
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        shared = progress.add_task(f"{len(wanted)} files", total=sum(one.size or 0 for one in wanted))
        progress.update(shared, visible=len(wanted) > BARS)

        def bring(one: _Wanted) -> Path:
            task = shared if len(wanted) > BARS else progress.add_task(one.target.name, total=one.size)
            seen = 0

            def show(done: int, total: int | None) -> None:
                nonlocal seen
                if is_over.is_set():
                    raise InterruptedError
                progress.update(task, advance=done - seen, total=None if task == shared else total)
                seen = done

            file = fetch(one.urls, one.target, **one.sums, on_progress=show)
            show(file.stat().st_size, file.stat().st_size)
            return file

        waiting = [pool.submit(bring, one) for one in wanted]
        try:
            wait(waiting)
        except BaseException:  # Ctrl-C: the pool would wait for the downloads to end
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    faults = [str(one.exception()) for one in waiting if isinstance(one.exception(), ValueError)]
    if faults:
        raise ValueError("\n".join(faults))
    return [one.result() for one in waiting]


def _check_disks(wanted: Sequence[_Wanted], folder: Path, *, source: object) -> None:
    """Refuse before the first byte what cannot fit: every file as it comes, and once more unpacked or copied into `folder`."""
    downloads = wanted[0].target.parent.parent
    downloads.mkdir(parents=True, exist_ok=True)
    whole = sum(one.size or 0 for one in wanted)
    missing = sum(max((one.size or 0) - _bytes_there(one.target), 0) for one in wanted)
    if downloads.stat().st_dev == folder.stat().st_dev:
        check_room(folder, missing + whole, what=f"{source}: to fetch and unpack at least")
    else:
        check_room(downloads, missing, what=f"{source}: to fetch at least")
        check_room(folder, whole, what=f"{source}: to unpack at least")


def _bytes_there(target: Path) -> int:
    """How much of a file an earlier call has fetched."""
    there = [file for file in (target, target.with_name(target.name + ".part")) if file.is_file()]
    return max((file.stat().st_size for file in there), default=0)


def _extract_inner(archive: Path, *, where: str) -> None:
    """Unpack an archive that came out of another beside itself, and remove it."""
    if not is_archive(archive):
        raise ValueError(f"{where}, or no archive; correct inner")
    extract(archive, archive.parent)
    archive.unlink()


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
