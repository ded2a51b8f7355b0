import errno
import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline import archive as archive_module
from pipeline import fetch as fetch_module
from pipeline.fetch import fetch
from tests.http_server import BODY, SHA256, serve

MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


def get(server, path, **options):
    return fetch(server.url, path, **{"sha256": SHA256, "wait_s": 0.001, "timeout_s": 5, **options})


def leftovers(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_plain(server, tmp_path):
    seen = []
    path = get(server, tmp_path / "new" / "data.bin", on_progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == ["data.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    get(server, path)
    assert len(server.ranges) == 1  # what is there and right is not fetched again


@pytest.mark.parametrize("cuts", [["cut:400000"], ["cut:1", "cut:2", "cut:900000"], ["cut_unnamed:500000", "unnamed"]])
def test_resumes_what_a_dropped_connection_left(server, tmp_path, cuts):
    server.moods = [*cuts]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges[0] is None
    assert all(wanted.startswith("bytes=") for wanted in server.ranges[1:])
    assert server.ranges[1] == f"bytes={cuts[0].partition(':')[2]}-"


def test_resumes_in_another_process(server, tmp_path):
    server.moods = ["cut:700000", "status:503"]
    with pytest.raises(ValueError, match="700,000 bytes are kept"):
        get(server, tmp_path / "x", retries=1)
    assert leftovers(tmp_path) == ["x.part", "x.part.json"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges[-1] == "bytes=700000-"
    assert leftovers(tmp_path) == ["x"]


def test_server_without_ranges_starts_anew(server, tmp_path):
    server.moods = ["cut:400000", "no_ranges"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges == [None, "bytes=400000-"]


def test_file_that_changed_meanwhile_starts_anew(server, tmp_path):
    """If-Range no longer fits, so the server sends all of the new bytes."""
    server.moods = ["cut:400000", "other"]
    assert get(server, tmp_path / "x", sha256=None).read_bytes() == BODY[::-1]


def test_file_that_changed_and_nobody_could_tell(server, tmp_path):
    """Two halves of different files have a wrong SHA-256; one more try from the start is right."""
    server.body = bytes(len(BODY))
    server.moods = ["cut_unnamed:400000"]
    with pytest.raises(ValueError, match="gave up"):
        get(server, tmp_path / "x", retries=0)
    server.body = BODY
    server.moods = ["unnamed"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges == [None, "bytes=400000-", None]


def test_stalled_connection(server, tmp_path):
    server.moods = ["stall"]
    assert get(server, tmp_path / "x", timeout_s=0.2).read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-"]


def test_redirect(server, tmp_path):
    server.moods = ["redirect", "cut:5000", "redirect"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges == [None, None, "bytes=5000-", "bytes=5000-"]


def test_body_of_unknown_length(server, tmp_path):
    server.moods = ["chunked:cut", "chunked"]
    assert get(server, tmp_path / "x").read_bytes() == BODY


def test_half_file_that_is_too_long(server, tmp_path):
    (tmp_path / "x.part").write_bytes(BODY + b"more")
    (tmp_path / "x.part.json").write_text(json.dumps({"url": server.url, "tag": "", "total": None}))
    assert get(server, tmp_path / "x").read_bytes() == BODY


def test_half_file_of_another_address(server, tmp_path):
    (tmp_path / "x.part").write_bytes(b"something else")
    (tmp_path / "x.part.json").write_text(json.dumps({"url": "http://elsewhere", "tag": "", "total": None}))
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges == [None]


def test_retries_only_what_may_pass(server, tmp_path):
    server.moods = ["status:503", "status:429", "status:500"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    server.moods = ["status:404"]
    with pytest.raises(ValueError, match=r"data.bin: the server answered 404 Not Found; check the address"):
        get(server, tmp_path / "y")
    assert len(server.ranges) == 5


def test_waits_twice_as_long_each_time(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(fetch_module.time, "sleep", waits.append)
    server.moods = ["status:503"] * 9
    with pytest.raises(ValueError, match=r"answered 503 Service Unavailable; gave up after 9 tries"):
        get(server, tmp_path / "x", retries=8, wait_s=1.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_nobody_there(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
    with pytest.raises(ValueError, match="Connection refused; gave up after 2 tries"):
        fetch(url, tmp_path / "x", retries=1, wait_s=0.001)


def test_wrong_sha256(server, tmp_path):
    with pytest.raises(ValueError, match=f"data.bin: SHA-256 is {SHA256}, wanted {'0' * 64}"):
        get(server, tmp_path / "x", sha256="0" * 64)
    assert leftovers(tmp_path) == []


def test_md5(server, tmp_path):
    get(server, tmp_path / "x", sha256=None, md5=MD5)
    get(server, tmp_path / "x", sha256=None, md5=MD5)
    assert len(server.ranges) == 1  # what is there and right is not fetched again
    with pytest.raises(ValueError, match=f"data.bin: MD5 is {MD5}, wanted {'0' * 32}"):
        get(server, tmp_path / "y", sha256=None, md5="0" * 32)
    with pytest.raises(ValueError, match=f"MD5 is {MD5}"):  # each of two is checked
        get(server, tmp_path / "y", md5="0" * 32)


def test_body_whose_end_nobody_announced(server, tmp_path):
    """A cut cannot be told from the end, but by the checksum; one more try from the start is right."""
    server.moods = ["unsized:500000", "unsized"]
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges == [None, None]
    server.moods = ["unsized:500000", "unsized:500000"]
    with pytest.raises(ValueError, match=r"SHA-256 is .*, wanted"):
        get(server, tmp_path / "y")
    assert leftovers(tmp_path) == ["x"]


@pytest.fixture
def mirror():
    with serve() as serving:
        yield serving


def both(server, mirror, path, **options):
    urls = [server.url, mirror.url]
    return fetch(urls, path, **{"sha256": SHA256, "wait_s": 0.001, "timeout_s": 5, "retries": 1, **options})


def test_mirror_is_asked_where_the_first_address_refuses(server, mirror, tmp_path):
    assert both(server, mirror, tmp_path / "x").read_bytes() == BODY
    assert mirror.ranges == []
    server.moods = ["status:404"]
    assert both(server, mirror, tmp_path / "y").read_bytes() == BODY
    assert mirror.ranges == [None]


def test_mirror_continues_the_half_file(server, mirror, tmp_path):
    server.moods = ["cut:300000", "status:503"]
    assert both(server, mirror, tmp_path / "x").read_bytes() == BODY
    assert mirror.ranges == ["bytes=300000-"]  # without the first one's ETag, which would mean nothing there
    server.moods = ["cut:300000", "status:503"]
    mirror.ranges = []
    assert both(server, mirror, tmp_path / "y", sha256=None).read_bytes() == BODY
    assert mirror.ranges == [None]  # nothing says that both have the same bytes


def test_mirror_with_other_bytes_first(server, mirror, tmp_path):
    """Half of it wrong is found by the checksum, and all of it too."""
    server.body = bytes(len(BODY))
    server.moods = ["cut:300000", "status:503"]
    assert both(server, mirror, tmp_path / "x").read_bytes() == BODY
    assert mirror.ranges == ["bytes=300000-", None]
    assert both(server, mirror, tmp_path / "y").read_bytes() == BODY
    assert leftovers(tmp_path) == ["x", "y"]


def test_no_mirror_has_it(server, mirror, tmp_path):
    server.moods, mirror.moods = ["status:404"], ["status:403"]
    with pytest.raises(ValueError, match=r"(?s)answered 404 Not Found.*answered 403 Forbidden"):
        both(server, mirror, tmp_path / "x")


def test_disk_too_small(server, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match=r"data.bin: to fetch 1,024,000 bytes, and 10 are free on the disk of .*; free some"):
        get(server, tmp_path / "x")


def test_disk_that_fills_up_keeps_the_half_file(server, tmp_path, monkeypatch):
    def full(done, total):
        if done > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path / "x", on_progress=full)
    assert get(server, tmp_path / "x").read_bytes() == BODY
    assert server.ranges[1].startswith("bytes=")


def test_other_addresses_go_through_fsspec(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(BODY)
    part = tmp_path / "x.part"

    def stop(done, total):
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(source.as_uri(), tmp_path / "x", sha256=SHA256, on_progress=stop)
    assert 0 < part.stat().st_size < len(BODY)
    steps = []
    fetch(source.as_uri(), tmp_path / "x", sha256=SHA256, on_progress=lambda done, total: steps.append(done))
    assert steps[0] > 500_000  # continued
    assert (tmp_path / "x").read_bytes() == BODY
    with pytest.raises(ValueError, match=r"gone.bin: no such file; check the address"):
        fetch((tmp_path / "gone.bin").as_uri(), tmp_path / "y")
    with pytest.raises(ValueError, match=r"nosuch://a/b: Protocol not known: nosuch"):
        fetch("nosuch://a/b", tmp_path / "y")


def test_other_file_that_changed_meanwhile_starts_anew(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(BODY)

    def stop(done, total):
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(source.as_uri(), tmp_path / "x", on_progress=stop)
    source.write_bytes(BODY[::-1])
    os.utime(source, (1, 1))
    assert fetch(source.as_uri(), tmp_path / "x").read_bytes() == BODY[::-1]


def test_lost_connection_of_other_addresses(tmp_path, monkeypatch):
    """What a file system of fsspec raises on the way is tried again, and what it forbids is explained."""
    source = tmp_path / "source.bin"
    source.write_bytes(BODY)
    faults = [ConnectionResetError("reset"), PermissionError("Forbidden")]

    def flaky(self, path, **_):
        if faults:
            raise faults.pop(0)
        return well(self, path)

    well = LocalFileSystem.info
    monkeypatch.setattr(LocalFileSystem, "info", flaky)
    with pytest.raises(ValueError, match=r"source.bin: Forbidden; check the address and your credentials"):
        fetch(source.as_uri(), tmp_path / "x", wait_s=0.001)
    faults.append(ConnectionResetError("reset"))
    assert fetch(source.as_uri(), tmp_path / "x", wait_s=0.001).read_bytes() == BODY


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # another test may have loaded it
    with pytest.raises(ValueError, match=r"s3://bucket/x.zip: Install s3fs.*extra of this project: pip install '.\[s3\]'"):
        fetch("s3://bucket/x.zip", tmp_path / "x")
