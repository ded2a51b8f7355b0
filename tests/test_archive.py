import gzip
import hashlib
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import archive as archive_module
from pipeline.archive import extract
from tests.archives import MEMBERS, files_in, tarred, zipped
from tests.http_server import BODY


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_archives(tmp_path, name):
    pack = zipped if name == "a.zip" else tarred
    extract(pack(tmp_path / name, MEMBERS), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"top/images/ä.png": BODY[:5000], "top/masks/ä.png": b""}


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_outside_the_folder(tmp_path, name, kind):
    pack = zipped if kind == "zip" else tarred
    archive = pack(tmp_path / f"a.{kind}", {"fine.txt": b"1", name: b"2"})
    with pytest.raises(ValueError, match=r"would land outside its folder; do not trust this archive"):
        extract(archive, tmp_path / "out" / "deep")
    assert files_in(tmp_path / "out") == {"deep/fine.txt": b"1"}


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo("odd")
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (special(tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (special(tarfile.LNKTYPE, "fine.txt"), "link"),
        (special(tarfile.CHRTYPE), "device"),
        (special(tarfile.FIFOTYPE), "device"),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, entry, kind):
    archive = tarred(tmp_path / "a.tar", {"fine.txt": b"1", "odd": entry})
    with pytest.raises(ValueError, match=f"member 'odd' is a {kind}; only files and folders are unpacked"):
        extract(archive, tmp_path / "out")


def test_symlink_in_a_zip(tmp_path):
    entry = zipfile.ZipInfo("odd")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="member 'odd' is a link"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.97])
def test_cut_archives(tmp_path, name, share):
    pack = zipped if name == "a.zip" else tarred
    noise = b"".join(hashlib.sha256(bytes([index % 256, index // 256])).digest() for index in range(4000))
    archive = pack(tmp_path / name, {"a.bin": noise, "b.bin": noise[::-1]})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    if name == "a.tar" and share > 0.9:  # nothing but the padding at the end is missing
        archive.write_bytes(whole[: len(noise) + 5000])
    with pytest.raises(ValueError, match=f"{name}: (cut off|holds no file)"):
        extract(archive, tmp_path / "out")


def test_flipped_byte(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a.bin": BODY})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 255
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.zip: cut off, damaged or encrypted"):
        extract(archive, tmp_path / "out")
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(b"no tar at all" * 1000))
    with pytest.raises(ValueError, match=r"a.tar.gz: cut off, damaged or encrypted"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_bombs(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archive_module, "BOMB_FLOOR", 1000)
    pack = zipped if name == "a.zip" else tarred
    archive = pack(tmp_path / name, {f"{index}.bin": bytes(1_000_000) for index in range(5)})
    with pytest.raises(ValueError, match="unpacks to more than 200 times its size"):
        extract(archive, tmp_path / "out")
    assert sum(len(data) for data in files_in(tmp_path / "out").values()) <= 200 * archive.stat().st_size


def test_a_bomb_in_a_zip_is_refused_before_its_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "BOMB_FLOOR", 1000)
    with pytest.raises(ValueError, match="unpacks to more than 200 times its size"):
        extract(zipped(tmp_path / "a.zip", {"a.txt": b"a", "b.bin": bytes(9_000_000)}), tmp_path / "out")
    assert files_in(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_that_would_fill_the_memory(tmp_path, kind):
    entry = tarfile.TarInfo("odd")
    entry.type, entry.size = kind, 2**21
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(entry.tobuf() + bytes(2**21))
    with pytest.raises(ValueError, match=r"a.tar.gz: cut off, damaged or encrypted \(a header of 2,097,152 bytes\)"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")


def test_zip_too_large_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    archive = zipped(tmp_path / "a.zip", {"a.bin": bytes(600), "b.bin": bytes(600)})
    with pytest.raises(ValueError, match=r"a.zip: unpacks to 1,200 bytes, and 1,000 are free on the disk of .*out; free some"):
        extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == {}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("./",)])
def test_a_name_of_a_file_and_a_folder(tmp_path, names):
    archive = tarred(tmp_path / "a.tar", dict.fromkeys(names, b"1"))
    with pytest.raises(ValueError, match=r"a.tar: .*out.* is a file and a folder in it; pack it again"):
        extract(archive, tmp_path / "out")


def test_member_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped_twice(tmp_path / "a.zip")
    with pytest.raises(ValueError, match=r"members 'a.txt' and 'a.txt' are one file"):
        extract(archive, tmp_path / "out")


def zipped_twice(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"1")
        archive.writestr("a.txt", b"2")
    return path


def test_empty_archive(tmp_path):
    with pytest.raises(ValueError, match="holds no file"):
        extract(zipped(tmp_path / "a.zip", {}), tmp_path / "out")
