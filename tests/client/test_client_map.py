"""Maps: one answer for each source, in bounded memory, and nothing left when they are closed."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from client_kit import Script, capability, client_of, echo, failing, gathered, nothing_left
from hearth.client.limits import ClientLimits
from hearth.client.mapping import MAX_AHEAD
from hearth.errors import DeadlinePassed

WINDOW = 16
"""Of a scripted node, which says nothing of batches."""


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


async def reversing(request: Any) -> Any:
    """Within each eight, the later the sooner."""
    await asyncio.sleep(0.004 * (8 - int(request.payload) % 8))
    return echo(request)


async def never(request: Any) -> Any:
    return None


class Drawn:
    """An iterator that counts what was taken from it."""

    def __init__(self, count: int, make: Any = lambda n: b"%d" % n) -> None:
        self.count, self.drawn, self._make = count, 0, make

    def __iter__(self) -> Iterator[Any]:
        for n in range(self.count):
            self.drawn += 1
            yield self._make(n)


async def until(is_so: Any) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.01)


async def settled(look: Any) -> Any:
    """What ``look`` gives once it gives the same for a while."""
    before, since = look(), time.monotonic()
    while time.monotonic() - since < 0.08:
        await asyncio.sleep(0.01)
        if (now := look()) != before:
            before, since = now, time.monotonic()
    return before


async def test_answers_come_in_the_order_of_the_sources() -> None:
    async with client_of(Script(reversing), Script(reversing)) as client:
        answers = await gathered(client.map("echo", numbers(100)))
    assert [answer.index for answer in answers] == list(range(100))
    assert [answer.body for answer in answers] == numbers(100)
    assert [answer.input for answer in answers] == numbers(100)


async def test_or_as_they_are_ready() -> None:
    async with client_of(Script(reversing)) as client:
        answers = await gathered(client.map("echo", numbers(100), ordered=False))
    assert sorted(answer.index for answer in answers) == list(range(100))
    assert [answer.index for answer in answers] != list(range(100))
    assert all(answer.body == b"%d" % answer.index for answer in answers)


async def test_no_sources_give_no_answers_and_need_no_node() -> None:
    async with client_of(Script()) as client:
        for nothing in ([], iter(()), (x for x in ())):
            assert await gathered(client.map("echo", nothing)) == []


async def test_sources_may_come_slowly_and_their_answers_do_not_wait() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"0"
        await going_on.wait()
        yield b"1"

    going_on = asyncio.Event()
    async with client_of(Script()) as client, aclosing(client.map("echo", slowly())) as answers:
        async with asyncio.timeout(3):
            assert (await anext(answers)).body == b"0"
            going_on.set()
            assert [answer.body async for answer in answers] == [b"1"]


async def test_a_source_that_cannot_be_read_is_its_own_error(tmp_path: Path) -> None:
    good = tmp_path / "good.txt"
    good.write_text("x")
    huge = tmp_path / "huge.iso"
    with huge.open("wb") as file:
        file.truncate(200 << 30)  # it takes no room on the disk
    sources = [good, tmp_path / "missing.jpg", tmp_path, 5, str(good), b"bytes", huge]
    async with client_of(Script()) as client:
        answers = await gathered(client.map("echo", sources))
    told = [answer.error and (answer.error.code, answer.error.message) for answer in answers]
    assert told[0] is told[4] is told[5] is None
    assert told[1] == ("UNREADABLE", "can't be read: no such file or directory")
    assert told[2] == ("UNREADABLE", "can't be read: is a directory")
    assert told[3] and told[3][0] == "UNREADABLE" and "int is no source" in told[3][1]
    too_large = "the file has 214,748,364,800 bytes: nodes take up to 1024 MiB"
    assert told[6] == ("UNREADABLE", too_large)
    assert [answer.node == "" for answer in answers] == [error is not None for error in told]


async def test_an_error_of_one_source_leaves_the_others_alone() -> None:
    async def handler(request: Any) -> Any:
        return failing(request, 1, "bad") if request.payload == b"5" else echo(request)

    async with client_of(Script(handler)) as client:
        answers = await gathered(client.map("echo", numbers(20)))
    assert [answer.index for answer in answers if answer.error] == [5]


async def test_no_more_sources_are_drawn_than_there_is_room_for() -> None:
    async with client_of(Script(never)) as client:
        sources = Drawn(1000)
        async with aclosing(client.map("echo", sources)) as answers:
            waiting = asyncio.ensure_future(anext(answers))
            assert await settled(lambda: sources.drawn) <= WINDOW + 1
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_no_more_are_under_way_than_asked_for(in_flight: int) -> None:
    now = most = 0

    async def handler(request: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        return echo(request)

    async with client_of(Script(handler), Script(handler)) as client:
        answers = await gathered(client.map("echo", numbers(30), in_flight=in_flight))
    assert len(answers) == 30
    assert most == in_flight


@pytest.mark.parametrize("in_flight", [0, -1])
async def test_a_map_without_any_in_flight_is_refused(in_flight: int) -> None:
    async with client_of(Script()) as client, asyncio.timeout(3):
        with pytest.raises(ValueError, match="in_flight"):
            await gathered(client.map("echo", [b"x"], in_flight=in_flight))


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_slow_consumer_holds_the_sources_back(ordered: bool) -> None:
    async with client_of(node := Script()) as client:
        sources = Drawn(1000)
        async with aclosing(client.map("echo", sources, ordered=ordered)) as answers:
            for taken in range(1, 3):
                await anext(answers)
                assert await settled(lambda: sources.drawn) <= MAX_AHEAD * WINDOW + taken + 1
        assert len(node.seen) <= MAX_AHEAD * WINDOW + 4


async def test_one_slow_answer_holds_back_an_ordered_map_at_a_bound() -> None:
    opened = asyncio.Event()

    async def handler(request: Any) -> Any:
        if request.payload == b"0":
            await opened.wait()
        return echo(request)

    async with client_of(Script(handler)) as client:
        sources = Drawn(500)
        mapped = asyncio.create_task(gathered(client.map("echo", sources)))
        assert WINDOW < await settled(lambda: sources.drawn) <= MAX_AHEAD * WINDOW + 1
        opened.set()
        assert [answer.index for answer in await mapped] == list(range(500))


async def test_payloads_that_are_held_stay_below_the_bound(tmp_path: Path) -> None:
    size, held, most = 1000, 0, 0
    paths = [tmp_path / f"{n}.bin" for n in range(60)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d\0" % n + bytes(size * (5 if n == 30 else 1)))

    async def handler(request: Any) -> Any:
        nonlocal held, most
        held += len(request.payload)
        most = max(most, held)
        await asyncio.sleep(0.002)
        held -= len(request.payload)
        return echo(request, result=request.payload.partition(b"\0")[0])

    limits = ClientLimits(max_payload_bytes=4 * size)
    async with client_of(Script(handler), limits=limits) as client, asyncio.timeout(10):
        answers = await gathered(client.map("echo", paths))
    assert [answer.body for answer in answers] == numbers(60)
    assert most <= 5 * size + 10  # the one that is larger went alone
    assert all(not answer.outcome.job.payload for answer in answers)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_what_the_sources_raise_reaches_the_caller_and_ends_the_map(
    asynchronous: bool,
) -> None:
    def sources() -> Iterator[bytes]:
        yield from numbers(5)
        raise LookupError("no more")

    async def sources_later() -> AsyncIterator[bytes]:
        for source in sources():
            await asyncio.sleep(0)
            yield source

    async with client_of(Script(reversing)) as client:
        await client.infer("echo", b"1")
        async with nothing_left():
            with pytest.raises(LookupError, match="no more"):
                await gathered(client.map("echo", sources_later() if asynchronous else sources()))
        assert (await client.infer("echo", b"1")).body == b"1"


@pytest.mark.parametrize("ordered", [True, False])
async def test_leaving_early_cancels_what_is_under_way(
    ordered: bool, recwarn: pytest.WarningsRecorder
) -> None:
    async def handler(request: Any) -> Any:
        return echo(request) if int(request.payload) < 3 else None

    async with client_of(Script(handler)) as client:
        before = asyncio.all_tasks()
        async with aclosing(client.map("echo", numbers(100), ordered=ordered)) as answers:
            async for answer in answers:
                if answer.index == 2:
                    break
        assert asyncio.all_tasks() - before <= keeping(client)
        async for _ in client.map("echo", numbers(100)):
            break  # without closing it: the garbage collector's business
        gc.collect()
        await until(lambda: asyncio.all_tasks() - before <= keeping(client))
        await until(lambda: sum(handle.outstanding for handle in client._pool.handles) == 0)
    gc.collect()
    assert [str(warning.message) for warning in recwarn.list] == []


def keeping(client: Any) -> set[Any]:
    """The tasks of the client's streams, which outlast a map."""
    links = [handle._links.shared() for handle in client._pool.handles]
    return {task for link in links if link for task in (link._reader, link._writer)} | {
        task for task in asyncio.all_tasks() if "client_kit" in repr(task) or "grpc" in repr(task)
        or "Script" in repr(task)
    }  # fmt: skip


