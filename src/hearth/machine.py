"""The machine that this process runs on, as far as speed depends on it."""

import ctypes
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CPU_NAMES = ("model name", "cpu model", "Model", "Hardware")
"""Beginnings of the line with the CPU's or the board's name: x86, MIPS, ARM."""
_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


@cache
def cpu_model() -> str:
    """Read the CPU's name, or the board's where the CPU has none; at least the architecture."""
    names = dict(_pairs(_read(_CPUINFO)))
    name = next((names[key] for key in _CPU_NAMES if names.get(key)), platform.processor())
    return name or platform.machine()


def usable_cores() -> int:
    """Count the cores for this process by its affinity and its container's quota; at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


@cache
def gpu_models() -> tuple[str, ...]:
    """List the names of NVIDIA's GPUs by their driver; none where there is no such driver."""
    files = sorted(_NVIDIA.glob("*/information"))
    return tuple(dict(_pairs(_read(file))).get("Model", "") for file in files)


def cpu_quota(group: Path = _CGROUP) -> float | None:
    """Read the cores that a container's CPU quota comes to (control groups v2, v1), or None."""
    limit, _, period = _read(group / "cpu.max").partition(" ")
    if not period:
        limit = _read(group / "cpu" / "cpu.cfs_quota_us")
        period = _read(group / "cpu" / "cpu.cfs_period_us")
    try:
        cores = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cores if cores > 0 else None


def trim_memory() -> None:
    """Give freed memory back with glibc's ``malloc_trim``; elsewhere do nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs in ``name : value`` lines."""
    for name, value in re.findall(r"^([^:\n]+?)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE):
        yield name, value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
