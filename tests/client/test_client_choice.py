"""Which node does a request: by speed, by what it refuses, by what it fails at."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from batch_kit import until
from client_kit import (
    Handler,
    Script,
    capability,
    client_of,
    echo,
    echoing,
    failing,
    gathered,
    serving,
)
from hearth.client import Client
from hearth.client.limits import ClientLimits
from hearth.discovery.record import NodeRecord
from hearth.errors import InvalidInput, ModelFailed


def taking(seconds: float) -> Handler:
    """An echo by one worker, one request after the other."""
    worker = asyncio.Lock()

    async def handler(request: Any) -> Any:
        async with worker:
            await asyncio.sleep(seconds)
        return echo(request)

    return handler


def always(code: int, message: str = "no", **meta: str) -> Handler:
    async def handler(request: Any) -> Any:
        return failing(request, code, message, **meta)

    return handler


async def mapped(client: Client, count: int, **how: Any) -> Counter[str]:
    answers = await gathered(client.map("echo", (b"%d" % n for n in range(count)), **how))
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.body for answer in answers] == [b"%d" % n for n in range(count)]
    return Counter(answer.node for answer in answers)


async def test_a_slower_node_gets_fewer_requests() -> None:
    fast, slow = Script(taking(0.001)), Script(taking(0.005))
    async with client_of(fast, slow) as client:
        await mapped(client, 300)
    assert len(fast.seen) + len(slow.seen) == 300
    assert 20 < len(slow.seen) < 110


async def test_nodes_of_one_speed_share_alike() -> None:
    nodes = [Script(taking(0.002)) for _ in range(3)]
    async with client_of(*nodes) as client:
        await mapped(client, 300)
    assert min(len(node.seen) for node in nodes) > 60


async def test_what_a_node_says_of_others_requests_counts() -> None:
    busy = Script(taking(0.002), capability(extra={"load.in_flight": "500"}))
    free = Script(taking(0.002))
    async with client_of(busy, free) as client:
        await mapped(client, 60, in_flight=8)
    assert len(busy.seen) < 10


async def test_one_slow_answer_does_not_end_a_nodes_career() -> None:
    first = True

    async def warming(request: Any) -> Any:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.002)
        return echo(request)

    cold, warm = Script(warming), Script(taking(0.002))
    async with client_of(cold, warm, limits=ClientLimits(latency_max_age=0.2)) as client:
        cold_one = client._pool.handles[0].target
        await mapped(client, 64)
        await asyncio.sleep(0.25)
        await mapped(client, 32)
        await asyncio.sleep(0.25)
        shares = await mapped(client, 200)
    assert shares[cold_one] > 50


async def test_a_refusal_goes_to_another_node_and_leaves_the_first_alone_for_so_long() -> None:
    refused: list[float] = []

    async def full(request: Any) -> Any:
        refused.append(time.monotonic())
        return failing(request, 2, "full", **{"grpc-retry-pushback-ms": "400"})

    refusing, good = Script(full), Script(taking(0.002))
    async with client_of(refusing, good) as client, asyncio.timeout(30):
        await mapped(client, 100)
        began = refused[0]
        # Those that were on their way together, and from then on none for so long.
        while (late := [at for at in refused if at > began + 0.3]) == []:
            await client.infer("echo", b"x")
            await asyncio.sleep(0.01)
    assert 1 <= len(refused) - len(late) <= 32
    assert late[0] - began > 0.39


async def test_a_failure_of_the_model_is_tried_once_elsewhere() -> None:
    broken, good = Script(always(4, "no memory")), Script()
    async with client_of(broken, good) as client:
        for _ in range(8):
            assert (await client.infer("echo", b"x")).body == b"x"
    assert len(broken.seen) == 3  # it rests then
    broken, other = Script(always(4, "no memory")), Script(always(4, "no memory"))
    async with client_of(broken, other) as client:
        with pytest.raises(ModelFailed, match="no memory"):
            await client.infer("echo", b"x")
    assert (len(broken.seen), len(other.seen)) == (1, 1)


async def test_a_failure_of_the_only_node_is_not_tried_again() -> None:
    async with client_of(node := Script(always(4, "no memory"))) as client:
        with pytest.raises(ModelFailed, match="no memory"):
            await client.infer("echo", b"x")
    assert len(node.seen) == 1


async def test_a_bad_request_is_tried_nowhere_else_and_rests_nobody() -> None:
    nodes = [Script(always(1, "bad")) for _ in range(2)]
    async with client_of(*nodes) as client:
        for _ in range(10):
            with pytest.raises(InvalidInput, match="bad"):
                await client.infer("echo", b"x")
    assert sum(len(node.seen) for node in nodes) == 10


async def test_many_sources_that_the_model_fails_at_do_not_stop_a_lone_node() -> None:
    async def handler(request: Any) -> Any:
        broken = int(request.payload) % 2
        return failing(request, 4, "damaged") if broken else echo(request)

    async with client_of(Script(handler)) as client:
        async with asyncio.timeout(5):
            answers = await gathered(client.map("echo", (b"%d" % n for n in range(100))))
    assert [answer.error is not None for answer in answers] == [bool(n % 2) for n in range(100)]


@pytest.mark.parametrize("count", [1, 2])
async def test_nodes_that_fail_at_everything_are_no_reason_to_wait(count: int) -> None:
    nodes = [Script(always(4, "no memory")) for _ in range(count)]
    async with client_of(*nodes) as client, asyncio.timeout(5):
        answers = await gathered(client.map("echo", (b"%d" % n for n in range(150))))
    assert {answer.error and answer.error.code for answer in answers} == {"INTERNAL"}
    assert sum(len(node.seen) for node in nodes) == 150 * count


async def test_one_task_resting_does_not_rest_another() -> None:
    for_long = {"grpc-retry-pushback-ms": "60000"}

    async def handler(request: Any) -> Any:
        return failing(request, 2, "full", **for_long) if request.task == "full" else echo(request)

    async with client_of(Script(handler, capability("echo", "full"))) as client:
        waiting = asyncio.create_task(client.infer("full", b"x", timeout=120))
        breaker = client._pool.handles[0].task_health("full").breaker
        await until(lambda: breaker.rest_until > time.monotonic() + 30)
        async with asyncio.timeout(20):
            for _ in range(10):
                await client.infer("echo", b"x")
        waiting.cancel()


async def test_a_draining_node_gets_nothing_new() -> None:
    draining = Script(echoing, capability(extra={"node.status": "draining"}))
    good = Script()
    async with client_of(draining, good) as client:
        await mapped(client, 40)
    assert draining.seen == []


async def test_a_node_without_the_task_gets_nothing() -> None:
    other, good = Script(echoing, capability("something")), Script()
    async with client_of(other, good) as client:
        await mapped(client, 40)
    assert other.seen == []


def announced(target: str, name: str = "") -> NodeRecord:
    host, _, port = target.rpartition(":")
    return NodeRecord(name or target, "", host, int(port))


async def test_a_node_that_was_named_and_found_is_counted_once() -> None:
    """As mDNS would tell: by another address than the one it was named by."""
    who = capability(extra={"node.uuid": "u-1", "node.name": "one"})
    other = capability(extra={"node.uuid": "u-2", "node.name": "two"})
    one, two = Script(taking(0.002), who), Script(taking(0.002), other)
    async with serving(two) as found, client_of(one) as client:
        [named] = [node.target for node in client.nodes]
        twin = named.replace("127.0.0.1", "localhost")
        records = [announced(twin), announced(found), announced(named)]
        client._pool.membership.compare(records)
        async with asyncio.timeout(5):
            while any(node.state == "new" for node in client.nodes):
                await asyncio.sleep(0.01)
        shares = await mapped(client, 200)
        assert set(shares) == {named, found}
        assert min(shares.values()) > 50
        assert len(list(client._pool.able("echo"))) == 2


async def test_a_copy_of_a_node_with_a_name_of_its_own_is_another_node() -> None:
    """Nodes on copies of one data folder have the same uuid."""
    nodes = [Script(taking(0.002), capability(extra={"node.uuid": "u-1", "node.name": name}))
             for name in ("one", "two")]  # fmt: skip
    async with serving(nodes[1]) as found, client_of(nodes[0]) as client:
        client._pool.membership.compare([announced(found)])
        await client.ready("echo")
        async with asyncio.timeout(5):
            while any(node.state == "new" for node in client.nodes):
                await asyncio.sleep(0.01)
        assert len(await mapped(client, 100)) == 2


async def test_a_goodbye_in_a_map_costs_no_answer() -> None:
    one, two = Script(taking(0.002)), Script(taking(0.002))
    async with serving(two) as found, client_of(one) as client:
        client._pool.membership.compare([announced(found, "two")])
        answers = 0
        async for answer in client.map("echo", (b"%d" % n for n in range(200))):
            assert answer.error is None
            answers += 1
            if answers == 60:
                client._pool.membership.compare([])  # it stays for as long as it answers
                two._capabilities = (capability(extra={"node.status": "draining"}),)
        assert answers == 200