async def test_cancelling_the_task_of_a_map_leaves_nothing() -> None:
    async with nothing_left(), client_of(node := Script(never)) as client:
        mapping = asyncio.create_task(gathered(client.map("echo", numbers(100))))
        await until(lambda: node.seen)
        mapping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mapping
        assert sum(handle.outstanding for handle in client._pool.handles) == 0


async def test_async_sources_are_closed_with_the_map() -> None:
    closed = []

    async def sources() -> AsyncIterator[bytes]:
        try:
            for source in numbers(100):
                yield source
        finally:
            closed.append(True)

    async with client_of(Script()) as client:
        async with aclosing(client.map("echo", sources())) as answers:
            await anext(answers)
        await until(lambda: closed)


async def test_within_is_the_time_for_all_and_every_source_still_has_an_answer() -> None:
    async def handler(request: Any) -> Any:
        await asyncio.sleep(0.05)
        return echo(request)

    async with client_of(Script(handler)) as client:
        began = time.monotonic()
        answers = await gathered(client.map("echo", numbers(100), within=0.3, in_flight=2))
        assert 0.2 < time.monotonic() - began < 2  # all of them would take 2.5 s
    assert [answer.index for answer in answers] == list(range(100))
    good = [answer for answer in answers if answer.error is None]
    late = [answer for answer in answers if answer.error is not None]
    assert 4 <= len(good) <= 12
    assert {answer.error and answer.error.code for answer in late} == {"DEADLINE_EXCEEDED"}
    with pytest.raises(DeadlinePassed):
        _ = late[0].value


