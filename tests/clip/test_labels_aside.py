"""What takes its time with labels is done beside the loop, and a stopping node doesn't wait."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import labels_kit as kit
from checkout import KITS
from hearth.families.clip.labels.limits import LARGE
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.hub.progress import no_progress


@dataclass(frozen=True)
class Watched(LabelSet):
    """Labels that note in which threads they are asked for."""

    threads: dict[str, set[int]] = field(default_factory=dict)

    def _note(self, what: str) -> None:
        self.threads.setdefault(what, set()).add(threading.get_ident())

    def is_local(self):
        self._note("is_local")
        return False

    def download(self, progress):
        self._note("download")

    def catalogue(self):
        self._note("catalogue")
        return super().catalogue()

    def prompts(self, start=0) -> Iterator[tuple[str, ...]]:
        self._note("prompts")
        for texts in super().prompts(start):
            self._note("reading prompts")
            yield texts

    def shipped(self):
        self._note("shipped")


STEPS = {"is_local", "download", "catalogue", "prompts", "reading prompts", "shipped"}


@pytest.mark.parametrize("count", [3, LARGE + 1])
async def test_no_file_of_labels_is_read_on_the_loop(tmp_path, count):
    plain = kit.many(count=count)
    labels = Watched("many", plain.labels, plain.texts, "test")
    classifier = kit.classifier(labels, store=kit.store(tmp_path))
    await classifier.derive_artifacts(no_progress)
    classifier.close()
    assert set(labels.threads) == STEPS
    assert threading.get_ident() not in set().union(*labels.threads.values())


NODE = """
import asyncio, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import labels_kit as kit
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.node import InferenceNode
from hearth.settings import load
from node_kit import LAB_TASKS, Lab, LabLoader

def stuck(step, hangs):
    loop = asyncio.get_running_loop()

    def hang(*_):
        loop.call_soon_threadsafe(hangs.set)
        threading.Event().wait()

    class Stuck(LabelSet):
        def is_local(self):
            return False

    setattr(Stuck, step, hang)

    class Labelled(Lab):
        def load_artifacts(self):
            pass

        async def derive_artifacts(self, progress):
            labels = kit.classifier(Stuck("stuck", ("a",), (("a",),), "test"))
            await labels.derive_artifacts(progress)

    class Source(LabLoader):
        def load(self):
            return Labelled(self._run)

    return Source()

async def main(step):
    hangs = asyncio.Event()
    flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "grace_seconds": 1}
    settings = load(flags, environment={}, config=Path("/dev/null"))
    async with InferenceNode(settings, loaders=[stuck(step, hangs)], tasks=LAB_TASKS):
        await hangs.wait()

for step in sys.argv[2:]:
    asyncio.run(main(step))
    print(step, flush=True)
print("stopped")
"""


def test_a_node_whose_labels_hang_stops_all_the_same():
    steps = ("is_local", "download", "catalogue", "prompts", "shipped")
    command = [sys.executable, "-c", NODE, str(KITS), *steps]
    # Long enough for the slowest machine; who waits for the thread waits for ever. The process
    # ends with five of them.
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
    assert done.stdout.split() == [*steps, "stopped"], done.stderr
