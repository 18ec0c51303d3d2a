"""The client for programs without an event loop."""

import asyncio
import threading
from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Self, TypeVar

from hearth.client.answer import Answer
from hearth.client.client import MAP_TIMEOUT, TIMEOUT, Client
from hearth.client.drawing import beside
from hearth.client.forks import ForkGuard, require_grpc
from hearth.client.node import Node
from hearth.client.sources import Source
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
    ) -> None:
        self._client = Client(nodes, mdns=mdns, timeout=timeout)
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
        """As ``open``."""
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
        """As ``Client.nodes``."""

        async def known() -> list[Node]:
            return self._client.nodes

        return self._do(known())

    def ready(
        self, task: str, timeout: float | None = None, *, model_id: str | None = None
    ) -> Node:
        """As ``Client.ready``."""
        return self._do(self._client.ready(task, timeout, model_id=model_id))

    def infer(self, task: str, source: Source, /, **how: Any) -> Answer:
        """As ``Client.infer``."""
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
        """As ``Client.map``; what isn't a list is drawn on another thread, and may take its time.

        Close the iterator, or leave its loop, to cancel what is under way.
        """
        drawn = sources if isinstance(sources, Collection) else beside(sources)
        answers = self._client.map(task, drawn, timeout=timeout, **how)

        async def following() -> Answer | None:
            return await anext(answers, None)

        try:
            while (answer := self._do(following())) is not None:
                yield answer
        finally:
            with suppress(RuntimeError):  # the client is closed, and its loop with it
                self._do(answers.aclose())

    def classify(self, image: Source, labels: Sequence[str] | None = None, **how: Any) -> Labels:
        """As ``Client.classify``."""
        return self._do(self._client.classify(image, labels, **how))

    def embed_image(self, image: Source, **how: Any) -> Embedding:
        """As ``Client.embed_image``."""
        return self._do(self._client.embed_image(image, **how))

    def embed_text(self, text: str, **how: Any) -> Embedding:
        """As ``Client.embed_text``."""
        return self._do(self._client.embed_text(text, **how))

    def ocr(self, image: Source, **how: Any) -> Texts:
        """As ``Client.ocr``."""
        return self._do(self._client.ocr(image, **how))

    def faces(self, image: Source, **how: Any) -> Faces:
        """As ``Client.faces``."""
        return self._do(self._client.faces(image, **how))

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
