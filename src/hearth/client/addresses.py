"""Addresses of nodes that are named, rather than found."""

import os
import re
from collections.abc import Iterable, Mapping

from hearth.environment import CLIENT_NAMES
from hearth.errors import SettingsError

DEFAULT_PORT = 50051


def with_port(name: str) -> str:
    """Add hearth's usual port to ``name`` where it has none, and an IPv6 address its brackets.

    Raises SettingsError for what is no address.
    """
    target = _with_port(name)
    host, _, port = target.rpartition(":")
    if (
        "/" in name
        or not name.isprintable()
        or not host
        or not port.isdecimal()
        or not 0 < int(port[:6]) < 1 << 16
    ):
        raise SettingsError(f"{name!r} is no address of a node: write HOST:PORT")
    return target


def _with_port(name: str) -> str:
    if name.startswith(":") and not name.startswith("::"):
        name = f"localhost{name}"
    host, colon, port = name.rpartition(":")
    if name.startswith("["):
        return f"{name}:{DEFAULT_PORT}" if name.endswith("]") else name
    if ":" in host:
        return f"[{name}]:{DEFAULT_PORT}"
    return name if colon and port else f"{host or port}:{DEFAULT_PORT}"


def read_list(text: str) -> list[str]:
    """Read addresses from a list with commas or spaces between."""
    return [with_port(name) for name in re.split(r"[,;\s]+", text) if name]


def named(
    nodes: str | Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> list[str]:
    """List ``HOST:PORT`` of each of ``nodes``, else of the environment's; each once.

    Raises SettingsError for what is no address.
    """
    texts = [nodes] if isinstance(nodes, str) else list(nodes)
    if not any(texts):
        texts = [value for name in CLIENT_NAMES if (value := environment.get(name, "").strip())][:1]
    return list(dict.fromkeys(address for each in texts for address in read_list(each)))
