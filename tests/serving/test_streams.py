"""Answers in parts over a real socket: deltas, windows, deadlines, and requests called off."""

import asyncio
import gc
import json
from collections.abc import Sequence

import grpc
import pytest

from batch_kit import Gate, until
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.node import InferenceNode
from hearth.tasks.task import Request
from node_kit import (
    STREAM_TASKS,
    LabLoader,
    ask,
    counting_of,
    lab_node,
    queue_of,
    stub_of,
    talk,
    write_all,
)

INVALID, UNAVAILABLE, DEADLINE, INTERNAL = 1, 2, 3, 4
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]
MANY = 10_000
FOREVER = {"n": "1000000", "pace_ms": "1"}
"""Options of an answer that no test waits for."""


def count(cid: str = "1", *, stream: str | None = "true", **options: object) -> pb.InferRequest:
    meta = {key: str(value).lower() for key, value in options.items()}
    return ask(b"x", cid, "count", meta=meta if stream is None else {**meta, "stream": stream})


def cancel(target: str, cid: str = "cancel") -> pb.InferRequest:
    return ask(b"", cid, "cancel", meta={"target": target})


def text_of(answers: Sequence[pb.InferResponse]) -> str:
    return "".join(json.loads(answer.result)["text"] for answer in answers)


def numbers(count: int, width: int = 0) -> str:
    return "".join(f"{number:0{width}} " for number in range(count))


async def read_until_final(stream, cid: str) -> list[pb.InferResponse]:
    """What a request is told, others aside."""
    seen = []
    while not seen or not seen[-1].is_final:
        answer = await asyncio.wait_for(stream.read(), 20)
        assert answer is not grpc.aio.EOF
        if answer.correlation_id == cid:
            seen.append(answer)
    return seen


async def answers_to_others(node: InferenceNode, rounds: int = 20) -> None:
    """Another client is answered, again and again."""
    async with stub_of(node) as other:
        for _ in range(rounds):
            assert (await talk(other, [ask()]))[0].result == b"X"


# --- deltas and parts ------------------------------------------------------------------------


async def test_deltas_come_before_a_whole_answer_to_those_who_ask_for_them():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        *deltas, final = await talk(stub, [count(n=5, pace_ms=5)])
    assert deltas and not any(delta.is_final for delta in deltas)
    assert text_of(deltas) == text_of([final]) == numbers(5)
    assert {delta.result_schema for delta in deltas} == {"count_delta_v1"}
    assert {delta.result_mime for delta in deltas} == {"application/json;schema=count_delta_v1"}
    assert (final.result_schema, final.is_final) == ("count_v1", True)
    for answer in (*deltas, final):
        assert (answer.seq, answer.total, answer.offset) == (0, 1, 0)
        assert answer.correlation_id == "1"


@pytest.mark.parametrize("stream", [None, "false"])
async def test_who_asks_for_no_deltas_gets_one_answer(stream):
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        [answer] = await talk(stub, [count(stream=stream, n=5)])
    assert answer.is_final and text_of([answer]) == numbers(5)


async def test_parts_that_are_whole_answers_come_to_everybody_one_by_one():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        *parts, final = await talk(stub, [count(stream=None, n=40, whole=True)])
    assert [text_of([part]) for part in parts] == [f"{number} " for number in range(40)]
    assert [part.is_final for part in (*parts, final)] == [False] * 40 + [True]


async def test_the_last_part_tells_how_long_the_first_took():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        *deltas, final = await talk(stub, [count(n=3, pace_ms=20)])
        [plain] = await talk(stub, [ask()])
    assert 0 < float(final.meta["first_ms"]) < float(final.meta["lat_ms"])
    assert not any("first_ms" in delta.meta for delta in deltas)
    assert "first_ms" not in plain.meta


