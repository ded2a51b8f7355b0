import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.addresses import announced_size, is_address, versions_at
from tests.http_server import BODY, serve


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


def test_is_address():
    assert is_address("s3://bucket/a") and is_address("https://host/a") and is_address("HTTPS://host/a")
    assert not any(map(is_address, ("a/b.zip", "/a", "C:\\a", "://a", Path("s3:/a"))))


def test_announced_size(server, tmp_path):
    assert announced_size(server.url) == len(BODY)
    assert (server.heads, server.ranges) == (1, [])  # nothing is fetched
    assert announced_size(server.url.replace("http://", "HTTP://")) == len(BODY)
    (tmp_path / "a.bin").write_bytes(b"123")
    assert announced_size((tmp_path / "a.bin").as_uri()) == 3
    assert announced_size((tmp_path / "a.bin").as_uri().replace("file://", "FILE://")) == 3
    assert announced_size((tmp_path / "gone.bin").as_uri()) is None
    assert announced_size("nosuch://a/b") is None


def test_files_of_a_folder(tmp_path):
    for name in ("images/a.png", "images/.cache/x", ".hidden", "masks/b c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    found = versions_at(tmp_path.as_uri())
    assert list(found) == ["images/a.png", "masks/b c.png"]
    assert found["images/a.png"].total == 4 and found["images/a.png"].url.startswith("file://")
    (tmp_path / "images/a.png").write_bytes(b"4321")
    os.utime(tmp_path / "images/a.png", (1, 1))
    assert versions_at(tmp_path.as_uri())["images/a.png"] != found["images/a.png"]
    assert list(versions_at((tmp_path / "images/a.png").as_uri())) == [""]
    with pytest.raises(ValueError, match="no such file"):
        versions_at((tmp_path / "gone").as_uri())


@pytest.mark.parametrize("name", ["a/../../b", "a\\b", "zip::b"])
def test_names_that_lead_out_of_a_folder(name, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", {f"/photos/{name}": None})
    monkeypatch.setattr(MemoryFileSystem, "isdir", lambda *_: True)
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_, **__: {f"/photos/{name}": {"size": 1}})
    with pytest.raises(ValueError, match="would lead outside its folder"):
        versions_at("memory://photos")
