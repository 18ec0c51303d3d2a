"""How fast a node starts, and how little it costs to keep.

A node with ``ocr`` alone is started as a process of its own: the time from the start of the
process to the bound port, and to ready; beside it a bare process that only loads the same
three ONNX files into ONNX Runtime. Then its memory and its CPU while nobody asks anything.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import psutil

import _kit as kit

BARE = """
import onnxruntime
from pathlib import Path
import importlib.util
folder = Path(importlib.util.find_spec("rapidocr").origin).parent / "models"
sessions = [
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for path in sorted(folder.glob("*.onnx"))
]
print(len(sessions), flush=True)
"""

HEAVY = ("torch", "libtorch", "open_clip", "huggingface_hub")


def bare() -> float:
    """Seconds from the start of a process to its loaded files."""
    started = kit.now()
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    took = kit.now() - started
    process.communicate()
    return took


def node(idle_seconds: float) -> dict[str, float]:
    """One start of a node: times, memory, idle CPU."""
    with tempfile.TemporaryDirectory() as folder:
        started = kit.now()
        process = subprocess.Popen(
            [sys.executable, "-m", "hearth", "serve", "--port", "0", "--data-dir", folder],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "HEARTH_SERVICES": "ocr"},
        )
        try:
            bound = _wait(process, r"listening on", started)
            ready = _wait(process, r"ready: ", started)
            # Let what start-up left behind (announcements, freed buffers) come to rest.
            time.sleep(3)
            seen = psutil.Process(process.pid)
            before = seen.cpu_times()
            time.sleep(idle_seconds)
            after = seen.cpu_times()
            maps = " ".join(region.path for region in seen.memory_maps())
            assert not any(re.search(rf"/{name}", maps) for name in HEAVY), "torch is loaded"
            idle = (after.user + after.system - before.user - before.system) / idle_seconds
            return {
                "bound s": bound,
                "ready s": ready,
                "resident MB": seen.memory_info().rss / 1e6,
                "idle CPU %": 100 * idle,
            }
        finally:
            process.terminate()
            process.communicate(timeout=20)


def _wait(process: "subprocess.Popen[str]", pattern: str, started: float) -> float:
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(pattern, line):
            return kit.now() - started
    raise SystemExit("the node ended before it was ready")


def main() -> int:
    """Run in turns and report."""
    options = kit.options(__doc__ or "")
    rounds, idle = (3, 5.0) if options.quick else (5, 20.0)
    loads, starts = [], []
    for _ in range(rounds):
        loads.append(bare())
        starts.append(node(idle))
    middle = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
    extra = statistics.median(
        start["ready s"] - load for start, load in zip(starts, loads, strict=True)
    )
    return kit.report(
        "startup",
        ["what", "bound s", "ready s", "resident MB", "idle CPU %"],
        [
            ["node with ocr", *middle.values()],
            ["bare loading of the files", "", statistics.median(loads), "", ""],
        ],
        [
            kit.Goal("process start to port bound, s", middle["bound s"], most=1.0),
            kit.Goal("ready, beyond the bare loading of the files, s", extra, most=1.0),
            kit.Goal("resident memory with ocr alone, MB", middle["resident MB"], most=300),
            kit.Goal("idle CPU, %", middle["idle CPU %"], most=0.1),
        ],
        check=options.check,
    )


if __name__ == "__main__":
    sys.exit(main())
