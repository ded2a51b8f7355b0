"""A local HTTP server that drops, cuts, stalls, redirects and ignores ranges, as it is told."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(BODY).hexdigest()
ETAG = '"v1"'


class Handler(BaseHTTPRequestHandler):
    """Serves BODY; each of the server's `moods`, one per request, spoils an answer in its own way."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        mood = self.server.moods.pop(0) if self.server.moods else "well"
        getattr(self, f"answer_{mood.partition(':')[0]}")(mood.partition(":")[2])

    def do_HEAD(self):
        self.server.heads += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()

    def answer_well(self, _, body=None, etag=ETAG, stop=None, ranges=True, total=None):
        body = self.server.body if body is None else body
        start = 0
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and ranges and condition in (None, etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.answer_status("416")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str((total or len(body)) - start))
        self.end_headers()
        self.wfile.write(body[start : stop if stop and stop > start else None])
        if stop:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        return None

    def answer_cut(self, at):
        self.answer_well("", stop=int(at))

    def answer_cut_unnamed(self, at):
        self.answer_well("", stop=int(at), etag=None)

    def answer_no_ranges(self, _):
        self.answer_well("", ranges=False)

    def answer_other(self, _):
        self.answer_well("", body=BODY[::-1], etag='"v2"')

    def answer_unnamed(self, _):
        self.answer_well("", etag=None)

    def answer_status(self, code):
        self.send_response(int(code))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_redirect(self, _):
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_unsized(self, at):
        """Neither length nor chunks: only the end of the connection ends the body."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(BODY[: int(at) if at else None])
        self.close_connection = True

    def answer_slow(self, _):
        """A block every 50 ms, for a minute."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", ETAG)
        self.end_headers()
        for start in range(0, len(BODY), 1000):
            if self.server.released.wait(0.05):
                break
            with suppress(OSError):
                self.wfile.write(BODY[start : start + 1000])

    def answer_together(self, number):
        """Well, once so many requests have come."""
        for _ in range(500):
            if len(self.server.ranges) >= int(number):
                return self.answer_well("")
            self.server.released.wait(0.01)
        return self.answer_status("404")

    def answer_stall(self, _):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", ETAG)
        self.end_headers()
        self.wfile.write(BODY[:1000])
        self.wfile.flush()
        self.server.released.wait(5)
        self.close_connection = True

    def answer_chunked(self, cut):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(BODY), 300_000):
            chunk = BODY[start : start + 300_000]
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if cut:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@contextmanager
def serve() -> Iterator[ThreadingHTTPServer]:
    """A server of BODY at `.url`; put what shall go wrong into `.moods`, and find the ranges asked for in `.ranges`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.daemon_threads = True
        serving.block_on_close = False
        serving.moods, serving.ranges, serving.heads, serving.body = [], [], 0, BODY
        serving.released = threading.Event()
        serving.url = f"http://127.0.0.1:{serving.server_address[1]}/data.bin"
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.released.set()
        serving.shutdown()
        thread.join()
