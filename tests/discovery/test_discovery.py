"""A node on a LAN: announced, found, changed, gone."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import uvloop
from zeroconf import DNSIncoming

import lan_kit
from hearth.discovery.announcer import Announcer
from hearth.discovery.browser import Browser, NodeEvent, find
from hearth.discovery.record import HOMENATIVE, LUMEN, TYPES, NodeRecord
from hearth.discovery.settings import MdnsSettings
from hearth.errors import SettingsError, Unavailable
from lan_kit import Avahi, Host, HostLoop, Lan, wait_for

UUID = "0a1b2c3d-0000-4000-8000-000000000001"
PORT = 50051

A, PTR, TXT, AAAA, SRV = 1, 12, 16, 28, 33  # RFC 1035, 2782, 3596


def announcer(uuid: str = UUID, port: int = PORT, **settings: str) -> Announcer:
    return Announcer(
        MdnsSettings(**settings), uuid=uuid, port=port, version="1.2.3", runtime="onnxrt"
    )


@asynccontextmanager
async def announced(*nodes: Announcer) -> AsyncIterator[None]:
    for node in nodes:
        await node.start()
    try:
        async with asyncio.timeout(5):
            for node in nodes:
                await node.announced()
        yield
    finally:
        for node in nodes:
            await node.close()


@contextmanager
def on_air(loop: HostLoop, *nodes: Announcer) -> Iterator[None]:
    context = announced(*nodes)
    loop.call(context.__aenter__())
    try:
        yield
    finally:
        loop.call(context.__aexit__(None, None, None))


@contextmanager
def browsing(loop: HostLoop) -> Iterator[Browser]:
    browser = loop.call(Browser().__aenter__())
    try:
        yield browser
    finally:
        loop.call(browser.__aexit__())


@pytest.fixture(scope="module")
def node_loop(lan: Lan) -> Iterator[HostLoop]:
    with lan["node"].loop(uvloop.new_event_loop) as loop:  # what a node runs on
        yield loop


@pytest.fixture(scope="module")
def client_loop(lan: Lan) -> Iterator[HostLoop]:
    with lan["client"].loop() as loop:
        yield loop


@pytest.fixture(scope="module")
def avahi(lan: Lan) -> Iterator[Avahi]:
    with Avahi(lan["client"]) as daemon:
        yield daemon


@pytest.fixture
def unrivalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that nobody else has: a node needn't give others time to object, nor say goodbye
    slowly."""
    monkeypatch.setattr("hearth.discovery.responder._PROBE_SECONDS", 0.05)
    monkeypatch.setattr("zeroconf._core._UNREGISTER_TIME", 20)


async def next_event(browser: Browser) -> NodeEvent:
    async with asyncio.timeout(5):
        return await anext(browser)


async def until_event(browser: Browser, kind: str, **fields: object) -> NodeRecord:
    while True:
        event = await next_event(browser)
        if event.kind == kind and all(
            getattr(event.node, key) == value for key, value in fields.items()
        ):
            return event.node


