"""Running out of memory, told apart from whatever else can fail in a run.

Engines have hardly a type for it, but many sentences. These are what ONNX Runtime 1.31
and torch 2.13 say on a CPU, and what is reported of both from accelerators.
"""

import re

_SENTENCES = re.compile(
    r"failed to allocate memory"  # ONNX Runtime's arena, on any device
    r"|available memory of \d+ is smaller than requested"  # the same, at the arena's own limit
    r"|std::bad_alloc|bad allocation"  # ONNX Runtime without an arena; the latter on Windows
    r"|allocator: can't allocate memory|not enough memory"  # torch on a CPU
    r"|out of memory"  # CUDA, ROCm and MPS
    r"|_alloc_failed",  # cuBLAS and cuDNN, when they have no room for their workspace
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an engine's error says that host or device has no room for this run."""
    return isinstance(error, MemoryError) or _SENTENCES.search(str(error)) is not None
