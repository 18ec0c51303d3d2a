"""The task ``compose``: several tasks on one payload, decoded once, answered one by one."""

import copy
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

from hearth.batching import Timings
from hearth.catalog import JSON, RAW, TEXT
from hearth.errors import HearthError, InvalidInput, UnknownTask
from hearth.families.compose.entries import ENTRIES, MOST_ENTRIES, ComposeEntry, read_entries
from hearth.families.compose.model import Composer
from hearth.media import IMAGE, Decodable, Medium
from hearth.media.registry import MIMES
from hearth.plan import Plan, Step
from hearth.tasks import render
from hearth.tasks.answer import AnswerStream, Delta, Part, Result
from hearth.tasks.images import shared_image
from hearth.tasks.options import PAGE
from hearth.tasks.task import Asks, Call, Task

NAME = "compose"
LARGEST_HANDED_ON = 512 * 1024
"""Bytes of an answer that another entry gets as an option, which is read on the loop."""
STREAM_ID = "stream_id"
"""The option that makes a picture the frame of a video."""
_DECODED = ""
"""The step that decodes; an entry's name is never empty."""

_SHARE: Mapping[Medium, Callable[[Call], Decodable]] = {IMAGE: shared_image}
"""Functions that make a request's payload one that its entries share; one line for each medium."""


class _Composition:
    """One composed request: its entries as steps of a plan.

    Raises InvalidInput for tasks that can't be entries, circles, needs that are nowhere and
    names that stand twice.
    """

    def __init__(self, composer: Composer, entries: Sequence[ComposeEntry], call: Call) -> None:
        assert call.router is not None
        self._composer = composer
        self._call = call
        self._router = call.router
        # Entries whose needs take their time don't wait for their models anew.
        self._ready_by = call.router.readiness.give_up_at()
        self._stack = AsyncExitStack()
        self._tasks = {entry.name: _task_of(entry, call.router) for entry in entries}
        # A payload is of one medium: that of the first entry that has any.
        media = [task.medium for task in self._tasks.values() if task.medium is not None]
        self._medium = media[0] if media else None
        self._shared = _SHARE[media[0]](call) if media else None
        self._takers = [self._tasks[entry.name] for entry in entries if self._shares(entry)]
        self._timings = {entry.name: Timings() for entry in entries}
        self._seconds = dict.fromkeys(self._tasks, 0.0)
        ahead = [Step(_DECODED, self._decode)] if self._decodes_ahead(entries) else []
        self._plan = Plan([*ahead, *(self._step(entry, bool(ahead)) for entry in entries)])

    async def parts(self) -> AsyncGenerator[Part | Delta, None]:
        """Tell what becomes of each entry, as it is known."""
        left = len(self._tasks)
        try:
            async with self._stack, aclosing(self._plan.outcomes()) as outcomes:
                async for name, result, error in outcomes:
                    if name != _DECODED:
                        left -= 1
                        yield self._part(name, result, error, is_last=not left)
        finally:
            # The steps hold this object, and it the payload: until the collector comes by.
            del self._plan, self._shared

    def _part(
        self, name: str, result: Result | None, error: BaseException | None, *, is_last: bool
    ) -> Part:
        task = self._tasks[name].name
        meta = {"entry": name, "task": task}
        return Part(result, error, is_last, meta, task, self._seconds[name], self._timings[name])

    def _decodes_ahead(self, entries: Sequence[ComposeEntry]) -> bool:
        """Tell whether the payload is decoded before anything else.

        Not for texts; nor for the frame of a video, which takes its turn as it comes, is
        decoded in it, and not at all where it is dropped.
        """
        metas = [self._call.request.meta, *(entry.meta for entry in entries)]
        is_frame = any(meta.get(STREAM_ID) for meta in metas)
        return not is_frame and bool(self._takers)

    def _shares(self, entry: ComposeEntry) -> bool:
        """Tell whether an entry looks at what is decoded for all, and at no other page."""
        medium = self._tasks[entry.name].medium
        page = self._call.request.meta.get(PAGE.name, "1")
        same_page = entry.meta.get(PAGE.name, page) == page
        return medium is not None and medium is self._medium and same_page

    async def _decode(self, _: None) -> Decodable | HearthError:
        """Decode the payload, or give why it can't be: each of its entries tells that."""
        assert self._medium is not None and self._shared is not None
        # There is room for few decoded payloads: none is taken for models that still load.
        services = {task.service for task in self._takers}
        await self._router.readiness.wait_for_any(services, self._ready_by)
        decoding = self._composer.decoded(self._medium, self._shared, self._call.context)
        try:
            return await self._stack.enter_async_context(decoding)
        except HearthError as error:
            return error

    def _step(self, entry: ComposeEntry, decodes_ahead: bool) -> Step:
        shared = self._shared if self._shares(entry) else None
        waits = shared is not None and decodes_ahead

        async def ask(_: None, *needed: Any) -> Result:
            decoded, results = (needed[0], needed[1:]) if waits else (None, needed)
            began = time.perf_counter()
            try:
                if isinstance(decoded, HearthError):
                    raise copy.copy(decoded)
                return await self._ask(entry, shared, results)
            finally:
                self._seconds[entry.name] = time.perf_counter() - began

        return Step(entry.name, ask, (_DECODED, *entry.needs) if waits else tuple(entry.needs))

    async def _ask(
        self, entry: ComposeEntry, shared: Decodable | None, needed: Sequence[Result]
    ) -> Result:
        whole = self._call.request
        # What the request says of itself holds for all of them: a video's frame, a priority.
        meta = {**whole.meta, **entry.meta}
        del meta[ENTRIES.name]
        for option, result in zip(entry.needs.values(), needed, strict=True):
            if option:
                meta[option] = _as_option(result, entry)
        timings = self._timings[entry.name]
        request = replace(
            whole,
            task=entry.task,
            meta=meta,
            timings=timings,
            payload=whole.payload if shared is None else shared,
            entry=entry.name,
            ready_by=self._ready_by,
        )
        answer = await self._router.answer(self._tasks[entry.name], request)
        # An entry has one part: what it would tell ahead of its end is nobody's.
        return answer if isinstance(answer, Result) else await answer.last(request.deadline)


def _task_of(entry: ComposeEntry, router: Asks) -> Task:
    """Find the task of an entry; raises InvalidInput where it can't be one."""
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


def _as_option(result: Result, entry: ComposeEntry) -> str:
    if len(result.body) > LARGEST_HANDED_ON:
        raise InvalidInput(
            f"the answer that {entry.name!r} needs has {len(result.body)} bytes; "
            f"at most {LARGEST_HANDED_ON} are handed on"
        )
    try:
        return result.body.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{entry.name!r} can't take an answer that is no text") from None


async def _compose(composer: Composer, entries: list[ComposeEntry], call: Call) -> AnswerStream:
    # Each entry is asked with the deadline of the whole.
    return AnswerStream(_Composition(composer, entries, call).parts(), keeps_time=True)


def _parse(_: Composer, call: Call) -> list[ComposeEntry]:
    return read_entries(call.options[ENTRIES.name])


COMPOSE_TASKS: tuple[Task, ...] = (
    Task(
        name=NAME,
        service="compose",
        summary="several tasks on one picture, decoded once; each answers as soon as it is ready",
        inputs=(*MIMES, TEXT),
        schema=None,
        outputs=(JSON, RAW, "image/png", "image/jpeg"),
        parse=_parse,
        call=_compose,
        render=render.stream,
        options=(ENTRIES,),
        limits={"max_entries": str(MOST_ENTRIES)},
    ),
)
