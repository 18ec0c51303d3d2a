"""What clients that mean harm, or hang, can do to a node: faults that were found by attack."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from batch_kit import Gate, until
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.metrics.server import MOST_CONNECTIONS
from hearth.node import InferenceNode
from hearth.rpc.framing import MOST_META
from hearth.rpc.server import Server
from hearth.rpc.servicer import InferenceServicer
from hearth.rpc.timeouts import StreamTimeouts
from node_kit import STREAM_TASKS, LabLoader, ask, counting_of, lab_node, stub_of, talk, write_all

MIB = 1024 * 1024
INVALID, UNAVAILABLE = 1, 2
NOTHING = (0, 0, 0, 0)
NUMBERS = {"n": "5000", "width": "100", "whole": "true"}
"""Options of an answer in more parts than there is room for on the way."""
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]


def held(node: InferenceNode) -> tuple[int, int, int, int]:
    """In flight, bytes, active streams, waiting streams."""
    return node.service.admission.statistics()[:4]


def chunk(seq: int, total: int, payload: bytes, cid: str = "1", **fields) -> pb.InferRequest:
    return ask(payload, cid, seq=seq, total=total, offset=seq * len(payload), **fields)


async def ending(stream: grpc.aio.StreamStreamCall) -> tuple[grpc.StatusCode, str]:
    """What a stream ends with, its answers aside."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError:
        pass
    return await stream.code(), await stream.details()


@asynccontextmanager
async def impatient(node: InferenceNode, **timeouts: float) -> AsyncIterator[pb_grpc.InferenceStub]:
    """A client of the node, through a port where clients are waited for less long."""
    largest = node.settings.max_payload_mb * MIB
    servicer = InferenceServicer(
        node.service,
        largest_request=largest,
        version="",
        timeouts=StreamTimeouts(**timeouts),
    )
    server = Server(servicer, largest_request=largest)
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", SMALL_WINDOW) as channel:
            yield pb_grpc.InferenceStub(channel)
    finally:
        await server.stop(0)


# --- one request, while the loop stands still ---------------------------------------------------


async def test_a_half_close_that_came_while_the_loop_stood_still_is_seen():
    half_close = threading.Event()

    def requests():
        yield ask(b"bad")
        half_close.wait(30)

    def client(port: int) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                list(pb_grpc.InferenceStub(channel).Infer(requests(), timeout=30))
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    async with lab_node() as node:
        asking = asyncio.create_task(asyncio.to_thread(client, node.port))
        await until(lambda: bool(node.service.metrics.statistics().requests))
        half_close.set()
        time.sleep(0.5)  # the loop stands still, and that is the point
        assert await asking == grpc.StatusCode.INVALID_ARGUMENT


# --- meta ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2])
async def test_meta_of_too_many_entries_is_refused(total):
    async with lab_node() as node, stub_of(node) as stub:
        for count, expected in ((MOST_META, b"X" * total), (MOST_META + 1, INVALID)):
            meta = {format(i, "x"): "" for i in range(count)}
            stream = stub.Infer()
            await stream.write(ask(cid="other"))  # so that failures come in-band
            await stream.read()
            await write_all(stream, (chunk(seq, total, b"x", meta=meta) for seq in range(total)))
            answer = await asyncio.wait_for(stream.read(), 5)
            assert (answer.result or answer.error.code) == expected
            stream.cancel()
        await until(lambda: held(node) == NOTHING)


