"""One request: what is raised, what is told to nodes, and what a caller leaves behind."""

import asyncio
import os
import time
from typing import Any

import grpc
import pytest

from client_kit import (
    EndStream,
    Script,
    ScriptThread,
    capability,
    client_of,
    echo,
    echoing,
    failing,
    gathered,
    nothing_left,
)
from hearth.client import Client
from hearth.client.limits import ClientLimits
from hearth.errors import (
    DeadlinePassed,
    HearthError,
    InvalidInput,
    ModelFailed,
    Unavailable,
    UnknownTask,
)

IN_BAND = {0: ModelFailed, 1: InvalidInput, 3: DeadlinePassed, 4: ModelFailed, 77: ModelFailed}
STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: UnknownTask,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlinePassed,
    grpc.StatusCode.INTERNAL: ModelFailed,
    grpc.StatusCode.UNKNOWN: ModelFailed,
    grpc.StatusCode.UNIMPLEMENTED: Unavailable,
    grpc.StatusCode.FAILED_PRECONDITION: ModelFailed,
}


@pytest.mark.parametrize(("code", "kind"), IN_BAND.items())
async def test_an_error_in_band_raises_its_class(code: int, kind: type[HearthError]) -> None:
    async def handler(request: Any) -> Any:
        return failing(request, code, "why not")

    async with client_of(Script(handler)) as client:
        with pytest.raises(HearthError, match="why not") as told:
            await client.infer("echo", b"x", timeout=3)
    assert type(told.value) is kind


@pytest.mark.parametrize(("code", "kind"), STATUS.items())
async def test_a_status_raises_its_class(code: Any, kind: type[HearthError]) -> None:
    async def handler(request: Any) -> Any:
        raise EndStream(code, "why not")

    async with client_of(Script(handler)) as client:
        with pytest.raises(HearthError) as told:
            await client.infer("echo", b"x", timeout=3)
    assert type(told.value) is kind


async def test_a_refusal_in_band_is_asked_again_until_the_deadline() -> None:
    async def handler(request: Any) -> Any:
        return failing(request, 2, "why not")

    async with client_of(node := Script(handler)) as client:
        with pytest.raises((Unavailable, DeadlinePassed)):
            await client.infer("echo", b"x", timeout=0.5)
    assert 2 <= len(node.seen) <= 6  # with longer and longer rests between


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_status_that_asks_for_a_pause_gets_it(code: Any) -> None:
    times = []

    async def handler(request: Any) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            raise EndStream(code, "full", {"grpc-retry-pushback-ms": "250"})
        return echo(request)

    async with client_of(Script(handler)) as client:
        assert (await client.infer("echo", b"x", timeout=5)).body == b"x"
    assert len(times) == 2
    assert 0.24 <= times[1] - times[0] < 1.2


async def test_an_error_in_band_that_asks_for_a_pause_gets_it() -> None:
    times = []

    async def handler(request: Any) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            return failing(request, 2, "full", **{"grpc-retry-pushback-ms": "250"})
        return echo(request)

    async with client_of(Script(handler)) as client:
        assert (await client.infer("echo", b"x", timeout=5)).body == b"x"
    assert 0.24 <= times[1] - times[0] < 1.2


async def test_a_time_limit_is_told_to_nodes_that_list_it_and_to_no_others() -> None:
    knowing = Script(echoing, capability(limits={"timeout_ms": "1..600000"}))
    plain = Script()
    for node in (knowing, plain):
        async with client_of(node) as client:
            await client.infer("echo", b"x", timeout=5)
            await client.infer("echo", b"x")
            await gathered(client.map("echo", [b"x"], timeout=5))
            await gathered(client.map("echo", [b"x"]))
            await client.infer("echo", b"x", timeout=5, timeout_ms=77, priority="high")
    assert [set(request.meta) for request in plain.seen] == [
        set(), set(), set(), set(), {"timeout_ms", "priority"}
    ]  # fmt: skip
    told = [dict(request.meta) for request in knowing.seen]
    assert all(4000 < int(told[index].pop("timeout_ms")) <= 5000 for index in (0, 2))
    assert 55_000 < int(told[1].pop("timeout_ms")) <= 60_000  # the client's own
    assert told == [{}, {}, {}, {}, {"timeout_ms": "77", "priority": "high"}]


async def test_a_node_that_never_answers_costs_the_timeout_and_no_more() -> None:
    async def handler(request: Any) -> Any:
        return None if request.payload == b"never" else echo(request)

    async with client_of(Script(handler)) as client:
        began = time.monotonic()
        with pytest.raises(DeadlinePassed):
            await client.infer("echo", b"never", timeout=0.3)
        assert 0.29 < time.monotonic() - began < 30  # far from the client's own timeout of a minute
        assert (await client.infer("echo", b"x", timeout=3)).body == b"x"


async def test_a_timeout_of_nothing_is_over_at_once() -> None:
    async with client_of(Script()) as client:
        for seconds in (0, -1):
            with pytest.raises(DeadlinePassed):
                await client.infer("echo", b"x", timeout=seconds)


async def test_to_wait_forever_is_possible() -> None:
    async with client_of(Script()) as client:
        assert (await client.infer("echo", b"x", timeout=float("inf"))).body == b"x"


