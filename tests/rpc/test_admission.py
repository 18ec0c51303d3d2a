"""What streams may hold: who waits, who is refused, and that everything is given back."""

import asyncio
import contextlib
import gc
from collections import Counter

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from batch_kit import Gate, until
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.models.tuning import LARGEST
from hearth.serving.admission import MOST_IN_FLIGHT, Admission
from hearth.tasks.task import Request
from node_kit import LabLoader, ask, lab_node, stub_of, talk, write_all

MIB = 1024 * 1024
UNAVAILABLE = 2
PUSHBACK = "grpc-retry-pushback-ms"
NOTHING = (0, 0, 0, 0)
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]


def held(node) -> tuple[int, int, int, int]:
    """In flight, bytes, active streams, waiting streams."""
    return node.service.admission.statistics()[:4]


def chunk(seq: int, total: int, payload: bytes, cid: str = "1", **fields):
    return ask(payload, cid, seq=seq, total=total, offset=seq * len(payload), **fields)


def payloads() -> list[bytes]:
    """Those of all requests that somebody still holds on to."""
    kept = [o for o in gc.get_objects() if type(o) is Request]
    return list({id(request.payload): request.payload for request in kept}.values())


async def refusal(stub, *requests) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk(stub, requests)
    return caught.value


async def test_a_stream_that_has_its_part_is_not_read_on_until_it_gives_some_back():
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=8) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, (ask(b"%d" % i, str(i)) for i in range(20)))
        await until(lambda: held(node)[3] == 1)
        assert held(node) == (4, 4, 1, 1)  # half of the bound; a byte each
        gate.open()
        await stream.done_writing()
        answers = [answer async for answer in stream]
        assert {answer.result for answer in answers} == {b"%d" % i for i in range(20)}
        assert len(answers) == 20
        assert held(node) == NOTHING and node.service.admission.statistics().refused == 0


async def test_streams_share_the_room_evenly_and_all_of_them_are_served():
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=16) as node, stub_of(node) as stub:
        asked = [
            asyncio.create_task(talk(stub, [ask(b"%d" % i, str(i)) for i in range(30)]))
            for _ in range(4)
        ]
        await until(lambda: held(node)[3] == 4)
        # Half of the bound for all, however it was shared out; past it, one for each that was new.
        assert 8 <= held(node)[0] <= 11
        gate.open()
        for answers in await asyncio.gather(*asked):
            assert {a.correlation_id: a.result for a in answers} == {
                str(i): b"%d" % i for i in range(30)
            }
        assert held(node) == NOTHING and node.service.admission.statistics().refused == 0


async def test_more_streams_than_there_is_room_for_are_each_answered_or_refused():
    async with lab_node(queue_capacity=16) as node, stub_of(node) as stub:

        async def client(name: int) -> int:
            payloads = {str(i): b"%d of %d" % (i, name) for i in range(50)}
            answers = await talk(stub, [ask(p, cid) for cid, p in payloads.items()])
            assert len(answers) == len({answer.correlation_id for answer in answers}) == 50
            served = [answer for answer in answers if not answer.error.code]
            assert all(a.result == payloads[a.correlation_id].upper() for a in served)
            assert all(a.error.code == UNAVAILABLE for a in answers if a not in served)
            return 50 - len(served)

        refused = await asyncio.gather(*(client(name) for name in range(40)))
        assert sum(refused) == node.service.admission.statistics().refused
        assert held(node) == NOTHING


async def test_a_thousand_streams_at_once_are_each_answered_or_told_to_come_back():
    count = 1000
    async with lab_node(queue_capacity=16) as node, stub_of(node) as stub:

        async def client(number: int) -> grpc.StatusCode:
            call = stub.Infer(iter([ask(b"%d" % number)]))
            with contextlib.suppress(grpc.aio.AioRpcError):
                assert [answer.result async for answer in call] == [b"%d" % number]
            return await call.code()

        codes = Counter(await asyncio.gather(*map(client, range(count))))
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes[grpc.StatusCode.OK] + node.service.admission.statistics().refused == count
        assert held(node) == NOTHING


