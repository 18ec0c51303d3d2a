"""Finding nodes under real conditions: shared ports, several networks, IPv6, nodes of others."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import uvloop
from zeroconf import ServiceInfo

import lan_kit
from hearth.discovery import browser as browsing
from hearth.discovery.address_ranking import LocalNetworks
from hearth.discovery.announcer import Announcer
from hearth.discovery.browser import Browser, NodeEvent
from hearth.discovery.record import HOMENATIVE, LUMEN, TYPES
from hearth.discovery.settings import MdnsSettings
from hearth.errors import Unavailable
from lan_kit import Avahi, Host, HostLoop, Lan, Stranger

QUICK = 0.5
"""Seconds; measured are some milliseconds, and a tenth where avahi takes its time."""

# Programs of their own: gRPC's threads would live in the namespace of the test process.
SERVE = """
import asyncio, grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port("[::]:50051")
    await server.start()
    print("up", flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""
DIAL = """
import asyncio, sys
from hearth.client.connection import Connection
from grpc_health.v1 import health_pb2, health_pb2_grpc
async def main():
    async with Connection(sys.argv[1]) as node:
        stub = health_pb2_grpc.HealthStub(node._channel)
        print((await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status)
asyncio.run(main())
"""


class Watch:
    """A browser on a host of the LAN, and what it tells."""

    def __init__(self, loop: HostLoop) -> None:
        self._loop = loop
        self.browser = loop.call(Browser().__aenter__())

    def next(self, kind: str, within: float = QUICK) -> NodeEvent:
        """The next event, which has to be of this kind and come in so many seconds."""
        event = self._loop.call(asyncio.wait_for(anext(self.browser), within))
        assert event.kind == kind, event
        return event

    def silence(self, seconds: float) -> None:
        """Nothing happens for so long."""
        with pytest.raises(TimeoutError):
            print(self._loop.call(asyncio.wait_for(anext(self.browser), seconds)))

    def close(self) -> None:
        self._loop.call(self.browser.__aexit__())


@contextmanager
def watching(loop: HostLoop) -> Iterator[Watch]:
    watch = Watch(loop)
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def announced(loop: HostLoop, name: str, port: int = 50051) -> Iterator[Announcer]:
    node = Announcer(MdnsSettings(name=name), uuid=name, port=port, version="1", runtime="onnxrt")
    loop.call(node.start())
    loop.call(asyncio.wait_for(node.announced(), 5))
    try:
        yield node
    finally:
        loop.call(node.close())


def seconds_to_find(loop: HostLoop, count: int) -> float:
    begun = time.monotonic()
    with watching(loop) as watch:
        nodes = loop.call(watch.browser.find(5, lambda nodes: len(nodes) >= count))
        assert len(nodes) == count, nodes
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def here(lan: Lan) -> Iterator[HostLoop]:
    with lan["client"].loop() as loop:
        yield loop


@pytest.fixture(autouse=True)
def unrivalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that nobody else has: no time to object, no slow goodbyes."""
    monkeypatch.setattr("hearth.discovery.responder._PROBE_SECONDS", 0.02)
    monkeypatch.setattr("zeroconf._core._UNREGISTER_TIME", 20)


def test_nodes_are_found_at_once_by_everybody_on_a_host_that_shares_its_port(
    lan: Lan, here: HostLoop
) -> None:
    """A unicast answer to port 5353 would reach one of the five that have it there."""
    with (
        Avahi(lan["second"]) as avahi,
        avahi.publish("Attic", "_lumen._tcp", 9999),
        lan["node"].loop(uvloop.new_event_loop) as there,
        announced(there, "there"),
        announced(here, "here"),
        watching(here),
        watching(here),
        watching(here),
    ):
        # Others have just asked, too: answers by multicast would come a second later.
        assert max(seconds_to_find(here, 3) for _ in range(5)) < QUICK
        assert seconds_to_find(there, 3) < QUICK


def test_both_service_types_are_one_node_and_one_event(lan: Lan, here: HostLoop) -> None:
    with (
        lan["node"].loop(uvloop.new_event_loop) as there,
        announced(there, "one"),
        watching(here) as watch,
    ):
        assert watch.next("added").node.types == TYPES
        watch.silence(0.3)


def test_a_status_is_told_at_once(lan: Lan, here: HostLoop) -> None:
    with (
        lan["node"].loop(uvloop.new_event_loop) as there,
        announced(there, "one") as node,
        watching(here) as watch,
    ):
        watch.next("added")
        there.call(node.set_status("draining"))
        assert watch.next("updated").node.status == "draining"


def test_a_client_on_two_networks_finds_the_nodes_of_both() -> None:
    with lan_kit.lan("client", "near", "other") as lan:
        lan["other"].ip("link set eth0 down")
        lan.cable("client", "other", "10.1.1")
        lan["other"].ip("route add default via 10.1.1.254")
        with (
            lan["near"].loop() as near,
            lan["other"].loop() as other,
            announced(near, "near"),
            announced(other, "other"),
            lan["client"].loop() as client,
        ):
            assert seconds_to_find(client, 2) < QUICK
            with watching(client) as watch:
                nodes = client.call(watch.browser.find(5, lambda nodes: len(nodes) == 2))
                assert {node.address for node in nodes} == {"192.168.77.2", "10.1.1.2"}


def test_a_node_on_two_networks_can_be_reached_from_the_one_that_it_does_not_announce() -> None:
    """It announces one address, and answers from another."""
    with lan_kit.lan("node", "client") as lan:
        lan["client"].ip("link set eth0 down")
        lan.cable("node", "client", "10.1.1")
        with (
            lan["node"].loop() as there,
            lan["client"].loop() as client,
            watching(client) as early,
            announced(there, "two"),
            watching(client) as late,
        ):
            for watch in (early, late):
                [node] = client.call(
                    watch.browser.find(3, lambda nodes: nodes and len(nodes[0].addresses) == 2)
                )
                assert node.addresses == ("192.168.77.1", "10.1.1.1")
                assert node.targets == ("192.168.77.1:50051", "10.1.1.1:50051")


def test_of_many_addresses_the_one_on_our_network_comes_first_and_bridges_last(
    lan: Lan, here: HostLoop
) -> None:
    others = ("172.17.0.1", "10.9.9.9", "169.254.7.7", "192.168.77.3")
    with Stranger(lan["second"], "many", LUMEN) as node, watching(here) as watch:
        node.say(*others, "2001:db8::7", "fe80::7")
        event = watch.next("added")
        assert event.node.address == "192.168.77.3"
        # An answer over IPv4 names no interface: it must be one of ours.
        assert event.node.addresses == (
            "192.168.77.3", "10.9.9.9", "2001:db8::7", "fe80::7%eth0", "169.254.7.7",
            "172.17.0.1",
        )  # fmt: skip
        node.say(*reversed(others), "fe80::7", "2001:db8::7")
        watch.silence(0.2)
        node.say(ttl=0)
        watch.next("removed")


def test_in_a_container_the_bridges_network_is_the_lan() -> None:
    with lan_kit.lan("box") as lan:
        box = lan["box"]
        box.ip("addr add 172.17.0.2/16 dev eth0")
        with box.entered():
            near = LocalNetworks.now()
    assert near.ordered(["10.9.9.9", "172.17.0.5"]) == ("172.17.0.5", "10.9.9.9")


def test_an_address_that_changes_within_a_second_is_not_kept(lan: Lan, here: HostLoop) -> None:
    """RFC 6762 lets what came in the last second stand beside what is new."""
    with Stranger(lan["second"], "mover", LUMEN) as node, watching(here) as watch:
        node.say("192.168.77.30", uuid="m")
        watch.next("added")
        node.say("192.168.77.31", uuid="m")
        assert watch.next("updated").node.address == "192.168.77.31"
        time.sleep(1.1)  # announcements come twice, a second apart
        node.say("192.168.77.31", uuid="m")
        assert watch.next("updated").node.addresses == ("192.168.77.31",)
        node.say(ttl=0)
        watch.next("removed")


def test_who_comes_back_under_the_same_name_is_seen_at_once(lan: Lan, here: HostLoop) -> None:
    with Stranger(lan["second"], "back", LUMEN, HOMENATIVE) as node, watching(here) as watch:
        say = partial(node.say, "192.168.77.3", uuid="a")
        say(status="ready")
        watch.next("added")
        # A process that was killed says no goodbye; its host's name is a new one.
        say(status="starting", port=6, server="other.local.")
        event = watch.next("updated")
        assert (event.node.port, event.node.status) == (6, "starting")
        # What it said before and says again is news as well.
        say(status="ready", port=6, server="other.local.")
        assert watch.next("updated").node.status == "ready"
        say(status="draining")
        event = watch.next("updated")
        assert (event.node.port, event.node.status) == (50051, "draining")
        node.say("192.168.77.33", uuid="b", server="third.local.")
        assert watch.next("removed").node.uuid == "a"
        event = watch.next("added")
        assert (event.node.uuid, event.node.addresses) == ("b", ("192.168.77.33",))
        node.say(ttl=0)
        assert watch.next("removed").node.uuid == "b"


def test_a_flood_of_announcements_is_one_event(lan: Lan, here: HostLoop) -> None:
    with Stranger(lan["second"], "loud", LUMEN, HOMENATIVE) as node, watching(here) as watch:
        for ttl in range(120, 220):  # zeroconf itself drops what is the same to the byte
            node.say("192.168.77.3", "10.9.9.9", uuid="a", ttl=ttl, times=5)
        watch.next("added")
        watch.silence(0.3)
        node.say(ttl=0)
        watch.next("removed")


def test_who_vanishes_is_removed_when_its_word_has_run_out_and_who_answers_stays(
    lan: Lan, here: HostLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeroconf._engine._CACHE_CLEANUP_INTERVAL", 0.2)
    monkeypatch.setattr("hearth.discovery.responder.ServiceInfo", partial(ServiceInfo, host_ttl=2))
    monkeypatch.setattr(browsing, "RESOLVE_PAUSES", (0.2, 0.2))
    with (
        lan["node"].loop() as there,
        announced(there, "alive"),
        Stranger(lan["second"], "dead", LUMEN) as node,
        watching(here) as watch,
    ):
        assert watch.next("added").node.name == "alive"
        node.say("192.168.77.3", ttl=2)
        assert watch.next("added").node.name == "dead"
        assert watch.next("removed", within=4).node.name == "dead"
        watch.silence(0.2)  # while the other's word ran out, too
        # It needn't have said goodbye to be seen again.
        node.say("192.168.77.3", ttl=2)
        assert watch.next("added").node.name == "dead"
        node.say(ttl=0)
        watch.next("removed")
        # One that was cut off has no reason to speak when it isn't any more.
        with lan.apart("node"):
            assert here.call(watch.browser.find(4, lambda nodes: not nodes)) == []
        assert here.call(watch.browser.find(2, len))


def test_a_node_that_has_ipv6_alone_is_found_and_dialled() -> None:
    with lan_kit.lan("node", "client") as lan:
        node, client = lan["node"], lan["client"]
        node.ip("addr flush dev eth0")
        node.ip("addr add fe80::77:1/64 dev eth0 nodad")
        client.ip("addr add fe80::77:2/64 dev eth0 nodad")
        config = "[server]\nuse-ipv4=no\nuse-ipv6=yes\n"
        with (
            Avahi(node, config) as avahi,
            avahi.publish("Six", "_lumen._tcp", 50051),
            serving(node),
            client.loop() as loop,
        ):
            with watching(loop) as watch:
                target = watch.next("added").node.target
            assert target == "[fe80::77:1%eth0]:50051"
            assert dial(client, target) == "1"
            # A name that looks like a byte in a URI.
            client.ip("link set eth0 down")
            client.ip("link set eth0 name ed0")
            client.ip("link set ed0 up")
            client.ip("addr add fe80::77:2/64 dev ed0 nodad")
            with watching(loop) as watch:
                target = watch.next("added").node.target
            assert target == "[fe80::77:1%25ed0]:50051"
            assert dial(client, target) == "1"


@contextmanager
def serving(host: Host) -> Iterator[None]:
    process = host.popen(sys.executable, "-c", SERVE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield
    finally:
        process.kill()
        process.communicate()


def dial(host: Host, target: str) -> str:
    return host.run(sys.executable, "-c", DIAL, target).strip()


def test_ipv4_is_preferred_where_a_node_has_both() -> None:
    with lan_kit.lan("node", "client") as lan:
        for number, name in enumerate(("node", "client"), 1):
            lan[name].ip(f"addr add fe80::77:{number}/64 dev eth0 nodad")
        with (
            Avahi(lan["node"]) as avahi,
            avahi.publish("Both", "_lumen._tcp", 50051),
            lan["client"].loop() as loop,
            watching(loop) as watch,
        ):
            [node] = loop.call(
                watch.browser.find(3, lambda nodes: nodes and len(nodes[0].addresses) > 1)
            )
            assert node.target == "192.168.77.1:50051"
            assert "fe80::77:1%eth0" in node.addresses[1:]


def test_without_multicast_the_way_out_is_named() -> None:
    with lan_kit.lan("alone") as lan, lan["alone"].loop() as loop:
        lan["alone"].ip("link set eth0 down")
        lan["alone"].ip("link set lo down")
        lan["alone"].ip("addr flush dev lo")
        with pytest.raises(Unavailable, match=r"--node HOST:PORT or HEARTH_NODES") as caught:
            Watch(loop)
        assert "\n" not in str(caught.value)
