"""Nodes of other makers, as the field has them, and nodes that break the contract's rules."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from client_kit import (
    TASK,
    EndStream,
    Script,
    capability,
    client_of,
    echo,
    echoing,
    gathered,
)
from hearth.client.limits import ClientLimits
from hearth.errors import HearthError, InvalidInput


async def slowly(request: Any) -> Any:
    await asyncio.sleep(0.005)
    return echo(request)


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNKNOWN,  # what Python's servers say of an exception
    ],
)
async def test_a_stream_that_ends_for_one_request_fails_that_one_alone(code: Any) -> None:
    async def handler(request: Any) -> Any:
        if request.payload == b"bad":
            raise EndStream(code, "not this one")
        return await slowly(request)

    sources = [*numbers(40), b"bad", *numbers(40)]
    async with client_of(Script(handler)) as client, asyncio.timeout(10):
        answers = await gathered(client.map(TASK, sources))
    assert [n for n, answer in enumerate(answers) if answer.error] == [40]
    assert answers[40].error and "not this one" in answers[40].error.message
    assert [answer.body for answer in answers if not answer.error] == [*numbers(40), *numbers(40)]


async def test_several_bad_requests_at_once_are_each_their_own() -> None:
    async def handler(request: Any) -> Any:
        if request.payload == b"bad":
            raise EndStream(grpc.StatusCode.INVALID_ARGUMENT, "not this one")
        return await slowly(request)

    sources = [b"bad" if n % 5 == 0 else b"%d" % n for n in range(60)]
    async with client_of(Script(handler)) as client, asyncio.timeout(10):
        answers = await gathered(client.map(TASK, sources))
        for answer, source in zip(answers, sources, strict=True):
            assert (answer.error is None) == (source != b"bad")
        with pytest.raises(InvalidInput, match="not this one"):
            await client.infer(TASK, b"bad")


async def test_a_request_that_was_given_up_is_not_held_against_another() -> None:
    async def handler(request: Any) -> Any:
        await asyncio.sleep(0.1)
        if request.payload == b"bad":
            raise EndStream(grpc.StatusCode.INVALID_ARGUMENT, "not this one")
        await asyncio.sleep(0.05)
        return echo(request)

    async with client_of(node := Script(handler)) as client:
        bad = asyncio.create_task(client.infer(TASK, b"bad"))
        good = asyncio.create_task(client.infer(TASK, b"good"))
        while len(node.seen) < 2:
            await asyncio.sleep(0.01)
        bad.cancel()
        assert (await good).body == b"good"


@pytest.mark.parametrize("handler", [echoing, slowly])
async def test_a_node_that_ends_each_stream_after_one_answer_serves_a_map(handler: Any) -> None:
    async with client_of(Script(handler, patience=1)) as client, asyncio.timeout(10):
        began = time.monotonic()
        answers = await gathered(client.map(TASK, numbers(200)))
        took = time.monotonic() - began
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.body for answer in answers] == numbers(200)
    assert took < 50  # waiting its patience out for each would take minutes


async def test_a_node_that_ends_each_stream_after_some_answers_serves_a_map() -> None:
    async with client_of(Script(slowly, patience=7)) as client, asyncio.timeout(10):
        answers = await gathered(client.map(TASK, numbers(200)))
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.body for answer in answers] == numbers(200)


async def test_a_node_that_knows_the_unary_capabilities_alone_serves() -> None:
    async with client_of(node := Script(unary=True)) as client:
        assert (await client.infer(TASK, b"x")).body == b"x"
        [known] = client.nodes
    assert known.capabilities.services[0].name == "scripted"
    assert node.asked >= 1


async def test_a_node_of_before_protocol_versions_and_models_serves() -> None:
    bare = capability(models=())
    bare.ClearField("protocol_version")
    async with client_of(Script(slowly, bare)) as client:
        answers = await gathered(client.map(TASK, numbers(30)))
    assert [answer.body for answer in answers] == numbers(30)
    assert {answer.model_id for answer in answers} == {""}


async def test_answers_that_nobody_asked_for_or_had_before_are_dropped() -> None:
    node = Script()

    async def stream(requests: Any, context: Any) -> Any:
        async for request in requests:
            yield echo(request, correlation_id="nobody's", result=b"wrong")
            yield echo(request, correlation_id="", result=b"wrong")
            yield echo(request)
            yield echo(request, result=b"again")

    node._infer = stream
    async with client_of(node) as client:
        answers = await gathered(client.map(TASK, numbers(50)))
    assert [answer.body for answer in answers] == numbers(50)


async def test_a_node_that_swallows_requests_loses_them_to_another() -> None:

    async def never(request: Any) -> Any:
        return None

    async with client_of(
        hanging := Script(never),
        Script(slowly),
        limits=ClientLimits(stall_seconds=0.1, hang_seconds=0.3),
    ) as client:
        async with asyncio.timeout(8):
            answers = await gathered(client.map(TASK, numbers(60)))
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.body for answer in answers] == numbers(60)
    assert hanging.seen


async def test_a_node_of_one_request_a_stream_that_hangs_loses_them_to_another() -> None:

    async def tiring(request: Any) -> Any:
        return None if len(hanging.seen) > 40 else await slowly(request)

    hanging = Script(tiring, patience=1)
    async with (
        client_of(hanging, Script(slowly), limits=ClientLimits(hang_seconds=0.3)) as client,
        asyncio.timeout(8),
    ):
        answers = await gathered(client.map(TASK, numbers(200)))
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.body for answer in answers] == numbers(200)


@pytest.mark.parametrize("patience", [None, 1])
async def test_a_slow_answer_is_waited_for_where_no_other_node_has_the_task(
    patience: int | None,
) -> None:

    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.4)
        return echo(request)

    node, other = Script(slow, patience=patience), Script(echoing, capability("other"))
    async with client_of(
        node, other, limits=ClientLimits(stall_seconds=0.05, hang_seconds=0.1)
    ) as client:
        assert (await client.infer(TASK, b"x", timeout=5)).body == b"x"
    assert len(node.seen) == 1


async def test_one_request_that_is_swallowed_goes_elsewhere() -> None:
    swallowed = []

    async def forgetful(request: Any) -> Any:
        if request.payload == b"7" and not swallowed:
            swallowed.append(request)
            return None
        return await slowly(request)

    async with client_of(
        Script(forgetful),
        Script(forgetful),
        limits=ClientLimits(stall_seconds=0.1, hang_seconds=0.3),
    ) as client:
        async with asyncio.timeout(8):
            answers = await gathered(client.map(TASK, numbers(60)))
    assert [answer.body for answer in answers] == numbers(60)


async def test_a_node_that_cannot_infer_at_all_says_so() -> None:
    async def handler(request: Any) -> Any:
        raise EndStream(grpc.StatusCode.UNIMPLEMENTED, "what?")

    async with client_of(Script(handler)) as client, asyncio.timeout(5):
        with pytest.raises(HearthError):
            await client.infer(TASK, b"x", timeout=3)


async def test_a_busy_node_that_says_so_by_a_status_is_waited_for() -> None:
    left = 12

    async def handler(request: Any) -> Any:
        nonlocal left
        left -= 1
        if left > 0:
            raise EndStream(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "full", {"grpc-retry-pushback-ms": "20"}
            )
        return echo(request)

    async with client_of(Script(handler)) as client, asyncio.timeout(8):
        answers = await asyncio.gather(*(client.infer(TASK, b"%d" % n) for n in range(4)))
    assert [answer.body for answer in answers] == numbers(4)


async def test_an_answer_in_the_wrong_chunks_is_that_requests_failure() -> None:
    async def handler(request: Any) -> Any:
        if request.payload == b"7":
            return echo(request, total=3, seq=1)
        return echo(request)

    async with client_of(Script(handler)) as client:
        answers = await gathered(client.map(TASK, numbers(20)))
    assert [n for n, answer in enumerate(answers) if answer.error] == [7]