async def test_an_answer_that_fails_half_way_keeps_its_parts_and_ends_with_the_error():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer(iter([count(n=5, fails_at=2, whole=True)]))
        assert text_of([await stream.read(), await stream.read()]) == "0 1 "
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()
        assert await stream.code() == grpc.StatusCode.INTERNAL
        one, two = await talk(stub, [count("1", n=5, fails_at=0), ask(b"y", "2")])
        failed = one if one.correlation_id == "1" else two
        assert (failed.error.code, failed.error.detail) == (INTERNAL, "INTERNAL")
        assert not counting_of(node).at_work


async def test_a_flag_that_is_none_is_refused():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        answers = await talk(stub, [count("a", stream="perhaps"), ask()])
    [refused] = [answer for answer in answers if answer.correlation_id == "a"]
    assert refused.error.code == INVALID and "perhaps" in refused.error.message


# --- who reads slowly --------------------------------------------------------------------------


async def test_many_parts_for_a_client_that_hardly_reads_stop_their_producer():
    async with lab_node(tasks=STREAM_TASKS) as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            stub = pb_grpc.InferenceStub(channel)
            stream = stub.Infer()
            await stream.write(count(n=MANY, width=100, whole=True))
            counting, most_held, most_ahead = counting_of(node), 0, 0
            for read in range(1, 11):
                assert text_of([await stream.read()]) == f"{read - 1:0100} "
                await answers_to_others(node, 5)
                most_held = max(most_held, node.service.admission.statistics().held_bytes)
                most_ahead = max(most_ahead, counting.produced - read)
            # What is on its way is gRPC's: its window and its buffer, about 64 KiB each.
            assert most_ahead < MANY / 4
            assert most_held < 16 * 1024
            # Who reads on gets all of it, in order.
            rest = await read_until_final(stream, "1")
            assert text_of(rest[:-1]) == numbers(MANY, 100)[10 * 101 :]
            assert text_of(rest[-1:]) == numbers(MANY, 100)


async def test_deltas_that_wait_are_merged_and_hold_little():
    async with lab_node(tasks=STREAM_TASKS) as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            stub = pb_grpc.InferenceStub(channel)
            stream = stub.Infer()
            await stream.write(count(n=MANY, width=100))
            counting, held = counting_of(node), node.service.admission.statistics
            await until(lambda: held().held_bytes >= 64 * 1024)
            await answers_to_others(node)
            assert held().held_bytes < 160 * 1024  # one that is written, and one that waits
            assert counting.produced < MANY / 2
            *deltas, final = await read_until_final(stream, "1")
    assert text_of(deltas) == text_of([final]) == numbers(MANY, 100)
    assert len(deltas) < MANY / 2


async def test_answers_of_others_on_the_stream_are_not_kept_back_by_parts():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(count("long", **FOREVER))
        assert (await stream.read()).correlation_id == "long"
        await stream.write(ask(b"y", "short"))
        [short] = await read_until_final(stream, "short")
        assert short.result == b"Y"
        stream.cancel()


# --- deadlines -----------------------------------------------------------------------------------


async def test_the_deadline_is_one_of_the_whole_answer():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer(iter([count(timeout_ms=60, **FOREVER)]))
        with pytest.raises(grpc.aio.AioRpcError):
            async for answer in stream:
                assert not answer.is_final
        assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert not counting_of(node).at_work
        assert node.service.metrics.statistics().requests == {("count", "DEADLINE_EXCEEDED"): 1}


async def test_at_the_deadline_there_is_what_there_is():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        *deltas, final = await talk(stub, [count(timeout_ms=60, so_far=True, **FOREVER)])
        assert text_of(deltas) == text_of([final]) == numbers(text_of([final]).count(" "))
        assert final.is_final and "first_ms" in final.meta
        assert node.service.metrics.statistics().requests == {("count", "DEADLINE_EXCEEDED"): 1}