async def test_a_stream_that_comes_anew_is_served_beside_one_that_holds_all_it_may():
    gate = Gate()
    flags = {"max_payload_mb": 1, "max_held_mb": 8}
    async with lab_node(LabLoader(gate), **flags) as node, stub_of(node) as stub:
        payload = bytes(MIB)
        greedy = asyncio.create_task(talk(stub, [ask(payload, str(i)) for i in range(30)]))
        await until(lambda: held(node)[3] == 1)
        assert held(node) == (5, 5 * MIB, 1, 1)  # the first that passed half of 8 MiB
        # However full it is, a stream's end is seen: who has one request hears by status.
        error = await refusal(stub, ask(b"bad"))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        others = []
        for number in range(3):
            others.append(asyncio.create_task(talk(stub, [ask(payload, "other")])))
            await until(lambda number=number: held(node)[0] == 6 + number)
        error = await refusal(stub, ask(payload))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert node.service.admission.statistics().refused == 1
        gate.open()
        assert [len(await other) for other in others] == [1, 1, 1]
        assert len(await greedy) == 30
        assert held(node) == NOTHING


async def test_past_the_hard_bound_streams_are_refused_with_the_time_to_come_back():
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=2) as node, stub_of(node) as stub:
        first, second, third = (stub.Infer() for _ in range(3))
        await first.write(ask(b"first"))
        await gate.entered()
        await second.write(ask(b"second"))
        await until(lambda: held(node)[0] == 2)
        error = await refusal(stub, ask())
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 50 <= int(dict(error.trailing_metadata())[PUSHBACK]) <= 30_000
        # A stream of several requests is told in-band, and goes on.
        await third.write(ask(cid="refused"))
        told = await asyncio.wait_for(third.read(), 5)
        assert (told.correlation_id, told.error.code) == ("refused", UNAVAILABLE)
        assert 50 <= int(told.meta[PUSHBACK]) <= 30_000
        gate.open()
        assert (await first.read()).result == b"FIRST"
        assert (await second.read()).result == b"SECOND"
        await third.write(ask(b"again"))
        assert (await asyncio.wait_for(third.read(), 5)).result == b"AGAIN"
        for stream in (first, second, third):
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
        await until(lambda: held(node) == NOTHING)


async def test_a_full_queue_tells_when_to_come_back_too():
    gate = Gate()
    async with lab_node(LabLoader(gate, capacity=1)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"running"))
        await gate.entered()
        await write_all(stream, (ask(b"%d" % i) for i in range(2)))
        refused = await asyncio.wait_for(stream.read(), 5)
        assert refused.error.code == UNAVAILABLE
        assert int(refused.meta[PUSHBACK]) > 0
        gate.open()
        stream.cancel()


async def test_unfinished_requests_count_and_one_that_finds_no_room_leaves_it_to_the_others():
    flags = {"max_payload_mb": 6, "max_held_mb": 8}
    async with lab_node(**flags) as node, stub_of(node) as stub:
        first, second = stub.Infer(), stub.Infer()
        part = bytes(MIB)
        for seq in range(5):
            await first.write(chunk(seq, 6, part))
        await until(lambda: held(node)[1] >= 5 * MIB)
        for seq in range(5):
            await second.write(chunk(seq, 6, part))
        # Its fourth chunk was one too many: it let go of the three before.
        await second.write(chunk(0, 2, b"x", "next"))
        await second.write(chunk(1, 2, b"y", "next", task="noop"))
        assert (await asyncio.wait_for(second.read(), 5)).result == b"XY"
        assert 5 * MIB <= held(node)[1] < 6 * MIB
        await second.write(chunk(5, 6, part))
        refused = await asyncio.wait_for(second.read(), 5)
        assert refused.error.code == UNAVAILABLE and "full" in refused.error.message
        assert 50 <= int(refused.meta[PUSHBACK]) <= 30_000
        assert node.service.admission.statistics().refused == 1
        await first.write(chunk(5, 6, part))
        answers = [await asyncio.wait_for(first.read(), 10)]
        while not answers[-1].is_final:
            answers.append(await first.read())
        assert sum(len(answer.result) for answer in answers) == 6 * MIB
        for stream in (first, second):
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
        await until(lambda: held(node) == NOTHING)


