"""A small model hub of our own, over real HTTP on loopback.

It speaks as much of the hub's protocol as huggingface_hub asks for when it lists and
downloads: repository info, trees, ``resolve`` with its headers, ranges, and the redirect of
large files to another host. It counts what it is asked, and misbehaves on request.

    with HubServer() as hub:
        hub.add_repository("org/name", folder)           # or {"path": b"content"}
        store = HubStore(data_dir, endpoint=hub.url)

As a fixture: ``hub`` (see conftest.py).
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hub_http import LARGE_SUFFIXES, Blob, Fault, HubRequest, Pause, Repository, Server


class HubServer:
    """The hub; a context manager. Every method may be called while it serves."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[HubRequest] = []
        self.ignore_ranges = False
        self.closing = threading.Event()
        self._faults: dict[tuple[str, str], Fault] = {}
        self._status: int | None = None
        self._hangs = False
        self._server = Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.mend()
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What to give as the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage_url(self) -> str:
        """Where large files are redirected to: another host name, as on the real hub."""
        return f"http://localhost:{self.port}"

    def add_repository(
        self,
        name: str,
        files: Path | Mapping[str, bytes],
        *,
        revision: str = "main",
        token: str | None = None,
        gated: bool = False,
    ) -> str:
        """Serve a folder, or paths with their contents, as ``ORG/NAME``; returns the commit.

        ``datasets/ORG/NAME`` makes it a data set, as in the hub's own addresses.
        Calling it again with other files moves ``revision`` on; the old commit stays.
        With ``token`` the repository is private to those who send it; ``gated`` shows its
        listing to all and its files to nobody.
        """
        blobs = {
            path: Blob(content, path.endswith(LARGE_SUFFIXES))
            for path, content in sorted(_contents(files).items())
        }
        listing = json.dumps([(path, blob.etag) for path, blob in blobs.items()])
        commit = hashlib.sha1(f"{name} {listing}".encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository(name))
        repository.token, repository.gated = token, gated
        repository.commits[commit] = blobs
        repository.revisions[revision] = commit
        return commit

    # Counting

    def count(self) -> int:
        """How many requests came in since the last ``forget()``."""
        return len(self.requests)

    def forget(self) -> None:
        self.requests.clear()

    def transfers(self, repository: str, path: str) -> list[HubRequest]:
        """The requests that fetched a file's bytes, in order."""
        ends = (f"/{repository}/resolve/", f"/cdn/{repository}/")
        return [
            request
            for request in self.requests
            if request.method == "GET"
            and request.path.startswith(ends)
            and request.path.endswith(f"/{path}")
            and request.sent
        ]

    def bytes_sent(self, repository: str, path: str) -> int:
        return sum(request.sent for request in self.transfers(repository, path))

    # Misbehaving

    def cut(self, repository: str, path: str, *, after: int, times: int = 1) -> None:
        """Break the connection after ``after`` bytes of the file, the next ``times`` times."""
        self._fault(repository, path).cut_after = after
        self._fault(repository, path).cuts_left = times

    def corrupt(self, repository: str, path: str) -> None:
        """Send the file with one byte changed."""
        self._fault(repository, path).corrupt = True

    def truncate(self, repository: str, path: str, size: int) -> None:
        """Serve only the first ``size`` bytes, as if that were all."""
        self._fault(repository, path).size = size

    def pause(self, repository: str, path: str, *, after: int) -> Pause:
        """Stop every transfer of the file after ``after`` bytes until released.

        As slow as a test wants it: wait for ``pause.reached``, look, ``pause.release()``.
        """
        pause = self._fault(repository, path).pause = Pause(after)
        return pause

    def answer(self, status: int) -> None:
        """Answer everything with this status."""
        self._status = status

    def hang(self) -> None:
        """Take every request and never answer."""
        self._hangs = True

    def mend(self) -> None:
        """Behave again, and let go of what is paused."""
        for fault in self._faults.values():
            if fault.pause is not None:
                fault.pause.release()
        self._faults.clear()
        self._status = None
        self._hangs = False

    def _fault(self, repository: str, path: str) -> Fault:
        return self._faults.setdefault((repository, path), Fault())

    def fault_of(self, repository: str, path: str) -> Fault:
        return self._faults.get((repository, path)) or Fault()

    def refusal(self) -> int | None:
        """Hang, or the status that everything is answered with."""
        if self._hangs:
            self.closing.wait()
        return self._status


def _contents(files: Path | Mapping[str, bytes]) -> dict[str, bytes | Path]:
    if not isinstance(files, Path):
        return dict(files)
    return {path.relative_to(files).as_posix(): path for path in files.rglob("*") if path.is_file()}


def part_size(data: Path) -> int:
    """Bytes of unfinished downloads in a data folder."""
    return sum(path.stat().st_size for path in data.glob("hub/*/.partial/*"))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
