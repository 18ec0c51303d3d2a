"""The client of programs without an event loop: the same answers, from any thread."""

import gc
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from client_kit import ScriptThread, capability, echo, failing
from hearth.client import SyncClient
from hearth.errors import InvalidInput, Unavailable, UnknownTask


async def handler(request: Any) -> Any:
    if request.payload == b"bad":
        return failing(request, 1, "bad")
    if request.payload == b"never":
        return None
    return echo(request)


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with ScriptThread(handler) as node:
        yield node.target


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    # gRPC's own poller is one for the process, and stays; a few threads for files are kept.
    own = {thread for thread in set(threading.enumerate()) - before if "poll" not in thread.name}
    left = {thread for thread in own if thread.name != "blocking"}
    assert left == set()


def test_answers_and_errors_are_those_of_the_client(target: str) -> None:
    with SyncClient(target) as client:
        assert client.ready("echo", 5).target == target
        assert [node.target for node in client.nodes] == [target]
        assert client.infer("echo", b"x", topk=3).body == b"x"
        with pytest.raises(InvalidInput, match="bad"):
            client.infer("echo", b"bad")
        with pytest.raises(UnknownTask):
            client.infer("unheard-of", b"x")
        with pytest.raises(FileNotFoundError):
            client.infer("echo", "/nowhere/at/all.jpg")
        answers = list(client.map("echo", [*numbers(50), b"bad"]))
    assert [answer.body for answer in answers[:-1]] == numbers(50)
    assert answers[-1].error is not None


def test_several_threads_may_use_it_at_once(target: str) -> None:
    with SyncClient(target) as client, ThreadPoolExecutor(8) as pool:
        singles = [pool.submit(client.infer, "echo", b"%d" % n) for n in range(100)]
        maps = [pool.submit(lambda: list(client.map("echo", numbers(100)))) for _ in range(4)]
        assert [single.result().body for single in singles] == numbers(100)
        for each in maps:
            assert [answer.body for answer in each.result()] == numbers(100)


def test_leaving_a_map_early_cancels_it(target: str) -> None:
    with SyncClient(target) as client:
        for n, answer in enumerate(client.map("echo", [*numbers(5), *[b"never"] * 100])):
            assert answer.body == b"%d" % n
            if n == 3:
                break
        assert client.infer("echo", b"x").body == b"x"
        assert client._client._pool.handles[0].outstanding == 0


def test_an_error_in_the_loop_of_a_map_leaves_nothing_running(target: str) -> None:
    with SyncClient(target) as client:
        with pytest.raises(ZeroDivisionError):
            for _ in client.map("echo", numbers(100)):
                1 / 0  # noqa: B018
        assert client.infer("echo", b"x").body == b"x"


def test_what_the_sources_raise_reaches_the_caller(target: str) -> None:
    def sources() -> Iterator[bytes]:
        yield b"1"
        raise LookupError("no more")

    with SyncClient(target) as client, pytest.raises(LookupError, match="no more"):
        list(client.map("echo", sources()))


def test_sources_may_ask_the_client_themselves(target: str) -> None:
    def sources(client: SyncClient) -> Iterator[bytes]:
        for n in numbers(3):
            yield client.infer("echo", n).body

    with SyncClient(target) as client:
        answers = list(client.map("echo", sources(client)))
        assert [answer.body for answer in answers] == numbers(3)


def test_sources_that_keep_us_waiting_hold_up_nothing_else(target: str) -> None:
    asked = threading.Event()

    def sources() -> Iterator[bytes]:
        yield b"first"
        assert asked.wait(10)
        yield b"second"

    with SyncClient(target) as client:
        answers = client.map("echo", sources())
        assert next(answers).body == b"first"
        assert client.infer("echo", b"meanwhile").body == b"meanwhile"
        asked.set()
        assert [answer.body for answer in answers] == [b"second"]


def interrupted(seconds: float) -> None:
    """Ctrl-C, so many seconds from now."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()


@pytest.mark.parametrize("mapped", [True, False])
def test_ctrl_c_ends_what_is_under_way(target: str, mapped: bool) -> None:
    with SyncClient(target) as client:
        client.infer("echo", b"x")
        interrupted(0.2)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            if mapped:
                list(client.map("echo", [b"never"] * 100))
            else:
                client.infer("echo", b"never")
        assert time.monotonic() - began < 30  # far from the client's own timeout of a minute
        deadline = time.monotonic() + 2
        while client._client._pool.handles[0].outstanding and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client._client._pool.handles[0].outstanding == 0
        assert client.infer("echo", b"x").body == b"x"


def test_ctrl_c_may_leave_the_with_block(target: str) -> None:
    interrupted(0.3)
    with pytest.raises(KeyboardInterrupt), SyncClient(target) as client:
        list(client.map("echo", [b"never"] * 100))


def test_it_says_that_it_is_not_open(target: str) -> None:
    client = SyncClient(target)
    for use in (
        lambda: client.infer("echo", b"x"),
        lambda: client.nodes,
        lambda: list(client.map("echo", [b"x"])),
        lambda: client.ready("echo"),
    ):
        with pytest.raises(RuntimeError, match="with"):
            use()
    client.close()
    del client
    gc.collect()  # nothing to complain of
    with SyncClient(target) as client:
        pass
    with pytest.raises(RuntimeError, match="with"):
        client.infer("echo", b"x")
    client.close()
    with pytest.raises(RuntimeError):
        client.__enter__()


def test_a_map_that_outlives_its_client_ends_with_a_clear_error(target: str) -> None:
    with SyncClient(target) as client:
        answers = client.map("echo", numbers(100))
        assert next(answers).body == b"0"
    with pytest.raises(RuntimeError, match="open"):
        list(answers)


def test_closing_ends_what_other_threads_wait_for(target: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        with SyncClient(target) as client:
            client.infer("echo", b"x")
            waiting = [pool.submit(client.infer, "echo", b"never") for _ in range(2)]
            waiting.append(pool.submit(lambda: list(client.map("echo", [b"never"] * 5))))
            deadline = time.monotonic() + 5
            while client._client._pool.handles[0].outstanding < 7:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        for each in waiting:
            assert each.exception(timeout=5) is not None


def test_nobody_there_is_said_in_one_line() -> None:
    with SyncClient("127.0.0.1:9") as client, pytest.raises(Unavailable) as told:
        client.infer("echo", b"x", timeout=0.4)
    assert "connection refused" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_map_collected_on_the_clients_own_thread_blocks_nothing(target: str) -> None:
    with SyncClient(target) as client:
        answers: Any = client.map("echo", [b"1", *[b"never"] * 50])
        next(answers)
        cycle = [answers]
        cycle.append(cycle)
        del answers, cycle
        done = threading.Event()

        def collect() -> None:
            gc.collect()
            done.set()

        client._loop.call_soon_threadsafe(collect)
        assert done.wait(5)
        assert client.infer("echo", b"x").body == b"x"


def test_typed_answers_are_those_of_the_client() -> None:
    async def labels(request: Any) -> Any:
        body = b'{"labels":[{"label":"cat","score":0.5}],"model_id":"m-1"}'
        return echo(
            request,
            result=body,
            result_mime="application/json;schema=labels_v1",
            result_schema="labels_v1",
        )

    able = capability("clip_classify")
    with ScriptThread(labels, able) as node, SyncClient(node.target) as client:
        assert client.classify(b"\xff\xd8\xff", ["cat", "dog"], topk=1).best.name == "cat"
    assert dict(node.script.seen[0].meta) == {"labels": '["cat","dog"]', "topk": "1"}