@pytest.mark.parametrize("parts", [1, 16])
async def test_a_request_of_the_allowed_size_always_finds_an_idle_node_with_room(parts):
    async with lab_node(max_payload_mb=4, max_held_mb=1) as node, stub_of(node) as stub:
        requests = [chunk(seq, parts, bytes(4 * MIB // parts)) for seq in range(parts)]
        for _ in range(2):
            answers = await talk(stub, requests)
            assert sum(len(answer.result) for answer in answers) == 4 * MIB
        assert held(node) == NOTHING


async def cancel(stream, channel):
    stream.cancel()


async def disconnect(stream, channel):
    await channel.close()


async def let_the_deadline_pass(stream, channel):
    assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def send_garbage(stream, channel):
    await stream.write(b"\xff\xff\xff")


@pytest.mark.parametrize("end", [cancel, disconnect, let_the_deadline_pass, send_garbage])
@pytest.mark.parametrize("waiting", [0, 20])
async def test_however_a_stream_ends_it_gives_back_what_it_held(end, waiting):
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=8) as node:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{node.port}")
        timeout = 0.5 if end is let_the_deadline_pass else None
        stream = channel.stream_stream("/home_native.v1.Inference/Infer")(timeout=timeout)
        unfinished = chunk(0, 3, bytes(1000), "unfinished")
        for request in [unfinished, *(ask(b"%d" % i) for i in range(2 + waiting))]:
            await stream.write(request.SerializeToString())
        await gate.entered()
        await until(lambda: held(node)[0] >= 2)
        await end(stream, channel)
        if end is send_garbage:  # what came before it is still answered
            gate.open()
        await until(lambda: held(node) == NOTHING)
        gate.open()
        await channel.close()
        async with stub_of(node) as stub:
            assert (await talk(stub, [ask(b"next")]))[0].result == b"NEXT"


async def test_refused_requests_leave_no_payload_behind():
    gate = Gate()
    flags = {"max_payload_mb": 1, "max_held_mb": 2}
    gc.collect()
    gc.disable()
    try:
        async with lab_node(LabLoader(gate), **flags) as node, stub_of(node) as stub:
            stream, flood = stub.Infer(), stub.Infer()
            await stream.write(ask(bytes(MIB)))
            await gate.entered()
            await stream.write(ask(bytes(MIB)))
            await until(lambda: held(node)[1] == 2 * MIB)
            for _ in range(10):
                await flood.write(ask(bytes(MIB)))
                assert (await asyncio.wait_for(flood.read(), 5)).error.code == UNAVAILABLE
            await until(lambda: held(node)[1] == 2 * MIB)  # the last refusal is written
            assert node.service.admission.statistics().refused == 10
            assert len(payloads()) == 2
            gate.open()
            for _ in range(2):
                while not (await stream.read()).is_final:
                    pass
            assert not payloads()  # of idle streams
            flood.cancel()
            stream.cancel()
            await until(lambda: held(node) == NOTHING)
    finally:
        gc.enable()


async def read_refusals(stream, count: int) -> None:
    for _ in range(count):
        assert (await asyncio.wait_for(stream.read(), 5)).error.code == UNAVAILABLE


async def test_a_client_that_reads_no_refusals_is_not_read_on():
    # A refusal carries the request's id, and fits into no window until the client reads.
    flood = [ask(cid="x" * 250_000) for _ in range(20)]
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=2) as node, stub_of(node) as stub:
        first, second = stub.Infer(), stub.Infer()
        for stream in (first, second):
            await stream.write(ask())
        await until(lambda: held(node)[0] == 2)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}", SMALL_WINDOW) as channel:
            deaf = pb_grpc.InferenceStub(channel).Infer()
            await write_all(deaf, (ask() for _ in range(2)))  # it carries several, the node knows
            await read_refusals(deaf, 2)
            sending = asyncio.create_task(write_all(deaf, flood))
            await until(lambda: node.service.admission.statistics().refused == 3)
            for _ in range(100):  # the node has nothing else to do
                await stub.Health(Empty())
            assert node.service.admission.statistics().refused == 3 and held(node)[0] == 3
            await read_refusals(deaf, len(flood))
            assert node.service.admission.statistics().refused == 2 + len(flood)
            await sending
            await deaf.done_writing()
            assert await deaf.read() is grpc.aio.EOF
        gate.open()
        for stream in (first, second):
            stream.cancel()
        await until(lambda: held(node) == NOTHING)


async def test_one_stream_may_fill_a_large_batch_and_the_next_ones():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        asked = asyncio.create_task(
            talk(stub, [ask(cid=str(i)) for i in range(2 * MOST_IN_FLIGHT)])
        )
        await until(lambda: held(node)[3] == 1)
        assert held(node)[0] == MOST_IN_FLIGHT
        assert MOST_IN_FLIGHT > 3 * LARGEST  # one runs, two are prepared
        gate.open()
        assert len({answer.correlation_id for answer in await asked}) == 2 * MOST_IN_FLIGHT
        assert held(node) == NOTHING


