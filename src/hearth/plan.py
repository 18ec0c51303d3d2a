"""Work made of steps: each is begun as soon as what it needs is there.

The one mechanism behind tasks that ask several models, or one model several things. A
step goes through its model's own batch queue like any other request, so steps of many
plans meet in one batch.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, NamedTuple

from hearth.errors import HearthError, InvalidInput, ModelFailed

__all__ = ["Outcome", "Plan", "Step", "at_once"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """One step: ``run(context, *answers)`` with the answers of ``needs``, in their order."""

    name: str
    run: Callable[..., Awaitable[Any]]
    needs: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What became of a step."""

    step: str
    answer: Any = None
    error: Exception | None = None


class Plan:
    """Steps that need nothing of each other run at once, the others after their needs.

    ``given`` names what ``run`` is handed beside the context: steps may need it too. Raises
    InvalidInput where a name stands twice, a need is nowhere, or steps need each other in a
    circle.
    """

    def __init__(self, steps: Iterable[Step], given: Iterable[str] = ()) -> None:
        self._steps: dict[str, Step] = {}
        self._given = frozenset(given)
        for step in steps:
            if step.name in self._steps or step.name in self._given:
                raise InvalidInput(f"two steps have the name {step.name!r}")
            self._steps[step.name] = step
        self._order = self._sorted()

    async def run(self, context: Any = None, given: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """Every step's answer by its name; the first failure ends all, and is raised."""
        answers: dict[str, Any] = {}
        async with aclosing(self.outcomes(context, given)) as outcomes:
            async for step, answer, error in outcomes:
                if error is not None:
                    raise error
                answers[step] = answer
        return answers

    async def outcomes(
        self, context: Any = None, given: Mapping[str, Any] = NOTHING
    ) -> AsyncGenerator[Outcome, None]:
        """What becomes of each step, as it is known; a failure spares all but its dependents.

        Close it (``contextlib.aclosing``) to cancel what still runs.
        """
        done: asyncio.Queue[Outcome] = asyncio.Queue()
        running: dict[str, asyncio.Task[Any]] = {}

        async def take(step: Step) -> Any:
            # Tasks are begun in an order in which needs come first, so they are all there.
            needs = [running[name] for name in step.needs if name in running]
            if needs:
                await asyncio.wait(needs)
            for name in step.needs:
                if name in running and (error := running[name].exception()) is not None:
                    raise _need_failed(name, error)
            answers = [
                given[name] if name in self._given else running[name].result()
                for name in step.needs
            ]
            return await step.run(context, *answers)

        async def follow(step: Step) -> Any:
            try:
                answer = await take(step)
            except Exception as error:
                done.put_nowait(Outcome(step.name, error=error))
                raise
            done.put_nowait(Outcome(step.name, answer))
            return answer

        try:
            for name in self._order:
                running[name] = asyncio.create_task(follow(self._steps[name]))
            for _ in running:
                yield await done.get()
        finally:
            for task in running.values():
                task.cancel()
            # Also takes every exception, so that none counts as unheard.
            await asyncio.gather(*running.values(), return_exceptions=True)

    def _sorted(self) -> tuple[str, ...]:
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for step in self._steps.values():
            for need in step.needs:
                if need not in self._steps and need not in self._given:
                    raise InvalidInput(f"{step.name!r} needs {need!r}, which is no step here")
            sorter.add(step.name, *(need for need in step.needs if need in self._steps))
        try:
            return tuple(sorter.static_order())
        except CycleError as error:
            circle = " → ".join(repr(name) for name in reversed(error.args[1]))
            raise InvalidInput(f"steps need each other in a circle: {circle}") from None


def _need_failed(name: str, error: BaseException) -> HearthError:
    """An error of the same kind: whoever may try again later, may do so here too."""
    if not isinstance(error, HearthError):
        return ModelFailed(f"{name}, which it needs, has failed")
    own = copy.copy(error)
    own.args = (f"{name}, which it needs, has failed: {error}",)
    return own


async def at_once(*work: Awaitable[Any]) -> list[Any]:
    """The answers of several awaitables, in order; the first failure cancels the others."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