async def test_the_deadline_holds_while_the_client_reads_nothing():
    async with lab_node(tasks=STREAM_TASKS) as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            stream = pb_grpc.InferenceStub(channel).Infer()
            await stream.write(count(n=MANY, width=1000, whole=True, timeout_ms=300))
            counting = counting_of(node)
            await until(lambda: counting.at_work == 1)
            await until(lambda: not counting.at_work)
            assert counting.produced < MANY / 4
            last = (await read_until_final(stream, "1"))[-1]
            assert (last.error.code, last.error.detail) == (DEADLINE, "DEADLINE_EXCEEDED")


async def test_the_deadline_of_the_call_frees_the_producer():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk(stub, [count(**FOREVER)], timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: not counting_of(node).at_work)


async def test_a_client_that_leaves_frees_the_producer():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(count(**FOREVER))
        await stream.read()
        stream.cancel()
        await until(lambda: not counting_of(node).at_work)
        await asyncio.wait_for(node.service.admission.idle(), 5)
        assert node.service.metrics.statistics().requests == {("count", "CANCELLED"): 1}


# --- requests that are called off ----------------------------------------------------------------


async def test_a_request_is_called_off_by_another_of_its_stream():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(count("a", pace_ms=60_000))  # the producer waits for long
        await until(lambda: counting_of(node).at_work == 1)
        await stream.write(cancel("a"))
        told = {}
        for _ in range(2):
            answer = await asyncio.wait_for(stream.read(), 5)
            told[answer.correlation_id] = answer
            assert not counting_of(node).at_work  # free before anybody hears of it
        assert (told["a"].error.code, told["a"].error.detail) == (DEADLINE, "CANCELLED")
        assert (told["cancel"].is_final, told["cancel"].result) == (True, b"")
        assert not told["cancel"].HasField("error")
        await stream.write(ask(b"y", "next"))
        assert (await stream.read()).result == b"Y"
        counted = node.service.metrics.statistics().requests
        assert counted["count", "CANCELLED"] == counted["cancel", "OK"] == 1
        stream.cancel()


async def test_what_there_is_of_an_answer_that_is_called_off_can_be_of_use():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(count("a", so_far=True, **FOREVER))
        first = await stream.read()
        await stream.write(cancel("a"))
        *deltas, final = await read_until_final(stream, "a")
        assert not final.HasField("error")
        assert text_of([first, *deltas]) == text_of([final])
        stream.cancel()


async def test_a_request_that_waits_for_its_model_is_called_off_as_well():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"runs", "runs"))
        await gate.entered()
        await stream.write(ask(b"waits", "waits"))
        await until(lambda: queue_of(node).statistics().waiting == 1)
        await stream.write(cancel("waits"))
        [called_off] = await read_until_final(stream, "waits")
        assert (called_off.error.code, called_off.error.detail) == (DEADLINE, "CANCELLED")
        assert queue_of(node).statistics().waiting == 0
        gate.open()
        assert (await read_until_final(stream, "runs"))[0].result == b"RUNS"
        stream.cancel()


async def test_of_several_with_one_id_the_eldest_that_is_not_done_is_called_off():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, [count("a", n=1), count("a", so_far=True, **FOREVER)])
        await write_all(stream, [count("a", n=2, pace_ms=60_000)])
        while not (await stream.read()).is_final:  # the first is done
            pass
        counting = counting_of(node)
        await until(lambda: counting.at_work == 2 and counting.produced > 1)
        await stream.write(cancel("a"))
        final = (await read_until_final(stream, "a"))[-1]
        assert text_of([final]).startswith("0 ")  # the second, with what there is
        assert counting_of(node).at_work == 1
        await stream.write(cancel("a", "again"))
        assert (await read_until_final(stream, "a"))[-1].error.detail == "CANCELLED"
        assert counting_of(node).at_work == 0
        stream.cancel()


