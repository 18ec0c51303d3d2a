"""The contract over a real socket: errors, statuses, order, limits, the connection."""

import asyncio
import gc
import logging

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from batch_kit import Gate, until, until_waiting
from hearth.contract import ml_service_pb2 as pb
from hearth.tasks.task import Request
from node_kit import LabLoader, ask, lab_node, queue_of, stub_of, talk, write_all

INVALID, UNAVAILABLE, INTERNAL = 1, 2, 4
EMPTY = Empty()


async def status_of(stub, requests) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk(stub, requests)
    return caught.value.code(), caught.value.details()


async def test_a_request_is_answered_with_mime_schema_meta_and_its_id():
    async with lab_node() as node, stub_of(node) as stub:
        [answer] = await talk(stub, [ask(b"abc", "some-id")])
        assert (answer.result, answer.correlation_id, answer.is_final) == (b"ABC", "some-id", True)
        assert (answer.seq, answer.total, answer.offset) == (0, 1, 0)
        assert answer.result_mime == "application/json;schema=lab_v1"
        assert answer.result_schema == "lab_v1"
        assert float(answer.meta["lat_ms"]) >= 0
        assert answer.meta["lumen.model.id"] == "lab-1"
        assert not answer.HasField("error")


async def test_an_alias_is_the_same_task():
    async with lab_node() as node, stub_of(node) as stub:
        [answer] = await talk(stub, [ask(task="shout")])
        assert answer.result == b"X"


@pytest.mark.parametrize(
    ("request_", "code", "word"),
    [
        (ask(b"bad"), grpc.StatusCode.INVALID_ARGUMENT, "bad input"),
        (ask(b"bad", task="upper_aside"), grpc.StatusCode.INVALID_ARGUMENT, "bad input"),
        (ask(task="dance"), grpc.StatusCode.NOT_FOUND, "dance"),
        (ask(task=""), grpc.StatusCode.INVALID_ARGUMENT, "no task"),
        (ask(meta={"topk": "0"}), grpc.StatusCode.INVALID_ARGUMENT, "topk"),
        (ask(meta={"TopK": "many"}), grpc.StatusCode.INVALID_ARGUMENT, "TopK"),
        (ask(meta={"topk": "nan"}), grpc.StatusCode.INVALID_ARGUMENT, "topk"),
        (ask(b"poison"), grpc.StatusCode.INTERNAL, "poison"),
        (ask(b"panic"), grpc.StatusCode.INTERNAL, "log says why"),
        (ask(b"panic", task="upper_aside"), grpc.StatusCode.INTERNAL, "native code"),
        (ask(b"cancelled"), grpc.StatusCode.INTERNAL, "log says why"),
        (ask(seq=0, total=3), grpc.StatusCode.INVALID_ARGUMENT, "chunks are missing"),
    ],
)
async def test_the_only_request_of_a_stream_fails_with_a_status(request_, code, word):
    async with lab_node() as node, stub_of(node) as stub:
        got, details = await status_of(stub, [request_])
        assert got == code and word in details
        # ... and the node serves on.
        assert (await talk(stub, [ask()]))[0].result == b"X"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(b"bad", "broken"), INVALID),
        (ask(cid="broken", task="dance"), INVALID),
        (ask(cid="broken", meta={"topk": "-1"}), INVALID),
        (ask(b"poison", "broken"), INTERNAL),
        (ask(b"panic", "broken"), INTERNAL),
        (ask(b"cancelled", "broken"), INTERNAL),
        (ask(cid="broken", seq=1, total=3, offset=7), INVALID),
    ],
)
async def test_among_several_a_failure_is_in_band_and_the_others_are_served(request_, code):
    async with lab_node() as node, stub_of(node) as stub:
        answers = await talk(stub, [ask(b"a", "before"), request_, ask(b"b", "after")])
        by_id = {answer.correlation_id: answer for answer in answers}
        assert by_id["before"].result == b"A" and by_id["after"].result == b"B"
        assert by_id["broken"].error.code == code and by_id["broken"].is_final
        assert by_id["broken"].error.message
        assert len(answers) == 3 == sum(node.service.metrics.statistics().requests.values())
        assert node.service.metrics.statistics().requests["upper", "OK"] == 2
        assert node.service.admission.statistics().in_flight == 0


@pytest.mark.parametrize("key", ["topk", "top_k", "TopK", "topK", "top-k", "lumen.top_k"])
async def test_every_spelling_of_topk_means_the_same(key):
    async with lab_node() as node, stub_of(node) as stub:
        [answer] = await talk(stub, [ask(meta={key: "3.0"})])
        assert answer.meta["topk"] == "3"


