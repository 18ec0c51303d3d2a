"""Features that a CPU must have for the packages that a node is built on.

Where an instruction is missing a process ends with SIGILL in the middle of an import, without a
word. So it is looked at before anything of theirs is imported.
"""

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_CPUINFO = Path("/proc/cpuinfo")

_REQUIRED: Mapping[str, Mapping[str, str]] = {
    # x86-64-v2: NumPy's baseline since 2.4; without any of it the import fails or is killed (seen
    # in QEMU). With no more than that (its Nehalem) ONNX Runtime 1.31, LiteRT 2.3, torch 2.13,
    # simplejpeg, OpenCV and tokenizers were seen to work.
    "x86_64": {"cx16": "CMPXCHG16B", "lahf_lm": "LAHF", "popcnt": "POPCNT", "pni": "SSE3",
               "ssse3": "SSSE3", "sse4_1": "SSE4.1", "sse4_2": "SSE4.2"},
    "aarch64": {"asimd": "ASIMD"},
}  # fmt: skip
"""Features by machine, in /proc/cpuinfo's names: those without which nothing runs, and the usual
ones."""

_FAST: Mapping[str, Mapping[str, str]] = {
    "x86_64": {"avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C"},
    "aarch64": {"asimddp": "DOTPROD"},
}
"""Features for which the engines have their fast kernels, and slow ones where they are missing."""


class Missing(NamedTuple):
    """Features that this machine's CPU doesn't have, by their usual names."""

    required: tuple[str, ...]
    """Without these a node can't run."""
    fast: tuple[str, ...]
    """Without these it runs, but slower."""

    @property
    def sentence(self) -> str:
        """Sentence about missing features and what that means; empty where none is."""
        if self.required:
            return f"the CPU lacks {', '.join(self.required)}, and a node can't run without"
        if self.fast:
            return f"the CPU lacks {', '.join(self.fast)}: models run, but slower"
        return ""


CURE = "in a virtual machine, let it have the host's CPU type (QEMU, Proxmox: `host`)"
"""Cure of a missing feature: mostly a hypervisor hides it."""


def missing_features(cpuinfo: Path = _CPUINFO, machine: str = "") -> Missing:
    """List the features that matter and are missing; none where the system doesn't tell.

    Of cores that differ, what each of them has counts.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return Missing((), ())
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if not lines:
        return Missing((), ())
    common = set.intersection(*(set(line.split()) for line in lines))
    machine = machine or platform.machine()
    required, fast = (
        tuple(name for feature, name in table.get(machine, {}).items() if feature not in common)
        for table in (_REQUIRED, _FAST)
    )
    return Missing(required, fast)