def ask_like_todays_clients(host: Host, service_type: str, seconds: float) -> list[bytes]:
    """One PTR question with the unicast bit from a port of its own; all that comes back."""
    labels = service_type.rstrip(".").split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    header = (4711).to_bytes(2, "big") + bytes([0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    question = header + name + PTR.to_bytes(2, "big") + (0x8001).to_bytes(2, "big")
    replies: list[bytes] = []
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(question, ("224.0.0.251", 5353))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            client.settimeout(left)
            try:
                replies.append(client.recv(9000))
            except TimeoutError:
                break
    return replies


def test_a_node_is_found_in_about_a_second_changes_and_says_goodbye(
    node_loop: HostLoop, client_loop: HostLoop, lan: Lan
) -> None:
    node = announcer()
    with browsing(client_loop) as browser:
        begun = time.monotonic()
        node_loop.call(node.start())
        returned = time.monotonic() - begun
        client_loop.call(until_event(browser, "added", uuid=UUID))
        found = time.monotonic() - begun
        assert returned < found / 2  # it goes on in the background
        assert found < 2
        [seen] = client_loop.call(browser.find(5, lambda nodes: nodes[0].types == TYPES))
        assert (seen.address, seen.port) == (lan["node"].address, PORT)
        assert (seen.status, seen.version, seen.runtime) == ("starting", "1.2.3", "onnxrt")
        assert seen.txt["v"] == "1.2.3"
        assert seen.name.endswith("-0a1b2c3d")
        node_loop.call(node.set_status("ready"))
        client_loop.call(until_event(browser, "updated", status="ready"))
        node_loop.call(node.set_runtime("torch"))
        client_loop.call(until_event(browser, "updated", runtime="torch"))
        begun = time.monotonic()
        node_loop.call(node.close())
        client_loop.call(until_event(browser, "removed", uuid=UUID))
        assert time.monotonic() - begun < 60  # told, not forgotten after the records' two minutes
        assert browser.nodes == []


def test_avahi_resolves_both_service_types(node_loop: HostLoop, lan: Lan, avahi: Avahi) -> None:
    node = announcer(name="Büro 1.OG", status="fixed", version="9.9")
    with on_air(node_loop, node):
        rows = {row["type"]: row for row in avahi.browse()}
        assert set(rows) == {"_homenative-node._tcp", "_lumen._tcp"}
        for row in rows.values():
            assert row["name"] == r"B\195\188ro\0321-OG"
            assert (row["address"], row["port"]) == (lan["node"].address, str(PORT))
            assert row["protocol"] == "IPv4"
            txt = set(row["txt"].strip('"').split('" "'))
            assert txt == {f"uuid={UUID}", "status=fixed", "version=9.9", "v=9.9",
                           "runtime=onnxrt"}  # fmt: skip
    wait_for(lambda: avahi.browse() == [])


@pytest.mark.usefixtures("unrivalled")
@pytest.mark.parametrize("asker", ["client", "node"])
def test_one_unicast_reply_holds_all_that_todays_clients_ever_ask_for(
    node_loop: HostLoop, lan: Lan, asker: str
) -> None:
    with on_air(node_loop, announcer()):
        for service_type in (LUMEN, HOMENATIVE):
            [reply] = ask_like_todays_clients(lan[asker], service_type, 0.3)
            message = DNSIncoming(reply)
            assert message.id == 4711
            records = message.answers()  # of all sections
            kinds = [record.type for record in records]
            assert [kinds.count(kind) for kind in (PTR, SRV, TXT, A, AAAA)] == [1, 1, 1, 1, 0]
            [address] = [record.address for record in records if record.type == A]
            assert socket.inet_ntoa(address) == lan["node"].address
            [service] = [record for record in records if record.type == SRV]
            [owner] = [record.name for record in records if record.type == A]
            assert (service.port, service.server) == (PORT, owner)


@pytest.mark.usefixtures("unrivalled")
def test_two_nodes_on_one_host_with_default_settings_are_both_found(
    node_loop: HostLoop, client_loop: HostLoop
) -> None:
    other = "ffffffff-0000-4000-8000-000000000002"
    with on_air(node_loop, announcer(), announcer(other, PORT + 1)):
        nodes = client_loop.call(find(5, lambda nodes: len(nodes) == 2))
        assert {(node.uuid, node.port) for node in nodes} == {(UUID, PORT), (other, PORT + 1)}
        assert len({node.name for node in nodes}) == 2
        # The host itself finds them as well.
        assert len(node_loop.call(find(5, lambda nodes: len(nodes) == 2))) == 2


def test_a_node_takes_another_name_where_a_stranger_has_its_own(
    node_loop: HostLoop, lan: Lan, avahi: Avahi
) -> None:
    with avahi.publish("Attic", "_lumen._tcp", 9999):
        node = announcer(name="Attic")
        with on_air(node_loop, node):
            assert node.name == "Attic-2"
            nodes = node_loop.call(find(5, lambda nodes: len(nodes) == 2))
            ours, theirs = sorted(nodes, key=lambda found: found.name, reverse=True)
            assert (ours.name, ours.port, ours.types) == ("Attic-2", PORT, TYPES)
            # A stranger without a uuid is a node as well.
            assert (theirs.name, theirs.uuid, theirs.port) == ("Attic", "", 9999)
            assert theirs.address == lan["client"].address


def test_nodes_that_start_at_once_under_one_name_end_up_with_two(
    node_loop: HostLoop, client_loop: HostLoop, lan: Lan
) -> None:
    mine, theirs = announcer(name="Twin"), announcer("f" * 8, PORT + 1, name="Twin")
    with lan["second"].loop() as second_loop, ExitStack() as stack:
        for loop, node in ((node_loop, mine), (second_loop, theirs)):
            loop.call(node.start())
            stack.callback(loop.call, node.close())
        apart = client_loop.call(
            find(8, lambda nodes: sorted(node.name for node in nodes) == ["Twin", "Twin-2"])
        )
        assert {node.port for node in apart} == {PORT, PORT + 1}
        wait_for(lambda: {mine.name, theirs.name} == {"Twin", "Twin-2"})


@pytest.mark.usefixtures("unrivalled")
def test_a_new_address_is_announced_in_place_of_the_old() -> None:
    with lan_kit.lan("node", "client") as lan, ExitStack() as stack:
        node_loop = stack.enter_context(lan["node"].loop(uvloop.new_event_loop))
        client_loop = stack.enter_context(lan["client"].loop())
        node = announcer()
        with on_air(node_loop, node):
            browser = stack.enter_context(browsing(client_loop))
            client_loop.call(until_event(browser, "added", address=lan["node"].address))
            lan["node"].ip("addr flush dev eth0")
            lan["node"].ip("addr add 192.168.77.99/24 dev eth0")
            lan["node"].ip("route add default via 192.168.77.254")
            client_loop.call(until_event(browser, "updated", address="192.168.77.99"))
            assert node.address == "192.168.77.99"
            [reply] = ask_like_todays_clients(lan["client"], LUMEN, 0.3)
            addresses = [record for record in DNSIncoming(reply).answers() if record.type == A]
            assert [socket.inet_ntoa(record.address) for record in addresses] == ["192.168.77.99"]


@pytest.mark.usefixtures("unrivalled")
def test_a_node_without_a_network_finds_itself_and_is_found_when_the_network_comes() -> None:
    with lan_kit.lan("node", "client") as lan, ExitStack() as stack:
        lan["node"].ip("link set eth0 down")
        node_loop = stack.enter_context(lan["node"].loop(uvloop.new_event_loop))
        client_loop = stack.enter_context(lan["client"].loop())
        with on_air(node_loop, announcer()):
            [alone] = node_loop.call(find(5, len))
            assert alone.address == "127.0.0.1"
            lan["node"].ip("link set eth0 up")
            lan["node"].ip("route add default via 192.168.77.254")
            [found] = client_loop.call(find(8, len))
            assert found.address == lan["node"].address


@pytest.mark.usefixtures("unrivalled")
def test_a_browser_asks_on_a_network_that_it_joins_later() -> None:
    with lan_kit.lan("node", "client") as lan, ExitStack() as stack:
        lan["client"].ip("link set eth0 down")
        node_loop = stack.enter_context(lan["node"].loop(uvloop.new_event_loop))
        client_loop = stack.enter_context(lan["client"].loop())
        with on_air(node_loop, announcer()):
            browser = stack.enter_context(browsing(client_loop))
            lan["client"].ip("link set eth0 up")
            lan["client"].ip("route add default via 192.168.77.254")
            client_loop.call(until_event(browser, "added", uuid=UUID))


@pytest.mark.usefixtures("unrivalled")
def test_a_container_reaches_its_hosts_node_over_the_bridge(lan: Lan) -> None:
    """On docker0 the host answers too, with its LAN address and not the bridge's."""
    with lan_kit.lan("node", "box") as own, own["node"].loop() as loop:
        node, box = own["node"], own["box"]
        node.ip("link add docker0 type bridge")
        node.ip("addr add 172.17.0.1/16 dev docker0")
        node.ip("link set docker0 up")
        node.ip(f"link add to-box type veth peer name eth9 netns {box.namespace}")
        node.ip("link set to-box up master docker0")
        box.ip("link set eth0 down")
        box.ip("addr add 172.17.0.2/16 dev eth9")
        box.ip("link set eth9 up")
        box.ip("route add default via 172.17.0.1")
        with on_air(loop, announcer()):
            [reply] = ask_like_todays_clients(box, LUMEN, 0.3)
            addresses = [record for record in DNSIncoming(reply).answers() if record.type == A]
            assert [socket.inet_ntoa(record.address) for record in addresses] == [node.address]


def test_where_mdns_cannot_be_used_one_warning_is_all(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    with lan_kit.lan("node") as own, own["node"].loop() as loop, caplog.at_level(logging.WARNING):
        with own["node"].entered():
            selfish = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            selfish.bind(("", 5353))
        with selfish:
            node = announcer()
            loop.call(node.start())
            wait_for(lambda: caplog.records)
            loop.call(node.set_status("ready"))
            with pytest.raises(Unavailable, match="UDP port 5353"):
                loop.call(find(1))
        # The port comes free; the next change of the network is the time to try again.
        own["node"].ip("addr add 192.168.77.60/24 dev eth0")
        loop.call(asyncio.wait_for(node.announced(), 5))
        loop.call(node.close())
    assert [record.name for record in caplog.records] == ["hearth.discovery.announcer"]
    assert "mDNS can't be used here" in caplog.text


@pytest.mark.usefixtures("unrivalled")
def test_an_idle_node_costs_no_cpu(node_loop: HostLoop) -> None:
    async def cpu_of_a_second() -> float:
        before = time.thread_time()
        await asyncio.sleep(1)
        return time.thread_time() - before

    with on_air(node_loop, announcer()):
        node_loop.call(asyncio.sleep(0.5))  # the announcement is sent three times
        spent = node_loop.call(cpu_of_a_second())
    assert spent < 0.01


@pytest.mark.parametrize("wrong", ["lumen", "_lumen.local.", "x._lumen._tcp.local.", "_a._tcp.x"])
def test_a_service_type_that_is_none_is_a_setting_error(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"mdns\.type"):
        announcer(type=wrong)


@pytest.mark.usefixtures("unrivalled")
def test_a_type_set_to_the_other_is_announced_once(
    node_loop: HostLoop, client_loop: HostLoop
) -> None:
    with on_air(node_loop, announcer(type="_lumen._tcp.local")):
        [node] = client_loop.call(find(0.5))
        assert node.types == (LUMEN,)
