"""The towers of ViT-B-32, for ``spinning.py``: does what each line says, and answers in JSON.

``_spinning.py SPIN_US`` opens them as a node does; ``_spinning.py engine`` with ONNX Runtime's
own spinning.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import _kit as kit
from _models import vit_b_32
from hearth.backends import SessionOptions
from hearth.backends.registry import open_session

LOADED_RUNS = 4
"""Runs of each tower, side by side, that are measured together."""
REST_SECONDS = 0.05


def text() -> Any:
    """Run the text tower once, alone: wall, CPU and waiting for a core, in ms; then idle CPU."""
    delay, cpu, wall = kit.waited(), time.process_time(), time.perf_counter()
    run(TEXT)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    delay, idle = kit.waited() - delay, time.process_time()
    time.sleep(REST_SECONDS)
    idle = time.process_time() - idle
    return [1e3 * wall, 1e3 * cpu, delay, 1e3 * idle]


def both() -> Any:
    """Run both towers side by side: CPU of a pair of runs, in ms."""
    cpu = time.process_time()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda tower: [run(tower) for _ in range(LOADED_RUNS)], (TEXT, IMAGE)))
    return 1e3 * (time.process_time() - cpu) / LOADED_RUNS


def run(tower: tuple[Any, str, Any]) -> None:
    """Run a tower on its one item."""
    engine, name, item = tower
    engine.run(None, {name: item})


def opened(path: Path, spin: str) -> tuple[Any, str, Any]:
    """Return an engine's session, the name of its input, and one item."""
    if spin == "engine":
        import onnxruntime

        engine = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    else:
        engine = open_session(path, SessionOptions(device="cpu", spin_us=int(spin))).engine
    [node] = engine.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in node.shape]
    kind = {"tensor(float)": np.float32, "tensor(int32)": np.int32}.get(node.type, np.int64)
    return engine, node.name, np.ones(shape, kind)


if __name__ == "__main__":
    folder = vit_b_32()
    TEXT = opened(folder / "textual" / "model.onnx", sys.argv[1])
    IMAGE = opened(folder / "visual" / "model.onnx", sys.argv[1])
    for tower in (TEXT, IMAGE, TEXT, IMAGE):
        run(tower)
    for line in sys.stdin:
        print(json.dumps({"text": text, "both": both}[line.strip()]()), flush=True)