@pytest.mark.parametrize("target", ["", "nobody", "done", "cancel"])
async def test_what_names_nothing_that_is_under_way_is_told_so(target):
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, [ask(b"x", "done"), ask(b"", "", "count", meta=FOREVER)])
        await read_until_final(stream, "done")
        await stream.write(cancel(target))
        [answer] = await read_until_final(stream, "cancel")
        assert answer.error.code == INVALID and "target" in answer.error.message
        assert counting_of(node).at_work == 1
        stream.cancel()


async def test_requests_of_another_stream_are_out_of_reach():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as one, stub_of(node) as two:
        theirs, mine = one.Infer(), two.Infer()
        await theirs.write(count("a", **FOREVER))
        await theirs.read()
        await write_all(mine, [ask(b"x", "b"), cancel("a")])
        [answer] = await read_until_final(mine, "cancel")
        assert answer.error.code == INVALID
        assert counting_of(node).at_work == 1
        theirs.cancel()
        mine.cancel()


async def test_a_request_can_be_called_off_however_full_the_node_is():
    gate = Gate()
    flags = {"tasks": STREAM_TASKS, "queue_capacity": 2}
    async with lab_node(LabLoader(gate), **flags) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(count("a", **FOREVER))
        await stream.read()
        async with stub_of(node) as other:
            waiting = asyncio.create_task(talk(other, [ask()]))
            await gate.entered()
            assert node.service.admission.statistics().in_flight == 2
            await stream.write(cancel("a"))
            assert (await read_until_final(stream, "a"))[-1].error.detail == "CANCELLED"
            gate.open()
            assert (await waiting)[0].result == b"X"
        stream.cancel()


async def test_answers_in_parts_open_no_way_past_the_bounds():
    async with lab_node(tasks=STREAM_TASKS, queue_capacity=16) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, (count(str(number), **FOREVER) for number in range(40)))
        await until(lambda: node.service.admission.statistics().waiting == 1)
        assert node.service.admission.statistics().in_flight == 8  # half of the bound
        stream.cancel()


async def test_what_ends_early_leaves_no_payloads_behind():
    large = bytes(5_000_000)
    gc.collect()
    gc.disable()
    try:
        async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
            for so_far in ("true", "false"):
                stream = stub.Infer()
                meta = {**FOREVER, "stream": "true", "so_far": so_far}
                await stream.write(ask(large, "a", "count", meta=meta))
                await stream.read()
                await stream.write(cancel("a"))
                await read_until_final(stream, "a")
                await stream.write(ask(large, "b", "count", meta={**meta, "timeout_ms": "50"}))
                await read_until_final(stream, "b")
                await stream.done_writing()
                assert await stream.code() == grpc.StatusCode.OK
        assert not [each for each in gc.get_objects() if type(each) is Request]
    finally:
        gc.enable()


# --- counted -------------------------------------------------------------------------------------


async def test_times_to_the_first_part_and_between_parts_are_counted():
    async with lab_node(tasks=STREAM_TASKS) as node, stub_of(node) as stub:
        await talk(stub, [count(n=4, pace_ms=5)])
        await talk(stub, [ask()])
        statistics = node.service.metrics.statistics()
    assert statistics.requests == {("count", "OK"): 1, ("upper", "OK"): 1}
    assert sum(statistics.first_parts["count"].counts) == 1
    assert sum(statistics.parts["count"].counts) == 4  # from the first to the last of five
    assert statistics.parts["count"].sum + statistics.first_parts["count"].sum >= 4 * 0.005
    assert statistics.first_parts.keys() == statistics.parts.keys() == {"count"}


async def test_a_node_that_stops_lets_an_answer_come_to_its_end():
    async with lab_node(tasks=STREAM_TASKS, grace_seconds=20) as node, stub_of(node) as stub:
        stream = stub.Infer(iter([count(n=30, pace_ms=5)]))
        await stream.read()
        stopping = asyncio.create_task(node.stop())
        last = (await read_until_final(stream, "1"))[-1]
        assert text_of([last]) == numbers(30)
        await stopping
