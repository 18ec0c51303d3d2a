"""Answers that come part by part: as they come, at the caller's pace, and ended with the loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import orjson
import pytest

from batch_kit import until
from client_kit import (
    TASK,
    Requests,
    Script,
    ScriptedNode,
    ScriptThread,
    capability,
    client_of,
    echo,
    gathered,
    in_pieces,
    nothing_left,
)
from hearth.client import AnswerPart, Client, SyncClient
from hearth.client.limits import ClientLimits
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import DeadlinePassed, InvalidInput, ModelFailed, Unavailable, UnknownTask
from node_kit import STREAM_TASKS, counting_of, lab_node

LARGE = 64 << 10
"""Bytes of a part, of which a few fill a connection's window."""


def delta(request: pb.InferRequest, text: str) -> pb.InferResponse:
    """A part of a text that is yet to be finished."""
    body = orjson.dumps({"text": text})
    mime = "application/json;schema=text_delta_v1"
    fields = {"result": body, "result_mime": mime, "result_schema": "text_delta_v1"}
    return echo(request, is_final=False, **fields)


class Teller(ScriptedNode):
    """Answers with the payload's words as deltas where they are asked for, and then with all of it.

    ``before`` is awaited before each delta. Requests without ``stream`` are echoed.
    """

    def __init__(self, *capabilities: pb.Capability) -> None:
        super().__init__(self._tell, capabilities or (capability(),))
        self.seen: list[pb.InferRequest] = []
        self.told = 0
        """Deltas that the connection has taken."""
        self.ended = 0
        """Requests whose work is over, done or not."""

    async def before(self, number: int, request: pb.InferRequest) -> None:
        """Wait, or raise."""

    async def _tell(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            self.seen.append(request)
            if request.meta.get("stream") == "true":
                try:
                    for number, word in enumerate(request.payload.decode().split()):
                        await self.before(number, request)
                        yield delta(request, word)
                        self.told += 1
                finally:
                    self.ended += 1
            yield echo(request, meta={"lumen.model.id": "m-1"})


class Paused(Teller):
    """Goes on after the first ``free`` deltas when it is told to."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free
        self.go_on = asyncio.Event()

    async def before(self, number: int, request: pb.InferRequest) -> None:
        if number >= self.free:
            await self.go_on.wait()


def prefer_in_order(client: Client) -> None:
    """Have the first node asked first: it is chance else."""
    now = asyncio.get_running_loop().time()
    for number, handle in enumerate(client._pool.handles):
        handle.task_health(TASK).latency.add(0.1 * 4**number, 0, now)


async def test_parts_come_as_they_come_and_the_last_is_the_whole() -> None:
    async with (
        client_of(node := Paused(free=2)) as client,
        aclosing(client.stream(TASK, b"one two three")) as parts,
    ):
        first, second = await anext(parts), await anext(parts)
        node.go_on.set()  # no part was held back for those to come
        third, last = await gathered(parts)
    assert [part.value for part in (first, second, third)] == [
        {"text": "one"}, {"text": "two"}, {"text": "three"}
    ]  # fmt: skip
    assert [part.index for part in (first, second, third, last)] == [0, 1, 2, 3]
    assert [part.is_last for part in (first, second, third, last)] == [False, False, False, True]
    assert first.schema == "text_delta_v1" and first.mime.startswith("application/json")
    assert last.body == b"one two three" and last.model_id == "m-1"
    assert first.node == last.node != "" and first.input == b"one two three"
    assert node.seen[0].meta["stream"] == "true"


async def test_who_does_not_ask_for_parts_gets_the_whole_alone() -> None:
    async def unasked(requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield delta(request, "unasked")
            yield echo(request)

    async with client_of(ScriptedNode(unasked, (capability(),))) as client:
        assert (await client.infer(TASK, b"x")).body == b"x"
        assert [answer.body for answer in await gathered(client.map(TASK, [b"y"] * 3))] == [
            b"y"
        ] * 3


async def test_an_answer_of_one_part_is_the_last() -> None:
    async with client_of(Script()) as client:
        [part] = await gathered(client.stream(TASK, b"x", topk=3))
    assert isinstance(part, AnswerPart) and part.is_last and part.body == b"x"


async def test_entries_of_a_composed_request_are_parts() -> None:
    async def compose(requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            error = pb.Error(code=pb.ERROR_CODE_INVALID_ARGUMENT, message="no picture")
            yield echo(request, is_final=False, result=b"", error=error, meta={"entry": "a"})
            for piece in in_pieces(request, [b"b" * 10, b"c"], is_final=lambda *_: False):
                piece.meta["entry"] = "b"
                yield piece
            yield echo(request, result=b"last", meta={"entry": "c"})

    node = ScriptedNode(compose, (capability("compose", "x"),))
    async with client_of(node) as client:
        parts = await gathered(client.stream("compose", b"x", entries="x,x,x"))
    assert [part.entry for part in parts] == ["a", "b", "c"]
    assert [part.is_last for part in parts] == [False, False, True]
    assert parts[0].error and parts[0].error.code == "INVALID_ARGUMENT"
    assert [part.body for part in parts[1:]] == [b"b" * 10 + b"c", b"last"]


async def test_a_large_part_in_chunks_is_one() -> None:
    async def large(requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield delta(request, "first")
            for piece in in_pieces(request, [bytes(1 << 20)] * 6):
                yield piece

    async with client_of(ScriptedNode(large, (capability(),))) as client:
        parts = await gathered(client.stream(TASK, b"x"))
    assert [part.is_last for part in parts] == [False, True]
    assert len(parts[1].body) == 6 << 20


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_the_loop_ends_the_work_at_the_node(cancelled: bool) -> None:
    async with nothing_left(), client_of(node := Paused(free=1)) as client:
        begun = asyncio.Event()

        async def listen() -> None:
            async with aclosing(client.stream(TASK, b"one two")) as parts:
                async for _ in parts:
                    begun.set()
                    if not cancelled:
                        break

        listening = asyncio.create_task(listen())
        await begun.wait()
        if cancelled:
            listening.cancel()
        await asyncio.wait({listening})
        async with asyncio.timeout(5):
            await until(lambda: node.ended)
        assert sum(handle.outstanding for handle in client._pool.handles) == 0
        assert (await client.infer(TASK, b"after")).body == b"after"


async def test_a_slow_reader_holds_its_node_back_and_nobody_else() -> None:
    class Endless(Teller):
        async def _tell(self, requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
            async for request in requests:
                if request.meta.get("stream") == "true":
                    for _number in range(2000):
                        yield delta(request, "x" * LARGE)
                        self.told += 1
                yield echo(request)

    node = Endless()
    async with client_of(node) as client, aclosing(client.stream(TASK, b"x")) as parts:
        await anext(parts)
        told = 0
        while told != node.told:  # until the connection takes no more
            told = node.told
            answers = await gathered(client.map(TASK, [b"%d" % n for n in range(300)]))
            assert [answer.body for answer in answers] == [b"%d" % n for n in range(300)]
        assert told * LARGE < 64 << 20
        assert client._reader.held == 0  # nor is what was sent kept
        rest = [part.is_last async for part in parts]
        assert rest == [False] * 1999 + [True] and node.told == 2000


@pytest.mark.parametrize("begun", [False, True])
async def test_a_lost_node_is_replaced_until_there_is_a_part(begun: bool) -> None:
    class Dying(Teller):
        async def _tell(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
            async for request in requests:
                self.seen.append(request)
                if begun:
                    yield delta(request, "dying")
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    nodes = [Dying(), Dying(), Teller()]
    async with client_of(*nodes) as client:
        prefer_in_order(client)
        texts = []
        if begun:
            with pytest.raises(Unavailable, match="gone"):
                async for part in client.stream(TASK, b"one two"):
                    texts += [part.value["text"]]
            assert texts == ["dying"] and sum(len(node.seen) for node in nodes) == 1
        else:
            parts = await gathered(client.stream(TASK, b"one two"))
            assert parts[-1].body == b"one two" and len(parts) == 3
            assert [len(node.seen) for node in nodes] == [1, 1, 1]


async def test_what_refuses_is_asked_again_before_the_first_part() -> None:
    class Refusing(Teller):
        async def _tell(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
            async for request in requests:
                self.seen.append(request)
                if len(self.seen) < 4:
                    trailers = (("grpc-retry-pushback-ms", "20"),)
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)
                yield echo(request)

    node = Refusing()
    async with client_of(node) as client:
        [part] = await gathered(client.stream(TASK, b"x", timeout=10))
    assert part.body == b"x" and len(node.seen) == 4


async def test_an_error_after_parts_is_raised() -> None:
    async def failing(requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield delta(request, "one")
            error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="out of memory")
            yield echo(request, result=b"", error=error)

    seen: list[Any] = []
    async with client_of(ScriptedNode(failing, (capability(),))) as client:
        with pytest.raises(ModelFailed, match="out of memory"):
            async for part in client.stream(TASK, b"x"):
                seen += [part.value]
    assert seen == [{"text": "one"}]


@pytest.mark.parametrize("free", [0, 1])
async def test_the_deadline_is_of_the_whole_stream(free: int) -> None:
    async with client_of(node := Paused(free)) as client:
        with pytest.raises(DeadlinePassed):
            async for _ in client.stream(TASK, b"one two", timeout=0.3):
                pass
        async with asyncio.timeout(5):
            await until(lambda: node.ended)


async def test_a_node_learns_how_long_its_parts_are_waited_for() -> None:
    node = Teller(capability(limits={"timeout_ms": "1..60000"}))
    async with client_of(node) as client:
        await gathered(client.stream(TASK, b"x", timeout=5))
    assert 0 < int(node.seen[0].meta["timeout_ms"]) <= 5000


async def test_a_node_that_is_silent_before_its_first_part_loses_the_request() -> None:
    limits = ClientLimits(stall_seconds=0.05, hang_seconds=0.2)
    nodes = [Paused(free=0), Teller()]
    async with client_of(*nodes, limits=limits) as client:
        prefer_in_order(client)
        parts = await gathered(client.stream(TASK, b"one two", timeout=20))
    assert parts[-1].body == b"one two" and [len(node.seen) for node in nodes] == [1, 1]


async def test_a_node_that_is_silent_between_parts_keeps_the_request() -> None:
    limits = ClientLimits(stall_seconds=0.05, hang_seconds=0.1)
    nodes = [Paused(free=1), Paused(free=1)]
    async with (
        client_of(*nodes, limits=limits) as client,
        aclosing(client.stream(TASK, b"one two", timeout=20)) as parts,
    ):
        await anext(parts)
        following = asyncio.create_task(anext(parts))
        await asyncio.wait({following}, timeout=0.5)
        for node in nodes:
            node.go_on.set()
        assert (await following).value == {"text": "two"}
    assert sum(len(node.seen) for node in nodes) == 1


async def test_a_stream_that_nobody_reads_hides_no_silence_of_its_node() -> None:
    class Swallowing(Teller):
        async def _tell(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
            async for request in requests:
                if request.meta.get("stream") == "true":
                    yield delta(request, "one")
                    yield delta(request, "two")

    limits = ClientLimits(stall_seconds=0.05, hang_seconds=0.2)
    async with client_of(Swallowing(), Teller(), limits=limits) as client, asyncio.timeout(20):
        prefer_in_order(client)
        async with aclosing(client.stream(TASK, b"one two", timeout=60)) as parts:
            await anext(parts)
            answers = await gathered(client.map(TASK, [b"x"] * 4))
            assert [answer.body for answer in answers] == [b"x"] * 4
            assert (await anext(parts)).value == {"text": "two"}


async def test_only_a_node_of_the_model_that_was_asked_for_streams() -> None:
    nodes = [Teller(capability(models=("m-2",))), Teller()]
    async with client_of(*nodes) as client:
        for _ in range(5):
            parts = await gathered(client.stream(TASK, b"one two", model_id="m-1"))
            assert parts[-1].model_id == "m-1"
    assert [len(node.seen) for node in nodes] == [0, 5]


async def test_what_cannot_be_sent_is_raised_at_the_first_part() -> None:
    async with client_of(Teller()) as client:
        with pytest.raises(OSError, match="nowhere"):
            await gathered(client.stream(TASK, "/nowhere/at/all"))
        with pytest.raises(UnknownTask, match="did you mean echo"):
            await gathered(client.stream("ehco", b"x"))
        with pytest.raises(InvalidInput, match="can't be sent"):
            await gathered(client.stream(TASK, b"x", mime="\udcff"))
        assert client._reader.held == 0


async def test_a_closed_client_ends_its_streams() -> None:
    async with client_of(Paused(free=1)) as known:
        client = Client([node.target for node in known.nodes])
        await client.open()
        parts = client.stream(TASK, b"one two")
        await anext(parts)
        following = asyncio.create_task(anext(parts))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(Unavailable):
            await following


def test_the_sync_client_iterates_and_leaving_its_loop_ends_the_request() -> None:
    release = asyncio.Event()
    cancelled: list[str] = []

    async def handler(request: pb.InferRequest) -> pb.InferResponse | None:
        if request.payload == b"never":
            try:
                await release.wait()
            finally:
                cancelled.append(request.correlation_id)
        return echo(request)

    with ScriptThread(handler) as node, SyncClient(node.target) as client:
        [part] = client.stream(TASK, b"x")
        assert part.is_last and part.body == b"x"
        with pytest.raises(DeadlinePassed):
            next(client.stream(TASK, b"never", timeout=0.2))
        with pytest.raises(UnknownTask):
            next(client.stream("ehco", b"x"))
        for _ in client.stream(TASK, b"y"):
            break
        assert client.infer(TASK, b"z").body == b"z"
        assert client._client._pool.handles[0].outstanding == 0


# --- a node of hearth ----------------------------------------------------------------------------


def numbers(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


async def test_a_nodes_deltas_make_up_its_last_part() -> None:
    async with lab_node(tasks=STREAM_TASKS) as node, Client(f"127.0.0.1:{node.port}") as client:
        parts = await gathered(client.stream("count", "x", n=20, pace_ms=2))
        whole = await client.infer("count", "x", n=20)
    *deltas, last = parts
    assert deltas and {part.schema for part in deltas} == {"count_delta_v1"}
    assert "".join(part.value["text"] for part in deltas) == numbers(20)
    assert last.is_last and last.schema == "count_v1"
    assert last.value["text"] == whole.value["text"] == numbers(20)
    assert float(last.meta["first_ms"]) > 0


async def test_whole_answers_of_one_request_are_parts_whether_or_not_they_are_streamed() -> None:
    async with lab_node(tasks=STREAM_TASKS) as node, Client(f"127.0.0.1:{node.port}") as client:
        parts = await gathered(client.stream("count", "x", n=5, whole=True))
        answer = await client.infer("count", "x", n=5, whole=True)
    texts = [f"{number} " for number in range(5)]
    assert [part.value["text"] for part in parts[:5]] == texts
    assert list(answer.parts) == [str(number) for number in range(len(parts))]
    assert [part.value for part in answer.parts.values()] == [part.value for part in parts]


async def test_a_node_stops_working_for_who_leaves_the_loop() -> None:
    async with lab_node(tasks=STREAM_TASKS) as node, Client(f"127.0.0.1:{node.port}") as client:
        async with aclosing(client.stream("count", "x", n=1_000_000, pace_ms=1)) as parts:
            await anext(parts)
            assert counting_of(node).at_work
        await until(lambda: not counting_of(node).at_work)
        produced = counting_of(node).produced
        assert (await client.infer("upper", "after")).body == b"AFTER"
        assert counting_of(node).produced == produced


async def test_many_parts_wait_at_the_node_for_who_hardly_reads() -> None:
    many = 10_000
    async with lab_node(tasks=STREAM_TASKS) as node, Client(f"127.0.0.1:{node.port}") as client:
        call = client.stream("count", "x", n=many, width=1000, whole=True, timeout=120)
        async with aclosing(call) as parts:
            for _ in range(5):
                await anext(parts)
                answers = await gathered(client.map("upper", ["a"] * 50))
                assert [answer.body for answer in answers] == [b"A"] * 50
            assert counting_of(node).produced < many  # it waits for us
            rest = [int(part.value["text"]) async for part in parts if not part.is_last]
    assert rest == list(range(5, many))
