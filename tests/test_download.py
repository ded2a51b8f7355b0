import errno
import hashlib
import json
from pathlib import Path

import pytest

from pipeline.download import obtain, source_name
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


def test_faults_of_all_downloads_are_told_together(server, tmp_path):
    entries = [{"url": server.url, "sha256": digit * 64, "name": digit} for digit in "12"]
    (tmp_path / "list.yaml").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=f"(?s)wanted {'1' * 64}.*wanted {'2' * 64}"):
        obtain(tmp_path / "list.yaml", tmp_path / "raw", downloads=tmp_path / "downloads")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not valid YAML"),
        ("url: x", "wanted a list of downloads"),
        ("[]", "wanted a list of downloads"),
        ("- {url: http://x/a.zip}", "entry 1: sha256 is None; wanted 64 hex digits"),
        ("- {url: a.zip, sha256: 1}", r"entry 1: url is 'a.zip'; wanted an address(?s:.*)entry 1: sha256 is 1"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, md5: 1}}", "entry 1: unknown md5; known: url, sha256, name, inner"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, name: ../b}}", "entry 1: name is '../b'; wanted a plain file name"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, inner: a.zip}}", "entry 1: inner is 'a.zip'; wanted a list of archives"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, inner: [../a.zip]}}", r"entry 1: inner is \['../a.zip'\]; wanted"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, inner: [a/../../b.zip]}}", "entry 1: inner is .* wanted"),
        (f"- {{url: http://x/a, sha256: {'a' * 64}, inner: [/a.zip]}}", "entry 1: inner is .* wanted"),
        (f"- {{url: http://x/, sha256: {'a' * 64}}}", "entry 1: name is ''"),
        (
            f"- {{url: http://x/a, sha256: {'a' * 64}}}\n- {{url: http://y/a, sha256: {'b' * 64}}}",
            "name 'a' stands there twice",
        ),
    ],
)
def test_wrong_lists(tmp_path, content, message):
    (tmp_path / "list.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        obtain(tmp_path / "list.yaml", tmp_path / "raw")


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


def test_full_disk_names_the_place_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.download.extract", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*raw'"):
        obtain(zipped(tmp_path / "a.zip", MEMBERS), tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
