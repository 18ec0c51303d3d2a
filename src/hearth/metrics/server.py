"""``GET /metrics`` over plain HTTP, on the node's own loop.

What the node counts changes on that loop, or under a lock. So a reading is taken on the
loop, where it is whole, and becomes text in a thread. No thread waits for requests, and
nothing polls.
"""

import asyncio
import os
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hearth.errors import SettingsError

PATHS = (b"/metrics", b"/")

_SECONDS = 10.0
"""Seconds for one request, from its first byte to the last of the answer."""
_LONGEST_HEAD = 16384

MOST_CONNECTIONS = 64
"""Connections at once. More are closed as they come: they would take the node's file
descriptors."""


class MetricsServer:
    """A small HTTP server for whoever reads Prometheus's text, or OpenMetrics.

    ``read`` is called on the loop at each request. The collector that it gives is asked in
    another thread, so it must hold all that it tells.
    """

    def __init__(self, read: Callable[[], Collector]) -> None:
        self._read = read
        self._server: asyncio.Server | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; give the port. Raises SettingsError where it can't be had."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST_HEAD)
        except OSError as error:
            known = error.errno is not None and error.errno > 0  # a host's name has errors < 0
            why = os.strerror(error.errno or 0).lower() if known else str(error)
            raise SettingsError(
                f"metrics can't be served on {host}:{port}: {why}; choose another metrics_port"
            ) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the port, and cut off who still reads."""
        if self._server is not None:
            self._server.close()
        requests = list(self._requests)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        if len(self._requests) >= MOST_CONNECTIONS:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            async with asyncio.timeout(_SECONDS):
                writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # it was too slow (TimeoutError is an OSError), has left, or spoke no HTTP
        finally:
            self._requests.discard(task)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        request, *headers = head.split(b"\r\n")
        method, target, version = (*request.split(b" "), b"", b"", b"")[:3]
        if not version.startswith(b"HTTP/1."):
            return _message(HTTPStatus.BAD_REQUEST)
        if target.partition(b"?")[0] not in PATHS:
            return _message(HTTPStatus.NOT_FOUND)
        if method not in {b"GET", b"HEAD"}:
            return _message(HTTPStatus.METHOD_NOT_ALLOWED)
        mime, body = await asyncio.to_thread(_text, self._read(), _accepted(headers))
        return _message(HTTPStatus.OK, body, mime, silent=method == b"HEAD")


def _accepted(headers: list[bytes]) -> str:
    """Join what the ``Accept`` headers say."""
    pairs = [header.partition(b":")[::2] for header in headers]
    return ",".join(value.decode("latin-1") for name, value in pairs if name.lower() == b"accept")


def _text(collector: Collector, accept: str) -> tuple[str, bytes]:
    """Write mime and text in the best form that the reader takes."""
    try:
        encode, mime = choose_encoder(accept)
    except (ValueError, TypeError):  # both come of a version that is none
        encode, mime = choose_encoder("")
    return mime, encode(collector)


def _message(
    status: HTTPStatus, body: bytes = b"", mime: str = "text/plain", *, silent: bool = False
) -> bytes:
    body = body if body or silent else f"{status.phrase}\n".encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {mime}\r\nContent-Length: {len(body)}\r\n"
        "Allow: GET, HEAD\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if silent else body)
