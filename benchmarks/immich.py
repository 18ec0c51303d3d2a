"""Compare hearth and Immich's machine-learning service for somebody who waits alone.

Both serve the same files of ViT-B-32 (random weights), each a process of its own with all cores,
and embed texts that never repeat, and pictures: one at a time, in turns, each after a rest in which
the other's threads have fallen asleep; then eight texts at once. A request's CPU is that of the
server until the end of the rest. A request that had to wait for a core was disturbed by others.

``--peer FOLDER`` is the folder ``machine-learning`` of Immich's sources with its environment in
``.venv``; without it nothing is measured.
"""

import asyncio
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import uvloop

import _kit as kit
from _clients import closed_loop, connected
from _models import jpegs, vit_b_32
from hearth.contract import ml_service_pb2 as pb
from hearth.families.clip.labels.sets.source import PROMPT

MODEL = "ViT-B-32__openai"
"""A name that Immich's service knows; the files in its cache are ours."""
REST_SECONDS = 0.06
"""Twice as long as ONNX Runtime's threads spin after a run where nobody tells them not to."""
AT_ONCE = 8
START_SECONDS = 60
BOUNDARY = "hearth-benchmark"

UNDISTURBED = 0.05
"""Part of a request that the server's threads and the client may wait for a core, together."""
FEW = 10
"""Undisturbed requests below which all of them count."""

Payload = str | bytes
"""A text, or a JPEG."""
Ask = Callable[[Payload], np.ndarray]
"""Asks for the embedding of one payload, and waits for it."""


class Taken(NamedTuple):
    """One request of somebody alone, in ms."""

    wall: float
    cpu: float
    """CPU of the server, with what it does in the rest afterwards."""
    waited: float
    """Time that the server's threads and the client waited for a core."""


class Side(NamedTuple):
    """A server, and how it is asked."""

    serving: kit.Serving
    ask: Ask
    many: Callable[[list[str]], float]
    """Embeds texts, eight at once: how many a second."""