async def test_what_is_incomplete_at_the_half_close_is_held_no_longer():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"running"))
        await gate.entered()
        await stream.write(chunk(0, 3, bytes(MIB), "unfinished"))
        await until(lambda: held(node)[1] > MIB)
        await stream.done_writing()
        assert (await asyncio.wait_for(stream.read(), 5)).correlation_id == "unfinished"
        await until(lambda: held(node)[1] == len(b"running"))
        gate.open()
        assert (await stream.read()).result == b"RUNNING"
        assert await stream.read() is grpc.aio.EOF


async def test_a_stop_answers_what_is_in_flight_on_a_stream_that_waits():
    gate = Gate()
    flags = {"queue_capacity": 8, "grace_seconds": 10}
    async with lab_node(LabLoader(gate), **flags) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, (ask(b"%d" % i, str(i)) for i in range(6)))
        await until(lambda: held(node)[3] == 1)
        stopping = asyncio.create_task(node.stop())
        await until(lambda: node.service.is_draining)
        gate.open()
        answers = [await asyncio.wait_for(stream.read(), 5) for _ in range(6)]
        assert {a.result for a in answers if not a.error.code} == {b"0", b"1", b"2", b"3"}
        assert sum(a.error.code == UNAVAILABLE for a in answers) == 2
        await asyncio.wait_for(stopping, 5)
        assert held(node) == NOTHING


async def test_who_waits_is_woken_in_turn_and_never_as_a_herd():
    admission = Admission(4, 100)
    shares = [admission.open() for _ in range(20)]
    shares[0].take(60)  # past half of the bytes
    for budget in shares[1:4]:
        budget.take(0)
    woken: list[int] = []

    async def wait(number: int) -> None:
        await shares[number].room()
        woken.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert admission.statistics().waiting == 4
    shares[0].give_back(60)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [0]  # it has nothing in flight; three streams hold all that they may
    for budget in shares[1:4]:
        budget.give_back(0)
    await asyncio.gather(*waiting)
    assert sorted(woken) == [0, 1, 2, 3]
    await asyncio.wait_for(admission.idle(), 1)


# --- when to come back ------------------------------------------------------------------------


class Full:
    """A node that is full of one stream's requests, at a time that the test sets."""

    def __init__(self, in_flight: int) -> None:
        self.now = 1000.0
        self.budget = Admission(in_flight, MIB, clock=lambda: self.now).open()
        for _ in range(in_flight):
            self.budget.take(0)

    def serve(self, seconds: float, batch: int = 1) -> None:
        """A batch is served, and as many requests come after it."""
        self.now += seconds
        for _ in range(batch):
            self.budget.served()
            self.budget.give_back(0)
            self.budget.take(0)

    def refuse(self) -> float:
        """Refuse a request; the seconds that it is told."""
        refusal = self.budget.try_take(0)
        assert refusal is not None
        self.budget.give_back(0)
        return refusal.retry_after


@pytest.mark.parametrize(("in_flight", "batch", "seconds"), [(512, 64, 0.64), (8, 1, 2.0)])
def test_the_refused_come_back_when_half_is_done(in_flight, batch, seconds):
    node = Full(in_flight)
    for _ in range(40):
        node.serve(seconds, batch)
        for _ in range(100):
            node.refuse()
    assert node.refuse() == pytest.approx(in_flight / 2 / batch * seconds, rel=0.1)


def test_the_refused_are_never_told_to_come_back_at_once_or_tomorrow():
    node = Full(16)
    assert node.refuse() == 0.05
    node.serve(0.001)
    assert node.refuse() == 0.05
    for _ in range(20):
        node.serve(60.0)
    assert node.refuse() == 30.0


def test_the_longer_nothing_is_served_the_later_the_refused_come_back():
    node = Full(16)
    for _ in range(20):
        node.serve(0.1)
    node.now += 20.0
    assert node.refuse() == pytest.approx(10.0, rel=0.1)


def test_a_rest_makes_no_node_slow():
    node = Full(16)
    for _ in range(20):
        node.serve(0.1)
    before = node.refuse()
    node.budget.give_back(0, 16)
    node.now += 3600.0
    for _ in range(16):
        node.budget.take(0)
    assert node.refuse() == pytest.approx(before)
