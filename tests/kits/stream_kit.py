"""A producer of answers in parts, which tells tests how far it is and whether it is at work."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson

from hearth.catalog import SchemaInfo
from hearth.errors import ModelFailed
from hearth.tasks.answer import AnswerStream, Delta, Part, Result
from hearth.tasks.options import Option

COUNT_V1 = SchemaInfo("count_v1", "numbers, one after another")
COUNT_DELTA_V1 = SchemaInfo("count_delta_v1", "the numbers that have come since the delta before")

COUNT_OPTIONS = (
    Option("n", "int", 3, "how many parts there are", least=1),
    Option("pace_ms", "float", 0.0, "milliseconds between parts", least=0),
    Option("width", "int", 0, "characters of a number, at least"),
    Option("whole", "flag", False, "whether parts are whole answers, and no deltas"),
    Option("so_far", "flag", False, "whether an answer that was cut short is of use"),
    Option("fails_at", "int", -1, "the number at which it fails"),
)


class NumbersDelta(Delta):
    """Numbers that have come since the delta before."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def size(self) -> int:
        return len(self.text)

    def merged(self, later: "NumbersDelta") -> "NumbersDelta":
        return NumbersDelta(self.text + later.text)

    def render(self) -> Result:
        return result_of(self.text, COUNT_DELTA_V1)


class Counting:
    """Counts for clients; ``n`` numbers, each a delta or a part, and a last part with all."""

    def __init__(self) -> None:
        self.produced = 0
        """Parts and deltas that were handed on."""
        self.at_work = 0
        """Answers that are being made."""

    def stream(self, options: Mapping[str, Any]) -> AnswerStream:
        """The answer to one request."""
        numbers: list[str] = []

        def so_far() -> Result | None:
            return result_of("".join(numbers), COUNT_V1) if options["so_far"] else None

        return AnswerStream(self._parts(numbers, options), so_far)

    async def _parts(
        self, numbers: list[str], options: Mapping[str, Any]
    ) -> AsyncGenerator[Part | Delta, None]:
        self.at_work += 1
        try:
            for number in range(options["n"]):
                await asyncio.sleep(options["pace_ms"] / 1000)
                if number == options["fails_at"]:
                    raise ModelFailed(f"it can't count to {number}")
                text = f"{number:0{options['width']}} "
                numbers.append(text)
                self.produced += 1
                yield Part(result_of(text, COUNT_V1)) if options["whole"] else NumbersDelta(text)
            yield Part(result_of("".join(numbers), COUNT_V1), is_last=True)
        finally:
            self.at_work -= 1


def result_of(text: str, schema: SchemaInfo) -> Result:
    body = orjson.dumps({"text": text})
    return Result(body, f"application/json;schema={schema.name}", schema.name)
