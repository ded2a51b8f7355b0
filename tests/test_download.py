import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from pipeline import archive as archive_module
from pipeline.download import BARS, dvc_advice, obtain, source_name
from pipeline.provenance import ROOT
from tests.archives import MEMBERS, files_in, zipped
from tests.http_server import BODY, ETAG, SHA256, serve


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


def index(folder: Path) -> dict:
    return json.loads((folder / "source.json").read_text())


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/images/.cache").mkdir(parents=True)
    (tmp_path / "own/images/a.png").write_bytes(b"a")
    (tmp_path / "own/images/.cache/x").write_bytes(b"x")
    (tmp_path / "own/.DS_Store").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.png").write_bytes(b"b")
    (tmp_path / "own/masks").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "own/images/loop").symlink_to(tmp_path / "own")
    obtain("own", "data/raw")
    wanted = {"images/a.png": b"a", "masks/b.png": b"b"}
    assert index(Path("data/raw")) == {"source": "own", "files": {name: sha256_of(data) for name, data in wanted.items()}}
    assert {name: data for name, data in files_in(Path("data/raw")).items() if name != "source.json"} == wanted
    (tmp_path / "own/images/a.png").unlink()
    obtain(tmp_path / "own", "data/raw")
    assert list(index(Path("data/raw"))["files"]) == ["masks/b.png"]  # nothing stays of an earlier call
    assert index(Path("data/raw"))["source"] == "own"  # no absolute path


def test_source_name():
    assert source_name("../shared/x.zip") == "../shared/x.zip"
    assert source_name("/home/me/x.zip") == "x.zip"
    assert source_name("s3://bucket/a/b.zip") == "s3://bucket/a/b.zip"
    assert source_name("https://me:secret@host:8/x.zip?key=secret") == "https://host:8/x.zip"


def test_archive(tmp_path):
    archive = zipped(tmp_path / "a.zip", MEMBERS)
    good = sha256_of(archive.read_bytes())
    obtain(archive, tmp_path / "raw", sha256=good)
    assert list(index(tmp_path / "raw")["files"]) == ["top/images/ä.png", "top/masks/ä.png"]
    with pytest.raises(ValueError, match=f"a.zip: SHA-256 is {good}, wanted {'1' * 64}"):
        obtain(archive, tmp_path / "raw", sha256="1" * 64)
    assert not (tmp_path / "raw").exists()  # on a fault nothing is left


def test_generator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shapes.py").write_text("pass\n")
    obtain("shapes.py", "raw")
    assert index(Path("raw")) == {"source": "shapes.py", "files": {"shapes.py": sha256_of(b"pass\n")}}
    assert list(files_in(Path("raw"))) == ["source.json"]


def test_list_of_downloads(server, tmp_path, capsys):
    archive = zipped(tmp_path / "a.zip", {"images/a.png": b"a"})
    entries = [
        {"url": server.url, "sha256": SHA256, "name": "b.bin"},
        {"url": archive.as_uri(), "sha256": sha256_of(archive.read_bytes())},
    ]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    server.moods = ["cut:400000"]
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert index(tmp_path / "raw")["files"] == {"b.bin": SHA256, "images/a.png": sha256_of(b"a")}
    assert server.ranges == [None, "bytes=400000-"]


def test_archives_in_archives(tmp_path):
    """As in COCO's panoptic annotations: the inner archive is unpacked where it lies, one that is not named stays."""
    maps = zipped(tmp_path / "maps.zip", {"panoptic/a.png": b"a", "__MACOSX/._a": b"x"}).read_bytes()
    archive = zipped(tmp_path / "outer.zip", {"annotations/maps.zip": maps, "annotations/other.zip": maps, "b.json": b"{}"})
    entry = {"url": archive.as_uri(), "sha256": sha256_of(archive.read_bytes()), "inner": ["annotations/maps.zip"]}
    (tmp_path / "list.yaml").write_text(json.dumps([entry]))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert list(index(tmp_path / "raw")["files"]) == ["annotations/other.zip", "annotations/panoptic/a.png", "b.json"]
    (tmp_path / "list.yaml").write_text(json.dumps([entry | {"inner": ["annotations/map.zip"]}]))
    with pytest.raises(ValueError, match=r"list\.yaml: annotations/map\.zip: not in outer\.zip, or no archive; correct inner"):
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert not (tmp_path / "raw").exists()


def test_an_inner_archive_is_trusted_no_more_than_an_outer_one(tmp_path):
    inner = zipped(tmp_path / "maps.zip", {"../../a.png": b"a"}).read_bytes()
    archive = zipped(tmp_path / "outer.zip", {"maps.zip": inner})
    entry = {"url": archive.as_uri(), "sha256": sha256_of(archive.read_bytes()), "inner": ["maps.zip"]}
    (tmp_path / "list.yaml").write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="would land outside its folder"):
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert not (tmp_path / "raw").exists()


