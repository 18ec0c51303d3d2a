"""What a first reading found wrong with the client, so that it stays mended."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from client_kit import (
    TASK,
    EndStream,
    Requests,
    Script,
    ScriptedNode,
    capability,
    client_of,
    echo,
    echoing,
    gathered,
    nothing_left,
)
from hearth.client import Client
from hearth.client.limits import ClientLimits
from hearth.client.sources import Payload, on_a_thread
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import DeadlinePassed, HearthError, SettingsError, Unavailable


def after(seconds: float) -> Any:
    async def handler(request: Any) -> Any:
        await asyncio.sleep(seconds)
        return echo(request)

    return handler


async def never(_: Any) -> None:
    return None


async def test_one_at_a_time_a_slow_node_is_soon_left_for_a_fast_one() -> None:
    slow, fast = Script(after(0.2)), Script(after(0.002))
    async with client_of(slow, fast) as client:
        for _ in range(12):
            await client.infer(TASK, b"x")
    assert len(slow.seen) <= 2


async def test_a_node_that_swallows_a_request_is_not_chosen_again_for_the_next() -> None:
    for _ in range(2):  # whichever is asked first
        deaf, well = Script(never), Script()
        async with client_of(deaf, well) as client:
            failed = 0
            for _ in range(6):
                try:
                    await client.infer(TASK, b"x", timeout=0.3)
                except DeadlinePassed:
                    failed += 1
        assert failed <= 1 and len(well.seen) >= 5


async def test_nodes_that_list_their_models_in_another_order_have_one_model() -> None:
    nodes = [
        Script(echoing, capability(models=("m-1", "x"))),
        Script(echoing, capability(models=("x", "m-1"))),
        Script(echoing, capability(models=("m-1",))),
    ]
    async with client_of(*nodes) as client:
        answers = await gathered(client.map(TASK, [b"x"] * 300))
    assert all(answer.error is None for answer in answers)
    assert min(len(node.seen) for node in nodes) > 30


async def test_a_slow_node_of_the_right_model_is_not_cut_off_for_one_of_another() -> None:
    slow = Script(after(0.5))
    other = Script(echoing, capability(models=("m-2",)))
    async with client_of(
        slow, other, limits=ClientLimits(stall_seconds=0.05, hang_seconds=0.1)
    ) as client:
        assert (await client.infer(TASK, b"x", model_id="m-1", timeout=10)).body == b"x"
    assert len(slow.seen) == 1


async def test_a_node_that_ends_every_call_without_an_answer_is_given_up_and_said() -> None:
    streams = 0

    async def ends(requests: Requests, _: Any) -> AsyncIterator[pb.InferResponse]:
        nonlocal streams
        streams += 1
        async for _request in requests:
            return
        yield pb.InferResponse()

    async with client_of(ScriptedNode(ends, (capability(),))) as client:
        with pytest.raises(Unavailable, match="without an answer"):
            await client.infer(TASK, b"x", timeout=20)
    assert streams < 10


async def test_a_timeout_tells_what_the_last_node_said() -> None:
    async def refuses(_: Any) -> Any:
        raise EndStream(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")

    async with client_of(Script(refuses)) as client:
        with pytest.raises(DeadlinePassed, match="the queue is full") as caught:
            await client.infer(TASK, b"x", timeout=0.6)
    assert caught.value.failure.code == "DEADLINE_EXCEEDED"


class Strange:
    """A source of somebody else's making."""

    def __init__(self, error: BaseException | None = None, content: Any = b"x") -> None:
        self._error, self._content = error, content

    def load(self, _: Any) -> Payload:
        if self._error is not None:
            raise self._error
        return Payload(self._content, "")


@pytest.mark.parametrize(
    "source",
    [
        Strange(StopAsyncIteration()),
        Strange(StopIteration()),
        Strange(KeyError("x")),
        Strange(content=memoryview(b"x")),
        Strange(content="text"),
    ],
    ids=["stop-async", "stop", "key", "memoryview", "text"],
)
async def test_a_source_of_any_fault_spares_the_others(source: Any) -> None:
    node = Script()
    async with client_of(node) as client, asyncio.timeout(10):
        answers = await gathered(client.map(TASK, [b"a", source, b"b", source, b"c"]))
    assert [answer.body for answer in answers if answer.error is None] == [b"a", b"b", b"c"]
    assert node.streams == 1


