"""Unpack zip and tar archives that nobody has vouched for."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# A bomb unpacks to more than this many times its size. Deflate reaches 1,032; real images and masks stay below 20.
BOMB_RATIO = 200
BOMB_FLOOR = 100 * 2**20  # bytes; less than this fills no disk
LONGEST_HEADER = 2**20  # bytes; what describes a member of a tar is read into memory
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


def is_archive(path: Path) -> bool:
    """True for a file whose name ends as one of `SUFFIXES`."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def check_room(folder: Path, wanted: int, *, what: str) -> None:
    """Raise ValueError where fewer than `wanted` bytes are free on the disk of a folder; `what` begins the message."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise ValueError(f"{what} {wanted:,} bytes, and {free:,} are free on the disk of {folder}; free some and run again")


def extract(archive: str | Path, folder: str | Path) -> list[Path]:
    """Unpack an archive into a folder; hidden files and folders (and __MACOSX) are passed over.

    Returns
    -------
    the files written, in the order of the archive

    Raises
    ------
    ValueError : the archive is cut off, damaged, encrypted, a bomb or too large for the disk, or a member is a link or a
        device, lies outside the folder, or stands there twice. Files unpacked before that remain.
    OSError : no space left.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    is_zip = archive.name.lower().endswith(".zip")
    unpacked, written = 0, {}
    try:
        if is_zip:  # a tar says its size only when read to its end
            _refuse_bomb(archive, announced := _zip_size(archive))
            check_room(folder, announced, what=f"{archive}: unpacks to")
        for member in _zip_members(archive) if is_zip else _tar_members(archive):
            target = _target(member, folder, archive)
            unpacked += member.size
            _refuse_bomb(archive, unpacked)
            if target is not None:
                _refuse_second(target, written, member, archive)
                _write(member, target)
    except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive}: cut off, damaged or encrypted ({error}); fetch it again") from None
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"{archive}: {error.filename} is a file and a folder in it; pack it again") from None
    except OSError as error:
        if error.errno is not None:  # gzip and bz2 report damage as an OSError without a number
            raise
        raise ValueError(f"{archive}: cut off or damaged ({error}); fetch it again") from None
    if not written:
        raise ValueError(f"{archive}: holds no file")
    return list(written)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # bytes, unpacked
    kind: str  # "file", "folder", or what it is instead
    stream: IO[bytes] | None


def _refuse_bomb(archive: Path, unpacked: int) -> None:
    if unpacked > max(BOMB_FLOOR, BOMB_RATIO * archive.stat().st_size):
        raise ValueError(
            f"{archive}: unpacks to more than {BOMB_RATIO} times its size, which no images do; if it is yours, "
            "unpack it yourself and give the folder as source"
        )


def _zip_size(archive: Path) -> int:
    with zipfile.ZipFile(archive) as opened:
        return sum(entry.file_size for entry in opened.infolist())


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            mode = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                yield _Member(entry.filename, 0, "folder", None)
            elif mode not in (0, stat.S_IFREG):
                yield _Member(entry.filename, 0, "link" if mode == stat.S_IFLNK else "device", None)
            else:
                with opened.open(entry) as stream:
                    yield _Member(entry.filename, entry.file_size, "file", stream)


class _Entry(tarfile.TarInfo):
    """A member of a tar whose long name or attributes fill no memory."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _HEADERS and entry.size > LONGEST_HEADER:
            raise tarfile.TarError(f"a header of {entry.size:,} bytes")
        return entry


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, tarinfo=_Entry) as opened:
        for entry in opened:
            kind = (
                "folder"
                if entry.isdir()
                else "link"
                if entry.issym() or entry.islnk()
                else "file"
                if entry.isfile()
                else "device"
            )
            yield _Member(entry.name, entry.size, kind, opened.extractfile(entry) if kind == "file" else None)


def _target(member: _Member, folder: Path, archive: Path) -> Path | None:
    """Where a member goes; None for a folder or a hidden file."""
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member.name):
        raise ValueError(f"{archive}: member {member.name!r} would land outside its folder; do not trust this archive")
    if member.kind not in ("file", "folder"):
        raise ValueError(f"{archive}: member {member.name!r} is a {member.kind}; only files and folders are unpacked")
    is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return None if member.kind == "folder" or is_hidden else folder / name


def _refuse_second(target: Path, written: dict[Path, str], member: _Member, archive: Path) -> None:
    if target in written:
        raise ValueError(f"{archive}: members {written[target]!r} and {member.name!r} are one file; pack it again")
    written[target] = member.name


def _write(member: _Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(member.stream, file, 1 << 20)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.name} has {target.stat().st_size} of {member.size} bytes")
