"""The client over several nodes that die, hang, drain, refuse and come back: real processes."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from fleet_kit import LabProcess, lab_processes
from hearth.client import Answer, Client
from hearth.client.retry import MAX_DEATHS
from hearth.errors import Unavailable

Meanwhile = Callable[[int], None]


def texts(count: int) -> list[str]:
    return [f"text {n}" for n in range(count)]


async def mapped(
    client: Client, sources: list[str], meanwhile: Meanwhile = lambda _: None, **how: object
) -> list[Answer]:
    """All answers; ``meanwhile`` is called with their number as they come."""
    answers = []
    async for answer in client.map("upper", sources, **how):
        answers.append(answer)
        meanwhile(len(answers))
    return answers


def assert_each_right_once(answers: list[Answer], sources: list[str]) -> None:
    assert [answer.error for answer in answers if answer.error] == []
    assert sorted(answer.index for answer in answers) == list(range(len(sources)))
    assert all(answer.body == sources[answer.index].upper().encode() for answer in answers)


@pytest.fixture(scope="module")
def pair():
    with lab_processes(LabProcess(seconds=0.002), LabProcess(seconds=0.002)) as nodes:
        yield nodes


async def test_all_nodes_have_their_share_of_a_map(pair):
    sources = texts(400)
    async with Client([node.target for node in pair]) as client:
        await client.ready("upper")
        answers = await mapped(client, sources)
    assert [answer.index for answer in answers] == list(range(400))
    assert_each_right_once(answers, sources)
    shares = Counter(answer.node for answer in answers)
    assert min(shares[node.target] for node in pair) > 50


async def test_a_node_that_is_killed_in_a_map_costs_no_answer_and_doubles_none():
    sources = texts(1000)
    with lab_processes(LabProcess(seconds=0.01), LabProcess(seconds=0.01)) as (first, second):
        async with Client([first.target, second.target]) as client:

            def killed(n: int) -> None:
                if n == 200:
                    first.kill()

            answers = await mapped(client, sources, killed, ordered=False)
    assert_each_right_once(answers, sources)


async def test_a_node_that_drains_is_left_in_time():
    sources = texts(600)
    with lab_processes(LabProcess(seconds=0.01), LabProcess(seconds=0.01)) as (first, second):
        async with Client([first.target, second.target]) as client:

            def told(n: int) -> None:
                if n == 100:
                    first.signal(signal.SIGTERM)

            answers = await mapped(client, sources, told, ordered=False)
    assert_each_right_once(answers, sources)


async def test_a_node_that_freezes_is_given_up_and_taken_back_when_it_thaws():
    with lab_processes(LabProcess(seconds=0.01), LabProcess(seconds=0.01)) as (first, second):
        async with Client([first.target, second.target]) as client:

            def frozen(n: int) -> None:
                if n == 100:
                    first.signal(signal.SIGSTOP)

            answers = await mapped(client, texts(600), frozen, ordered=False)
            assert_each_right_once(answers, texts(600))
            first.signal(signal.SIGCONT)
            async with asyncio.timeout(20):
                while {node.state for node in client.nodes} != {"up"}:
                    await asyncio.sleep(0.05)
            answers = await mapped(client, texts(400))
    assert_each_right_once(answers, texts(400))
    assert len({answer.node for answer in answers}) == 2


async def test_a_lone_node_that_restarts_is_waited_for():
    with LabProcess(seconds=0.01) as node:
        async with Client(node.target) as client:

            def restart(n: int) -> None:
                if n == 100:
                    node.kill()
                    node.begin()

            answers = await mapped(client, texts(300), restart)
            node.serving()
    assert_each_right_once(answers, texts(300))


async def test_no_node_at_all_is_waited_for_up_to_the_deadline_and_then_said():
    async with Client("127.0.0.1:9") as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="connection refused"):
            await client.infer("upper", "a", timeout=0.6)
        assert time.monotonic() - began < 30  # far from the client's own timeout of a minute


async def test_a_node_that_comes_within_the_deadline_is_used():
    with LabProcess() as node:
        node.kill()
        async with Client(node.target) as client:
            asked = asyncio.create_task(client.infer("upper", "late", timeout=30))
            await asyncio.sleep(0)
            await asyncio.to_thread(node.start)
            assert (await asked).body == b"LATE"


async def test_a_request_that_kills_its_nodes_is_given_up():
    with LabProcess(poison="poison") as node:
        async with Client(node.target) as client:
            reviving = asyncio.create_task(asyncio.to_thread(node.revive, MAX_DEATHS))
            with pytest.raises(Unavailable):
                await client.infer("upper", "poison", timeout=60)
            await reviving
            assert (await client.infer("upper", "innocent")).body == b"INNOCENT"


async def test_vectors_of_two_models_never_meet_in_one_map():
    nodes = [LabProcess(seconds=0.002, model=f"lab-{n}") for n in range(2)]
    with lab_processes(*nodes):
        async with Client([node.target for node in nodes]) as client:
            await client.ready("upper")
            for _ in range(2):
                answers = await mapped(client, texts(200))
                assert_each_right_once(answers, texts(200))
                assert len({answer.model_id for answer in answers}) == 1
            answers = await mapped(client, texts(50), model_id="lab-1")
            assert {answer.model_id for answer in answers} == {"lab-1"}