async def test_answers_keep_no_payload() -> None:
    async with client_of(Script()) as client:
        answer = await client.infer(TASK, bytes(1000))
        assert answer.outcome.job.payload == b"" and len(answer.body) == 1000
        with pytest.raises(HearthError):
            await client.infer("none", b"x")


async def test_a_client_whose_opening_is_given_up_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hangs(_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("hearth.discovery.browser.Browser.__aenter__", hangs)
    client = Client("127.0.0.1:9", mdns=True)
    async with nothing_left():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.__aenter__()
    with pytest.raises(RuntimeError, match="open"):
        await client.infer(TASK, b"x")


@pytest.mark.parametrize(("said", "least"), [("-1", 1.0), ("100000000", 1.0)])
async def test_a_pushback_out_of_the_ordinary_costs_no_more_than_the_deadline(
    said: str, least: float
) -> None:
    async def refuses(_: Any) -> Any:
        trailers = {"grpc-retry-pushback-ms": said}
        raise EndStream(grpc.StatusCode.UNAVAILABLE, "no", trailers)

    node = Script(refuses)
    async with client_of(node) as client:
        began = time.monotonic()
        with pytest.raises(HearthError):
            await client.infer(TASK, b"x", timeout=least)
        assert time.monotonic() - began < least + 2
    assert len(node.seen) == 1


async def test_a_full_node_is_not_asked_what_it_can_do_at_each_refusal() -> None:
    async def refuses(_: Any) -> Any:
        raise EndStream(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", {"grpc-retry-pushback-ms": "5"})

    node = Script(refuses)
    async with client_of(node) as client:
        with pytest.raises(HearthError):
            await client.infer(TASK, b"x", timeout=0.5)
    assert len(node.seen) > 3 and node.asked <= 3


async def test_what_is_drawn_beside_comes_in_order_and_at_once(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").touch()
    drawn = [path.name async for path in on_a_thread(iter(sorted(tmp_path.iterdir())))]
    assert drawn == [f"{number:02}" for number in range(30)]


async def test_fresh_clients_do_not_all_choose_the_same_node() -> None:
    nodes = [Script(), Script()]
    chosen: Counter[str] = Counter()
    async with client_of(*nodes) as first:
        targets = [node.target for node in first.nodes]
        for _ in range(16):
            async with Client(targets) as client:
                for each in targets:
                    while next(n for n in client.nodes if n.target == each).state == "new":
                        await asyncio.sleep(0)
                chosen[(await client.infer(TASK, b"x")).node] += 1
    assert len(chosen) == 2


async def test_a_composed_request_goes_to_a_node_that_can_do_all_of_it() -> None:
    some = Script(echoing, capability("compose", "ocr"))
    every = Script(echoing, capability("compose", "ocr", "clip_classify"))
    async with client_of(some, every) as client:
        for entries in ("ocr, clip_classify", ["ocr", {"task": "clip_classify", "id": "x"}]):
            answers = await gathered(client.map("compose", [b"x"] * 40, entries=entries))
            assert all(answer.error is None for answer in answers)
        assert some.seen == []
        # Where no node can do all, those that can do some say what is missing.
        assert (await client.infer("compose", b"x", entries="ocr,faces")).body == b"x"


async def test_waiting_for_long_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with Client("127.0.0.1:9", limits=ClientLimits(search_seconds=0.1)) as client:
        answers = await gathered(client.map(TASK, [b"x"] * 3, timeout=0.5))
    assert all("connection refused" in str(answer.error) for answer in answers)
    assert [record.message for record in caplog.records] == [
        "waiting for a node that can do echo: 127.0.0.1:9: can't connect: connection refused"
    ]


async def test_a_single_source_is_no_list_of_them() -> None:
    async with client_of(Script()) as client:
        with pytest.raises(TypeError, match="infer takes one"):
            client.map(TASK, "photo.jpg")


@pytest.mark.parametrize(
    "name", ["http://10.0.0.7:50051", "nas:x", "nas:0", "nas:99999", "a/b", "\udcff"]
)
def test_what_is_no_address_is_said_so(name: str) -> None:
    with pytest.raises(SettingsError, match="write HOST:PORT"):
        Client(name)


async def test_a_client_may_be_opened_and_closed_by_hand() -> None:
    async with client_of(Script()) as known:
        client = Client([node.target for node in known.nodes])
        await client.open()
        assert (await client.infer(TASK, b"x")).body == b"x"
        await client.close()


# --- after an attack ----------------------------------------------------------------------------


async def test_numbers_that_no_node_means_break_nothing() -> None:
    mad = capability(limits={"max_batch": "9" * 10_000}, extra={"load.in_flight": "9" * 400})
    nodes = [Script(echoing, mad), Script()]
    async with client_of(*nodes) as client:
        answers = await gathered(client.map(TASK, [b"x"] * 100))
        assert all(answer.error is None for answer in answers)
        assert {node.state for node in client.nodes} == {"up"}


async def test_answers_without_a_model_are_no_answers_of_the_model_that_was_asked_for() -> None:
    async def silent(request: Any) -> Any:
        return echo(request)

    both = capability(models=("m-1", "m-2"))
    vague, clear = Script(silent, both), Script(echoing, both)
    async with client_of(vague, clear) as client:
        answers = await gathered(client.map(TASK, [b"x"] * 50, model_id="m-1"))
    assert {answer.model_id for answer in answers} == {"m-1"}


async def test_a_request_that_is_lost_alone_goes_elsewhere() -> None:
    lost = 0

    async def losing(request: Any) -> Any:
        nonlocal lost
        if request.payload == b"lost" and not lost:
            lost += 1
            return None
        await asyncio.sleep(0.01)
        return echo(request)

    nodes = [Script(losing), Script(losing)]
    async with client_of(
        *nodes, limits=ClientLimits(stall_seconds=0.05, hang_seconds=0.3)
    ) as client:
        sources = [b"lost" if n == 5 else b"%d" % n for n in range(400)]
        answers = await gathered(client.map(TASK, sources, in_flight=8, timeout=20))
    assert lost == 1 and all(answer.error is None for answer in answers)
    assert [answer.body for answer in answers] == sources


async def test_a_node_that_wants_to_be_asked_again_at_once_does_not_get_all_our_time() -> None:
    async def refuses(_: Any) -> Any:
        raise EndStream(grpc.StatusCode.UNAVAILABLE, "no", {"grpc-retry-pushback-ms": "0"})

    node = Script(refuses)
    async with client_of(node) as client:
        with pytest.raises(HearthError):
            await client.infer(TASK, b"x", timeout=1)
    assert len(node.seen) < 20


async def test_what_nobody_waits_for_is_not_kept() -> None:
    deaf = Script(never)
    async with client_of(deaf) as client:
        for _ in range(3):
            with pytest.raises(DeadlinePassed):
                await client.infer(TASK, bytes(1 << 20), timeout=0.1)
        [handle] = client._pool.handles
        link = handle._links.shared()
        assert not link._open and len(link._abandoned) <= 3


async def test_an_answer_that_came_while_the_loop_stood_still_counts() -> None:
    async with client_of(Script(after(0.05))) as client, asyncio.timeout(20):
        asked = asyncio.create_task(client.infer(TASK, b"x", timeout=0.3))
        await asyncio.sleep(0.02)
        time.sleep(0.8)  # as a caller that blocks; the node is on this loop too, and late as well
        assert (await asked).body == b"x"


async def test_a_name_that_no_host_has_is_said_at_once() -> None:
    async with Client("no-such-host.invalid") as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no host of this name"):
            await client.ready(TASK)
        assert time.monotonic() - began < 10


async def test_capabilities_without_an_end_are_not_read_to_it() -> None:
    endless = [capability(extra={"x": "y" * 100_000}) for _ in range(200)]
    async with client_of(Script(echoing, *endless)) as client:
        [node] = client.nodes
        assert node.state == "down" and "more to say" in node.trouble


async def test_a_node_that_shuts_down_is_said_to_do_so() -> None:
    leaving = capability(extra={"node.status": "draining"})
    async with client_of(Script(echoing, leaving)) as client:
        with pytest.raises(Unavailable, match="shutting down"):
            await client.infer(TASK, b"x", timeout=0.2)