async def test_the_timeout_is_kept_while_a_file_system_hangs(tmp_path: Any) -> None:
    pipe = tmp_path / "pipe"  # nobody writes into it
    os.mkfifo(pipe)
    async with client_of(Script()) as client:
        async with asyncio.timeout(5):
            with pytest.raises(DeadlinePassed):
                await client.infer("echo", pipe, timeout=0.15)
            [answer] = await gathered(client.map("echo", [pipe], timeout=0.15))
            assert answer.error and answer.error.code == "DEADLINE_EXCEEDED"
            assert (await client.infer("echo", b"x")).body == b"x"
    os.close(os.open(pipe, os.O_RDWR))  # the threads that read it come to its end


async def test_cancelling_one_request_leaves_the_others_and_the_stream_alone() -> None:
    opened = asyncio.Event()

    async def handler(request: Any) -> Any:
        await opened.wait()
        return echo(request)

    async with client_of(node := Script(handler)) as client:
        asked = [asyncio.create_task(client.infer("echo", b"%d" % n)) for n in range(4)]
        while len(node.seen) < 4:
            await asyncio.sleep(0.01)
        asked[1].cancel()
        await asyncio.sleep(0)
        opened.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers.pop(1), asyncio.CancelledError)
        assert [answer.body for answer in answers] == [b"0", b"2", b"3"]
        assert (await client.infer("echo", b"after")).body == b"after"
    assert node.streams == 1


async def test_cancelling_a_large_request_while_it_is_written_leaves_the_others_alone() -> None:
    large = bytes(range(256)) * (24 << 12)  # 24 MiB
    async with client_of(node := Script()) as client:
        await client.infer("echo", b"warm")
        doomed = asyncio.create_task(client.infer("echo", large))
        while not any(handle.outstanding for handle in client._pool.handles):
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        doomed.cancel()
        assert (await client.infer("echo", b"small", timeout=20)).body == b"small"
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert (await client.infer("echo", large[: 2 << 20], timeout=20)).body == large[: 2 << 20]
    assert node.streams == 1


async def test_a_large_and_small_requests_go_side_by_side() -> None:
    large = bytes(range(256)) * (16 << 12)

    async def length(request: Any) -> Any:
        return echo(request, result=b"%d" % len(request.payload))

    async with client_of(node := Script(length)) as client:
        answers = await asyncio.gather(
            client.infer("echo", large), *(client.infer("echo", b"x" * n) for n in range(20))
        )
    assert [int(answer.body) for answer in answers] == [len(large), *range(20)]
    assert node.streams == 1
    assert len(node.seen[-1].payload) == len(large)  # the small ones didn't wait for it


async def test_a_client_that_was_not_opened_says_so() -> None:
    client = Client("127.0.0.1:9")
    with pytest.raises(RuntimeError, match="with"):
        await client.infer("echo", b"x", timeout=1)
    with pytest.raises(RuntimeError, match="with"):
        await client.ready("echo", 1)
    with pytest.raises(RuntimeError, match="with"):
        await gathered(client.map("echo", [b"x"]))
    await client.close()


async def test_a_client_that_was_closed_says_so_at_once() -> None:
    async with client_of(Script()) as client:
        await client.infer("echo", b"x")
    async with asyncio.timeout(1):
        with pytest.raises(RuntimeError, match="open"):
            await client.infer("echo", b"x")
        with pytest.raises(RuntimeError, match="open"):
            await gathered(client.map("echo", [b"x"]))
    await client.close()


async def test_closing_ends_what_is_under_way_in_other_tasks() -> None:
    async def handler(request: Any) -> Any:
        return None

    async with nothing_left():
        async with client_of(node := Script(handler)) as client:
            asked = [asyncio.create_task(client.infer("echo", b"x")) for _ in range(3)]
            asked.append(asyncio.create_task(gathered(client.map("echo", [b"x", b"y"]))))
            asked.append(asyncio.create_task(client.infer("unheard-of", b"y")))
            while len(node.seen) < 5:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(2):
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, RuntimeError | HearthError) for outcome in outcomes), outcomes


async def test_ready_waits_from_now_and_not_from_the_opening() -> None:
    node = Script()
    node.loading = 1  # it is loading for half a second
    async with client_of(node) as client:
        await asyncio.sleep(0.3)
        assert (await client.ready("echo", timeout=5)).state == "up"


async def test_ready_waits_so_long_after_any_time() -> None:
    async with client_of(Script()) as client:
        await asyncio.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(UnknownTask):
            await client.ready("other", timeout=0.15)
        assert 0.14 < time.monotonic() - began < 30  # far from the client's own timeout of a minute


async def test_an_unknown_task_is_said_at_once_and_what_there_is() -> None:
    async with client_of(Script()) as client, asyncio.timeout(3):
        with pytest.raises(UnknownTask, match="'ehco'; did you mean echo"):
            await client.infer("ehco", b"x")


async def test_a_loop_that_stands_still_loses_neither_nodes_nor_answers() -> None:
    # As if it stood for twice the time that a node has for its answer, and longer.
    limits = ClientLimits(stall_seconds=0.2, refresh_seconds=0.1, capabilities_seconds=0.25)

    async def handler(request: Any) -> Any:
        await asyncio.sleep(0.02)
        return echo(request)

    with ScriptThread(handler) as node:
        async with Client(node.target, limits=limits) as client:
            await client.ready("echo")
            count = 0
            async for answer in client.map("echo", (b"%d" % n for n in range(160)), timeout=10):
                assert answer.error is None
                count += 1
                if count in {20, 100}:
                    time.sleep(0.6)
            assert count == 160
            assert [known.state for known in client.nodes] == ["up"]
    assert len(node.script.seen) == 160  # nothing had to be sent again
    assert node.script.streams == 1
