"""The whole way once, as a user would go it: what `make demo` runs.

Starts a node, finds it by mDNS, runs every task that is ready on scikit-image's sample
photographs, prints the answers and stops the node. Only the command `hearth` is used.
"""

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

PROJECT = Path(__file__).resolve().parent.parent
HEARTH = Path(sys.executable).with_name("hearth")
NAME = f"hearth-demo-{os.getpid()}"

FOUND_SECONDS = 60
"""How long the node may take to be found."""
MODELS_SECONDS = 15 * 60
"""How long models, downloads and label vectors are waited for."""
STOP_SECONDS = 30

PICTURES = ("astronaut", "coffee", "cat", "page")
BEST_FOR = {
    "ocr": ("page",),
    "mediapipe": ("astronaut",),
    "face": ("astronaut",),
    "compose": ("astronaut",),
}
"""Samples for a service, where not all make sense."""
TEXTS = ("an astronaut", "a cup of coffee")

TOGETHER = ("clip_classify", "face_detection", "pose_tracking")
"""Tasks asked for in one request, of what is ready."""

Node = dict[str, Any]
"""A line of `hearth discover --json`."""


class DemoFailed(Exception):
    """One line that says what didn't work."""


def main() -> int:
    """Run it; return the exit code: 0 if everything worked."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            samples = write_samples(Path(folder))
            with running_node(Path(folder) / "node.log") as process:
                node = wait_for_node(process)
                show(["discover", "--timeout", "2"])
                missing = explain_missing(node)
                run_tasks(node, samples)
                stop(process)
    except DemoFailed as failure:
        print(f"\ndemo: FAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{last_words(missing)}")
    return 0


def write_samples(folder: Path) -> dict[str, Path]:
    """Photographs that come with scikit-image, as PNG files, by name."""
    samples = {}
    for name in PICTURES:
        samples[name] = folder / f"{name}.png"
        Image.fromarray(getattr(data, name)()).save(samples[name])
    return samples


@contextmanager
def running_node(log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a node on a free port, with the project's data folder; it is gone afterwards."""
    command = ["serve", "--port", "0", "--name", NAME]
    announce(command)
    with log.open("wb") as sink:
        process = subprocess.Popen([HEARTH, *command], stderr=sink, stdout=sink, cwd=PROJECT)
    try:
        yield process
    except DemoFailed:
        print(f"\nthe node's log:\n{log.read_text(errors='replace')}", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for_node(process: "subprocess.Popen[bytes]") -> Node:
    """Wait for the node as mDNS shows it, once each of its models is ready, or waits for the
    network.
    """
    give_up = time.monotonic() + FOUND_SECONDS
    node: Node | None = None
    found, said = False, ""
    with events() as lines:
        while node is None or is_busy(node):
            if process.poll() is not None:
                raise DemoFailed(f"the node ended by itself with exit code {process.returncode}")
            if time.monotonic() > give_up:
                if node is not None:
                    break  # what is ready can be shown all the same
                if found:
                    raise DemoFailed(f"the node wasn't ready within {MODELS_SECONDS} s")
                raise DemoFailed(f"the node wasn't found by mDNS within {FOUND_SECONDS} s")
            try:
                event = json.loads(lines.get(timeout=1))
            except queue.Empty:
                continue
            if event["name"] != NAME:
                continue
            if not found:
                # It is starting for as long as it loads models.
                found, give_up = True, time.monotonic() + MODELS_SECONDS
            if event["status"] != "ready" or event["error"]:
                continue
            node = event
            if (news := progress_of(node)) != said:
                said = news
                print(f"  {news}", flush=True)
    return node


@contextmanager
def events() -> Iterator["queue.Queue[str]"]:
    """Lines of `hearth discover --watch --json`, as they come."""
    watcher = subprocess.Popen(
        [HEARTH, "discover", "--watch", "--json"], stdout=subprocess.PIPE, text=True
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert watcher.stdout is not None
        for line in watcher.stdout:
            lines.put(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lines
    finally:
        watcher.send_signal(signal.SIGINT)
        try:
            watcher.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            watcher.kill()
        reader.join()
        watcher.wait()


def is_busy(node: Node) -> bool:
    """Tell whether a model is on its way: being fetched, or getting its label vectors."""
    return any(service["changing"] for service in node["services"])


def progress_of(node: Node) -> str:
    """Say in one line where each model stands."""
    states = (
        " ".join(part for part in (service["name"], service["state"]) if part)
        + (f" ({service['reason']})" if service["reason"] and service["state"] != "absent" else "")
        for service in node["services"]
    )
    return f"found {node['name']} at {node['address']}: {', '.join(states)}"


def explain_missing(node: Node) -> list[str]:
    """Say in one line each why services can't be shown; gives their names."""
    missing = [service for service in node["services"] if not service["tasks"]]
    for service in missing:
        print(f"\n{service['name']} can't be shown: {service['reason'] or service['state']}")
    return [service["name"] for service in missing]


def last_words(missing: Sequence[str]) -> str:
    """Say what worked, and what wasn't tried."""
    if not missing:
        return "demo: everything worked"
    names = " and ".join(missing)
    return f"demo: everything that could be shown worked; left out: {names} (the reason is above)"


def run_tasks(node: Node, samples: dict[str, Path]) -> None:
    """Run every ready task on the samples that suit it."""
    if not node["tasks"]:
        raise DemoFailed("no task is ready")
    for service in node["services"]:
        for task, inputs in service["inputs"].items():
            command = ["infer", task, "--node", node["address"]]
            if task == "compose":
                entries = [name for name in TOGETHER if name in node["tasks"]]
                if not entries:
                    continue
                command += ["--option", f"entries={json.dumps(entries)}"]
            if all(mime.startswith("text/") for mime in inputs):
                for text in TEXTS:
                    command += ["--text", text]
                show(command)
            else:
                names = BEST_FOR.get(service["name"], PICTURES)
                # Short names in the table: run where the pictures are.
                folder = samples[names[0]].parent
                show([*command, *(samples[name].name for name in names)], folder)


def show(command: Sequence[str], folder: Path = PROJECT) -> None:
    """Run a command of `hearth` before the user's eyes; it must succeed."""
    announce(command)
    done = subprocess.run([HEARTH, *command], cwd=folder, check=False)
    if done.returncode:
        raise DemoFailed(f"`hearth {shlex.join(command)}` ended with {done.returncode}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the node as a service manager would; it must end well."""
    print("\n$ kill -TERM (the node)", flush=True)
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"the node hadn't stopped after {STOP_SECONDS} s") from None
    if code:
        raise DemoFailed(f"the node stopped with exit code {code}")


def announce(command: Sequence[str]) -> None:
    """Print a command as one types it."""
    print(f"\n$ hearth {shlex.join(command)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
