"""An S3 of its own on this machine: moto's server, spoken to with plain HTTP."""

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

BUCKET = "bucket"


class Bucket:
    """An empty bucket; `environment` is what DVC and fsspec need to reach it."""

    def __init__(self, url: str):
        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._send("")

    def put(self, name: str, data: bytes) -> None:
        self._send(f"/{quote(name)}", data)

    def put_folder(self, folder: Path, name: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def _send(self, path: str, data: bytes = b"") -> None:
        headers = {"Content-Type": "application/octet-stream"}  # urllib's own, that of a form, has moto wait for ever
        request = urllib.request.Request(f"{self.url}/{BUCKET}{path}", data, headers, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()


@contextlib.contextmanager
def serve_s3() -> Iterator[Bucket]:
    """A server with one empty bucket; skips the test where its packages are not installed."""
    missing = [name for name in ("moto", "dvc_s3", "s3fs") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; the extras dev and s3 have them")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _first_answer(server, f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(30)


def _first_answer(server: subprocess.Popen, url: str) -> Bucket:
    for _ in range(600):
        with contextlib.suppress(OSError):
            return Bucket(url)
        assert server.poll() is None, "the server ended"
        time.sleep(0.1)
    pytest.fail(f"no answer from {url} in a minute")