async def test_the_timeout_is_for_each_source() -> None:
    async def handler(request: Any) -> Any:
        return None if int(request.payload) % 10 == 3 else echo(request)

    async with client_of(Script(handler)) as client:
        answers = await gathered(client.map("echo", numbers(20), timeout=0.4))
    late = [answer.index for answer in answers if answer.error]
    assert late == [3, 13]


async def test_two_maps_at_once_get_their_own_answers() -> None:
    async with client_of(Script(reversing)) as client:
        first, second = await asyncio.gather(
            gathered(client.map("echo", numbers(60))),
            gathered(client.map("echo", reversed(numbers(60)))),
        )
    assert [answer.body for answer in first] == numbers(60)
    assert [answer.body for answer in second] == numbers(60)[::-1]


async def test_an_unknown_task_fails_each_source_and_says_why() -> None:
    async with client_of(Script()) as client, asyncio.timeout(5):
        answers = await gathered(client.map("ehco", numbers(3)))
    assert [answer.error and answer.error.code for answer in answers] == ["NOT_FOUND"] * 3


async def test_thousands_of_sources_hold_no_payload_and_no_task_behind_them() -> None:
    async with client_of(Script(), Script()) as client:
        count = 0
        async with aclosing(client.map("echo", Drawn(1500))) as answers:
            async for answer in answers:
                assert answer.index == count
                count += 1
    assert count == 1500


async def test_a_task_for_texts_takes_texts() -> None:
    async with client_of(Script(echo_text, capability(inputs=("text/plain",)))) as client:
        answers = await gathered(client.map("echo", ["a", "b\ud800", "ü"]))
    assert [answer.error and answer.error.code for answer in answers] == [None, "UNREADABLE", None]
    assert answers[2].body == "ü".encode()


async def echo_text(request: Any) -> Any:
    return echo(request)


async def test_files_whose_reading_hangs_hold_no_others_back(tmp_path: Path) -> None:
    pipes = [tmp_path / f"pipe{n}" for n in range(6)]  # more than there are readers
    for pipe in pipes:
        os.mkfifo(pipe)
    files = [tmp_path / f"{n}" for n in range(40)]
    for n, path in enumerate(files):
        path.write_bytes(b"%d" % n)
    async with client_of(Script()) as client, asyncio.timeout(15):
        answers = await gathered(client.map("echo", [*pipes, *files], timeout=0.5))
        assert {answer.error and answer.error.code for answer in answers[:6]} == {
            "DEADLINE_EXCEEDED"
        }
        # Files behind the pipes may have had no time left; those that come now have readers again.
        again = await gathered(client.map("echo", files, timeout=10))
        assert [answer.body for answer in again] == numbers(40)
    for pipe in pipes:
        os.close(os.open(pipe, os.O_RDWR))  # the threads that read it come to their end


async def test_a_cancelled_read_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    async with client_of(Script()) as client:
        await client.infer("echo", b"warm")
        for steps in range(12):
            asked = asyncio.create_task(client.infer("echo", path))
            for _ in range(steps):
                await asyncio.sleep(0.0005)
            asked.cancel()
            await asyncio.wait({asked})
        await until(lambda: client._reader.held == 0)