async def test_meta_that_chunks_spread_is_refused_where_they_meet():
    async with lab_node() as node, stub_of(node) as stub:
        parts = [
            chunk(seq, 3, b"x", meta={f"{seq} {i}": "" for i in range(MOST_META // 2)})
            for seq in range(3)
        ]
        with pytest.raises(grpc.aio.AioRpcError, match="entries"):
            await talk(stub, parts)
        assert held(node) == NOTHING


async def test_meta_counts_as_held_as_long_as_its_request_is_in_flight():
    gate = Gate()
    meta = {format(i, "x"): "" for i in range(MOST_META)}
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(meta=meta))
        await gate.entered()
        assert held(node)[1] > 200 * MOST_META
        gate.open()
        assert (await stream.read()).result == b"X"
        await until(lambda: held(node) == NOTHING)
        stream.cancel()


# --- uploads that stall -------------------------------------------------------------------------


async def test_stalled_uploads_leave_half_of_the_room_to_whole_requests():
    flags = {"max_payload_mb": 2, "max_held_mb": 16}
    async with lab_node(**flags) as node, stub_of(node) as stub:
        stalled = [stub.Infer() for _ in range(4)]
        for stream in stalled:
            for name in range(4):
                await stream.write(chunk(0, 3, bytes(MIB), str(name)))
        await until(lambda: node.service.admission.statistics().refused >= 9)
        assert held(node)[1] <= 8 * MIB
        for _ in range(3):
            [answer] = await talk(stub, [ask(b"x" * (2 * MIB), task="noop")])
            assert answer.result == b"x" * (2 * MIB)
        for stream in stalled:
            stream.cancel()
        await until(lambda: held(node) == NOTHING)


async def test_a_request_whose_chunks_stop_coming_fails_and_holds_nothing():
    async with lab_node() as node, impatient(node, chunk=0.05) as stub:
        stream = stub.Infer()
        await stream.write(ask(cid="whole"))
        assert (await stream.read()).result == b"X"
        await stream.write(chunk(0, 3, bytes(MIB), "stalled"))
        failed = await asyncio.wait_for(stream.read(), 10)
        assert (failed.correlation_id, failed.error.code) == ("stalled", INVALID)
        assert "didn't come" in failed.error.message
        await until(lambda: held(node) == NOTHING)
        await stream.write(ask(b"next"))
        assert (await asyncio.wait_for(stream.read(), 5)).result == b"NEXT"
        await stream.done_writing()
        assert await ending(stream) == (grpc.StatusCode.OK, "")


async def test_a_request_whose_chunks_come_slowly_is_whole_in_the_end():
    async with lab_node() as node, impatient(node, chunk=1.2) as stub:
        stream = stub.Infer()
        for seq in range(5):  # longer than it is waited for, all together
            await stream.write(chunk(seq, 5, b"x"))
            await asyncio.sleep(0.35)
        assert (await asyncio.wait_for(stream.read(), 5)).result == b"X" * 5
        stream.cancel()


# --- answers that nobody reads ------------------------------------------------------------------


async def test_who_takes_no_answers_is_left_and_holds_nothing():
    async with lab_node() as node, impatient(node, reader=0.2) as stub, stub_of(node) as other:
        deaf = stub.Infer()
        await write_all(deaf, (ask(bytes(1000), str(i), meta={"times": "1000"}) for i in range(9)))
        await until(lambda: held(node)[0] > 0)
        await until(lambda: held(node) == NOTHING)
        code, _ = await asyncio.wait_for(ending(deaf), 10)
        assert code == grpc.StatusCode.UNAVAILABLE
        assert (await talk(other, [ask(b"next")]))[0].result == b"NEXT"


async def test_who_reads_the_parts_of_an_answer_slowly_has_longer():
    async with (
        lab_node(tasks=STREAM_TASKS) as node,
        impatient(node, reader=0.05, parts=60) as stub,
    ):
        stream, counting = stub.Infer(), counting_of(node)
        await stream.write(ask(b"", task="count", meta={**NUMBERS, "timeout_ms": "60000"}))
        await until(lambda: counting.produced > 100)
        await asyncio.sleep(0.3)  # many times as long as for an answer in one piece
        assert counting.at_work == 1
        seen = 0
        while not (await asyncio.wait_for(stream.read(), 10)).is_final:
            seen += 1
        assert seen == 5000
        stream.cancel()


async def test_who_takes_no_parts_at_all_is_left_as_well():
    async with (
        lab_node(tasks=STREAM_TASKS) as node,
        impatient(node, reader=0.05, parts=0.2) as stub,
    ):
        deaf = stub.Infer()
        await deaf.write(ask(b"", task="count", meta=NUMBERS))
        await until(lambda: counting_of(node).at_work == 1)
        await until(lambda: held(node) == NOTHING and not counting_of(node).at_work)
        code, _ = await asyncio.wait_for(ending(deaf), 10)
        assert code == grpc.StatusCode.UNAVAILABLE


async def test_answers_count_as_held_until_they_are_written():
    async with lab_node() as node:
        target = f"127.0.0.1:{node.port}"
        async with grpc.aio.insecure_channel(target, SMALL_WINDOW) as channel:
            deaf = pb_grpc.InferenceStub(channel).Infer()
            await write_all(deaf, (ask(bytes(1000), meta={"times": "3000"}) for _ in range(2)))
            await until(lambda: held(node)[1] > 5 * MIB)
            answers = [await asyncio.wait_for(deaf.read(), 10) for _ in range(2)]
            assert [len(answer.result) for answer in answers] == [3_000_000] * 2
            await until(lambda: held(node) == NOTHING)
            deaf.cancel()


async def test_a_stream_that_rests_between_its_answers_is_not_left():
    async with lab_node() as node, impatient(node, reader=0.2) as stub:
        stream = stub.Infer()
        for _ in range(3):
            await stream.write(ask())
            assert (await asyncio.wait_for(stream.read(), 5)).result == b"X"
            await asyncio.sleep(0.5)
        await stream.done_writing()
        assert await ending(stream) == (grpc.StatusCode.OK, "")


# --- many at once, and the end ------------------------------------------------------------------


async def test_two_thousand_streams_at_once_are_each_answered_or_refused():
    async with lab_node() as node, stub_of(node) as stub:

        async def client(number: int) -> str:
            payload = b"%d" % number
            try:
                [answer] = await talk(stub, [ask(payload)], timeout=60)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name} {error.details()[:12]}"
            return "answered" if answer.result == payload else f"in-band {answer.error.code}"

        ends = Counter(await asyncio.gather(*(client(number) for number in range(2000))))
        refused = {"RESOURCE_EXHAUSTED this node is", f"in-band {UNAVAILABLE}"}
        assert set(ends) <= {"answered", *refused}
        assert sum(ends[name] for name in refused) == node.service.admission.statistics().refused
        assert held(node) == NOTHING


async def test_streams_that_a_stop_cuts_off_end_as_unavailable():
    gate = Gate()
    async with lab_node(LabLoader(gate), grace_seconds=0.1) as node, stub_of(node) as stub:
        streams = [stub.Infer() for _ in range(40)]
        for number, stream in enumerate(streams):
            await stream.write(ask(b"%d" % number))
            if number % 2:
                await stream.done_writing()
        await until(lambda: held(node)[0] == 40)
        stopping = asyncio.create_task(node.stop())
        ends = await asyncio.gather(*(ending(stream) for stream in streams))
        gate.open()
        await stopping
        assert Counter(ends) == {(grpc.StatusCode.UNAVAILABLE, "the node has stopped"): 40}
        assert held(node) == NOTHING


async def test_the_metrics_port_holds_no_more_connections_than_it_may():
    async with lab_node(metrics_port=0) as node:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", node.metrics_port)

        idle = [await connect() for _ in range(MOST_CONNECTIONS)]
        reader, one_too_many = await connect()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        one_too_many.close()
        for reader, writer in idle[:2]:
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        reader, again = await connect()
        again.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        for _, writer in [*idle, (reader, again)]:
            writer.close()
