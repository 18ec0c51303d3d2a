"""The tasks of the service ``toy``: one that answers whole, one that streams."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hearth.catalog import TEXT, FieldInfo, SchemaInfo
from hearth.families.toy.model import ToyModel
from hearth.tasks import render
from hearth.tasks.answer import AnswerStream, Delta, Part, Result
from hearth.tasks.options import Option
from hearth.tasks.parse import text_of
from hearth.tasks.task import Call, Task

SHOUT_V1 = SchemaInfo(
    "shout_v1",
    "a text in capitals",
    (FieldInfo("text", "text"), FieldInfo("marks", "count", "what it ends with"), render.MODEL),
)
LETTERS_V1 = SchemaInfo(
    "letters_v1", "letters that have come since the delta before", (FieldInfo("text", "text"),)
)
LONGEST = 1000
"""Characters of a text."""

TIMES = Option("times", "int", 1, "marks behind the text", least=0, most=9)


def _parse(_: ToyModel, call: Call) -> str:
    return text_of(call, LONGEST)


async def _shout(model: ToyModel, text: str, call: Call) -> str:
    return await model.shout(text, call.options[TIMES.name], call.context)


def _render(model: ToyModel, shouted: str, call: Call) -> Result:
    content = {"text": shouted, "marks": call.options[TIMES.name], "model_id": model.model_id}
    return render.as_json(content, SHOUT_V1, {})


class Letters(Delta):
    """Letters that have come since the delta before."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def size(self) -> int:
        return len(self._text)

    def merged(self, later: "Letters") -> "Letters":
        return Letters(self._text + later._text)

    def render(self) -> Result:
        return render.as_json({"text": self._text}, LETTERS_V1, {})


async def _spell(model: ToyModel, text: str, call: Call) -> AnswerStream:
    async def parts() -> AsyncGenerator[Part | Delta, None]:
        letters = []
        for letter in text:
            letters.append(await model.shout(letter, 0, call.context))
            yield Letters(letters[-1])
        content: Mapping[str, Any] = {
            "text": "-".join(letters),
            "marks": 0,
            "model_id": model.model_id,
        }
        yield Part(render.as_json(content, SHOUT_V1, {}), is_last=True)

    return AnswerStream(parts())


TOY_TASKS: tuple[Task, ...] = (
    Task(
        name="toy_shout",
        service="toy",
        summary="a text in capitals",
        inputs=(TEXT,),
        schema=SHOUT_V1,
        parse=_parse,
        call=_shout,
        render=_render,
        options=(TIMES,),
        interactive=True,
    ),
    Task(
        name="toy_spell",
        service="toy",
        summary="a text in capitals, letter by letter",
        inputs=(TEXT,),
        schema=SHOUT_V1,
        delta_schema=LETTERS_V1,
        parse=_parse,
        call=_spell,
        render=render.stream,
        interactive=True,
    ),
)
