"""The door without a wire: requests of tests and notebooks, through the whole stack."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from hearth.serving.part_stream import PartStream
from hearth.serving.service import InferenceService
from hearth.tasks.answer import NO_META, AnswerStream, Delta, Part, Result
from hearth.tasks.task import Request


class InProcessDoor:
    """Asks the service on the loop where the node runs; all who use it are one client."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    async def infer(
        self, task: str, payload: bytes | str, mime: str = "", options: Mapping[str, Any] = NO_META
    ) -> Result:
        """Wait for the whole answer, of a stream for its last part.

        ``options`` become the request's meta: texts as they are, anything else as JSON. Raises
        what ``InferenceService.infer`` does, and Overloaded where the node is full.
        """
        async with aclosing(self.stream(task, payload, mime, options)) as parts:
            return await AnswerStream(parts).last()

    async def stream(
        self, task: str, payload: bytes | str, mime: str = "", options: Mapping[str, Any] = NO_META
    ) -> AsyncGenerator[Part | Delta, None]:
        """Give the parts of an answer as they are ready; a whole answer is one that is the last.

        Close it (``contextlib.aclosing``) to call the request off.
        """
        body = payload.encode() if isinstance(payload, str) else payload
        meta = {key: _text(value) for key, value in options.items()}
        budget = self._service.admission.open()
        if (refusal := budget.try_take(len(body))) is not None:
            budget.close()
            raise refusal
        try:
            request = Request(task, body, mime, meta, size=len(body), source=self)
            answer = await self._service.infer(request, budget)
            if isinstance(answer, PartStream):
                async with aclosing(answer):
                    async for part in answer:
                        yield part
                        if isinstance(part, Part) and part.is_last:
                            return
            else:
                yield Part(answer, is_last=True)
        finally:
            budget.close()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
