"""The HTTP side of hub_kit.py: what its hub holds, and how it answers."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from hub_kit import HubServer

CHUNK = 64 * 1024
LARGE_SUFFIXES = (".onnx", ".bin", ".safetensors", ".data", ".npy", ".npz", ".parquet")
"""Kept in LFS, as on the hub: known by SHA-256 and served from another host."""


@dataclass
class Blob:
    """The content of one file."""

    content: bytes | Path
    large: bool

    @property
    def size(self) -> int:
        content = self.content
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``end``, in chunks."""
        if isinstance(self.content, bytes):
            for at in range(start, end, CHUNK):
                yield self.content[at : min(at + CHUNK, end)]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            for at in range(start, end, CHUNK):
                yield file.read(min(CHUNK, end - at))

    def digest(self, algorithm: str, prefix: bytes = b"") -> str:
        hasher = hashlib.new(algorithm, prefix)
        for chunk in self.read(0, self.size):
            hasher.update(chunk)
        return hasher.hexdigest()

    @cached_property
    def git_id(self) -> str:
        return self.digest("sha1", f"blob {self.size}\0".encode())

    @cached_property
    def etag(self) -> str:
        return self.digest("sha256") if self.large else self.git_id

    def described(self) -> dict[str, Any]:
        lfs = {"oid": self.etag, "sha256": self.etag, "size": self.size, "pointerSize": 134}
        return {"size": self.size, **({"lfs": lfs} if self.large else {})}


@dataclass
class Repository:
    """One repository: its revisions, and the files of every commit."""

    name: str
    """ORG/NAME of a model, datasets/ORG/NAME of a data set."""
    revisions: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False


@dataclass
class HubRequest:
    """One request that was answered, or is being answered."""

    method: str
    path: str
    start: int = 0
    """Where the range began that was asked for."""
    sent: int = 0
    """Bytes of a file that were sent."""
    token: str | None = None


class Pause:
    """A transfer that stops in its middle: wait for ``reached``, then ``release()``."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def hold(self) -> None:
        self.reached.set()
        self._released.wait()


@dataclass
class Fault:
    """What is wrong with one file."""

    cut_after: int | None = None
    cuts_left: int = 0
    corrupt: bool = False
    size: int | None = None
    pause: Pause | None = None


class Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, hub: "HubServer") -> None:
        self.hub = hub
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Wake the threads that wait on kept-alive connections, so that they end."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed in our tests; their broken pipes are no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits 40 ms for the ACK of its head
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self._request = HubRequest(self.command, path, self._range_start(), token=token)
        self.server.hub.requests.append(self._request)
        if (status := self.server.hub.refusal()) is not None:
            return self._send(status, {}, b'{"error": "told to"}')
        match [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]:
            case ["api", "models", org, name, *rest]:
                self._describe(f"{org}/{name}", rest)
            case ["api", "datasets", org, name, *rest]:
                self._describe(f"datasets/{org}/{name}", rest)
            case ["datasets", org, name, "resolve", revision, *parts]:
                self._with(f"datasets/{org}/{name}", revision, self._resolve, "/".join(parts))
            case [org, name, "resolve", revision, *parts]:
                self._with(f"{org}/{name}", revision, self._resolve, "/".join(parts))
            case ["cdn", "datasets", org, name, commit, *parts]:
                self._send_stored(f"datasets/{org}/{name}", commit, "/".join(parts))
            case ["cdn", org, name, commit, *parts]:
                self._send_stored(f"{org}/{name}", commit, "/".join(parts))
            case _:
                self._refuse(404, "")
        return None

    def _describe(self, name: str, asked: list[str]) -> None:
        match asked:
            case []:
                self._with(name, "main", self._info)
            case ["revision", revision]:
                self._with(name, revision, self._info)
            case ["tree", revision]:
                self._with(name, revision, self._tree)
            case _:
                self._refuse(404, "")

    def _send_stored(self, name: str, commit: str, path: str) -> None:
        self._send_file(name, path, self.server.hub.repositories[name].commits[commit][path], {})

    def _range_start(self) -> int:
        asked = self.headers.get("Range", "")
        return int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0

    def _with(self, name: str, revision: str, answer: Any, *arguments: str) -> None:
        repository = self.server.hub.repositories.get(name)
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        if repository.token not in (None, self._request.token):
            return self._refuse(401, "RepoNotFound")
        commit = repository.revisions.get(revision, revision)
        if commit not in repository.commits:
            return self._refuse(404, "RevisionNotFound")
        answer(repository, commit, *arguments)
        return None

    def _info(self, repository: Repository, commit: str) -> None:
        siblings = [
            {"rfilename": path, "blobId": blob.git_id, **blob.described()}
            for path, blob in repository.commits[commit].items()
        ]
        self._json(
            {"id": repository.name.removeprefix("datasets/"), "sha": commit, "siblings": siblings}
        )

    def _tree(self, repository: Repository, commit: str) -> None:
        files = [
            {"type": "file", "path": path, "oid": blob.git_id, **blob.described()}
            for path, blob in repository.commits[commit].items()
        ]
        self._json(files)

    def _resolve(self, repository: Repository, commit: str, path: str) -> None:
        if repository.gated:
            return self._refuse(403, "GatedRepo")
        blob = repository.commits[commit].get(path)
        if blob is None:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit}
        if not blob.large:
            return self._send_file(repository.name, path, blob, headers)
        headers["X-Linked-Etag"] = f'"{blob.etag}"'
        headers["X-Linked-Size"] = str(blob.size)
        location = quote(f"/cdn/{repository.name}/{commit}/{path}")
        headers["Location"] = self.server.hub.storage_url + location
        return self._send(302, headers, b"")

    def _send_file(self, name: str, path: str, blob: Blob, headers: dict[str, str]) -> None:
        fault = self.server.hub.fault_of(name, path)
        size = blob.size if fault.size is None else fault.size
        start = 0 if self.server.hub.ignore_ranges else self._request.start
        if start >= size > 0:
            return self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
        self.send_response(206 if start else 200)
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if self.command == "GET":
            self._send_body(blob, start, size, fault)
        return None

    def _send_body(self, blob: Blob, start: int, size: int, fault: Fault) -> None:
        cut = fault.cut_after if fault.cuts_left > 0 else None
        stops = sorted(
            start + stop
            for stop in (cut, fault.pause.after if fault.pause else None)
            if stop is not None and start + stop < size
        )
        at = start
        for stop in [*stops, size]:
            for chunk in blob.read(at, stop):
                self.wfile.write(_flipped(chunk) if fault.corrupt and at == start else chunk)
                self._request.sent += len(chunk)
                at += len(chunk)
            if cut is not None and stop == start + cut:
                fault.cuts_left -= 1
                self.close_connection = True
                return
            if fault.pause is not None and stop == start + fault.pause.after:
                fault.pause.hold()

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self._send(200, {"Content-Type": "application/json"}, body)

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, {"X-Error-Code": code, **(headers or {})}, b'{"error": "no"}')

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _flipped(chunk: bytes) -> bytes:
    return bytes([chunk[0] ^ 0xFF]) + chunk[1:]