def test_a_killed_list_continues(server, tmp_path):
    """What stands in `downloads` is used by the next call, whole files and halves."""
    (tmp_path / "list.yaml").write_text(json.dumps([{"url": server.url, "sha256": SHA256}]))
    half = tmp_path / "downloads" / SHA256[:16] / "data.bin.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(BODY[:123_456])
    half.with_name(half.name + ".json").write_text(json.dumps({"url": server.url, "tag": ETAG, "total": len(BODY)}))
    for _ in range(2):
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
        assert index(tmp_path / "raw")["files"] == {"data.bin": SHA256}
    assert server.ranges == ["bytes=123456-"]


def test_mirrors_and_md5_in_a_list(server, tmp_path):
    entry = {"url": ["file:///nowhere/data.bin", server.url], "md5": hashlib.md5(BODY).hexdigest()}
    (tmp_path / "list.yaml").write_text(json.dumps([entry]))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert index(tmp_path / "raw")["files"] == {"data.bin": SHA256}


def test_downloads_run_side_by_side(server, tmp_path):
    """Each request is answered only when all have come."""
    server.moods = ["together:3"] * 3
    entries = [{"url": server.url, "sha256": SHA256, "name": name} for name in "abc"]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert list(index(tmp_path / "raw")["files"]) == ["a", "b", "c"]
    assert len(server.ranges) == 3


def test_progress_is_shown(server, tmp_path, capsys):
    entries = [{"url": server.url, "sha256": SHA256, "name": name} for name in ("a.bin", "b.bin")]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    said = capsys.readouterr().err
    assert "a.bin" in said and "b.bin" in said and "1.0/1.0 MB" in said


@pytest.mark.parametrize(("free", "fits"), [(2 * len(BODY) - 1, False), (2 * len(BODY), True)])
def test_disk_is_looked_at_before_the_first_byte(server, tmp_path, monkeypatch, free, fits):
    """Each file is needed twice: as it came, and unpacked or copied into data/raw."""
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    (tmp_path / "list.yaml").write_text(json.dumps([{"url": server.url, "sha256": SHA256}]))
    if fits:
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    else:
        with pytest.raises(
            ValueError, match=r"list.yaml: to fetch and unpack at least 2,048,000 bytes, and 2,047,999 are free"
        ):
            obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
        assert server.ranges == []
    assert server.heads == 1


def test_what_is_there_is_not_counted_or_asked_again(server, tmp_path, monkeypatch):
    (tmp_path / "list.yaml").write_text(json.dumps([{"url": server.url, "sha256": SHA256}]))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=len(BODY)))
    obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert (server.heads, len(server.ranges)) == (1, 1)


def test_folder_too_large_for_the_disk(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.png").write_bytes(BODY)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match=r"own: to copy 1,024,000 bytes, and 10 are free on the disk of .*raw"):
        obtain(tmp_path / "own", tmp_path / "raw")


def test_ctrl_c_stops_all_downloads_and_keeps_the_halves(server, tmp_path):
    server.moods = ["slow"] * 2
    entries = [{"url": server.url, "sha256": SHA256, "name": name} for name in "ab"]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    script = "import sys; from pipeline.download import obtain; obtain('list.yaml', 'raw')"
    call = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )
    halves = [tmp_path / "downloads" / SHA256[:16] / f"{name}.part" for name in "ab"]
    while not all(half.is_file() and half.stat().st_size for half in halves):
        assert call.poll() is None, call.stderr.read()
        time.sleep(0.05)
    call.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in call.communicate(timeout=120)[1]  # the servers would go on for a minute
    assert all(0 < half.stat().st_size < len(BODY) for half in halves) and not (tmp_path / "raw").exists()


