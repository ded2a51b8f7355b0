"""Download one file, over http(s) or from S3 and its like, and continue where an earlier try stopped."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pipeline.provenance import file_hash

BLOCK = 1 << 18  # bytes read at once
LONGEST_WAIT_S = 60.0
# worth another try; the rest (401, 403, 404 ...) will not change by waiting
RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class _Version:
    """Which bytes a half file belongs to."""

    url: str
    tag: str = ""  # a strong ETag, or Last-Modified
    total: int | None = None  # bytes of the whole file, where the server says


@dataclass(frozen=True)
class _Answer:
    """An open body, the offset of its first byte in the file, and which version it is of."""

    stream: IO[bytes]
    start: int
    version: _Version


class _Transient(Exception):
    """A fault that another try may not meet."""


def fetch(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
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
    sha256 : of the whole file, in hex; None: not checked
    retries : tries without a single new byte before giving up
    wait_s : seconds before the second try; doubled before each further one, up to 60
    timeout_s : seconds without a byte after which a connection counts as stalled
    on_progress : called with the bytes so far, and the bytes of the whole file or None

    Raises
    ------
    ValueError : the server refuses, the connection keeps failing, the bytes are not those of `sha256`, or the disk is too
        small. Names the address, and what to do.
    OSError : no space left while writing; the half file stays, and the next call continues it.
    """
    path = Path(path)
    if path.is_file() and (sha256 is None or file_hash(path) == sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    in_pieces = _fetch_whole(url, part, retries, wait_s, timeout_s, on_progress)
    if sha256 is not None and in_pieces and file_hash(part) != sha256:  # the first half may have been of other bytes
        _forget(part)
        _fetch_whole(url, part, retries, wait_s, timeout_s, on_progress)
    if sha256 is not None:
        _refuse_other_bytes(url, part, sha256)
    part.replace(path)
    _version_file(part).unlink(missing_ok=True)
    return path


def _refuse_other_bytes(url: str, part: Path, sha256: str) -> None:
    got = file_hash(part)
    if got != sha256:
        _forget(part)
        raise ValueError(
            f"{url}: SHA-256 is {got}, wanted {sha256}; the file has changed or was tampered with. Compare with its publisher "
            "and, if the new bytes are right, write their SHA-256 into the list"
        )


def _fetch_whole(url: str, part: Path, retries: int, wait_s: float, timeout_s: float, on_progress) -> bool:
    """Try until `part` is whole; `retries` counts tries in a row that brought nothing.

    True where more than one connection brought it.
    """
    failed, wait, in_pieces = 0, wait_s, _size(part) > 0
    while True:
        before = _size(part)
        try:
            _continue(url, part, timeout_s, on_progress)
            return in_pieces
        except _Transient as error:
            in_pieces = True
            gained = _size(part) > before
            failed, wait = (1, wait_s) if gained else (failed + 1, wait)
            if failed > retries:
                raise ValueError(
                    f"{url}: {error}; gave up after {failed} tries without a new byte. Run again later: "
                    f"{_size(part):,} bytes are kept"
                ) from None
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


def _continue(url: str, part: Path, timeout_s: float, on_progress) -> None:
    """One connection: append what is missing, or start anew where the server cannot continue or has other bytes."""
    version = _read_version(part, url)
    offset = _size(part) if version else 0
    if version and version.total is not None and offset == version.total:
        return
    answer = _open(url, offset, version or _Version(url), timeout_s)
    with answer.stream as stream:
        total, start = answer.version.total, answer.start
        _check_space(part, url, None if total is None else total - start)
        _version_file(part).write_text(json.dumps(asdict(answer.version)), encoding="utf-8")
        with part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done = start
            while block := _read(stream):
                file.write(block)
                done += len(block)
                on_progress(done, total)
    if total is not None and done < total:
        raise _Transient(f"the connection ended after {done:,} of {total:,} bytes")
    if total is not None and done > total:
        _forget(part)
        raise _Transient(f"the server sent {done:,} bytes and had announced {total:,}")


def _read(stream: IO[bytes]) -> bytes:
    try:
        # read1 hands over what has come; read would lose it where the connection then stalls
        return getattr(stream, "read1", stream.read)(BLOCK)
    except (OSError, http.client.HTTPException) as error:  # time-out, reset, broken chunk
        raise _Transient(_say(error)) from None


def _open(url: str, offset: int, version: _Version, timeout_s: float) -> _Answer:
    if url.startswith(("http://", "https://")):
        return _open_http(url, offset, version, timeout_s)
    return _open_other(url, offset, version)


def _open_http(url: str, offset: int, version: _Version, timeout_s: float) -> _Answer:
    headers = {"Accept-Encoding": "identity", "User-Agent": "segmentation-pipeline"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version.tag:
            headers["If-Range"] = version.tag  # other bytes by now: the server sends them from the start
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # the half file is longer than the whole: start anew
            return _open_http(url, 0, _Version(url), timeout_s)
        if error.code in RETRIED_STATUS:
            raise _Transient(f"the server answered {error.code} {error.reason}") from None
        raise ValueError(
            f"{url}: the server answered {error.code} {error.reason}; check the address, and whether it wants a login"
        ) from None
    except (OSError, http.client.HTTPException) as error:  # URLError, time-out, reset
        raise _Transient(_say(error)) from None
    tag = response.headers.get("ETag") or ""
    tag = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""
    length = response.headers.get("Content-Length")
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span and int(span[1]) == offset and (version.total is None or span[2] in ("*", str(version.total))):
            return _Answer(response, offset, _Version(url, tag, None if span[2] == "*" else int(span[2])))
        response.close()
        if not offset:
            raise _Transient("the server answered 206 to a question for the whole file")
        return _open_http(url, 0, _Version(url), timeout_s)
    return _Answer(response, 0, _Version(url, tag, None if length is None else int(length)))


def _open_other(url: str, offset: int, version: _Version) -> _Answer:
    import fsspec

    try:
        system, place = fsspec.core.url_to_fs(url)
        here = _Version(url, str(system.ukey(place)), system.size(place))
        stream = system.open(place, "rb")
    except ImportError as error:
        raise ValueError(f"{url}: {error}") from None
    except FileNotFoundError:
        raise ValueError(f"{url}: no such file; check the address") from None
    start = offset if here == version else 0
    stream.seek(start)
    return _Answer(stream, start, here)


def _check_space(part: Path, url: str, missing: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if missing is not None and missing > free:
        raise ValueError(
            f"{url}: {missing:,} bytes to come and {free:,} free on the disk of {part.parent}; free some and run again"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_version(part: Path, url: str) -> _Version | None:
    """What `part` is half of; None where that is unknown or another address."""
    with suppress(OSError, ValueError, TypeError):
        version = _Version(**json.loads(_version_file(part).read_text(encoding="utf-8")))
        return version if version.url == url else None
    return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _say(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return "no byte came in time" if isinstance(reason, TimeoutError) else f"{type(reason).__name__}: {reason}"
