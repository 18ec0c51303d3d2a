"""A whole node as another host of the LAN sees it, from start to goodbye."""

import asyncio
from pathlib import Path

import uvloop

from batch_kit import Gate
from hearth.discovery.browser import Browser
from hearth.node import InferenceNode
from hearth.settings import load
from lan_kit import Lan, wait_for
from node_kit import LAB_TASKS, LabLoader


def test_the_status_on_the_lan_follows_the_node_until_its_goodbye(lan: Lan, tmp_path):
    gate = Gate()
    settings = load(
        {"port": 0, "data_dir": tmp_path, "grace_seconds": 30},
        environment={},
        config=Path("/dev/null"),
    )

    async def start() -> InferenceNode:
        node = InferenceNode(settings, loaders=[LabLoader(gate)], tasks=LAB_TASKS)
        await node.start()
        return node

    async def one_slow_request(node: InferenceNode) -> bytes:
        # Past gRPC, whose own threads live in the namespace of the test process.
        return (await node.infer("upper", b"slow")).body

    with lan["node"].loop(uvloop.new_event_loop) as there, lan["client"].loop() as here:
        browser = here.call(Browser().__aenter__())

        def status() -> list[str]:
            return [record.status for record in browser.nodes]

        node = there.call(start())
        wait_for(lambda: status() == ["ready"])
        assert browser.nodes[0].port == node.port
        assert browser.nodes[0].runtime == "python"

        asked = asyncio.run_coroutine_threadsafe(one_slow_request(node), there._loop)
        here.call(gate.entered())
        stopped = asyncio.run_coroutine_threadsafe(node.stop(), there._loop)
        wait_for(lambda: status() == ["draining"])
        gate.open()
        assert asked.result(10) == b"SLOW"
        stopped.result(10)
        wait_for(lambda: status() == [])
        here.call(browser.__aexit__())
