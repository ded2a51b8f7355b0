"""Small archives, and what came out of them."""

import io
import tarfile
import zipfile
from pathlib import Path

from tests.http_server import BODY


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as archive:
        for name, data in members.items():
            entry = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data) if isinstance(data, bytes) else 0
            archive.addfile(entry, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


MEMBERS = {
    "top/images/ä.png": BODY[:5000],
    "top/masks/ä.png": b"",
    "top/.hidden": b"x",
    "__MACOSX/._a": b"x",
    "top/.git/c": b"x",
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