@pytest.fixture
def memory():
    """A bucket, of sorts."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/bucket", recursive=True)


def put(system, name: str, data: bytes) -> None:
    system.pipe_file(f"/bucket/{name}", data)


def test_folder_at_an_address(memory, tmp_path):
    for name, data in {"images/a.png": b"a", "images/.b": b"x", "masks/a.png": b"m", "README": b"r"}.items():
        put(memory, f"photos/{name}", data)
    put(memory, "other.png", b"o")
    obtain("memory://bucket/photos", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert index(tmp_path / "raw")["source"] == "memory://bucket/photos"
    assert list(index(tmp_path / "raw")["files"]) == ["README", "images/a.png", "masks/a.png"]
    assert (tmp_path / "raw/masks/a.png").read_bytes() == b"m"
    put(memory, "photos/images/a.png", b"changed")
    obtain("memory://bucket/photos", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert (tmp_path / "raw/images/a.png").read_bytes() == b"changed"


def test_only_new_files_of_a_folder_at_an_address_are_fetched(memory, tmp_path, monkeypatch, capsys):
    for number in range(BARS + 1):
        put(memory, f"photos/{number}.png", b"%d" % number)
    obtain("memory://bucket/photos", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert f"{BARS + 1} files" in capsys.readouterr().err  # one bar for all
    put(memory, "photos/new.png", b"new")
    opened = []
    monkeypatch.setattr(type(memory), "open", lambda self, path, mode: opened.append(path) or well(self, path, mode))
    well = fsspec.AbstractFileSystem.open
    obtain("memory://bucket/photos", tmp_path / "raw", downloads=tmp_path / "downloads")
    assert opened == ["/bucket/photos/new.png"]
    assert len(index(tmp_path / "raw")["files"]) == BARS + 2


def test_archive_at_an_address(memory, server, tmp_path):
    archive = zipped(tmp_path / "a.zip", MEMBERS).read_bytes()
    put(memory, "a.zip", archive)
    for sha256 in (None, sha256_of(archive)):
        obtain("memory://bucket/a.zip", tmp_path / "raw", sha256=sha256, downloads=tmp_path / "downloads")
        assert list(index(tmp_path / "raw")["files"]) == ["top/images/ä.png", "top/masks/ä.png"]
    with pytest.raises(ValueError, match=f"a.zip: SHA-256 is {sha256}, wanted {'1' * 64}"):
        obtain("memory://bucket/a.zip", tmp_path / "raw", sha256="1" * 64, downloads=tmp_path / "downloads")
    server.body = archive
    address = server.url.replace("data.bin", "a.zip")
    obtain(address, tmp_path / "raw", sha256=sha256, downloads=tmp_path / "downloads")
    with pytest.raises(ValueError, match=r"dataset.sha256: wanted for http://.*/a.zip, so that its bytes are pinned"):
        obtain(address, tmp_path / "raw", downloads=tmp_path / "downloads")


def test_wrong_addresses(memory, tmp_path):
    put(memory, "a.rar", b"x")
    put(memory, "photos/.hidden", b"x")
    for address, sha256, message in [
        ("memory://bucket/gone", None, "memory://bucket/gone: no such file; check the address"),
        ("memory://bucket/a.rar", None, "a.rar: wanted a folder, a .zip, .* for single files write a .yaml list of downloads"),
        ("memory://bucket/photos", None, "holds no file"),
        ("memory://bucket/photos", "0" * 64, "belongs to an archive, and memory://bucket/photos is a folder"),
    ]:
        with pytest.raises(ValueError, match=message):
            obtain(address, tmp_path / "raw", sha256=sha256, downloads=tmp_path / "downloads")
    assert not (tmp_path / "raw").exists()


def test_faults_of_all_downloads_are_told_together(server, tmp_path):
    entries = [{"url": server.url, "sha256": digit * 64, "name": digit} for digit in "12"]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=f"(?s)wanted {'1' * 64}.*wanted {'2' * 64}"):
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")


def test_wrong_sources(tmp_path):
    with pytest.raises(ValueError, match=r"dataset.source: nowhere.zip: no such file or folder \(from "):
        obtain("nowhere.zip", tmp_path / "raw")
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a.rar: wanted a folder, a .zip"):
        obtain(tmp_path / "a.rar", tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file"):
        obtain(tmp_path / "empty", tmp_path / "raw")
    with pytest.raises(ValueError, match="belongs to an archive"):
        obtain(tmp_path / "empty", tmp_path / "raw", sha256="0" * 64)
    with pytest.raises(ValueError, match="holds the output"):
        obtain(tmp_path, tmp_path / "raw")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/source.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has a file source.json of its own"):
        obtain(tmp_path / "own", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_source_that_dvc_has_and_this_folder_has_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.dvc").write_text("outs: []")
    for source in ("own", "own/photos/a.zip"):
        with pytest.raises(ValueError, match=r"no such file or folder .*; DVC tracks it \(own.dvc\): dvc pull"):
            obtain(source, "raw")
    assert dvc_advice("owner") == dvc_advice(tmp_path / "x") == ""


def test_full_disk_names_the_place_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.download.extract", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*raw'"):
        obtain(zipped(tmp_path / "a.zip", MEMBERS), tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.png").write_bytes(b"a")
    (tmp_path / "own/b.png").symlink_to("/nowhere/b.png")
    message = r"dataset\.source: the link .*own/b\.png \(to /nowhere/b\.png\) leads nowhere; put its target there, or remove it"
    with pytest.raises(ValueError, match=message):
        obtain(tmp_path / "own", tmp_path / "raw")
