"""Download one file, over http(s) or from S3 and its like, and continue where an earlier try stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.addresses import RefusedError, TransientError, Version, open_at, read_block
from pipeline.archive import check_room

LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class _Job:
    """What `fetch` was asked for."""

    part: Path
    mirrors: tuple[str, ...]
    sums: dict[str, str]  # "sha256", "md5" -> hex digits
    retries: int
    wait_s: float
    timeout_s: float
    on_progress: Callable[[int, int | None], None]


def fetch(
    url: str | Sequence[str],
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    retries: int = 5,
    wait_s: float = 1.0,
    timeout_s: float = 30.0,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Path:
    """Download one file; what an interrupted call left in `path`.part is continued, not fetched again.

    Neither fsspec nor the clients that come with it resume a half file, hence the few lines here. fsspec opens every
    address but http(s): s3://, gs://, file:// ..., each with its own package.

    Parameters
    ----------
    url : an address, or several of the same bytes, tried in turn; where a checksum pins the bytes, a mirror continues the
        half file of the one before
    sha256, md5 : of the whole file, in hex; None: not checked
    retries : tries without a single new byte before giving up
    wait_s : seconds before the second try; doubled before each further one, up to 60
    timeout_s : seconds without a byte after which a connection counts as stalled
    on_progress : called with the bytes so far, and the bytes of the whole file or None

    Raises
    ------
    ValueError : the server refuses, the connection keeps failing, or the bytes are not those of the checksum, at every address;
        or the disk is too small. Names the addresses, and what to do.
    OSError : no space left while writing; the half file stays, and the next call continues it.
    """
    path = Path(path)
    sums = {kind: digits for kind, digits in {"sha256": sha256, "md5": md5}.items() if digits is not None}
    if path.is_file() and not _wrong_sum(path, sums):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    mirrors = (url,) if isinstance(url, str) else tuple(url)
    job = _Job(part, mirrors, sums, retries, wait_s, timeout_s, on_progress)
    faults = []
    for mirror in mirrors:
        try:
            _fetch_right(mirror, job)
        except RefusedError as fault:
            faults.append(str(fault))
            continue
        part.replace(path)
        _version_file(part).unlink(missing_ok=True)
        return path
    raise ValueError("\n".join(faults))


def _wrong_sum(file: Path, sums: dict[str, str]) -> str:
    """How the bytes of a file differ from its checksums; "" where they do not."""
    for kind, wanted in sums.items():
        with file.open("rb") as opened:
            got = hashlib.file_digest(opened, kind).hexdigest()
        if got != wanted:
            return f"{'MD5' if kind == 'md5' else 'SHA-256'} is {got}, wanted {wanted}"
    return ""


def _fetch_right(url: str, job: _Job) -> None:
    """Fill the half file from one address until it is whole and has the right checksum."""
    is_doubtful = _fetch_whole(url, job)
    if is_doubtful and _wrong_sum(job.part, job.sums):
        _forget(job.part)
        _fetch_whole(url, job)
    if wrong := _wrong_sum(job.part, job.sums):
        _forget(job.part)
        raise RefusedError(
            f"{url}: {wrong}; the file has changed or was tampered with. Compare with its publisher and, if the new bytes "
            "are right, write their checksum into the list"
        )


def _fetch_whole(url: str, job: _Job) -> bool:
    """Try until the half file is whole; `retries` counts tries in a row that brought nothing.

    True where its bytes may be wrong though the file at the address is right: more than one connection brought it, perhaps of
    different files, or nobody said how long it is.
    """
    part, failed, wait = job.part, 0, job.wait_s
    is_in_pieces = _size(part) > 0
    while True:
        before = _size(part)
        try:
            version = _continue(url, job)
            return is_in_pieces or version.total is None
        except TransientError as error:
            is_in_pieces = True
            gained = _size(part) > before
            failed, wait = (1, job.wait_s) if gained else (failed + 1, wait)
            if failed > job.retries:
                raise RefusedError(
                    f"{url}: {error}; gave up after {failed} tries without a new byte. Run again later: "
                    f"{_size(part):,} bytes are kept"
                ) from None
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


def _continue(url: str, job: _Job) -> Version:
    """One connection: append what is missing, or start anew where the server cannot continue or has other bytes."""
    part = job.part
    version = _read_version(url, job)
    offset = _size(part) if version else 0
    if version and version.total is not None and offset == version.total:
        return version
    answer = open_at(url, offset, version or Version(url), timeout_s=job.timeout_s)
    with answer.stream as stream:
        total, start = answer.version.total, answer.start
        if total is not None:
            check_room(part.parent, total - start, what=f"{url}: to fetch")
        _version_file(part).write_text(json.dumps(asdict(answer.version)), encoding="utf-8")
        with part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done = start
            while block := read_block(stream):
                file.write(block)
                done += len(block)
                job.on_progress(done, total)
    if total is not None and done < total:
        raise TransientError(f"the connection ended after {done:,} of {total:,} bytes")
    if total is not None and done > total:
        _forget(part)
        raise TransientError(f"the server sent {done:,} bytes and had announced {total:,}")
    return answer.version


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_version(url: str, job: _Job) -> Version | None:
    """What the half file is half of; None where that is unknown or of another address."""
    with suppress(OSError, ValueError, TypeError):
        version = Version(**json.loads(_version_file(job.part).read_text(encoding="utf-8")))
        if version.url == url:
            return version
        if version.url in job.mirrors and job.sums:  # the same bytes, and proven in the end; a tag is one server's own
            return Version(url, "", version.total)
    return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)
