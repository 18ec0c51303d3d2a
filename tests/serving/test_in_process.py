"""Requests through the whole stack without a wire, and what every door makes of an error."""

import asyncio
import json
from contextlib import aclosing

import grpc
import pytest

from batch_kit import Gate, until
from hearth import errors
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import (
    DeadlinePassed,
    HearthError,
    InvalidInput,
    ModelFailed,
    NotReady,
    Overloaded,
    UnknownTask,
)
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.serving.status import TABLE, code_of
from hearth.tasks.answer import Part
from node_kit import STREAM_TASKS, LabLoader, counting_of, lab_node, queue_of


async def test_a_request_goes_through_the_whole_stack_without_a_wire():
    async with lab_node(tasks=STREAM_TASKS) as node:
        answer = await node.infer("shout", "abc", mime="text/plain", topk=3)
        assert (answer.body, answer.schema, answer.meta["topk"]) == (b"ABC", "lab_v1", "3")
        assert answer.meta["batch"] == "1" and float(answer.meta["lat_ms"]) > 0
        assert queue_of(node).statistics().items == 1
        assert node.service.metrics.statistics().requests == {("upper", "OK"): 1}
        assert node.service.admission.statistics()[:3] == (0, 0, 0)


@pytest.mark.parametrize(
    ("task", "payload", "options", "error"),
    [
        ("dance", b"x", {}, UnknownTask),
        ("upper", b"bad", {}, InvalidInput),
        ("upper", b"x", {"topk": 0}, InvalidInput),
        ("later", b"x", {}, NotReady),
        ("count", b"x", {"fails_at": 1}, ModelFailed),
        ("count", b"x", {"pace_ms": 60_000, "timeout_ms": 10}, DeadlinePassed),
    ],
)
async def test_errors_are_those_of_the_house(task, payload, options, error):
    async with lab_node(tasks=STREAM_TASKS) as node:
        with pytest.raises(error):
            await node.infer(task, payload, **options)
        await asyncio.wait_for(node.service.admission.idle(), 5)


async def test_a_full_node_refuses_its_own_process_too():
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=1) as node:
        waiting = asyncio.create_task(node.infer("upper", b"x"))
        await gate.entered()
        with pytest.raises(Overloaded):
            await node.infer("upper", b"y")
        gate.open()
        assert (await waiting).body == b"X"


async def test_parts_come_one_by_one_and_the_last_is_whole():
    async with lab_node(tasks=STREAM_TASKS) as node:
        async with aclosing(node.stream("count", b"", n=3)) as parts:
            seen = [part async for part in parts]
        texts = [json.loads((part.result if isinstance(part, Part) else part.render()).body)["text"]
                 for part in seen]  # fmt: skip
        assert texts == ["0 ", "1 ", "2 ", "0 1 2 "]
        [whole] = [part async for part in node.stream("upper", b"x")]
        assert whole.is_last and whole.result.body == b"X"
        assert json.loads((await node.infer("count", b"", n=3)).body)["text"] == "0 1 2 "


async def test_at_the_deadline_there_is_what_there_is_at_any_door():
    async with lab_node(tasks=STREAM_TASKS) as node:
        limits = {"n": 1_000_000, "pace_ms": 1, "timeout_ms": 60, "so_far": True}
        counted = json.loads((await node.infer("count", b"", **limits)).body)["text"].split()
        assert counted == [str(number) for number in range(len(counted))]
        assert not counting_of(node).at_work
        assert node.service.metrics.statistics().requests == {("count", "DEADLINE_EXCEEDED"): 1}


async def test_entries_of_a_composed_request_are_parts():
    async with lab_node(tasks=(*STREAM_TASKS, *COMPOSE_TASKS)) as node:
        entries = ["upper", {"id": "long", "task": "count", "options": {"n": 2}}]
        parts = [part async for part in node.stream("compose", b"x", entries=entries)]
    told = {part.meta["entry"]: part.result.body for part in parts}
    assert told == {"upper": b"X", "long": b'{"text":"0 1 "}'}
    assert [part.is_last for part in parts] == [False, True]


async def test_who_leaves_a_stream_frees_its_producer():
    async with lab_node(tasks=STREAM_TASKS) as node:
        async with aclosing(node.stream("count", b"", n=1_000_000, pace_ms=1)) as parts:
            await anext(parts)
        assert not counting_of(node).at_work
        waiting = asyncio.create_task(node.infer("count", b"", n=2, pace_ms=60_000))
        await until(lambda: counting_of(node).at_work == 1)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert not counting_of(node).at_work
        assert node.service.admission.statistics()[:3] == (0, 0, 0)


async def test_a_node_that_stops_answers_nothing_new():
    async with lab_node(tasks=STREAM_TASKS) as node:
        await node.stop()
        with pytest.raises(NotReady, match="shutting down"):
            await node.infer("upper", b"x")


def test_a_real_model_answers_as_over_the_wire(node):
    asked = {"task": "clip_text_embed", "payload": b"a dog"}
    here = asyncio.run_coroutine_threadsafe(node.node.infer(**asked), node._loop).result(30)
    with grpc.insecure_channel(node.target) as channel:
        stub = pb_grpc.InferenceStub(channel)
        [there] = stub.Infer(iter([pb.InferRequest(correlation_id="1", **asked)]))
    assert (here.body, here.mime, here.schema) == (
        there.result,
        there.result_mime,
        there.result_schema,
    )
    assert here.meta["lumen.model.id"] == there.meta["lumen.model.id"] == "tiny"


def test_every_error_has_its_code_for_each_kind_of_door():
    in_band = {name.removeprefix("ERROR_CODE_") for name in pb.ErrorCode.keys()}  # noqa: SIM118
    for _, code in TABLE:
        assert grpc.StatusCode[code.grpc] and code.in_band in in_band
    numbers = {
        errors.UnknownTask("x"): 404,
        errors.InvalidInput("x"): 400,
        errors.Overloaded("x"): 429,
        errors.NotReady("x"): 503,
        errors.DeadlinePassed("x"): 504,
        errors.RequestCancelled("x"): 499,
        errors.OutOfMemory("x"): 500,
        ValueError("x"): 500,
    }
    assert {error: code_of(error).http for error in numbers} == numbers


def test_a_child_stands_before_its_parent():
    kinds: list[type[HearthError]] = [kind for kind, _ in TABLE]
    for index, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[index + 1 :])
