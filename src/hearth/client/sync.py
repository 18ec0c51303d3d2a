"""Client for programs without an event loop."""

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Self, TypeVar

from hearth.client.answer import Answer, AnswerPart
from hearth.client.capabilities import Node
from hearth.client.client import MAP_TIMEOUT, TIMEOUT, Client
from hearth.client.forks import ForkGuard, require_grpc
from hearth.client.limits import DEFAULT_LIMITS, ClientLimits
from hearth.client.sources import Source, on_a_thread
from hearth.client.values import Embedding, Faces, Labels, Texts

T = TypeVar("T")


class SyncClient:
    """``Client``, whose loop runs on a thread of its own; any number of threads may use it.

    >>> with SyncClient() as client:
    ...     print(client.classify("photo.jpg").best)

    Arguments, answers and exceptions are those of ``Client``.
    """

    def __init__(
        self,
        nodes: str | Iterable[str] = (),
        *,
        mdns: bool | None = None,
        timeout: float = TIMEOUT,
        limits: ClientLimits = DEFAULT_LIMITS,
    ) -> None:
        self._client = Client(nodes, mdns=mdns, timeout=timeout, limits=limits)
        self._guard = ForkGuard()
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._begun = threading.Event()
        self._waiting: set[Future[Any]] = set()
        # Not joined at the program's end: one that forgot to close us can end all the same.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live()), name="hearth-client", daemon=True
        )

    def __enter__(self) -> Self:
        """Open it."""
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Begin to look for nodes; raises Unavailable where that can't be. Close it afterwards."""
        require_grpc()
        self._guard = ForkGuard()
        self._thread.start()
        self._begun.wait()
        try:
            self._do(self._client.open())
        except BaseException:
            self._stop()
            raise

    def close(self) -> None:
        """Cancel what is open; once closed it stays so."""
        if self._thread.is_alive():
            self._do(self._client.close())
            self._stop()

    @property
    def nodes(self) -> list[Node]:
        """All nodes that are known now, whether or not they can do anything."""

        async def known() -> list[Node]:
            return self._client.nodes

        return self._do(known())

    def ready(
        self, task: str, timeout: float | None = None, *, model_id: str | None = None
    ) -> Node:
        """Wait for a node that can do ``task``; as ``Client.ready``."""
        return self._do(self._client.ready(task, timeout, model_id=model_id))

    def infer(self, task: str, source: Source, /, **how: Any) -> Answer:
        """Return the answer to one request; as ``Client.infer``."""
        return self._do(self._client.infer(task, source, **how))

    def map(
        self,
        task: str,
        sources: Iterable[Any],
        /,
        *,
        timeout: float = MAP_TIMEOUT,
        **how: Any,
    ) -> Iterator[Answer]:
        """Yield one answer for each source; as ``Client.map``.

        What isn't a list is drawn on another thread, and may take its time. Close the iterator,
        or leave its loop, to cancel what is under way.
        """
        drawn = sources if isinstance(sources, Collection) else on_a_thread(sources)
        return self._each(lambda: self._client.map(task, drawn, timeout=timeout, **how))

    def stream(self, task: str, source: Source, /, **how: Any) -> Iterator[AnswerPart]:
        """Yield the parts of the answer to one request as they come; as ``Client.stream``.

        Close the iterator, or leave its loop, to end the request.
        """
        return self._each(lambda: self._client.stream(task, source, **how))

    def classify(self, image: Source, labels: Sequence[str] | None = None, **how: Any) -> Labels:
        """Name what is in a picture; as ``Client.classify``."""
        return self._do(self._client.classify(image, labels, **how))

    def embed_image(self, image: Source, **how: Any) -> Embedding:
        """Return the unit vector of a picture; as ``Client.embed_image``."""
        return self._do(self._client.embed_image(image, **how))

    def embed_text(self, text: str, **how: Any) -> Embedding:
        """Return the unit vector of a text; as ``Client.embed_text``."""
        return self._do(self._client.embed_text(text, **how))

    def ocr(self, image: Source, **how: Any) -> Texts:
        """Read the lines of text in a picture; as ``Client.ocr``."""
        return self._do(self._client.ocr(image, **how))

    def faces(self, image: Source, **how: Any) -> Faces:
        """Find the faces in a picture; as ``Client.faces``."""
        return self._do(self._client.faces(image, **how))

    def _each(self, begin: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
        """Yield what an iterator of the loop yields, which ``begin`` makes there."""

        async def made() -> AsyncGenerator[T, None]:
            return begin()

        async def following() -> T | None:
            return await anext(items, None)

        items = self._do(made())
        try:
            while (item := self._do(following())) is not None:
                yield item
        finally:
            with suppress(RuntimeError):  # the client is closed, and its loop with it
                self._do(items.aclose())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:  # a finalizer may run anywhere
            work.close()
            raise RuntimeError("the client's own thread can't wait for itself")
        if self._guard.forked:
            work.close()
            self._guard.check()
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the client isn't open: use it in a `with` block, or call open()")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waiting.add(future)
        try:
            if self._thread.is_alive():
                return future.result()
            raise CancelledError  # it ended before it saw this
        except CancelledError:
            if not self._thread.is_alive():
                work.close()
            raise RuntimeError("the client isn't open any more") from None
        except BaseException:  # Ctrl-C for one: the work must not go on
            future.cancel()
            raise
        finally:
            self._waiting.discard(future)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._begun.set()
        await self._ended.wait()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        for future in list(self._waiting):  # what the thread hadn't seen when it ended
            future.cancel()
