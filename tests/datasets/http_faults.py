"""A real local HTTP server whose answers go wrong on request."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer:
    """Serves `files`; the next answers for a path follow its plan, later ones are right.

    A planned answer is a dict of: status (an error), cut (bytes after which the connection closes), stall (bytes after
    which nothing comes), body (other content), etag, kind (Content-Type), length (False: none is announced), start (the
    byte from which a range really begins).
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.plan: dict[str, list[dict]] = {}
        self.etag: str | None = '"one"'
        self.ranges = True
        self.if_range = True  # False: a server that sends the range whatever If-Range says
        self.requests: list[tuple[str, str | None, int]] = []  # path, Range header, status
        self.over = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def statuses(self, path: str) -> list[int]:
        return [status for asked, _, status in self.requests if asked == path]


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, path = self.owner, self.path
        plan = server.plan.get(path) or [{}]
        fault = plan.pop(0)
        body = fault.get("body", server.files.get(path))
        status = fault.get("status", 200 if body is not None else 404)
        asked, start = self.headers.get("Range"), 0
        etag = fault.get("etag", server.etag)
        fresh = not server.if_range or self.headers.get("If-Range") in (None, etag)
        if status == 200 and asked and server.ranges and fresh:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            status = 206 if start < len(body) else 416
        server.requests.append((path, asked, status))
        self.send_response(status)
        if status not in (200, 206):
            if status == 416:
                self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = fault.get("start", start)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Type", fault.get("kind", "application/octet-stream"))
        if fault.get("length", True):
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if "cut" in fault:
            rest = rest[: fault["cut"]]
        if "stall" in fault:
            self.wfile.write(rest[: fault["stall"]])
            server.over.wait(60)
            return
        self.wfile.write(rest)


@contextmanager
def faulty_server():
    server = FaultyServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def wait_until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
