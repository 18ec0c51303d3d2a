"""Checks of ``hearth doctor``: each says how a thing is, and what to do about it."""

import asyncio
import importlib.util
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hearth.cpu import CURE, Missing, missing_features
from hearth.errors import HearthError, how_to_install
from hearth.machine import cpu_model
from hearth.settings import Settings

if TYPE_CHECKING:
    from hearth.backends import Backend
    from hearth.batching import LatencyProfile
    from hearth.models.loader import ModelLoader

GIB = 1 << 30
LITTLE_SPACE = 2 * GIB
"""Bytes; a large CLIP takes more than one GiB."""
HUB_SECONDS = 5.0
INSTALL_SERVER = how_to_install("server")


class State(StrEnum):
    """State of a thing: it works, is worth knowing, or can't work."""

    OK = "ok"
    NOTE = "note"
    """A thing worth knowing; nothing that was configured fails for it."""
    BAD = "bad"
    """Mark of a configured thing that can't work."""


class Check(NamedTuple):
    """One thing that was looked at."""

    area: str
    name: str
    state: State
    what: str
    cure: str = ""
    """Advice; empty where there is nothing to do."""


def everything(settings: Settings) -> Iterator[Check]:
    """Make all checks; those that take long come last."""
    yield _program()
    missing = missing_features()
    yield _cpu(missing)
    if not missing.required:  # to import an engine would be our end
        yield from _engines(settings)
        yield _exporter()
    yield from _formats()
    yield _data_folder(settings.data_dir)
    yield _port("port", settings.host, settings.port, "--port or --host")
    if settings.metrics_port is not None:
        yield _port("metrics", settings.host, settings.metrics_port, "--metrics-port")
    yield _mdns(settings)
    if not missing.required:
        yield from services(settings)
        yield from _curves(settings)


def _program() -> Check:
    from hearth import __version__

    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    what = f"{__version__}, {machine}, {os.cpu_count()} cores"
    return Check("machine", "hearth", State.OK, what)


def _cpu(missing: Missing) -> Check:
    if not missing.sentence:
        return Check("machine", "cpu", State.OK, f"{cpu_model()}: all that the engines need")
    state = State.BAD if missing.required else State.NOTE
    return Check("machine", "cpu", state, f"{cpu_model()}: {missing.sentence}", CURE)


def has_server() -> bool:
    """Tell whether the packages that a node needs are installed."""
    return all(map(importlib.util.find_spec, ("numpy", "onnxruntime", "grpc_health", "PIL")))


def _engines(settings: Settings) -> Iterator[Check]:
    if not has_server():
        what = "not installed: this is a client's installation"
        yield Check("engine", "node", State.NOTE, what, INSTALL_SERVER)
        return
    from hearth.backends.registry import BACKENDS

    for backend in BACKENDS.values():
        sections = map(settings.section_of, settings.services)
        is_chosen = backend.name in [getattr(section, "backend", None) for section in sections]
        missing = State.BAD if is_chosen else State.NOTE
        if (reason := backend.unavailable()) is not None:
            what = "not installed" if backend.install else reason
            yield Check("engine", backend.name, missing, what, backend.install)
            continue
        try:
            yield from _devices(backend)
        except Exception as error:  # a broken installation may raise anything
            what = f"can't be imported: {' '.join(str(error).split())}"
            yield Check("engine", backend.name, missing, what, backend.install)


def _devices(backend: "Backend") -> Iterator[Check]:
    """Say what an engine runs on, and what it lists that can't run; raises BackendUnavailable."""
    devices = backend.devices()
    able = ", ".join(device.label for device in devices if not device.fault)
    yield Check("engine", backend.name, State.OK, f"{backend.title} {backend.version()}: {able}")
    for device in devices:
        if device.fault:
            yield Check("engine", backend.name, State.NOTE, device.fault)


def _exporter() -> Check:
    needed = ("torch", "open_clip", "onnx")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        what = f"`hearth models export` of open_clip models needs {', '.join(missing)}"
        return Check("engine", "export", State.NOTE, what, how_to_install("export"))
    return Check("engine", "export", State.OK, "`hearth models export` can be used")


def _formats() -> Iterator[Check]:
    """Check image formats that need packages of their own."""
    if not has_server():
        return
    from hearth.media.formats import PACKAGES, is_read

    for name, (mimes, package) in PACKAGES.items():
        if is_read(mimes[0]):
            yield Check("images", name, State.OK, f"read, with {package}")
        else:
            cure = f"pip install {package}"
            yield Check("images", name, State.NOTE, f"refused: {package} is missing", cure)


def _data_folder(folder: Path) -> Check:
    place = folder.absolute()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        cure = "change its owner, or choose another with --data-dir"
        return Check("node", "data", State.BAD, f"{place} can't be written", cure)
    free = shutil.disk_usage(existing).free
    what = f"{place}, {free / GIB:.0f} GiB free" + ("" if place.exists() else ", will be made")
    if free < LITTLE_SPACE:
        return Check("node", "data", State.NOTE, what, "make room: models take up to some GiB")
    return Check("node", "data", State.OK, what)


