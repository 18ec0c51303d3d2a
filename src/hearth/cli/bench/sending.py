"""Sends one request after the other through the client, as an application would."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hearth.cli.bench.figures import Sample
from hearth.client import Answer, Client, Job
from hearth.client.retry import failed
from hearth.client.sources import Payload
from hearth.errors import HearthError


class Sender:
    """Does ``task`` to one of the payloads after the other, again and again."""

    def __init__(
        self, client: Client, task: str, payloads: Sequence[Payload], options: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._task = task
        self._payloads = itertools.cycle(payloads)
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.trouble = ""
        """What the last request that failed was told."""

    async def send(self, due: float) -> Sample:
        """What becomes of a request that was to be sent at ``due``, its failure too."""
        payload = next(self._payloads)
        try:
            answer = await self._client.infer(
                self._task, payload.content, mime=payload.mime, options=self._options
            )
        except HearthError as error:
            self.trouble = str(error)
            await asyncio.sleep(0)  # should it fail without a word to a node, others get their turn
            return Sample(due, self._loop.time(), self._code_of(error))
        return _sample(due, self._loop.time(), answer)

    def _code_of(self, error: HearthError) -> str:
        """The name of the gRPC code that an error is told by."""
        # Where no node was asked, the client has none: a map would answer with this.
        failure = error.failure or failed(Job(self._task, b""), error).outcome.error
        return failure.code if failure is not None else ""


def _sample(due: float, done: float, answer: Answer) -> Sample:
    told = answer.meta
    batch, queue = _number(told.get("batch")), _number(told.get("queue_ms"))
    return Sample(due, done, "", answer.node, batch, queue)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:  # a node of somebody else's
        return None