@contextmanager
def hearth() -> Iterator[Side]:
    """Start a node with both towers; one stream stays open to it."""
    folder = vit_b_32()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as labels, ExitStack() as stack:
        labels.write("cat\ndog\n")  # ImageNet's thousand would be a minute of the start
        labels.flush()
        settings = {
            "clip.onnx_image": folder / "visual" / "model.onnx",
            "clip.onnx_text": folder / "textual" / "model.onnx",
            "clip.labels": labels.name,
        }
        serving = stack.enter_context(kit.server("_servers.py", "clip", *kit.flags(settings)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        stub = connected(serving.port)
        stream = runner.run(stub.__aenter__()).Infer()

        async def exchange(message: pb.InferRequest) -> pb.InferResponse:
            await stream.write(message)
            return await stream.read()

        def ask(payload: Payload) -> np.ndarray:
            response = runner.run(exchange(request(payload)))
            if response.error.code:
                raise SystemExit(f"hearth: {response.error.message}")
            return np.array(json.loads(response.result)["vector"], np.float32)

        def many(texts: list[str]) -> float:
            return closed_loop(
                serving.port, lambda number: request(texts[number], number),
                count=len(texts), in_flight=AT_ONCE,
            ).all_right().rate()  # fmt: skip

        yield Side(serving, ask, many)
        runner.run(stream.done_writing())
        runner.run(stub.__aexit__(None, None, None))


def request(payload: Payload, number: int = 0) -> pb.InferRequest:
    """Make the message for a text or a picture."""
    if isinstance(payload, str):
        task, content, mime = "clip_text_embed", payload.encode(), "text/plain"
    else:
        task, content, mime = "clip_image_embed", payload, "image/jpeg"
    return pb.InferRequest(
        correlation_id=str(number), task=task, payload=content, payload_mime=mime
    )


@contextmanager
def immich(folder: Path) -> Iterator[Side]:
    """Start Immich's service as its own entry point does, on our files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
        Path(cache, "clip").mkdir()
        Path(cache, "clip", MODEL).symlink_to(vit_b_32().resolve())
        environment = {
            **os.environ,
            "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "IMMICH_HOST": "127.0.0.1",
            "IMMICH_PORT": str(port),
            "IMMICH_LOG_LEVEL": "error",
            "MACHINE_LEARNING_CACHE_FOLDER": cache,
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen(
            [str(folder / ".venv" / "bin" / "python"), "-m", "immich_ml"],
            cwd=folder, env=environment, text=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(end, process)
        until = time.monotonic() + START_SECONDS
        while (worker := answering(port)) is None:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"Immich's service in {folder} did not start")
            time.sleep(0.2)
        asker = Asker(port)

        def many(texts: list[str]) -> float:
            askers = [Asker(port) for _ in range(AT_ONCE)]
            left = iter(texts)

            def keep_asking(own: Asker) -> None:
                for text in left:  # an iterator of a list is safe to share
                    own(text)

            began = kit.now()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(keep_asking, askers))
            return len(texts) / (kit.now() - began)

        yield Side(kit.Serving(process, port, measured=worker), asker, many)


def end(process: "subprocess.Popen[str]") -> None:
    """End the service and what it has started."""
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for each in family:
        each.terminate()
    process.wait(timeout=20)


def answering(port: int) -> int | None:
    """Return the process that answers at a port, once one does: of those that listen, the last."""
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping")
        if connection.getresponse().status != 200:
            return None
    except OSError:
        return None
    return max(
        each.pid for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid
    )  # fmt: skip


class Asker:
    """A client of Immich's service as its server is one: multipart forms, one connection."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)

    def __call__(self, payload: Payload) -> np.ndarray:
        """Ask for one embedding."""
        is_text = isinstance(payload, str)
        entries = {"clip": {"textual" if is_text else "visual": {"modelName": MODEL}}}
        # The node puts a text into this prompt by itself.
        content = PROMPT.replace("{}", payload).encode() if isinstance(payload, str) else payload
        about = 'name="text"' if is_text else 'name="image"; filename="blob"'
        body = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="entries"\r\n\r\n'
            f"{json.dumps(entries)}\r\n"
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; {about}\r\n\r\n"
        ).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()  # fmt: skip
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self._connection.request("POST", "/predict", body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"Immich's service: {response.status} {answer[:200]!r}")
        vector = np.array(json.loads(json.loads(answer)["clip"]), np.float32)
        return vector / np.linalg.norm(vector)


def words() -> str:
    """Make a text that was never asked for."""
    return f"{secrets.token_hex(4)} and {secrets.token_hex(3)}"


def take(side: Side, payload: Payload) -> Taken:
    """Ask alone, and rest."""
    serving = side.serving
    waited, cpu, began = serving.waited() + kit.waited(), serving.cpu_seconds(), kit.now()
    side.ask(payload)
    wall = kit.now() - began
    waited = serving.waited() + kit.waited() - waited
    time.sleep(REST_SECONDS)
    return Taken(1e3 * wall, 1e3 * (serving.cpu_seconds() - cpu), waited)


def alone(sides: dict[str, Side], rounds: int, payload: Callable[[], Payload]) -> dict[str, Any]:
    """Ask in turns, a payload for both; ends the run where their vectors differ."""
    same = payload()
    vectors = [side.ask(same) for side in sides.values()]
    if not np.allclose(*vectors, atol=1e-3):
        raise SystemExit("the two give different vectors for the same payload")
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    time.sleep(REST_SECONDS)
    for _ in range(rounds):
        for name, side in sides.items():
            taken[name].append(take(side, payload()))
    return taken


def undisturbed(taken: list[Taken]) -> list[Taken]:
    """Pick the requests that didn't wait for a core; all of them where these are too few."""
    good = [one for one in taken if one.waited < UNDISTURBED * one.wall]
    return good if len(good) >= FEW else taken


def shown(good: list[Taken], taken: list[Taken]) -> str:
    """Say how many of a server's requests count."""
    return f"too few, all {len(taken)}" if good is taken else f"{len(good)} of {len(taken)}"


def measure(folder: Path, rounds: int) -> tuple[list[list[object]], dict[str, float]]:
    """Measure both in turns: the rows and the figures."""
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    picture = jpegs(1)[0]
    kinds: dict[str, Callable[[], Payload]] = {"text": words, "picture": lambda: picture}
    with hearth() as ours, immich(folder) as theirs:
        sides = {"hearth": ours, "Immich's service": theirs}
        for kind, payload in kinds.items():
            taken = alone(sides, rounds, payload)
            p50, cpu = {}, {}
            for name, each in taken.items():
                good = undisturbed(each)
                p50[name] = statistics.median(one.wall for one in good)
                cpu[name] = statistics.median(one.cpu for one in good)
                rows.append([f"{name}, one {kind} alone", shown(good, each),
                             p50[name], cpu[name]])  # fmt: skip
            for what, by_name in (("p50", p50), ("CPU", cpu)):
                our, their = by_name.values()
                figures[f"one {kind} alone: {what} against Immich's service"] = our / their
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(max(3, rounds // 40)):
            for name, side in sides.items():
                rates[name].append(side.many([words() for _ in range(8 * AT_ONCE)]))
        for name, each in rates.items():
            rows.append([f"{name}, texts a second, {AT_ONCE} at once", "",
                         statistics.median(each), ""])  # fmt: skip
        figures[f"texts a second, {AT_ONCE} at once, against Immich's service"] = kit.median_ratio(
            *rates.values()
        )
    return rows, figures


def main() -> int:
    """Measure in turns and report."""
    chosen = kit.options(
        __doc__ or "", ("--peer", {"type": Path, "help": "Immich's folder machine-learning"})
    )
    rows: list[list[object]] = []
    figures: dict[str, float] = {}
    if chosen.peer is not None:
        rows, figures = measure(chosen.peer.resolve(), 40 if chosen.quick else 300)
    columns = ["what", "undisturbed", "p50 ms, or a second", "CPU ms"]
    goals = kit.goals_of("immich", figures)
    return kit.report("immich", columns, rows, goals, check=chosen.check, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
