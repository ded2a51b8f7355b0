"""What an address names: how long it is, which files are below it, and its bytes from an offset on."""

from __future__ import annotations

import http.client
import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import IO, Any

BLOCK = 1 << 18  # bytes read at once
# worth another try; the rest (401, 403, 404 ...) will not change by waiting
RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
AGENT = {"Accept-Encoding": "identity", "User-Agent": "segmentation-pipeline"}


@dataclass(frozen=True)
class Version:
    """Which bytes an address gives, or a half file belongs to."""

    url: str
    tag: str = ""  # a strong ETag, or Last-Modified
    total: int | None = None  # bytes of the whole file, where the server says


@dataclass(frozen=True)
class Answer:
    """An open body, the offset of its first byte in the file, and which version it is of."""

    stream: IO[bytes]
    start: int
    version: Version


class TransientError(Exception):
    """A fault that another try may not meet."""


class RefusedError(ValueError):
    """An address that does not give its file; a mirror may."""


def is_address(source: object) -> bool:
    """True for what begins as https:// or s3:// do, in capitals too."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", str(source), re.IGNORECASE))


def open_at(url: str, offset: int, version: Version, *, timeout_s: float) -> Answer:
    """Open a file at `offset`, or at its start where the server cannot do that or has another version by now.

    Raises
    ------
    TransientError : the server does not answer, or asks to come again.
    RefusedError : there is no such file, or it is not for you.
    """
    if _is_http(url):
        return _open_http(url, offset, version, timeout_s)
    system, place = _system(url)
    try:
        info = system.info(place)
        here = Version(url, _tag(info), info.get("size"))
        stream = system.open(place, "rb")
    except (OSError, *_client_errors()) as error:
        raise _explained(url, error) from None
    start = offset if here.total == version.total and version.tag in ("", here.tag) else 0
    stream.seek(start)
    return Answer(stream, start, here)


def read_block(stream: IO[bytes]) -> bytes:
    """Up to `BLOCK` bytes, what has come; raises TransientError where the connection ends or stalls."""
    try:
        # read would lose what has come where the connection then stalls
        return getattr(stream, "read1", stream.read)(BLOCK)
    except (OSError, http.client.HTTPException, *_client_errors()) as error:  # time-out, reset, broken chunk
        raise TransientError(_say(error)) from None


def announced_size(url: str, *, timeout_s: float = 30.0) -> int | None:
    """Bytes of the file at an address, asked without fetching it; None where that cannot be learned."""
    try:
        if _is_http(url):
            question = urllib.request.Request(url, headers=AGENT, method="HEAD")
            with urllib.request.urlopen(question, timeout=timeout_s) as answer:
                length = answer.headers.get("Content-Length")
                return None if length is None else int(length)
        system, place = _system(url)
        return system.size(place)
    except (ValueError, OSError, http.client.HTTPException, *_client_errors()):
        return None  # to fetch it meets the same fault, and explains it


def versions_at(address: str) -> dict[str, Version]:
    """Every file of a folder, by its name relative to it, hidden ones passed over; a single file has the name "".

    Raises
    ------
    ValueError : there is no such file or folder, it is not for you, or a name in it leads elsewhere.
    """
    if _is_http(address):
        return {"": Version(address)}
    system, home = _system(address)
    try:
        is_folder = system.isdir(home)
        found = system.find(home, detail=True) if is_folder else {home: system.info(home)}
    except (OSError, *_client_errors()) as error:
        fault = _explained(address, error)
        raise fault if isinstance(fault, RefusedError) else RefusedError(f"{address}: {fault}; run again later") from None
    versions = {}
    for place, info in sorted(found.items()):
        version = Version(system.unstrip_protocol(place), _tag(info), info.get("size"))
        name = place.removeprefix(home.rstrip("/")).lstrip("/") if is_folder else ""
        parts = name.split("/")
        if ".." in parts or "\\" in name or "::" in name:  # fsspec chains addresses by ::
            raise ValueError(f"{address}: {name!r} would lead outside its folder; rename it there")
        # object stores mark a folder by a name that ends in /
        if not is_folder or all(part and not part.startswith(".") for part in parts):
            versions[name] = version
    return versions


def _open_http(url: str, offset: int, version: Version, timeout_s: float) -> Answer:
    headers = {**AGENT}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version.tag:
            headers["If-Range"] = version.tag  # other bytes by now: the server sends them from the start
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # the half file is longer than the whole: start anew
            return _open_http(url, 0, Version(url), timeout_s)
        if error.code in RETRIED_STATUS:
            raise TransientError(f"the server answered {error.code} {error.reason}") from None
        raise RefusedError(
            f"{url}: the server answered {error.code} {error.reason}; check the address, and whether it wants a login"
        ) from None
    except (OSError, http.client.HTTPException) as error:  # URLError, time-out, reset
        raise TransientError(_say(error)) from None
    tag = response.headers.get("ETag") or ""
    tag = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""
    length = response.headers.get("Content-Length")
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span and int(span[1]) == offset and (version.total is None or span[2] in ("*", str(version.total))):
            return Answer(response, offset, Version(url, tag, None if span[2] == "*" else int(span[2])))
        response.close()
        if not offset:
            raise TransientError("the server answered 206 to a question for the whole file")
        return _open_http(url, 0, Version(url), timeout_s)
    return Answer(response, 0, Version(url, tag, None if length is None else int(length)))


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the place in it."""
    import fsspec

    scheme, sign, place = url.partition("://")
    url = f"{scheme.lower()}{sign}{place}"  # fsspec knows its schemes in small letters
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = "; it comes with an extra of this project: pip install '.[s3]'" if url.startswith("s3://") else ""
        raise RefusedError(f"{url}: {error}{extra}") from None


def _tag(info: dict[str, Any]) -> str:
    """What differs between two versions of a file, from fsspec's description of it."""
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return next((f"{key} {info[key]}" for key in keys if info.get(key)), str(info))


def _explained(url: str, error: Exception) -> TransientError | RefusedError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return RefusedError(f"{url}: no such file; check the address")
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return RefusedError(f"{url}: {error}; check the address and your credentials")
    return TransientError(_say(error))


def _client_errors() -> tuple[type[Exception], ...]:
    """What the clients behind fsspec raise for a lost connection or missing credentials beside OSError, of those loaded."""
    named = {"botocore.exceptions": ("BotoCoreError", "ClientError"), "aiohttp": ("ClientError",)}
    return tuple(getattr(sys.modules[name], error) for name, errors in named.items() if name in sys.modules for error in errors)


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _say(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return "no byte came in time" if isinstance(reason, TimeoutError) else f"{type(reason).__name__}: {reason}"
