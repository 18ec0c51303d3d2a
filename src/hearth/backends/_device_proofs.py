"""Record about an engine's devices: whether each can run, found out once."""

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class DeviceProofs(Generic[Key]):
    """Proofs of devices by key, each made when it is first asked for; safe to share by threads.

    ``prove`` runs something tiny on a device, and returns what keeps it from that, or "".
    """

    def __init__(self, prove: Callable[[Key], str]) -> None:
        self._prove = prove
        self._faults: dict[Key, str] = {}
        self._logged: set[str] = set()
        self._lock = threading.Lock()

    def fault(self, device: Key) -> str:
        """Say why a device that is listed can't run; empty where it can."""
        with self._lock:
            if device not in self._faults:
                self._faults[device] = self._prove(device)
            return self._faults[device]

    def log_once(self, fallback: str) -> None:
        """Warn that another device is taken, in the first session that it happens to."""
        with self._lock:
            is_new = fallback not in self._logged
            self._logged.add(fallback)
        if fallback and is_new:
            log.warning("%s", fallback)
