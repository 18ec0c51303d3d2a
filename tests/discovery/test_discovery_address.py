"""Which address a node announces, on machines that are network namespaces."""

import asyncio
from collections.abc import Callable

import pytest

import lan_kit
from hearth.discovery.address import (
    advertised_address,
    checked_address,
    multicast_addresses,
    only_address,
)
from hearth.discovery.watcher import AddressWatcher
from hearth.errors import SettingsError
from lan_kit import Host


def seen_from(host: Host, look: Callable[[], str]) -> str:
    with host.entered():
        return look()


def add_link(host: Host, name: str, address: str) -> None:
    """An interface that is up, with a cable plugged in."""
    host.ip(f"link add {name} type veth peer name {name}-far")
    host.ip(f"addr add {address} dev {name}")
    host.ip(f"link set {name} up")
    host.ip(f"link set {name}-far up")


def add_bridge(host: Host, name: str, address: str) -> None:
    """A bridge as container engines make it, with one container's link on it."""
    host.ip(f"link add {name} type bridge")
    host.ip(f"addr add {address} dev {name}")
    host.ip(f"link set {name} up")
    host.ip("link add veth0 type veth peer name veth1")
    host.ip(f"link set veth0 up master {name}")
    host.ip("link set veth1 up")


def test_the_default_routes_address_is_announced() -> None:
    with lan_kit.lan("node") as lan:
        add_link(lan["node"], "eth1", "10.1.1.1/24")
        assert seen_from(lan["node"], advertised_address) == lan["node"].address


def test_a_container_bridge_is_never_announced() -> None:
    with lan_kit.lan("node") as lan:
        node = lan["node"]
        add_bridge(node, "docker0", "172.17.0.1/16")
        assert seen_from(node, advertised_address) == node.address
        # The same where no default route points the way.
        node.ip("route del default")
        assert seen_from(node, advertised_address) == node.address
        node.ip("link set eth0 down")
        assert seen_from(node, advertised_address) == "127.0.0.1"


def test_a_vpn_that_takes_the_default_route_does_not_take_the_announcement() -> None:
    with lan_kit.lan("node") as lan:
        node = lan["node"]
        add_link(node, "wg0", "10.8.0.2/24")
        node.ip("route replace default dev wg0")
        assert seen_from(node, advertised_address) == node.address


def test_a_machine_with_loopback_alone_announces_loopback() -> None:
    with lan_kit.lan("node") as alone:
        alone["node"].ip("link set eth0 down")
        assert seen_from(alone["node"], advertised_address) == "127.0.0.1"
        assert multicast_addresses("127.0.0.1") == ["127.0.0.1"]


def test_containers_may_ask_on_their_bridge_but_the_announced_address_comes_first() -> None:
    with lan_kit.lan("node") as lan:
        node = lan["node"]
        add_bridge(node, "docker0", "172.17.0.1/16")
        with node.entered():
            spoken = multicast_addresses(advertised_address())
        assert spoken[0] == node.address
        assert set(spoken) == {node.address, "172.17.0.1", "127.0.0.1"}


@pytest.mark.parametrize("wrong", ["nas.local", "0.0.0.0", "224.0.0.251", "::1", "192.168.1"])
def test_an_address_that_no_host_can_have_is_a_setting_error(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"mdns\.advertise_ip"):
        checked_address(wrong)


def test_an_address_asked_for_is_taken_as_it_is() -> None:
    assert advertised_address(checked_address(" 10.0.0.7 ")) == "10.0.0.7"
    assert checked_address("") is None


def test_a_server_on_one_address_announces_that_one() -> None:
    hosts = ("192.168.1.5", "localhost", "0.0.0.0", "::", "nas.local")
    assert [only_address(host) for host in hosts] == [
        "192.168.1.5", "127.0.0.1", None, None, None,
    ]  # fmt: skip


def test_the_watcher_tells_of_a_change_once_for_a_burst() -> None:
    calls: list[int] = []

    async def watch(host: Host) -> None:
        changed = asyncio.Event()
        watcher = AddressWatcher(lambda: (calls.append(1), changed.set()), settle=0.3)  # type: ignore[func-returns-value]
        watcher.start()
        await asyncio.to_thread(host.ip, "addr add 192.168.77.50/24 dev eth0")
        await asyncio.to_thread(host.ip, "route add 10.9.0.0/16 via 192.168.77.254")
        await asyncio.wait_for(changed.wait(), 5)
        watcher.close()

    with lan_kit.lan("node") as lan, lan["node"].loop() as loop:
        loop.call(watch(lan["node"]))
    assert calls == [1]


async def test_where_the_kernel_does_not_tell_the_watcher_looks_now_and_then() -> None:
    calls = asyncio.Semaphore(0)
    watcher = AddressWatcher(calls.release, interval=0.02, netlink=False)
    watcher.start()
    for _ in range(3):
        await asyncio.wait_for(calls.acquire(), 5)
    watcher.close()
