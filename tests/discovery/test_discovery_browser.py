"""Which services are one node."""

from hearth.discovery.browser import merged
from hearth.discovery.record import HOMENATIVE, LUMEN, NodeRecord


def service(type_: str, *, uuid: str = "", address: str = "10.0.0.1", port: int = 1,
            name: str = "n", status: str = "") -> NodeRecord:  # fmt: skip
    return NodeRecord(
        name=name, uuid=uuid, address=address, port=port, status=status, types=(type_,),
        txt={"uuid": uuid, "status": status},
    )  # fmt: skip


def test_both_types_of_one_uuid_are_one_node() -> None:
    # Even while only one of them has told its new address.
    services = [
        service(LUMEN, uuid="u", address="10.0.0.2"),
        service(HOMENATIVE, uuid="u", status="ready"),
    ]
    [node] = merged(services).values()
    assert node.types == (HOMENATIVE, LUMEN)
    assert node.address == "10.0.0.1"
    assert node.status == "ready"


def test_without_a_uuid_host_and_port_tell_nodes_apart() -> None:
    services = [
        service(HOMENATIVE, name="a"),
        service(LUMEN, name="b"),
        service(LUMEN, name="c", port=2),
    ]
    assert [node.types for node in merged(services).values()] == [(HOMENATIVE, LUMEN), (LUMEN,)]


def test_a_copied_data_folder_does_not_hide_a_node() -> None:
    services = [
        service(type_, uuid="u", address=address)
        for type_ in (HOMENATIVE, LUMEN)
        for address in ("10.0.0.1", "10.0.0.2")
    ]
    nodes = list(merged(services).values())
    assert [node.address for node in nodes] == ["10.0.0.1", "10.0.0.2"]
    assert {node.types for node in nodes} == {(HOMENATIVE, LUMEN)}


def test_a_target_is_fit_for_a_grpc_channel() -> None:
    assert service(LUMEN).target == "10.0.0.1:1"
    assert service(LUMEN, address="fe80::1%eth0").target == "[fe80::1%eth0]:1"