async def test_a_ping_pong_client_gets_its_error_in_band_and_goes_on():
    async with lab_node() as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"bad", "1"))
        first = await asyncio.wait_for(stream.read(), 5)
        assert first.error.code == INVALID
        await stream.write(ask(b"good", "2"))
        second = await asyncio.wait_for(stream.read(), 5)
        assert (second.correlation_id, second.result) == ("2", b"GOOD")
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() == grpc.StatusCode.OK


async def test_answers_come_before_the_half_close():
    async with lab_node() as node, stub_of(node) as stub:
        stream = stub.Infer()
        for number in range(3):
            await stream.write(ask(b"%d" % number, str(number)))
            assert (await asyncio.wait_for(stream.read(), 5)).correlation_id == str(number)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF


async def test_answers_come_as_they_are_ready_not_as_they_were_asked():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"slow", "slow"))
        await gate.entered()
        await stream.write(ask(b"quick", "quick", task="noop"))
        assert (await asyncio.wait_for(stream.read(), 5)).correlation_id == "quick"
        gate.open()
        assert (await asyncio.wait_for(stream.read(), 5)).correlation_id == "slow"
        await stream.done_writing()


async def test_a_chunked_request_is_answered_and_a_large_answer_is_chunked():
    payload = b"abc" * 400_000
    step = 256 * 1024
    parts = [payload[i : i + step] for i in range(0, len(payload), step)]
    requests = [
        ask(part, "big", seq=seq, total=len(parts), offset=seq * step, meta={"times": "8"})
        for seq, part in enumerate(parts)
    ]
    async with lab_node() as node, stub_of(node) as stub:
        answers = await talk(stub, requests)
        assert len(answers) > 1
        assert b"".join(answer.result for answer in answers) == payload.upper() * 8
        assert [answer.is_final for answer in answers] == [False] * (len(answers) - 1) + [True]


async def test_an_oversized_chunked_request_is_read_to_its_end_then_told_by_status():
    step = 512 * 1024
    requests = [ask(b"x" * step, seq=i, total=4, offset=i * step) for i in range(4)]
    async with lab_node(max_payload_mb=1) as node, stub_of(node) as stub:
        code, details = await status_of(stub, requests)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "larger than 1048576" in details


async def test_an_oversized_payload_leaves_the_stream_open_for_the_next():
    async with lab_node(max_payload_mb=1) as node, stub_of(node) as stub:
        answers = await talk(stub, [ask(b"x" * 1_500_000, "big"), ask(b"y", "next")])
        by_id = {answer.correlation_id: answer for answer in answers}
        assert by_id["big"].error.code == INVALID
        assert by_id["next"].result == b"Y"


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 2 * 1024 * 1024])
async def test_both_sides_of_the_payload_limit(size):
    async with lab_node(max_payload_mb=1) as node, stub_of(node) as stub:
        requests = [ask(b"x" * (1024 * 1024), "fits", task="noop"), ask(b"x" * size, "big")]
        by_id = {answer.correlation_id: answer for answer in await talk(stub, requests)}
        assert len(by_id["fits"].result) == 1024 * 1024
        assert by_id["big"].error.code == INVALID


@pytest.mark.parametrize(
    "request_", [ask(task="t" * 20_000), ask(meta={"topk": "é" * 5000}), ask(task="a\nb\r\nc")]
)
async def test_what_clients_write_into_names_breaks_no_status(request_):
    async with lab_node() as node, stub_of(node) as stub:
        code, details = await status_of(stub, [request_])
        assert code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        assert len(details) < 600 and "\n" not in details


@pytest.mark.parametrize("garbage", [b"\x12\x02\xff\xfe", b"\xff\xff\xff"])
async def test_what_is_no_message_ends_the_stream_but_not_what_came_before(garbage, caplog):
    async with (
        lab_node() as node,
        grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel,
    ):
        call = channel.stream_stream("/home_native.v1.Inference/Infer")()
        await call.write(ask(b"before").SerializeToString())
        await call.write(garbage)
        answer = pb.InferResponse.FromString(await asyncio.wait_for(call.read(), 5))
        assert answer.result == b"BEFORE"
        assert await asyncio.wait_for(call.code(), 5) == grpc.StatusCode.INVALID_ARGUMENT
    assert all(record.levelno < logging.WARNING for record in caplog.records), caplog.text


