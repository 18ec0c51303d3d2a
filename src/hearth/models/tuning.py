"""Latency profiles of sessions, kept between starts: measuring takes seconds, reading nothing.

A profile counts only while every fact that it depends on is the same as when it was measured:
the model's files, the engine, the device, the machine.
"""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hearth.backends import Session
from hearth.backends.registry import BACKENDS
from hearth.batching import BatchQueue
from hearth.batching.latency_profile import LatencyProfile
from hearth.files import fingerprint, write_atomic
from hearth.machine import cpu_model, gpu_models, trim_memory, usable_cores

log = logging.getLogger(__name__)

FILE = "tuning.json"
"""Name of the file in the data folder."""

LARGEST = 64
"""The largest batch that is measured, unless a model knows better."""

LARGEST_ON_CPU = 16
"""Largest batch on a CPU: there, larger ones fall out of the processor's cache (ViT-B-32: no faster
from 8 on), and the memory that an engine takes for one run it keeps."""

_FORMAT = 1
_KEPT = 8
"""Profiles kept of each queue: models and devices that are tried in turns needn't be measured anew
each time, and the file stays small."""
_LOCK_SECONDS = 5.0

Facts = Mapping[str, Any]


class CachedProfile(NamedTuple):
    """One profile in the file."""

    key: str
    facts: Facts
    profile: LatencyProfile
    largest: int
    """Batch size up to which it was to be measured; it may end earlier where more doesn't pay."""
    measured: str
    """Time of the measurement: UTC, ISO 8601."""

    def answers(self, key: str, facts: Facts, largest: int) -> bool:
        """Tell whether measuring ``key`` up to ``largest`` now would give this profile."""
        return self.key == key and self.facts == facts and self.largest >= largest

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the file."""
        content = self._asdict()
        profile: LatencyProfile = content.pop("profile")
        times = {str(size): seconds for size, seconds in profile.times.items()}
        return {**content, "curve": times}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CachedProfile":
        """Read what ``to_json`` gave.

        Raises ValueError, KeyError, TypeError or AttributeError for anything else.
        """
        profile = LatencyProfile(
            {int(size): float(took) for size, took in content["curve"].items()}
        )
        facts = dict(content["facts"])
        largest, measured = int(content["largest"]), str(content["measured"])
        return cls(str(content["key"]), facts, profile, largest, measured)


class ProfileCache:
    """The profiles of one data folder, in one JSON file that several processes may share.

    What can't be read counts as absent; what can't be written is a warning: profiles are
    measured again then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = threading.Lock()
        """Lock that is held while something is measured: two at once would slow one another down,
        and the wrong profiles would be kept."""

    def load(self, key: str, facts: Facts, *, largest: int = 1) -> LatencyProfile | None:
        """Return the profile of ``key`` under these very facts, measured up to ``largest``."""
        facts = _as_json(facts)
        return next(
            (cached.profile for cached in self if cached.answers(key, facts, largest)), None
        )

    def save(self, key: str, facts: Facts, profile: LatencyProfile, *, largest: int) -> None:
        """Keep a profile; ``largest`` is the batch size up to which it was to be measured."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        profile_entry = CachedProfile(key, _as_json(facts), profile, largest, now)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._add(profile_entry)
        except OSError as error:
            log.warning("%s can't be written, so %s is measured at every start: %s",
                        self.path, key, error)  # fmt: skip

    def __iter__(self) -> Iterator[CachedProfile]:
        """Iterate over all that is kept, the newest first."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["format"] == _FORMAT:
                yield from [CachedProfile.from_json(entry) for entry in content["curves"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.debug("the profiles in %s are not used: %r", self.path, error)

    def _add(self, entry: CachedProfile) -> None:
        import filelock

        # Without the lock two processes that start together would lose one another's profiles.
        try:
            with filelock.FileLock(self.path.with_name(f".{FILE}.lock"), timeout=_LOCK_SECONDS):
                self._write(entry)
        except (filelock.Timeout, NotImplementedError):
            self._write(entry)  # at worst one of them measures again

    def _write(self, newest: CachedProfile) -> None:
        entries = [newest]
        for old in self:
            same = old.key == newest.key
            full = sum(other.key == old.key for other in entries) >= _KEPT
            if not full and not (same and old.facts == newest.facts):
                entries.append(old)
        content = {"format": _FORMAT, "curves": [profile.to_json() for profile in entries]}
        write_atomic(self.path, (json.dumps(content, indent=1) + "\n").encode())


def facts_of(
    session: Session, *, model_id: str, files: Iterable[Path], item: Sequence[int]
) -> Facts:
    """Gather all that the speed of a session depends on.

    ``files`` are the model's; ``item`` is the shape of what is measured, without the batch:
    a graph of free sizes takes small pictures and large ones. Blocking. Raises OSError
    where the files can't be read.
    """
    return {
        "model": model_id,
        "files": fingerprint(files),
        "runtime": session.runtime,
        "engine": _engine_version(session.runtime),
        "device": session.device,
        "provider": session.provider,
        "precision": session.precision,
        "threads": session.threads,
        "item": list(item),
        **machine_facts(),
    }


def machine_facts() -> Facts:
    """Return the part of a profile's facts that is the machine's own."""
    return {"cpu": cpu_model(), "cores": usable_cores(), "gpus": list(gpu_models())}


async def tune(
    queue: BatchQueue[Any, Any],
    item: Any,
    *,
    cache: ProfileCache | None,
    key: str,
    facts: Facts,
    largest: int | None = None,
    max_batch: int | None = None,
) -> None:
    """Give a queue its profile: the one that is kept, or else one measured in quiet moments.

    It is measured with copies of ``item``, once the process has nothing else to do: until then
    batches are as large as the queue was made for. ``max_batch`` is the user's wish: it is obeyed,
    and nothing larger is measured. Without it the profile decides, up to ``largest`` (None: what
    its device is good for).
    """
    if largest is None:
        largest = LARGEST_ON_CPU if facts.get("device") == "cpu" else LARGEST
    largest = min(largest, max_batch or largest)
    cached = None
    if cache is not None:
        cached = await asyncio.to_thread(cache.load, key, facts, largest=largest)
    if cached is not None:
        queue.tune(cached, max_batch)
        return

    def keep(profile: LatencyProfile) -> None:
        queue.tune(profile, max_batch)
        log.info("%s, measured by batch size: %s", key, described(profile))
        if cache is not None:
            cache.save(key, facts, profile, largest=largest)
        trim_memory()  # what the larger batches took

    turn = threading.Lock() if cache is None else cache.turn
    queue.measure_when_idle(item, largest=largest, turn=turn, done=keep)


def described(profile: LatencyProfile) -> str:
    """Write a profile for people: ``1: 28.1 ms, 2: 54.0 ms``."""
    return ", ".join(f"{size}: {milliseconds(took)}" for size, took in profile.times.items())


def milliseconds(seconds: float) -> str:
    """Write a time for people: ``28.1 ms``."""
    return f"{three_digits(seconds * 1000)} ms"


def three_digits(value: float) -> str:
    """Write a measured number for people, without an exponent: ``0.0415``, ``28.1``, ``1530``."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _engine_version(runtime: str) -> str:
    """Return the version of an engine that has made a session, so it is imported by now."""
    backend = BACKENDS.get(runtime)
    packages = backend.packages if backend else ()
    return str(getattr(sys.modules.get(packages[0]), "__version__", "")) if packages else ""


def _as_json(facts: Facts) -> dict[str, Any]:
    """Return the facts as they come back from the file, so that they can be compared."""
    return dict(json.loads(json.dumps(facts)))
