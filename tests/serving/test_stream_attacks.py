"""Answers in parts whose producers or clients misbehave: faults that were found by attack."""

import asyncio
import json
from collections.abc import AsyncGenerator

import grpc
import pytest

from batch_kit import until
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.tasks.answer import AnswerStream, Delta, Part
from hearth.tasks.render import stream
from hearth.tasks.task import Call, Task
from node_kit import (
    STREAM_TASKS,
    Lab,
    LabLoader,
    ask,
    counting_of,
    lab_node,
    stub_of,
    talk,
    write_all,
)
from stream_kit import COUNT_DELTA_V1, COUNT_V1, NumbersDelta, result_of

INVALID, DEADLINE, INTERNAL = 1, 3, 4
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]
NOTHING = (0, 0, 0, 0)


async def _at_once() -> AsyncGenerator[Part | Delta, None]:
    """Never let anybody else run."""
    for number in range(20_000):
        yield NumbersDelta(f"{number} ")
    yield Part(result_of("all", COUNT_V1), is_last=True)


async def _endless() -> AsyncGenerator[Part | Delta, None]:
    yield NumbersDelta("1 ")  # and no last part


async def _stubborn() -> AsyncGenerator[Part | Delta, None]:
    """Go on when called off."""
    yield NumbersDelta("1 ")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        yield Part(result_of("x" * 100_000, COUNT_V1))
    yield Part(result_of("last", COUNT_V1), is_last=True)


async def _breaks_at_its_end() -> AsyncGenerator[Part | Delta, None]:
    try:
        yield NumbersDelta("1 ")
        await asyncio.sleep(60)
    finally:
        raise ValueError("while it cleans up")


async def _large() -> AsyncGenerator[Part | Delta, None]:
    for number in range(3):
        yield Part(result_of(str(number) * 5_000_000, COUNT_V1))
    yield Part(result_of("9" * 9_000_000, COUNT_V1), is_last=True)


PRODUCERS = {
    b"at once": _at_once,
    b"endless": _endless,
    b"stubborn": _stubborn,
    b"breaks": _breaks_at_its_end,
    b"large": _large,
}


async def _produce(_: Lab, payload: bytes, call: Call) -> AnswerStream:
    return AnswerStream(PRODUCERS[payload]())


def _payload(_: Lab, call: Call) -> bytes:
    return call.request.data


TASKS = (
    *STREAM_TASKS,
    *COMPOSE_TASKS,
    Task("produce", "lab", "parts of many kinds", ("text/plain",), COUNT_V1, _payload, _produce,
         stream, delta_schema=COUNT_DELTA_V1),
)  # fmt: skip


def produce(what: bytes, cid: str = "1") -> pb.InferRequest:
    return ask(what, cid, "produce", meta={"stream": "true"})


def cancel(target: str, cid: str = "cancel") -> pb.InferRequest:
    return ask(b"", cid, "cancel", meta={"target": target})


async def answer_to(call, cid: str) -> pb.InferResponse:
    """The last message of a request, others aside."""
    while True:
        answer = await asyncio.wait_for(call.read(), 20)
        assert answer is not grpc.aio.EOF
        if answer.correlation_id == cid and answer.is_final:
            return answer


def held(node) -> tuple[int, int, int, int]:
    return node.service.admission.statistics()[:4]


async def test_a_producer_that_never_waits_takes_one_task_to_write():
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0)

    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        watching = asyncio.create_task(watch())
        *deltas, final = await talk(stub, [produce(b"at once")])
        watching.cancel()
    text = "".join(json.loads(delta.result)["text"] for delta in deltas)
    assert text == "".join(f"{number} " for number in range(20_000))
    assert final.is_final
    assert most < 100


async def test_an_answer_without_a_last_part_is_counted_as_the_failure_that_it_is():
    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        one, two = [
            answer
            for answer in await talk(stub, [produce(b"endless"), ask(b"y", "2")])
            if answer.is_final
        ]
        failed = one if one.correlation_id == "1" else two
        assert failed.error.code == INTERNAL
        requests = node.service.metrics.statistics().requests
        assert requests == {("produce", "INTERNAL"): 1, ("upper", "OK"): 1}


