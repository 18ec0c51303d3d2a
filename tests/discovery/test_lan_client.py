"""The client on a LAN of its own: nodes found by mDNS, which die, drain, move, vanish and join.

The client is a process on one host (``lan_client.py``), each node a process on another; what
happens to them happens in the middle of a map of real files.
"""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import lan_kit
from fleet_kit import ClientProcess, LabProcess, lab_processes
from lan_kit import Host, Lan

FILES = 2000
MANY = 1_000_000
"""More than any test has patience for: such a map is ended by ``enough``."""
PORT = 50051
BATCH_SECONDS = 0.012
"""Of eight: three nodes answer some 2,000 files a second, and always have some in flight."""

GIVEN_UP_SECONDS = 10.0
"""Bound for what takes about 5.3: 2 of silence, and 3 that a question is waited for."""
BACK_SECONDS = 10.0
"""Bound for what takes 1 to 4: the pause between two questions to a node that is down."""


def unplug(host: Host) -> None:
    """Take a host's cable out of the switch, at the switch's end: nobody notices by its link."""
    _ip(host, f"link set {_port(host)} nomaster")


def plug(host: Host) -> None:
    """Put it back."""
    _ip(host, f"link set {_port(host)} master bridge0")


def readdress(host: Host, before: str, after: str) -> None:
    """Give a host another address, as a router does that has forgotten it."""
    host.ip(f"addr del {before}/24 dev eth0")  # its routes go with it
    host.ip(f"addr add {after}/24 dev eth0")
    host.ip(f"route add default via {after.rpartition('.')[0]}.254")


def _port(host: Host) -> str:
    return f"to-{host.name}"


def _ip(host: Host, arguments: str) -> None:
    switch = host.namespace.removesuffix(host.name) + "switch"
    subprocess.run(["ip", "-n", switch, *arguments.split()], check=True)


@pytest.fixture(scope="module")
def own() -> Iterator[Lan]:
    with lan_kit.lan("client", "n1", "n2", "n3", "n4") as hosts:
        yield hosts


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files, each with a text of its own."""
    folder = tmp_path_factory.mktemp("files")
    for n in range(FILES):
        (folder / f"{n:04}.txt").write_text(f"text of {n:04}")
    return folder


def node_at(host: Host) -> LabProcess:
    return LabProcess(host, port=PORT, seconds=BATCH_SECONDS)


@pytest.fixture(scope="module")
def three(own: Lan) -> Iterator[Sequence[LabProcess]]:
    with lab_processes(*(node_at(own[name]) for name in ("n1", "n2", "n3"))) as nodes:
        yield nodes


@pytest.fixture
def nodes(three: Sequence[LabProcess]) -> Sequence[LabProcess]:
    """All three, serving at their usual places, whatever a test before has done to them."""
    ended = [node for node in three if not node.is_running or node.port != PORT]
    for node in ended:
        node.kill()
        node.port = PORT
        node.begin()
    for node in ended:
        node.serving()
    return three


@pytest.fixture
def client(own: Lan, files: Path, nodes: Sequence[LabProcess]) -> Iterator[ClientProcess]:
    """A client that has just been opened."""
    with ClientProcess(own["client"], files) as process:
        yield process


def targets(nodes: Sequence[LabProcess]) -> set[str]:
    return {node.target for node in nodes}


def all_up(client: ClientProcess, nodes: Sequence[LabProcess]) -> None:
    """Wait for all nodes, and begin a map that always has some files in flight at each."""
    client.until(lambda: client.up == targets(nodes))
    client.map(MANY)
    client.until_answers(300)
    assert set(client.shares(200)) == targets(nodes)


def assert_each_right_once(client: ClientProcess) -> None:
    assert [answer.error for answer in client.answers if answer.error] == []
    indexes = [answer.index for answer in client.answers]
    assert sorted(indexes) == list(range(len(indexes)))
    for answer in client.answers:
        number = f"{answer.index % FILES:04}"
        assert (answer.name, answer.body) == (f"{number}.txt", f"TEXT OF {number}")


def test_three_nodes_are_found_at_once_and_counted_once_each(client, nodes) -> None:
    client.until(lambda: len(client.up) >= 3)
    # Not by a question asked again, seconds later; benchmarks/client.py measures how soon.
    assert client.since_opening <= 3.0
    assert client.nodes == dict.fromkeys(targets(nodes), "up")
    client.map(600)
    client.until_end()
    assert_each_right_once(client)
    # Both service types of each have been heard by now, several times.
    assert set(client.nodes) == targets(nodes)
    assert all(client.shares(600)[target] > 100 for target in targets(nodes))


def test_a_node_killed_in_the_middle_of_a_map_costs_no_answer_and_doubles_none(
    client, nodes
) -> None:
    client.until(lambda: client.up == targets(nodes))
    client.map(FILES)
    client.until_answers(500)
    nodes[0].kill()
    client.until_end()
    assert len(client.answers) == FILES
    assert_each_right_once(client)


def test_a_node_that_drains_in_the_middle_of_a_map_loses_nothing(client, nodes) -> None:
    client.until(lambda: client.up == targets(nodes))
    client.map(FILES // 2)
    client.until_answers(300)
    nodes[1].signal(signal.SIGTERM)
    client.until_end()
    assert len(client.answers) == FILES // 2
    assert_each_right_once(client)
    assert nodes[1].ended() == 0


def test_a_node_that_is_cut_off_is_given_up_and_taken_back_once_it_is_there_again(
    own, client, nodes
) -> None:
    all_up(client, nodes)
    lost = nodes[2].target
    unplug(own["n3"])
    try:
        assert client.until(lambda: lost not in client.up) < GIVEN_UP_SECONDS
        client.until_answers(200)
    finally:
        plug(own["n3"])
    assert client.until(lambda: lost in client.up) < BACK_SECONDS
    client.until(lambda: lost in client.shares(100))
    client.enough()
    assert_each_right_once(client)


def test_a_node_that_joins_in_the_middle_of_a_map_takes_its_share(own, client, nodes) -> None:
    all_up(client, nodes)
    with node_at(own["n4"]) as fourth:
        client.until(lambda: fourth.target in client.shares(1))
        client.until_answers(900)
        share = client.shares(500)[fourth.target]
        client.enough()
    assert 500 / 8 < share < 500 / 2
    assert_each_right_once(client)


def test_a_node_whose_address_changes_is_asked_at_the_new_one(own, client, nodes) -> None:
    host, before = own["n1"], nodes[0].target
    all_up(client, nodes)
    new = host.address.replace("77.", "77.10")
    readdress(host, host.address, new)
    try:
        moved = {f"{new}:{PORT}", *targets(nodes[1:])}
        took = client.until(lambda: client.up == moved and before not in client.nodes)
        assert took < BACK_SECONDS
        client.until(lambda: f"{new}:{PORT}" in client.shares(100))
        client.enough()
    finally:
        readdress(host, new, host.address)
    assert_each_right_once(client)


def test_a_node_that_restarts_at_another_port_is_asked_there(client, nodes) -> None:
    all_up(client, nodes)
    before = nodes[0].target
    nodes[0].kill()
    nodes[0].port = PORT + 7
    nodes[0].start()
    after = nodes[0].target
    took = client.until(lambda: after in client.up and before not in client.nodes)
    assert took < BACK_SECONDS
    client.until(lambda: after in client.shares(100))
    client.enough()
    assert_each_right_once(client)
