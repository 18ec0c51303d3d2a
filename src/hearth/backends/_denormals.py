"""Denormal numbers, flushed to zero while a model runs.

A CPU may need a hundred times as long for numbers below 1.2e-38 as for others, and a model's
activations can fade to such. Whether they count as zero is a mode of each thread. ONNX Runtime
sets it in threads of its own, but of those that call it only in the one that makes the first
session of the process, and there for good; so we set it around each run, and set it back. Threads
of torch take over the mode of the thread that first gives them work.
"""

import ctypes
import platform
import sys
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple

_MODES = {
    "x86_64": (7, 0x8040),  # MXCSR: flush to zero, denormals are zero (Intel's manual, 10.2.3)
    "aarch64": (0, 1 << 24),  # FPCR.FZ (Arm's architecture manual, C5.2.8)
}
"""Mode by machine: which 32-bit word of C's ``fenv_t`` the mode is in, and its bits (glibc,
musl)."""

_WORDS = ctypes.c_uint32 * 16


class _Control(NamedTuple):
    """Means of changing this machine's mode."""

    library: Any
    word: int
    bits: int


class flush_denormals:  # noqa: N801  it is used like a function
    """Context in which the calling thread takes denormals for zero, then as before.

    Costs about two microseconds. Without effect off Linux, and on other machines than x86-64 and
    arm64.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before: Any = None
        if (control := _control()) is None:
            return
        self._before = _WORDS()
        control.library.fegetenv(self._before)
        changed = _WORDS.from_buffer_copy(self._before)
        changed[control.word] |= control.bits
        control.library.fesetenv(changed)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        control = _control()
        if control is not None:
            control.library.fesetenv(self._before)


@cache
def _control() -> _Control | None:
    mode = _MODES.get(platform.machine())
    if sys.platform != "linux" or mode is None:
        return None
    for name in (None, "libm.so.6"):
        try:
            # Holding the interpreter's lock: to give it up takes longer than the call.
            library = ctypes.PyDLL(name)
            if library.fegetenv and library.fesetenv:
                return _Control(library, *mode)
        except (OSError, AttributeError):
            continue
    return None