async def test_failed_requests_leave_no_payloads_behind():
    gc.collect()
    gc.disable()
    try:
        async with lab_node() as node, stub_of(node) as stub:
            for task in ("upper", "upper_aside", "dance"):
                await talk(stub, [ask(b"bad" + bytes(5_000_000), task=task) for _ in range(2)])
                await status_of(stub, [ask(b"bad" + bytes(5_000_000), task=task)])
            await status_of(stub, [ask(b"poison")])
            await talk(stub, [ask(b"poison"), ask(b"poison")])
        large = [o for o in gc.get_objects() if type(o) is Request]
        assert not large
    finally:
        gc.enable()


async def test_clients_that_leave_while_answers_are_written_leave_no_trace(caplog):
    async with lab_node() as node, stub_of(node) as stub:
        for _ in range(5):
            stream = stub.Infer()
            await write_all(stream, (ask(b"x" * 1000, meta={"times": "20000"}) for _ in range(4)))
            await stream.read()
            stream.cancel()
        await until(lambda: not node.service.admission.statistics().in_flight)
        assert (await talk(stub, [ask()]))[0].result == b"X"
    assert all(record.levelno < logging.WARNING for record in caplog.records), caplog.text


async def test_a_payload_of_64_mib_is_accepted():
    async with lab_node() as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"bad" + b"x" * (64 * 1024 * 1024 - 3)))
        answer = await asyncio.wait_for(stream.read(), 20)
        assert answer.error.message == "bad input"
        stream.cancel()


async def test_a_full_queue_refuses_and_nothing_else_suffers():
    gate = Gate()
    async with lab_node(LabLoader(gate, capacity=2)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"running", "running"))
        await gate.entered()
        await write_all(stream, (ask(b"%d" % i, str(i)) for i in range(6)))
        refused = [await asyncio.wait_for(stream.read(), 5) for _ in range(4)]
        assert all(answer.error.code == UNAVAILABLE for answer in refused)
        assert all("full" in answer.error.message for answer in refused)
        gate.open()
        served = [await asyncio.wait_for(stream.read(), 5) for _ in range(3)]
        assert {answer.result for answer in served} == {b"RUNNING", b"0", b"1"}
        await stream.done_writing()


async def test_a_full_queue_is_resource_exhausted_where_the_stream_has_one_request():
    gate = Gate()
    async with lab_node(LabLoader(gate, capacity=1)) as node, stub_of(node) as stub:
        running, waiting = stub.Infer(), stub.Infer()
        await running.write(ask())
        await gate.entered()
        await waiting.write(ask())
        await until_waiting(queue_of(node), 1)
        code, _ = await status_of(stub, [ask()])
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.open()
        assert (await running.read()).result == b"X"
        assert (await waiting.read()).result == b"X"
        await running.done_writing()
        await waiting.done_writing()


async def test_a_poisoned_batch_fails_for_the_culprit_alone():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"first", "first"))
        await gate.entered()
        payloads = [b"a", b"b", b"poison", b"c", b"d"]
        await write_all(stream, (ask(p, p.decode()) for p in payloads))
        await until_waiting(queue_of(node), len(payloads))
        gate.open()
        await stream.done_writing()
        answers = {answer.correlation_id: answer async for answer in stream}
        assert answers.pop("poison").error.code == INTERNAL
        assert {key: a.result for key, a in answers.items()} == {
            "first": b"FIRST", "a": b"A", "b": b"B", "c": b"C", "d": b"D"
        }  # fmt: skip
        assert gate.batches[1] == payloads


async def test_a_cancelled_stream_leaves_the_queue_and_the_node_serves_on():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        doomed, other = stub.Infer(), stub.Infer()
        await doomed.write(ask(b"running"))
        await gate.entered()
        await write_all(doomed, (ask(b"dead%d" % i) for i in range(5)))
        await other.write(ask(b"alive"))
        await until_waiting(queue_of(node), 6)
        doomed.cancel()
        await until(lambda: node.service.admission.statistics().in_flight == 1)
        gate.open()
        assert (await asyncio.wait_for(other.read(), 5)).result == b"ALIVE"
        await other.done_writing()
        assert gate.batches == [[b"running"], [b"alive"]]


async def test_a_passed_deadline_is_told_and_the_item_never_runs():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        first, late = stub.Infer(), stub.Infer(timeout=0.2)
        await first.write(ask(b"first"))
        await gate.entered()
        await late.write(ask(b"late"))
        assert await late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gate.open()
        assert (await first.read()).result == b"FIRST"
        await first.done_writing()
        assert (await talk(stub, [ask()]))[0].result == b"X"
        assert [b"late"] not in gate.batches


