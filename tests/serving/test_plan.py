"""Plans of steps: what runs when, and what a failure ends."""

import asyncio
from contextlib import aclosing

import pytest

from hearth.errors import InvalidInput, ModelFailed, Overloaded
from hearth.plan import Plan, Step


def answer(value):
    async def run(_context, *_needs):
        return value

    return run


def failing(error):
    async def run(_context, *_needs):
        raise error

    return run


async def test_a_step_gets_the_context_and_what_it_needs_in_order():
    async def join(context, left, right, given):
        return f"{context}{left}{right}{given}"

    plan = Plan(
        [Step("c", join, ("b", "a", "g")), Step("a", answer("a")), Step("b", answer("b"))],
        given=("g",),
    )
    assert await plan.run("x", {"g": "g"}) == {"a": "a", "b": "b", "c": "xbag"}


async def test_steps_that_need_nothing_of_each_other_run_at_once():
    both = asyncio.Barrier(2)  # each waits for the other: one after the other would hang

    async def meet(_):
        async with asyncio.timeout(5):
            await both.wait()

    await Plan([Step("a", meet), Step("b", meet)]).run()


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([Step("a", answer(1), ("b",))], "'a' needs 'b'"),
        ([Step("a", answer(1)), Step("a", answer(2))], "two have the name"),
        ([Step("a", answer(1), ("a",))], "circle"),
        (
            [
                Step("a", answer(1), ("c",)),
                Step("b", answer(1), ("a",)),
                Step("c", answer(1), ("b",)),
            ],
            "circle",
        ),
    ],
)
def test_what_can_never_be_done_is_refused(steps, told):
    with pytest.raises(InvalidInput, match=told):
        Plan(steps)


async def test_the_first_failure_ends_the_others_and_is_raised():
    ended = []

    async def forever(_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(ModelFailed, match="broken"):
        await Plan([Step("a", forever), Step("b", failing(ModelFailed("broken")))]).run()
    assert ended


async def test_outcomes_spare_all_but_the_dependents():
    full = Overloaded("full", retry_after=3)
    plan = Plan([Step("a", failing(full)), Step("b", answer("b")), Step("c", answer(1), ("a",))])
    async with aclosing(plan.outcomes()) as outcomes:
        told = {step: (value, error) async for step, value, error in outcomes}
    assert told["a"] == (None, full) and told["b"] == ("b", None)
    error = told["c"][1]
    assert isinstance(error, Overloaded) and error.retry_after == 3
    assert str(error) == "a, which it needs, has failed: full" and str(full) == "full"


async def test_a_need_that_fails_in_a_way_nobody_foresaw_is_told_as_that():
    plan = Plan([Step("a", failing(KeyError("x"))), Step("b", answer(1), ("a",))])
    async with aclosing(plan.outcomes()) as outcomes:
        told = {step: error async for step, _, error in outcomes}
    assert isinstance(told["a"], KeyError) and isinstance(told["b"], ModelFailed)


async def test_a_cancel_ends_every_step():
    running, ended = asyncio.Barrier(3), []

    async def forever(_):
        try:
            await running.wait()
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    work = asyncio.create_task(Plan([Step("a", forever), Step("b", forever)]).run())
    await running.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert len(ended) == 2


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit("a panic")])
async def test_a_step_that_ends_as_nothing_should_has_an_outcome_too(error):
    plan = Plan([Step("a", failing(error)), Step("b", answer("b")), Step("c", answer(1), ("a",))])
    async with asyncio.timeout(5), aclosing(plan.outcomes()) as outcomes:
        told = {step: problem async for step, _, problem in outcomes}
    assert isinstance(told["a"], type(error)) and told["b"] is None
    assert isinstance(told["c"], ModelFailed)
