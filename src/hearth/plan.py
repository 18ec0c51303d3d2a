"""Work made of steps: each is begun as soon as what it needs is there.

The one mechanism behind tasks that ask several models, or one model several things. A
step goes through its model's own batch queue like any other request, so steps of many
plans meet in one batch.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, NamedTuple

from hearth.errors import HearthError, InvalidInput, ModelFailed

__all__ = ["Plan", "Step", "StepOutcome"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """One step: ``run(context, *answers)`` with the answers of ``needs``, in their order."""

    name: str
    run: Callable[..., Awaitable[Any]]
    needs: tuple[str, ...] = ()


class StepOutcome(NamedTuple):
    """Result of a step."""

    step: str
    answer: Any = None
    error: BaseException | None = None


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
                raise InvalidInput(f"two have the name {step.name!r}")
            self._steps[step.name] = step
        self._order = self._sorted()

    async def run(self, context: Any = None, given: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """Run the steps; return every answer by its step's name. The first failure ends all, and is
        raised.
        """
        answers: dict[str, Any] = {}
        async with aclosing(self.outcomes(context, given)) as outcomes:
            async for step, answer, error in outcomes:
                if error is not None:
                    raise error
                answers[step] = answer
        return answers

    async def outcomes(
        self, context: Any = None, given: Mapping[str, Any] = NOTHING
    ) -> AsyncGenerator[StepOutcome, None]:
        """Run the steps; yield the result of each as it is known. A failure spares all but its
        dependents.

        Close it (``contextlib.aclosing``) to cancel what still runs.
        """
        done: asyncio.Queue[str] = asyncio.Queue()
        running: dict[str, asyncio.Task[Any]] = {}

        async def take(step: Step) -> Any:
            # Tasks are begun in an order in which needs come first, so they are all there.
            needs = {name: running[name] for name in step.needs if name in running}
            if needs:
                await asyncio.wait(needs.values())
            for name, need in needs.items():
                if (error := _error_of(need)) is not None:
                    raise _need_failed(name, error)
            answers = [
                given[name] if name in self._given else running[name].result()
                for name in step.needs
            ]
            return await step.run(context, *answers)

        try:
            for name in self._order:
                task = running[name] = asyncio.create_task(take(self._steps[name]))
                # However it ends: also by a panic in a native library, or by somebody
                # else's cancellation.
                task.add_done_callback(partial(_tell, done, name))
            for _ in self._order:
                name = await done.get()
                error = _error_of(running[name])
                yield StepOutcome(name, None if error else running[name].result(), error)
        finally:
            for task in running.values():
                task.cancel()
            # Also takes every exception, so that none counts as unheard.
            await asyncio.gather(*running.values(), return_exceptions=True)
            # A task that was cancelled holds `take`, which holds them all, and what they hold.
            running.clear()

    def _sorted(self) -> tuple[str, ...]:
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for step in self._steps.values():
            for need in step.needs:
                if need not in self._steps and need not in self._given:
                    raise InvalidInput(f"{step.name!r} needs {need!r}, which isn't there")
            sorter.add(step.name, *(need for need in step.needs if need in self._steps))
        try:
            return tuple(sorter.static_order())
        except CycleError as error:
            circle = " → ".join(repr(name) for name in reversed(error.args[1]))
            raise InvalidInput(f"these need each other in a circle: {circle}") from None


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _tell(done: "asyncio.Queue[str]", name: str, _: object) -> None:
    done.put_nowait(name)


def _need_failed(name: str, error: BaseException) -> HearthError:
    """Make an error of the same kind: whoever may try again later, may do so here too."""
    if not isinstance(error, HearthError):
        return ModelFailed(f"{name}, which it needs, has failed")
    own = copy.copy(error)
    own.args = (f"{name}, which it needs, has failed: {error}",)
    return own
