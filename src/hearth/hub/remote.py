"""The hub over the network: what a repository holds, and the bytes of its files.

huggingface_hub gives the HTTP session, the token, the addresses and the errors. Its own
downloads can't be resumed by a later process (2.4 writes to a file with a random name
and removes it on failure), try for minutes when nothing answers, and its headers come
with a request for telemetry: so the transfer is ours.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from hearth._version import __version__
from hearth.errors import ModelUnavailable, SettingsError
from hearth.hub import repository_names
from hearth.hub.failures import NONSENSE, of_answer, of_connection
from hearth.hub.repository_listing import GIT, SHA256, Listing, RemoteFile, make_listing

Answer = TypeVar("Answer")

CHUNK = 1 << 18
"""Bytes between two writes: what a broken connection can lose of what it brought."""
TRIES = 5
"""Connections for one file in one download, as long as each brings new bytes."""


class RepositoryMissing(ModelUnavailable):
    """The hub answers, and has no such repository (or doesn't show it)."""


class Damaged(ModelUnavailable):
    """Raised where a file that came isn't the one that was listed."""


class Remote:
    """One hub. Methods block; every error is a ModelUnavailable, OSErrors of the disk aside."""

    def __init__(self, endpoint: str | None, timeout: float) -> None:
        """``timeout``: the longest silence in seconds before the hub counts as out of reach."""
        chosen = os.environ.get("HF_ENDPOINT", "").strip()
        self._endpoint = (endpoint or chosen).rstrip("/")
        self._timeout = timeout
        if self._endpoint and not self._endpoint.startswith(("http://", "https://")):
            whose = "hub.endpoint" if endpoint else "HF_ENDPOINT"
            raise SettingsError(f"{whose} = {self._endpoint!r}: an http or https address")

    @property
    def endpoint(self) -> str:
        if not self._endpoint:
            from huggingface_hub import constants

            # Empty where HF_ENDPOINT is: that is no address, and counts as none.
            self._endpoint = constants.ENDPOINT.strip() or constants._HF_DEFAULT_ENDPOINT
        return self._endpoint

    def listing(self, repository: str, revision: str) -> Listing:
        """Fetch what a repository holds; raises ModelUnavailable, RepositoryMissing."""
        with self._explained(repository, *NONSENSE, TimeoutError):
            # A name server or a proxy can be silent for minutes below any time-out of HTTP.
            return _within(1.5 * self._timeout, lambda: self._listing(repository, revision))

    def _listing(self, repository: str, revision: str) -> Listing:
        from huggingface_hub import get_session
        from huggingface_hub.hf_api import DatasetInfo, ModelInfo
        from huggingface_hub.utils import hf_raise_for_status

        kind, name = repository_names.split(repository)
        response = get_session().get(
            f"{self.endpoint}/api/{kind}s/{name}/revision/{quote(revision, safe='')}",
            params={"blobs": True},
            headers=self._headers(),
            timeout=self._timeouts(),
        )
        hf_raise_for_status(response)
        info = (DatasetInfo if kind == "dataset" else ModelInfo)(**response.json())
        return make_listing(repository, info.sha, map(_remote_file, info.siblings))

    def fetch(
        self, listing: Listing, file: RemoteFile, part: Path, received: Callable[[int], None]
    ) -> None:
        """Add to ``part`` what is missing of ``file``; ``received`` gets the bytes so far.

        Goes on where an earlier try, also one of another process, left off. Raises
        ModelUnavailable; Damaged where the hub's file isn't as long as it was listed.
        """
        import httpx2

        with self._explained(listing.repository):
            for tries_left in reversed(range(TRIES)):
                before = _size(part)
                if before == file.size:
                    return
                try:
                    self._continue(listing, file, part, received)
                except httpx2.TransportError:
                    if not tries_left or _size(part) <= before:
                        raise
                else:
                    # It ended as a whole answer does, so there is no more to come.
                    if _size(part) != file.size:
                        raise Damaged(
                            f"the hub's {file.path} of {listing.repository} is damaged: "
                            f"{_size(part)} bytes instead of {file.size}"
                        )

    def _continue(
        self, listing: Listing, file: RemoteFile, part: Path, received: Callable[[int], None]
    ) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import hf_raise_for_status

        kind, name = repository_names.split(listing.repository)
        url = hf_hub_url(
            name, file.path, repo_type=kind, revision=listing.commit, endpoint=self.endpoint
        )
        start = _size(part)
        if start > file.size:
            part.unlink()
            start = 0
        # A compressed answer couldn't be resumed: offsets count the file's own bytes.
        headers = {**self._headers(), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            get_session().stream("GET", url, headers=headers, timeout=self._timeouts()) as response,
            part.open("ab") as target,
        ):
            if response.status_code == 416:
                return
            hf_raise_for_status(response)
            if response.status_code != 206:
                # The server doesn't do ranges: this is the file from its start.
                target.truncate(0)
                start = 0
            for chunk in response.iter_bytes(CHUNK):
                target.write(chunk)
                start += len(chunk)
                if start > file.size:
                    break
                received(start)

    def _timeouts(self) -> Any:
        import httpx2

        return httpx2.Timeout(self._timeout, connect=self._timeout / 2)

    def _headers(self) -> dict[str, str]:
        from huggingface_hub import constants, get_token

        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        headers = {"User-Agent": f"hearth/{__version__}"}
        return {**headers, "Authorization": f"Bearer {token}"} if token else headers

    @contextmanager
    def _explained(self, repository: str, *more: type[Exception]) -> Iterator[None]:
        """Turn what goes wrong with the hub into one line; leave errors of the disk alone."""
        import httpx2
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
        )

        unreachable: tuple[type[Exception], ...] = (httpx2.HTTPError, httpx2.InvalidURL, *more)
        try:
            yield
        except HfHubHTTPError as error:
            gone = isinstance(error, RepositoryNotFoundError) and not isinstance(
                error, GatedRepoError
            )
            kind = RepositoryMissing if gone else ModelUnavailable
            raise kind(f"can't fetch {repository}: {of_answer(error)}") from error
        except OfflineModeIsEnabled as error:
            raise ModelUnavailable(f"can't fetch {repository}: HF_HUB_OFFLINE is set") from error
        except unreachable as error:
            hint = "; a local folder with its files will do as well"
            raise ModelUnavailable(
                f"can't reach the model hub for {repository}: {of_connection(error)}"
                f"{'' if repository_names.is_data_set(repository) else hint}"
            ) from error


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Call, or raise TimeoutError; a call that is late is left behind on its own thread."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    return future.result(seconds)


def _remote_file(sibling: Any) -> RemoteFile:
    if sibling.lfs:
        return RemoteFile(sibling.rfilename, sibling.lfs.size, SHA256, sibling.lfs.sha256)
    return RemoteFile(sibling.rfilename, sibling.size, GIT, sibling.blob_id)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
