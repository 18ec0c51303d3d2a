"""How fast a node starts, and how little it costs to keep.

A node is started as a process of its own, once with ``ocr`` alone and once with ``clip`` alone
(ViT-B-32 with its label vectors in the cache): the time from the start of the process to the
bound port, and to ready. Beside each, a bare process that only loads the same ONNX files into
ONNX Runtime. Then memory, and CPU while nobody asks anything.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil

import _kit as kit
from _models import FOLDER, vit_b_32

BARE = """
import sys, onnxruntime
for path in sys.argv[1:]:
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
"""

# What start-up leaves behind (announcements, freed buffers) is over after this.
REST_SECONDS = 3


class Case(NamedTuple):
    """A node to start, and the files that it has to load."""

    service: str
    settings: dict[str, str]
    files: Sequence[Path]


class Start(NamedTuple):
    """One start of a node."""

    bound: float
    ready: float
    resident_mb: float
    idle_percent: float


def cases() -> list[Case]:
    """The two nodes."""
    spec = find_spec("rapidocr")
    assert spec is not None and spec.origin is not None
    ocr = sorted((Path(spec.origin).parent / "models").glob("*.onnx"))
    folder = vit_b_32()
    clip = {"HEARTH_CLIP__MODEL": str(folder), "HEARTH_CLIP__TEMPLATES": "single"}
    return [
        Case("ocr", {}, ocr),
        Case("clip", clip, [folder / "visual/model.onnx", folder / "textual/model.onnx"]),
    ]


def bare(files: Sequence[Path]) -> float:
    """Seconds from the start of a process to its end, with the files loaded."""
    started = kit.now()
    subprocess.run([sys.executable, "-c", BARE, *map(str, files)], check=True)
    return kit.now() - started


def start(case: Case, idle_seconds: float) -> Start:
    """Start a node, watch it, stop it."""
    began = kit.now()
    process = subprocess.Popen(
        [sys.executable, "-m", "hearth", "serve", "--port", "0", "--data-dir", str(FOLDER)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=FOLDER,
        env={**os.environ, "HEARTH_SERVICES": case.service, **case.settings},
    )
    try:
        bound, _ = _wait(process, "listening on", began)
        ready, line = _wait(process, "ready: ", began)
        if f"{case.service} ready" not in line:
            raise SystemExit(f"the model is not there: {line}")
        _wait_for_labels(process, case)
        time.sleep(REST_SECONDS)
        seen = psutil.Process(process.pid)
        before = sum(seen.cpu_times()[:2])
        time.sleep(idle_seconds)
        idle = (sum(seen.cpu_times()[:2]) - before) / idle_seconds
        if any("libtorch" in region.path for region in seen.memory_maps()):
            raise SystemExit("a node that runs ONNX has loaded torch")
        return Start(bound, ready, seen.memory_info().rss / 1e6, 100 * idle)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(process: "subprocess.Popen[str]", sign: str, began: float) -> tuple[float, str]:
    """Seconds until the log has a line with this sign, and the line."""
    assert process.stderr is not None
    for line in process.stderr:
        if sign in line:
            return kit.now() - began, line.strip()
    raise SystemExit("the node ended before it was ready")


def _wait_for_labels(process: "subprocess.Popen[str]", case: Case) -> None:
    """Only the first start of all makes label vectors; it isn't measured."""
    cpu = psutil.Process(process.pid)
    while case.service == "clip":
        before = sum(cpu.cpu_times()[:2])
        time.sleep(1)
        if sum(cpu.cpu_times()[:2]) - before < 0.1:
            return


def measure(case: Case, rounds: int, idle: float) -> tuple[Start, float, float]:
    """Medians: of the starts, of the bare loading, and of what ready takes beyond it."""
    start(case, 0.1)  # fills the caches
    loads, starts = [], []
    for _ in range(rounds):
        loads.append(bare(case.files))
        starts.append(start(case, idle))
    middle = Start(*map(statistics.median, zip(*starts, strict=True)))
    beyond = [one.ready - load for one, load in zip(starts, loads, strict=True)]
    return middle, statistics.median(loads), statistics.median(beyond)


def main() -> int:
    """Run in turns and report."""
    options = kit.options(__doc__ or "")
    rounds, idle = (3, 4.0) if options.quick else (7, 20.0)
    rows, goals = [], []
    for case in cases():
        middle, load, beyond = measure(case, rounds, idle)
        rows += [[f"node with {case.service}", *middle], ["  bare loading", "", load, "", ""]]
        name = case.service
        # The kernel counts CPU in ticks of 10 ms: one in four seconds is 0.25 %.
        goals += [
            kit.Goal(f"{name}: process start to port bound, s", middle.bound, most=1.0),
            kit.Goal(f"{name}: ready, beyond the bare loading, s", beyond, most=1.0),
            kit.Goal(f"{name}: idle CPU, %", middle.idle_percent, most=0.4),
        ]
        if name == "ocr":
            goals.append(kit.Goal("ocr: resident memory, MB", middle.resident_mb, most=300))
    return kit.report(
        "startup",
        ["what", "bound s", "ready s", "resident MB", "idle CPU %"],
        rows,
        goals,
        check=options.check,
    )


if __name__ == "__main__":
    sys.exit(main())
