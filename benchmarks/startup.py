"""How fast a node starts, and how little it costs to keep.

A node is started as a process of its own, once with ``ocr`` alone and once with ``clip`` alone
(ViT-B-32 with its label vectors in the cache): the time from the start of the process to the
bound port, and to ready. Beside each, a bare process that only loads the same ONNX files into
ONNX Runtime. Then memory, and CPU while nobody asks anything.

And with both: the time to the first answers of each, on an empty data folder (but for the model
files) and on the same folder once everything is measured and made.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil

import _kit as kit
from _models import FOLDER, jpegs, vit_b_32
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.models.tuning import FILE, ProfileCache

BARE = """
import sys, onnxruntime
for path in sys.argv[1:]:
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
"""

# What start-up leaves behind (announcements, freed buffers) is over after this.
REST_SECONDS = 3


QUEUES = 2
"""Queues of each of the two models that are measured."""


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
    """Measure the two nodes."""
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


@contextmanager
def serving(
    services: str, settings: dict[str, str], data_dir: Path
) -> Iterator["subprocess.Popen[str]"]:
    """Start a node in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hearth", "serve", "--port", "0", "--data-dir", str(data_dir)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=FOLDER,
        env={**os.environ, "HEARTH_SERVICES": services, **settings},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def start(case: Case, idle_seconds: float) -> Start:
    """Start a node, watch it, stop it."""
    began = kit.now()
    with serving(case.service, case.settings, FOLDER) as process:
        bound, _ = _wait(process, "listening on", began)
        ready, line = _wait(process, "ready: ", began)
        if f"{case.service} ready" not in line:
            raise SystemExit(f"the model is not there: {line}")
        _wait_until_settled(process, FOLDER, [case.service])
        time.sleep(REST_SECONDS)
        seen = psutil.Process(process.pid)
        before = sum(seen.cpu_times()[:2])
        time.sleep(idle_seconds)
        idle = (sum(seen.cpu_times()[:2]) - before) / idle_seconds
        if any("libtorch" in region.path for region in seen.memory_maps()):
            raise SystemExit("a node that runs ONNX has loaded torch")
        return Start(bound, ready, seen.memory_info().rss / 1e6, 100 * idle)


def first_answers(settings: dict[str, str], data_dir: Path) -> float:
    """Seconds from the start of a node's process until both models have answered."""
    [picture] = jpegs(1)
    began = kit.now()
    with serving("clip,ocr", settings, data_dir) as process:
        _, line = _wait(process, "listening on", began)
        port = int(line.rpartition(":")[2])
        asked = {"clip_image_embed", "ocr"}
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = pb_grpc.InferenceStub(channel)
            while asked:
                requests = [
                    pb.InferRequest(correlation_id=task, task=task, payload=picture)
                    for task in asked
                ]
                for answer in stub.Infer(iter(requests)):
                    if not answer.error.code:
                        asked.discard(answer.correlation_id)
                    elif answer.error.code != pb.ERROR_CODE_UNAVAILABLE:
                        raise SystemExit(f"{answer.correlation_id}: {answer.error.message}")
        took = kit.now() - began
        _wait_until_settled(process, data_dir, ["clip", "ocr"])
        return took


def first_start(rounds: int) -> tuple[float, float, float]:
    """Medians: first answers on an empty folder, on a filled one, and the difference."""
    settings = cases()[1].settings
    empty, filled = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            empty.append(first_answers(settings, Path(folder)))
            filled.append(first_answers(settings, Path(folder)))
    beyond = [first - later for first, later in zip(empty, filled, strict=True)]
    return statistics.median(empty), statistics.median(filled), statistics.median(beyond)


def _wait(process: "subprocess.Popen[str]", sign: str, began: float) -> tuple[float, str]:
    """Seconds until the log has a line with this sign, and the line."""
    assert process.stderr is not None
    for line in process.stderr:
        if sign in line:
            return kit.now() - began, line.strip()
    raise SystemExit("the node ended before it was ready")


def _wait_until_settled(
    process: "subprocess.Popen[str]", data_dir: Path, services: Sequence[str]
) -> None:
    """Wait until what only a first start does is over: make label vectors, and measure."""
    seen = psutil.Process(process.pid)
    rested = False
    while not rested or any(_measured(data_dir, service) < QUEUES for service in services):
        before = sum(seen.cpu_times()[:2])
        time.sleep(1)
        rested = sum(seen.cpu_times()[:2]) - before < 0.1


def _measured(data_dir: Path, service: str) -> int:
    return sum(kept.key.startswith(service) for kept in ProfileCache(data_dir / FILE))


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
    empty, filled, beyond = first_start(rounds)
    rows += [["first answers of both, empty data folder", "", empty, "", ""],
             ["first answers of both, later start", "", filled, "", ""]]  # fmt: skip
    goals += kit.goals_of(
        "startup", {"first answers on an empty data folder, beyond a later start, s": beyond}
    )
    return kit.report(
        "startup",
        ["what", "bound s", "ready s", "resident MB", "idle CPU %"],
        rows,
        goals,
        check=options.check,
    )


if __name__ == "__main__":
    sys.exit(main())
