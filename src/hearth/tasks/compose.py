"""The task ``compose``: several tasks on one payload, decoded once, answered one by one."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

from hearth.errors import InvalidInput, UnknownTask
from hearth.media.raw import MIME as RAW_FRAME
from hearth.models.compose import Composer
from hearth.plan import Plan, Step
from hearth.tasks.entries import ENTRIES, MOST_ENTRIES, Entry, read_entries
from hearth.tasks.prepared import file_of
from hearth.tasks.task import (
    IMAGES,
    TEXT,
    Asks,
    Call,
    Part,
    Parts,
    Request,
    Result,
    Stages,
    Task,
)

NAME = "compose"


class _Entries:
    """The entries of one request, as steps of a plan."""

    def __init__(self, entries: Iterable[Entry], router: Asks) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.tasks = {name: _task_of(entry, router) for name, entry in self.entries.items()}
        self.sent: dict[str, Request] = {}
        """What was asked for each entry."""
        self.began: dict[str, float] = {}
        self._router = router

    def plan(self, entries: Iterable[Entry]) -> Plan:
        """Raises InvalidInput for circles, needs that are nowhere and names that stand twice."""
        return Plan(Step(entry.name, self._step(entry), tuple(entry.needs)) for entry in entries)

    @property
    def takes_pictures(self) -> bool:
        """Whether any of the tasks looks at the payload as a picture."""
        return any(set(IMAGES) & set(task.inputs) for task in self.tasks.values())

    def part(self, name: str, result: Result | None, error: Exception | None) -> Part:
        """What became of an entry."""
        stages = self.sent[name].stages if name in self.sent else None
        took = time.perf_counter() - self.began[name] if name in self.began else 0.0
        return Part(name, self.tasks[name].name, result, error, took, stages or Stages())

    def _step(self, entry: Entry) -> Callable[..., Awaitable[Result]]:
        async def ask(whole: Request, *needed: Result) -> Result:
            self.began[entry.name] = time.perf_counter()
            # What the request says of itself holds for all of them: a video's frame, a priority.
            meta = {**whole.meta, **entry.meta}
            del meta[ENTRIES.name]
            for option, result in zip(entry.needs.values(), needed, strict=True):
                if option:
                    meta[option] = _as_option(result, entry)
            request = whole._replace(task=entry.task, meta=meta, stages=Stages())
            self.sent[entry.name] = request
            answer = await self._router.answer(request)
            assert isinstance(answer, Result)
            return answer

        return ask


def _task_of(entry: Entry, router: Asks) -> Task:
    """The task of an entry; raises InvalidInput where it can't be one."""
    try:
        task = router.find(entry.task)
    except UnknownTask as error:
        raise InvalidInput(f"entry {entry.name!r}: {error}") from None
    if task.name == NAME:
        raise InvalidInput(f"entry {entry.name!r}: {NAME} can't be an entry of itself")
    known = {name for option in task.options for name in (option.name, *option.aliases)}
    for option in entry.needs.values():
        if option and option not in known:
            raise InvalidInput(f"entry {entry.name!r}: {task.name} has no option {option!r}")
    return task


def _as_option(result: Result, entry: Entry) -> str:
    try:
        return result.body.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{entry.name!r} can't take an answer that is no text") from None


async def _compose(composer: Composer, entries: list[Entry], call: Call) -> Parts:
    assert call.router is not None
    asked = _Entries(entries, call.router)
    plan = asked.plan(entries)  # refuses what can't be done, before anything is
    return Parts(len(entries), _parts(composer, asked, plan, call))


async def _parts(
    composer: Composer, asked: _Entries, plan: Plan, call: Call
) -> AsyncGenerator[Part, None]:
    request = call.request
    if not asked.takes_pictures:
        async for part in _outcomes(asked, plan, request):
            yield part
        return
    async with (
        composer.decoded(file_of(composer, call), call.ticket) as picture,
        aclosing(_outcomes(asked, plan, request._replace(picture=picture))) as parts,
    ):
        async for part in parts:
            yield part


async def _outcomes(asked: _Entries, plan: Plan, whole: Request) -> AsyncGenerator[Part, None]:
    async with aclosing(plan.outcomes(whole)) as outcomes:
        async for name, answer, error in outcomes:
            yield asked.part(name, answer, error)


def _parse(_: Composer, call: Call) -> list[Entry]:
    return read_entries(call.options[ENTRIES.name])


def _render(_: Composer, parts: Parts, __: Call) -> Parts:
    return parts


COMPOSE_TASKS: tuple[Task, ...] = (
    Task(
        name=NAME,
        service="compose",
        summary="several tasks on one picture, decoded once; each answers as soon as it is ready",
        inputs=(*IMAGES, RAW_FRAME, TEXT),
        schema="each entry's own",
        parse=_parse,
        call=_compose,
        render=_render,
        options=(ENTRIES,),
        limits={"max_entries": str(MOST_ENTRIES)},
    ),
)
