"""Client of every node there is, as if it were one."""

import math
import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Self

from hearth.catalog import RAW
from hearth.client.addresses import named
from hearth.client.affinity import ModelAffinity
from hearth.client.answer import Answer, AnswerPart
from hearth.client.capabilities import Node
from hearth.client.forks import ForkGuard, require_grpc
from hearth.client.limits import DEFAULT_LIMITS, ClientLimits
from hearth.client.mapping import MapRun, Sources
from hearth.client.options import entries_of, to_meta
from hearth.client.pool import NodePool
from hearth.client.source_reader import SourceReader, Unreadable
from hearth.client.sources import Source
from hearth.client.streaming import stream_parts
from hearth.client.task_call import TaskCall
from hearth.client.values import Embedding, Faces, Labels, Texts

TIMEOUT = 60.0
"""Seconds for one request, waiting for a node included."""
MAP_TIMEOUT = 600.0
"""Seconds for each source of a map: a node may be restarted in the middle of it."""


class Client:
    """Finds the nodes of the network, and sends each request to one that can do it.

    >>> async with Client() as client:
    ...     labels = await client.classify("photo.jpg")
    ...     async for answer in client.map("clip_image_embed", Path("photos").glob("*.jpg")):
    ...         print(answer.input, answer.error or answer.value.vector)

    ``nodes`` are addresses (``HOST:PORT``, or ``HOST``), else those of the environment's
    HEARTH_NODES. Without any, nodes are found by mDNS; ``mdns=True`` is both. ``timeout`` is in
    seconds, for what isn't told otherwise; ``limits`` are for tests and odd networks. It belongs to
    one event loop; any number of its tasks may use it at once. In a process forked since it
    was opened all but ``close`` raise RuntimeError, and no other can be opened there.
    """

    def __init__(
        self,
        nodes: str | Iterable[str] = (),
        *,
        mdns: bool | None = None,
        timeout: float = TIMEOUT,
        limits: ClientLimits = DEFAULT_LIMITS,
    ) -> None:
        addresses = named(nodes)
        use_mdns = not addresses if mdns is None else mdns
        self._pool = NodePool(addresses, mdns=use_mdns, limits=limits)
        self._timeout = timeout
        self._limits = limits
        self._reader = SourceReader(limits.max_payload_bytes)
        self._guard = ForkGuard()

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to look for nodes; raises Unavailable where that can't be. Close it afterwards."""
        require_grpc()
        self._guard = ForkGuard()
        await self._pool.open()

    async def close(self) -> None:
        """Cancel what is open."""
        if not self._guard.forked:
            await self._pool.close()

    @property
    def nodes(self) -> list[Node]:
        """All nodes that are known now, whether or not they can do anything."""
        self._guard.check()
        return [handle.snapshot for handle in self._pool.handles]

    async def ready(
        self, task: str, timeout: float | None = None, *, model_id: str | None = None
    ) -> Node:
        """Return a node that can do ``task``, with this model where one is named.

        It is waited for ``timeout`` seconds; without one, for as long as there is hope.
        Raises UnknownTask where none can do it, Unavailable where none answers, or has the model.
        """
        self._guard.check()
        affinity = ModelAffinity(model_id) if model_id else None
        return (await self._pool.ready(task, timeout, affinity)).snapshot

    async def infer(
        self,
        task: str,
        source: Source,
        /,
        *,
        mime: str = "",
        timeout: float | None = None,
        model_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Answer:
        """Return the answer of one of the nodes to one request.

        ``options``, and ``more`` of them, are the task's. ``timeout`` is in seconds, waiting
        for a node included; the node is told. ``model_id`` allows the answer of this model
        alone. Raises InvalidInput, UnknownTask, Unavailable, DeadlinePassed, ModelFailed, and
        OSError where a file can't be read.
        """
        self._guard.check()
        call = self._call(task, timeout, model_id, {**(options or {}), **more})
        try:
            done = await call.done(source, mime)
        except Unreadable as error:
            raise error.__cause__ or error from None
        answer = Answer(source, 0, done.node, done.outcome)
        answer.check()
        return answer

    def map(
        self,
        task: str,
        sources: Sources,
        /,
        *,
        ordered: bool = True,
        in_flight: int | None = None,
        timeout: float = MAP_TIMEOUT,
        within: float = math.inf,
        model_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncGenerator[Answer, None]:
        """Yield exactly one answer for each source, over all nodes that can do the task.

        ``ordered``: as the sources come; else as they are ready. Sources are drawn as there
        is room: as many are under way as keep the nodes busy, or ``in_flight``. ``timeout`` is
        in seconds for each source, ``within`` for all together. A source that fails has its
        ``error`` set; all answers are of one model, ``model_id`` or that of the first answer.
        Close the iterator (``contextlib.aclosing``) to cancel what is under way. Raises
        ValueError for an ``in_flight`` of less than one, TypeError for a single source.
        """
        self._guard.check()
        if in_flight is not None and in_flight < 1:
            raise ValueError(f"in_flight is at least 1, not {in_flight}")
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"a list of sources is mapped, not {sources!r:.60}: infer takes one")
        meta = to_meta({**(options or {}), **more})
        call = TaskCall(
            self._pool,
            task,
            meta,
            ModelAffinity(model_id, entries_of(task, meta)),
            SourceReader(self._limits.max_payload_bytes),
            timeout=timeout,
            within=within,
        )

        room = call.room if in_flight is None else lambda: in_flight
        return MapRun(sources, call, room, ordered=ordered).answers()

    def stream(
        self,
        task: str,
        source: Source,
        /,
        *,
        mime: str = "",
        timeout: float | None = None,
        model_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncGenerator[AnswerPart, None]:
        """Yield the parts of the answer to one request as they come.

        The last one (``is_last``) is the complete answer; before it come deltas, where the task
        has any. Of a composed request each part is an entry's answer, whose ``error`` is its own.

        A stream has a call of its own, which is read as far as the caller takes parts: a node
        that is ahead of a slow caller is held back by the connection, and other requests aren't.
        Leaving the loop ends the call, and the node's work with it, once the iterator is closed
        (``contextlib.aclosing``). ``timeout`` is in seconds for all of it, the caller's own time
        between parts included. What is raised is what ``infer`` raises; before the first part a
        node that is lost is replaced by another, after it that is the error.
        """
        self._guard.check()
        how = {"stream": True, **(options or {}), **more}
        return stream_parts(self._call(task, timeout, model_id, how), source, mime)

    def _call(
        self, task: str, timeout: float | None, model_id: str | None, options: Mapping[str, Any]
    ) -> TaskCall:
        """Make the call of one request."""
        meta = to_meta(options)
        entries = entries_of(task, meta)
        affinity = ModelAffinity(model_id, entries) if model_id or entries else None
        seconds = self._timeout if timeout is None else timeout
        return TaskCall(self._pool, task, meta, affinity, self._reader, timeout=seconds)

    async def classify(
        self,
        image: Source,
        labels: Sequence[str] | None = None,
        *,
        topk: int | None = None,
        task: str = "clip_classify",
        **how: Any,
    ) -> Labels:
        """Name what is in a picture: out of ``labels``, or of those that the task has.

        ``how`` is as for ``infer``, here and below; so is what is raised.
        """
        answer = await self.infer(task, image, labels=labels, topk=topk, **how)
        return answer.typed(Labels)

    async def embed_image(
        self, image: Source, *, task: str = "clip_image_embed", **how: Any
    ) -> Embedding:
        """Return the unit vector of a picture."""
        # Nodes of hearth send vectors as they are then; others send JSON all the same.
        return (await self.infer(task, image, accept=RAW, **how)).typed(Embedding)

    async def embed_text(
        self, text: str, *, task: str = "clip_text_embed", **how: Any
    ) -> Embedding:
        """Return the unit vector of a text, which can be compared with pictures' of the same model.

        Give the pictures' ``model_id``, where nodes have different ones.
        """
        return (await self.infer(task, text, accept=RAW, **how)).typed(Embedding)

    async def ocr(self, image: Source, *, task: str = "ocr", **how: Any) -> Texts:
        """Read the lines of text in a picture."""
        return (await self.infer(task, image, **how)).typed(Texts)

    async def faces(self, image: Source, *, task: str = "face_recognition", **how: Any) -> Faces:
        """Find the faces in a picture, each with the vector by which its person is known again."""
        return (await self.infer(task, image, **how)).typed(Faces)