def _port(name: str, host: str, port: int, flags: str) -> Check:
    if port == 0:
        return Check("node", name, State.OK, "any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the node's server binds: a port whose last owner has just gone is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"{host}:{port} can't be had: {(error.strerror or str(error)).lower()}"
            cure = f"if that isn't your node, choose another {flags}"
            return Check("node", name, State.BAD, what, cure)
    return Check("node", name, State.OK, f"{host}:{port} is free")


def _mdns(settings: Settings) -> Check:
    from hearth.discovery.address import (
        LOOPBACK,
        advertised_address,
        checked_address,
        multicast_addresses,
    )

    if not settings.mdns.enabled:
        return Check("node", "mdns", State.NOTE, "switched off: clients must name the node")
    try:
        address = advertised_address(checked_address(settings.mdns.advertise_ip))
        asyncio.run(_open_mdns(multicast_addresses(address)))
    except (HearthError, OSError) as error:
        cure = "clients can name the node with --node HOST:PORT"
        return Check("node", "mdns", State.BAD, f"can't be used: {error}", cure)
    if address == LOOPBACK:
        what = "no network here: announced as 127.0.0.1, to this machine alone"
        cure = "set --advertise-ip where another machine should find the node"
        return Check("node", "mdns", State.NOTE, what, cure)
    return Check("node", "mdns", State.OK, f"announced as {address}")


async def _open_mdns(addresses: list[str]) -> None:
    from hearth.discovery.multicast import open_zeroconf

    opened = await open_zeroconf(addresses)
    await opened.async_close()


def services(settings: Settings) -> Iterator[Check]:
    """Check whether the models of the configured services are here, or can be had."""
    if not has_server():
        return
    from hearth.wiring import loader_of

    for name in dict.fromkeys(settings.services):
        try:
            yield _service(loader_of(settings, name, hub_timeout=HUB_SECONDS))
            if fallback := _fallback(settings, name):
                yield Check("service", name, State.BAD, fallback)
        except HearthError as error:
            yield Check("service", name, State.BAD, str(error))


def _fallback(settings: Settings, service: str) -> str:
    """Tell why a service won't run on the device that its settings name; raises HearthError."""
    from hearth.backends.registry import require_backend
    from hearth.models.sessions import session_options

    section: Any = settings.section_of(service)
    if not hasattr(section, "device"):
        return ""
    backend = require_backend(getattr(section, "backend", "onnxrt"))
    options = session_options(section)
    return backend.place(options).fallback if options.names_device else ""


def _service(loader: "ModelLoader") -> Check:
    """Check whether a model is here, or can be had; raises HearthError."""
    from hearth.models.loader import describe, is_local, resolve

    about, name = describe(loader), loader.service
    if about.fault:
        return Check("service", name, State.BAD, about.fault)
    if is_local(loader):
        what = f"{about.model} is here" if about.model else "needs no model"
        return Check("service", name, State.OK, what)
    try:
        where = "" if about.barred else resolve(loader)
        why = about.barred
    except HearthError as error:
        why = str(error)
    if why:
        cure = f"bring its files, or take {name} out of services"
        return Check("service", name, State.BAD, f"{about.model} isn't here: {why}", cure)
    what = f"{about.model} will be downloaded at the start"
    return Check("service", name, State.NOTE, f"{what}, from {where}" if where else what)


def _curves(settings: Settings) -> Iterator[Check]:
    """Tell how long batches took on this machine when they were measured."""
    if not has_server():
        return
    from hearth.models.tuning import FILE, ProfileCache, machine_facts

    this_machine = machine_facts().items()
    shown = set()
    for cached in ProfileCache(settings.data_dir / FILE):
        facts = {"model": "", "runtime": "", "device": "", "precision": "", **cached.facts}
        about = "{model} on {runtime}, {device}, {precision}".format_map(facts)
        # The newest comes first: how it was with other files or another version says nothing.
        if this_machine <= facts.items() and (cached.key, about) not in shown:
            shown.add((cached.key, about))
            service, _, tower = cached.key.partition("-")
            what = f"{tower}: {about}\n{_speed(settings, service, cached.profile)}"
            yield Check("speed", service, State.OK, what)
    if not shown:
        what = "not measured yet: a node does that in quiet moments"
        yield Check("speed", "batches", State.NOTE, what)


def _speed(settings: Settings, service: str, profile: "LatencyProfile") -> str:
    from hearth.models.tuning import milliseconds, three_digits

    times = (
        f"{size}: {milliseconds(took)} ({three_digits(size / took)}/s)"
        for size, took in profile.times.items()
    )
    section = getattr(settings, service, None)
    wish = getattr(section, "max_batch_size", None) or settings.batch_size
    chosen = f"up to {wish}, as set" if wish else f"up to {profile.best()}"
    return f"batches {chosen} — {', '.join(times)}"
