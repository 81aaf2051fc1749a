"""A real HTTP server on the loopback that breaks off, stalls or lies as a test asks it to."""

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What one answer does wrong; the defaults are an answer without fault.

    ``stop`` breaks the connection and ``stall`` falls silent after so many bytes of the body;
    ``corrupt`` flips the byte at that offset of the file; ``length`` is announced instead of the
    true length, None for none; ``chunked`` announces none and marks the end of the body;
    ``shift`` answers a range from so many bytes later; ``drip`` waits so many seconds behind each
    hundredth of the body.
    """

    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes | None = None
    stop: int | None = None
    stall: int | None = None
    corrupt: int | None = None
    ranges: bool = True
    length: int | None = -1
    chunked: bool = False
    shift: int = 0
    drip: float | None = None


@dataclass
class Request:
    """One request as it came, and the bytes of body that were sent for it."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


class FaultServer:
    """``files`` by path; ``faults`` by path, used up one a request, then all is well."""

    def __init__(self, base):
        self.base, self.files, self.faults, self.requests = base, {}, {}, []
        self.etags = {}
        self.over = threading.Event()  # lets stalled answers end with the test

    def put(self, path, content, *faults, etag=None):
        """Serve ``content`` and return its address."""
        self.files[path] = content
        self.faults[path] = list(faults)
        if etag:
            self.etags[path] = etag
        return f"{self.base}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers GET with the next fault of the path."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *args):
        """Keep the tests' output clean."""

    def do_GET(self):
        """Serve one file, whole or from a range on."""
        faults: FaultServer = self.server.plan
        path = self.path.lstrip("/").partition("?")[0]
        request = Request(path, self.headers.get("Range"), self.headers.get("If-Range"))
        faults.requests.append(request)
        waiting = faults.faults.get(path, [])
        fault = waiting.pop(0) if waiting else Fault()
        content = faults.files.get(path)
        if fault.body is not None or content is None or fault.status != 200:
            status = 404 if content is None and fault.status == 200 else fault.status
            return self.send(request, fault, status, fault.body or b"sorry", {})
        if fault.corrupt is not None:
            content = bytearray(content)
            content[fault.corrupt] ^= 1
        headers = {}
        if path in faults.etags:
            headers["ETag"] = faults.etags[path]
        asked = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        same = request.if_range in (None, headers.get("ETag"))
        if not (asked and fault.ranges and same):
            return self.send(request, fault, 200, bytes(content), headers)
        start = int(asked[1])
        if start >= len(content):
            headers["Content-Range"] = f"bytes */{len(content)}"
            return self.send(request, fault, 416, b"", headers)
        start += fault.shift
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(request, fault, 206, bytes(content[start:]), headers)

    def send(self, request, fault, status, body, headers):
        """Send the answer, up to where the fault has it end."""
        self.send_response(status)
        length = len(body) if fault.length == -1 else fault.length
        if fault.chunked:
            headers = {**headers, "Transfer-Encoding": "chunked"}
        elif length is not None:
            headers = {**headers, "Content-Length": str(length)}
        for name, value in {**headers, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        ends = [end for end in (fault.stop, fault.stall) if end is not None]
        part = body[: min(ends)] if ends else body
        request.sent = len(part)
        if fault.chunked:
            part = f"{len(part):x}\r\n".encode() + part + b"\r\n" + (b"" if ends else b"0\r\n\r\n")
        step = max(1, len(part) // 100) if fault.drip else max(1, len(part))
        for start in range(0, len(part), step):
            self.wfile.write(part[start : start + step])
            self.wfile.flush()
            if fault.drip:
                time.sleep(fault.drip)
        if fault.stall is not None:
            self.server.plan.over.wait()
        if ends or length != len(body):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """A server whose clients may vanish without a word."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that was killed or gave up is what the tests are about."""


@contextmanager
def serving():
    """Yield a running FaultServer."""
    server = Server(("127.0.0.1", 0), Handler)
    server.plan = FaultServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.plan
    finally:
        server.plan.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
