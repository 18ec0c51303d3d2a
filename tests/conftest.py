"""Fixtures that several test modules share; each block belongs to the kit it names."""

from collections.abc import Iterator

import pytest

import lan_kit
from hub_kit import HubServer
from lan_kit import Lan

# --- the model hub (hub_kit.py) -----------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A model hub of our own on loopback; hub_kit.py says what it can be told to do."""
    with HubServer() as server:
        yield server


# --- a LAN of network namespaces (lan_kit.py) ----------------------------------------------


@pytest.fixture(scope="session")
def lan() -> Iterator[Lan]:
    """Hosts ``node``, ``second`` and ``client`` on one LAN, for the whole session."""
    with lan_kit.lan("node", "second", "client") as hosts:
        yield hosts
