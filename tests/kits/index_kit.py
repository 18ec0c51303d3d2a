"""A package index of our own on loopback, for pip: one package, one wheel.

with PackageIndex("mediapipe", wheel) as index:
    subprocess.run(…, env={**os.environ, **index.environment})
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ALONE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_RETRIES": "0",
    "NO_PROXY": "127.0.0.1",
}
"""For pip's environment: it asks the index that is named there, and no other."""

_HALF = 2


class PackageIndex(ThreadingHTTPServer):
    """The index; a context manager. ``half_sent`` is set once half of a file is on its way."""

    daemon_threads = True

    def __init__(self, package: str, wheel: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.package = package
        self.filename = wheel.name
        self.content = wheel.read_bytes()
        self.transfers = 0
        """How often the file was asked for."""
        self.cut = False
        """Break off in the middle of the file."""
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "PackageIndex":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes pip ask here."""
        return {**ALONE, "PIP_INDEX_URL": f"http://127.0.0.1:{self.server_address[1]}/simple"}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Files stop at their half, until the block ends."""
        self.go_on.clear()
        try:
            yield
        finally:
            self.go_on.set()

    def handle_error(self, *_: object) -> None:
        """Clients that are killed are what it is for."""


class _Handler(BaseHTTPRequestHandler):
    server: PackageIndex

    def do_GET(self) -> None:
        index = self.server
        if self.path == f"/simple/{index.package}/":
            self._answer("text/html", f'<a href="/{index.filename}">{index.filename}</a>'.encode())
        elif self.path == f"/{index.filename}":
            index.transfers += 1
            self._answer("application/octet-stream", index.content)
        else:
            self.send_error(404)

    def _answer(self, mime: str, content: bytes) -> None:
        index = self.server
        self.send_response(200)
        self.send_header("Content-Type", mime)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if mime == "text/html":
            self.wfile.write(content)
            return
        half = len(content) // _HALF
        with suppress(ConnectionError):
            self.wfile.write(content[:half])
            self.wfile.flush()
            index.half_sent.set()
            index.go_on.wait()
            if not index.cut:
                self.wfile.write(content[half:])

    def log_message(self, *_: object) -> None:
        """Nothing."""
