"""Reading pages: right lines, CPU and pages a second, against two other ways with the same models.

A whole node answers over gRPC, files in and JSON out; the peers (``_ocr_peers.py``) read the same
files in a process of their own. All have the same cores and are asked in turns. A line counts
as right where it is the line that was drawn, but for white space. The better peer of a page is the
one with more right lines, and with less CPU where both have as many.
"""

import asyncio
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

import _kit as kit
from _clients import connected
from _models import FOLDER
from _ocr_pages import Case, cases
from hearth.contract import ml_service_pb2 as pb

PEERS = ("overview", "rapidocr")


class Read(NamedTuple):
    """Reading of some pages."""

    pages: list[list[str]]
    """The lines of each."""
    cpu: float
    """Seconds, all threads."""
    seconds: float
    """Seconds on the wall."""


Way = Callable[[Sequence[Path], int], Read]
"""Reads files, so many at once."""


async def _ask(port: int, files: Sequence[Path], at_once: int) -> list[list[str]]:
    places = asyncio.Semaphore(at_once)

    async with connected(port) as stub:

        async def ask(file: Path) -> list[str]:
            mime = "image/jpeg" if file.suffix == ".jpg" else "image/png"
            async with places:
                request = pb.InferRequest(
                    correlation_id="1", task="ocr", payload=file.read_bytes(), payload_mime=mime
                )
                async for response in stub.Infer(iter([request])):
                    if response.error.code:
                        raise SystemExit(f"{file.name}: {response.error.message}")
                    return [item["text"] for item in json.loads(response.result)["items"]]
            raise SystemExit(f"{file.name}: no answer")

        return list(await asyncio.gather(*map(ask, files)))


@contextmanager
def ways() -> Iterator[dict[str, Way]]:
    """Start the node and the peers."""
    settings = kit.flags({"services": "ocr"})
    with kit.server("_servers.py", "clip", *settings) as node, kit.worker("_ocr_peers.py") as ask:

        def hearth(files: Sequence[Path], at_once: int) -> Read:
            cpu, began = node.cpu_seconds(), kit.now()
            pages = uvloop.run(_ask(node.port, files, at_once))
            return Read(pages, node.cpu_seconds() - cpu, kit.now() - began)

        def peer(name: str) -> Way:
            def read(files: Sequence[Path], at_once: int) -> Read:
                asked = {"way": name, "files": [str(file) for file in files], "at_once": at_once}
                return Read(**ask(json.dumps(asked)))

            return read

        yield {"hearth": hearth, **{name: peer(name) for name in PEERS}}


def right(case: Case, lines: Sequence[str]) -> list[bool]:
    """Tell which lines of a page were read, white space apart; each answer counts once."""
    read = Counter("".join(line.split()) for line in lines)
    found = []
    for line in case.lines:
        key = "".join(line.split())
        found.append(read[key] > 0)
        read[key] -= 1
    return found


def accuracy(side: dict[str, Way], pages: Sequence[tuple[Case, Path]]) -> tuple[list[Any], Any]:
    """Read every page once each way: a row for each, and the figures of all."""
    rows: list[Any] = []
    worse, ours, better = 0, 0, 0
    for case, file in pages:
        read = {name: way([file], 1) for name, way in side.items()}
        lines = {name: right(case, one.pages[0]) for name, one in read.items()}
        best = max(PEERS, key=lambda name: (sum(lines[name]), -read[name].cpu))
        lost = [
            line for number, line in enumerate(case.lines)
            if any(lines[name][number] for name in PEERS) and not lines["hearth"][number]
        ]  # fmt: skip
        for line in lost:
            print(f"worse, {case.name}: {line}")
        worse += len(lost)
        ours, better = ours + sum(lines["hearth"]), better + sum(lines[best])
        rows.append([
            case.name, len(case.lines), *(sum(lines[name]) for name in side),
            *(read[name].cpu for name in side), best,
        ])  # fmt: skip
    return rows, {
        "lines that a peer reads right and hearth doesn't": worse,
        "share of lines read right, against the better peer": ours / max(1, better),
    }


def speed(side: dict[str, Way], files: Sequence[Path], rounds: int) -> dict[str, float]:
    """Read the dense pages, one and four in flight; ratios to the better peer.

    Each way reads them once; hearth and the faster peer go on in turns.
    """
    figures = {}
    for at_once in (1, 4):
        taken = {name: [way(files, at_once)] for name, way in side.items()}
        best = min(PEERS, key=lambda name: taken[name][0].seconds)
        for _ in range(rounds - 1):
            for name in ("hearth", best):
                taken[name].append(side[name](files, at_once))
        for name, reads in taken.items():
            cpu, wall = (statistics.median(side) / len(files) for side in
                         ([one.cpu for one in reads], [one.seconds for one in reads]))  # fmt: skip
            print(f"{at_once} in flight, {name}: {cpu:.2f} s of CPU a page, {1 / wall:.2f} pages/s")
        figures[f"pages a second at {at_once} in flight, against the better peer"] = (
            kit.median_ratio([one.seconds for one in taken[best]],
                             [one.seconds for one in taken["hearth"]])
        )  # fmt: skip
        if at_once == 1:
            cheapest = min(PEERS, key=lambda name: taken[name][0].cpu)
            theirs = taken[cheapest]
            figures["CPU a dense page, against the better peer"] = kit.median_ratio(
                [one.cpu for one in taken["hearth"][: len(theirs)]], [one.cpu for one in theirs]
            )
    return figures


def main() -> int:
    """Measure everything, report."""
    options = kit.options(__doc__ or "")
    folder = FOLDER / "ocr"
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for number, case in enumerate(cases(quick=options.quick, dense=2 if options.quick else 4)):
        file = folder / f"{number}.{case.kind}"
        file.write_bytes(case.file)
        pages.append((case, file))
    dense = [file for case, file in pages if case.dense]
    with ways() as side:
        for way in side.values():
            way(dense[:1], 1)  # what is measured and allocated on the first page
        rows, figures = accuracy(side, pages)
        sys.stdout.flush()
        figures |= speed(side, dense, 1 if options.quick else 3)
    columns = ["page", "lines", *(f"{name}, right" for name in side),
               *(f"{name}, CPU s" for name in side), "better peer"]  # fmt: skip
    return kit.report("ocr", columns, rows, kit.goals_of("ocr", figures), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
