"""Protocol of every engine: it says what it runs on, and opens a file as a session."""

import importlib.util
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from hearth.backends.session import DEFAULTS, Session, SessionOptions
from hearth.errors import ModelUnavailable


class Device(NamedTuple):
    """A device of this machine that an engine lists."""

    name: str
    """Name as settings spell it: ``cpu``, ``cuda:0``, ``mps``, …"""
    label: str
    """Name for people."""
    fault: str = ""
    """Reason why it can't run, though it is listed; empty where it can."""


class Placement(NamedTuple):
    """Device and provider that sessions with certain options run on."""

    device: str
    """Name of the device: ``cpu``, ``cuda:0``, …"""
    provider: str
    """Name of the provider that runs them there, in the engine's own words."""
    fallback: str = ""
    """Reason why that isn't what was asked for or, with ``auto``, the best listed; empty: it is."""


class Backend(ABC):
    """An engine. Nothing of it is imported before a session is opened or a device asked for.

    Devices are proved, and not only listed: a tiny session is run on each that is asked for,
    once in the life of the backend.
    """

    name: str
    """Name as settings and the contract's ``runtime`` spell it."""
    title: str
    """Name for people."""
    packages: tuple[str, ...] = ()
    """Python packages that it imports, its own first."""
    install: str = ""
    """Command that brings these packages."""
    suffixes: tuple[str, ...] = ()
    """Endings of the files that it opens (``.onnx``); none where it opens no files."""

    def unavailable(self) -> str | None:
        """Say in one line why the engine can't be used here, or None; imports nothing."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed: {self.install}"
        return None

    @abstractmethod
    def version(self) -> str:
        """Return the engine's version; raises BackendUnavailable where it can't be imported."""

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """List the devices of this machine, best first, each tried out; raises as ``version``."""

    @abstractmethod
    def place(self, options: SessionOptions) -> Placement:
        """Say where a session with these options would run.

        Raises BackendUnavailable for a device that can't be meant, and with ``require_device``
        for one that can't be had.
        """

    def settle(self, options: SessionOptions) -> Placement:
        """Place sessions that are about to be opened: warn, once, of a fallback.

        Raises as ``place`` does.
        """
        return self.place(options)

    @abstractmethod
    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> Session:
        """Open a model's file, or ``options.content`` in its place.

        Ends with ``require_precision``. Raises BackendUnavailable as ``place`` does and where the
        engine can't be imported, ModelUnavailable where the file can't be loaded.
        """


def require_precision(session: Session, path: Path, options: SessionOptions) -> None:
    """See that a session computes in the precision asked for, or close it and raise.

    Raises ModelUnavailable.
    """
    if options.precision not in ("auto", session.precision):
        session.close()
        raise ModelUnavailable(f"{path} is {session.precision}, not {options.precision}")