async def test_64_idle_streams_hold_nobody_up():
    async with lab_node() as node, stub_of(node) as stub:
        idle = [stub.Infer() for _ in range(64)]
        for stream in idle:
            await stream.write(ask())
            assert (await stream.read()).result == b"X"
        await asyncio.wait_for(stub.Health(EMPTY), 1)
        await asyncio.wait_for(stub.GetCapabilities(EMPTY), 1)
        assert (await talk(stub, [ask()]))[0].result == b"X"
        for stream in idle:
            stream.cancel()


async def test_capabilities_are_never_behind_the_queue():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, (ask() for _ in range(50)))
        await gate.entered()
        await asyncio.wait_for(stub.GetCapabilities(EMPTY), 1)
        gate.open()
        stream.cancel()


async def test_every_request_gets_exactly_one_answer_of_its_own():
    async with lab_node() as node, stub_of(node) as stub:

        async def client(name: int) -> None:
            payloads = {f"{name}-{i}": b"payload %d of %d" % (i, name) for i in range(200)}
            answers = await talk(stub, (ask(p, cid) for cid, p in payloads.items()))
            assert {a.correlation_id: a.result for a in answers} == {
                cid: payload.upper() for cid, payload in payloads.items()
            }
            assert len(answers) == len(payloads)

        await asyncio.gather(*(client(name) for name in range(8)))


async def test_capabilities_say_what_is_there():
    async with lab_node() as node, stub_of(node) as stub:
        merged = await stub.GetCapabilities(EMPTY)
        single, compose = [each async for each in stub.StreamCapabilities(EMPTY)]
        assert compose.service_name == "compose" and not compose.model_ids
        assert [task.name for task in compose.tasks] == []  # a task that these tests leave out
        assert merged.protocol_version == single.protocol_version == "1.0.0"
        assert single.service_name == "lab" and single.model_ids == ["lab-1"]
        assert single.runtime == merged.runtime == "python"
        assert single.extra["state"] == merged.extra["lab.state"] == "ready"
        assert [task.name for task in single.tasks] == ["upper", "shout", "upper_aside", "noop"]
        assert not any(task.tensor_batching_supported for task in single.tasks)
        assert single.tasks[0].limits["max_payload_bytes"] == str(64 * 1024 * 1024)


async def test_a_long_call_with_pings_every_second_is_not_cut():
    """A client that pings far more often than grpc-go does keeps its stream."""
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        lab_node() as node,
        grpc.aio.insecure_channel(f"127.0.0.1:{node.port}", options=options) as channel,
    ):
        from hearth.contract import ml_service_pb2_grpc as pb_grpc

        stream = pb_grpc.InferenceStub(channel).Infer()
        await stream.write(ask())
        await stream.read()
        await asyncio.sleep(7)  # the time itself is what is tested: some seven pings
        await stream.write(ask(b"still here"))
        assert (await asyncio.wait_for(stream.read(), 2)).result == b"STILL HERE"
        await stream.done_writing()


async def test_pb_names_and_numbers_are_those_of_the_contract():
    def fields(message):
        return {field.name: field.number for field in message.DESCRIPTOR.fields}

    assert fields(pb.InferRequest) == {
        "correlation_id": 1, "task": 2, "payload": 3, "meta": 4, "payload_mime": 5,
        "seq": 6, "total": 7, "offset": 8,
    }  # fmt: skip
    assert fields(pb.InferResponse) == {
        "correlation_id": 1, "is_final": 2, "result": 3, "meta": 4, "error": 5, "seq": 6,
        "total": 7, "offset": 8, "result_mime": 9, "result_schema": 10,
    }  # fmt: skip
    assert fields(pb.Capability) == {
        "service_name": 1, "model_ids": 2, "runtime": 3, "max_concurrency": 4,
        "precisions": 5, "extra": 6, "tasks": 7, "protocol_version": 8,
    }  # fmt: skip
    assert fields(pb.IOTask) == {
        "name": 1, "input_mimes": 2, "output_mimes": 3, "limits": 4,
        "tensor_preprocess_id": 5, "tensor_batching_supported": 6,
    }  # fmt: skip
    assert fields(pb.Error) == {"code": 1, "message": 2, "detail": 3}
    assert dict(pb.ErrorCode.items()) == {
        "ERROR_CODE_UNSPECIFIED": 0, "ERROR_CODE_INVALID_ARGUMENT": 1,
        "ERROR_CODE_UNAVAILABLE": 2, "ERROR_CODE_DEADLINE_EXCEEDED": 3,
        "ERROR_CODE_INTERNAL": 4,
    }  # fmt: skip
    assert pb.DESCRIPTOR.package == "home_native.v1"
