"""Identity of a node: a uuid that survives restarts, and the names made from it."""

import json
import logging
import os
import re
import socket
import unicodedata
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from hearth.files import write_atomic

log = logging.getLogger(__name__)

_LONGEST_LABEL = 59
"""Bytes; a DNS label holds 63 (RFC 1035 §2.3.4), and a renamed node needs room for ``-999``."""

_claimed: dict[Path, str] = {}
"""The uuids that this process has claimed, by data folder; their locks live as long as it does."""


def node_uuid(data_dir: Path, override: str | None = None) -> str:
    """Return the uuid of this process's node.

    ``override`` where it is given; else the one kept in ``data_dir/node.json``, made when
    there is none. Nodes of several processes that share a data folder must not share a uuid
    (clients would count them once): the first holds ``node.json``, the next ``node-2.json``,
    and so on, each locked while its process lives, so the same set of nodes started in the
    same order has the same uuids again. A folder that can't be written gives a uuid for
    this run, and a warning.
    """
    if override is not None and override.strip():
        return override.strip()
    folder = data_dir.resolve()
    if folder not in _claimed:
        _claimed[folder] = _claim(folder)
    return _claimed[folder]


def instance_label(name: str | None, node: str) -> str:
    """Make the instance name to ask for: one DNS label without dots, at most 59 bytes of UTF-8.

    ``name`` is the user's wish; without one it is made from the host's name and the first
    part of the uuid ``node``, so that nodes with default settings never clash.
    """
    wished = _clean(name or "", _LONGEST_LABEL)
    if wished:
        return wished
    whole = _clean(node, 20)
    first = whole.split("-", 1)[0]
    suffix = first if len(first) == 8 else whole  # a uuid of the user's may be any text
    host = _clean(socket.gethostname().split(".", 1)[0], _LONGEST_LABEL - 21)
    return f"{host or 'hearth'}-{suffix}".rstrip("-")


def _clean(text: str, longest: int) -> str:
    """Return ``text`` without dots and control characters, cut to ``longest`` bytes of UTF-8."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).replace(".", "-"))
    text = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cs"})
    text = text.strip(" -")
    return text.encode()[:longest].decode(errors="ignore").rstrip(" -")


def _claim(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = next(path for path in _candidates(folder) if _lock(path))
        return _read(path) or _write(path)
    except (OSError, ValueError) as error:  # ValueError: no path can have that name
        log.warning("can't keep the node's uuid in %s (%s): it is new in every run", folder, error)
        return str(uuid.uuid4())


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder / "node.json"
    yield from (folder / f"node-{number}.json" for number in count(2))


def _lock(path: Path) -> bool:
    """Tell whether no other process has ``path``; if so it is ours until the process ends.

    The lock is on a file beside it, because ``path`` itself is replaced when it is written.
    """
    from filelock import lock_descriptor

    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return True  # a folder that is only read: what stands there counts
    try:
        is_ours = lock_descriptor(descriptor, blocking=False)
    except OSError:
        is_ours = True  # some network file systems have no locks: then there is nothing to ask
    if not is_ours:
        os.close(descriptor)
    return is_ours


def _read(path: Path) -> str | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["uuid"]
        return str(uuid.UUID(stored))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s holds no uuid (%s): a new one is written", path, error)
        return None


def _write(path: Path) -> str:
    made = str(uuid.uuid4())
    write_atomic(path, json.dumps({"uuid": made}).encode())
    return made