@pytest.mark.parametrize("what", [b"stubborn", b"breaks"])
async def test_a_producer_that_goes_on_after_its_client_has_left_holds_nothing(what):
    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        await talk(stub, [ask()])
        tasks = len(asyncio.all_tasks())
        call = stub.Infer()
        await write_all(call, [produce(what)])
        await call.read()
        call.cancel()
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert held(node) == NOTHING


@pytest.mark.parametrize("what", [b"stubborn", b"breaks"])
async def test_a_producer_that_minds_being_called_off_harms_no_other(what):
    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        call = stub.Infer()
        await write_all(call, [produce(what)])
        await call.read()
        await call.write(cancel("1"))
        await answer_to(call, "1")
        await call.write(ask(b"y", "next"))
        assert (await answer_to(call, "next")).result == b"Y"
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() == grpc.StatusCode.OK
        await until(lambda: held(node) == NOTHING)


async def test_large_parts_come_in_whole_chunks():
    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        answers = await talk(stub, [produce(b"large")])
        bodies, body = [], b""
        for answer in answers:
            assert answer.offset == len(body)
            body += answer.result
            if answer.seq == answer.total - 1:
                bodies.append(body)
                body = b""
        assert [len(json.loads(body)["text"]) for body in bodies] == [5_000_000] * 3 + [9_000_000]
        assert [answer.is_final for answer in answers] == [False] * (len(answers) - 1) + [True]
        await until(lambda: held(node) == NOTHING)


async def test_ids_of_those_who_call_off_and_read_nothing_count_as_held():
    async with lab_node(tasks=TASKS) as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            call = pb_grpc.InferenceStub(channel).Infer()
            for number in range(30):
                await call.write(ask(b"x", str(number), "count", meta={"pace_ms": "60000"}))
                await call.write(cancel(str(number), "i" * 200_000))
            counts = node.service.metrics.statistics
            await until(lambda: counts().requests.get(("cancel", "OK")) == 30)
            assert node.service.admission.statistics().held_bytes > 25 * 200_000
            call.cancel()
        await until(lambda: held(node) == NOTHING)


async def test_ids_of_parts_that_nobody_reads_count_as_held():
    async with lab_node(tasks=TASKS) as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            call = pb_grpc.InferenceStub(channel).Infer()
            options = {"n": "1000", "whole": "true", "stream": "true"}
            await call.write(ask(b"x", "i" * 200_000, "count", meta=options))
            await until(lambda: node.service.admission.statistics().held_bytes > 12 * 200_000)
            call.cancel()
        await until(lambda: held(node) == NOTHING)


async def test_an_entry_of_many_parts_ends_at_the_deadline_of_the_whole():
    meta = {"entries": "count,upper", "timeout_ms": "200", "n": "1000000", "pace_ms": "1"}
    async with lab_node(tasks=TASKS) as node, stub_of(node) as stub:
        answers = await asyncio.wait_for(talk(stub, [ask(b"x", "1", "compose", meta=meta)]), 10)
        by_entry = {answer.meta["entry"]: answer for answer in answers}
        assert by_entry["upper"].result == b"X"
        assert by_entry["count"].error.detail == "DEADLINE_EXCEEDED"
        assert not counting_of(node).at_work


@pytest.mark.parametrize("offset", [0, 1])
async def test_a_request_whose_chunks_are_still_coming_is_called_off(offset):
    async with lab_node(LabLoader(), tasks=TASKS) as node, stub_of(node) as stub:
        call = stub.Infer()
        await call.write(ask(b"x" * 100_000, "a", seq=0, total=3))
        if offset:
            await call.write(ask(b"x" * 100_000, "a", seq=1, total=3, offset=100_000))
        await until(lambda: held(node)[1] >= 100_000 * (1 + offset))
        await call.write(cancel("a"))
        told = await answer_to(call, "a")
        assert (told.error.code, told.error.detail) == (DEADLINE, "CANCELLED")
        assert held(node)[1] < 1000
        await call.write(ask(b"y", "next"))
        assert (await answer_to(call, "next")).result == b"Y"
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() == grpc.StatusCode.OK
