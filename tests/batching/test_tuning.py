"""Curves that are kept between starts: when they count, and what can't spoil them."""

import asyncio
import json
import logging
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty

from backend_kit import open_onnx
from batch_kit import until_measured
from clip_kit import source
from hearth.backends.onnx import OnnxSession
from hearth.batching import BatchQueue, LatencyProfile
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import OutOfMemory
from hearth.machine import cpu_model, usable_cores
from hearth.models.options import QueueOptions
from hearth.models.tuning import FILE, Facts, ProfileCache, described, facts_of, tune
from node_kit import LabLoader, ask, lab_node, stub_of, write_all

FACTS = {"model": "m", "files": {"a/b": {"size": 1}}, "engine": "1.2", "cpu": "c", "cores": 2}
PROFILE = LatencyProfile({1: 0.01, 2: 0.015, 4: 0.028})


@pytest.fixture
def cache(tmp_path: Path) -> ProfileCache:
    return ProfileCache(tmp_path / "data" / FILE)


class Model:
    """A queue that notes the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.queue: BatchQueue[int, int] = BatchQueue(self._run, name="m", max_batch=8)

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.queue.close()

    def _run(self, items: list[int]) -> list[int]:
        self.sizes.append(len(items))
        return list(items)

    def tuned(self, cache: ProfileCache | None, **wishes: int | None) -> LatencyProfile | None:
        self.sizes.clear()

        async def tuned() -> None:
            await tune(self.queue, 7, cache=cache, key="lab/m", facts=FACTS, **wishes)
            await until_measured(self.queue)

        asyncio.run(tuned())
        return self.queue.profile


def test_a_curve_is_measured_once_and_read_at_later_starts(cache: ProfileCache):
    with Model() as first:
        measured = first.tuned(cache)
        assert {1, 2, 4} <= set(first.sizes)
    with Model() as second:
        assert second.tuned(ProfileCache(cache.path)) == measured
        assert second.sizes == []
        assert second.queue.profile == measured
        assert second.queue.max_batch == measured.best()


def test_without_a_cache_every_start_measures():
    with Model() as model:
        model.tuned(None)
        assert model.sizes and model.queue.profile is not None


def test_a_wish_is_obeyed_and_nothing_larger_is_measured(cache: ProfileCache):
    with Model() as model:
        model.tuned(cache, max_batch=3)
        assert max(model.sizes) == model.queue.max_batch == 3


def test_a_curve_that_was_cut_short_by_a_wish_is_no_answer_without_it(cache: ProfileCache):
    with Model() as model:
        model.tuned(cache, max_batch=2)
        whole = model.tuned(cache)
        assert max(model.sizes) > 2
        # The whole one serves any wish.
        assert model.tuned(cache, max_batch=2) == whole
        assert model.sizes == [] and model.queue.max_batch == 2


@pytest.mark.parametrize("fact", FACTS)
def test_a_curve_counts_only_while_every_fact_is_the_same(cache: ProfileCache, fact: str):
    cache.save("k", FACTS, PROFILE, largest=8)
    assert cache.load("k", FACTS, largest=8) == PROFILE
    assert cache.load("k", {**FACTS, fact: "another"}) is None
    assert cache.load("k", {name: FACTS[name] for name in FACTS if name != fact}) is None
    assert cache.load("another", FACTS) is None


def test_models_that_are_tried_in_turns_keep_their_curves_and_the_file_stays_small(
    cache: ProfileCache,
):
    for number in range(30):
        cache.save("k", {**FACTS, "model": number}, PROFILE, largest=8)
        cache.save("k", {**FACTS, "model": number}, PROFILE, largest=8)
    cache.save("other", FACTS, PROFILE, largest=8)
    kept = list(cache)
    assert [each.facts["model"] for each in kept if each.key == "k"] == list(range(29, 21, -1))
    assert kept[0].key == "other"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b'{"format": 0, "curves": []}',
        b'{"format": 1}', b'{"format": 1, "curves": 3}', b'{"format": 1, "curves": [[]]}',
        b'{"format": 1, "curves": [{"key": "k", "facts": {}, "curve": {}, "largest": 8}]}',
        b'{"format": 1, "curves": [{"key": "k", "facts": {}, "curve": {"1": "fast"}}]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_is_broken_or_another_s_counts_as_absent(cache: ProfileCache, content: bytes):
    cache.path.parent.mkdir()
    cache.path.write_bytes(content)
    assert cache.load("k", FACTS) is None
    cache.save("k", FACTS, PROFILE, largest=8)
    assert cache.load("k", FACTS, largest=8) == PROFILE


def test_another_format_is_not_read(cache: ProfileCache):
    cache.save("k", FACTS, PROFILE, largest=8)
    content = json.loads(cache.path.read_text())
    cache.path.write_text(json.dumps({**content, "format": content["format"] + 1}))
    assert cache.load("k", FACTS) is None


def test_a_folder_that_can_t_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "data").write_text("a file where the folder should be")
    with Model() as model:
        model.tuned(ProfileCache(tmp_path / "data" / FILE))
        assert model.queue.profile is not None
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "measured at every start" in warning.message and "\n" not in warning.message


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_warning_and_what_was_kept_stays(
    cache: ProfileCache, caplog: pytest.LogCaptureFixture
):
    cache.save("k", FACTS, PROFILE, largest=8)
    before = sorted(path.name for path in cache.path.parent.iterdir())
    with full_disk():
        cache.save("new", FACTS, PROFILE, largest=8)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert cache.load("k", FACTS) == PROFILE and cache.load("new", FACTS) is None
    assert sorted(path.name for path in cache.path.parent.iterdir()) == before


def test_processes_that_start_together_lose_nothing_of_one_another(cache: ProfileCache):
    script = (
        "import sys; from pathlib import Path; from hearth.batching import LatencyProfile; "
        "from hearth.models.tuning import ProfileCache; "
        "cache = ProfileCache(Path(sys.argv[1])); sys.stdin.read(1); "
        "profile = LatencyProfile({1: 1.0}); "
        "[cache.save(f'{sys.argv[2]}/{n}', {}, profile, largest=1) for n in range(10)]"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, cache.path, str(number)], stdin=subprocess.PIPE
        )
        for number in range(4)
    ]
    for process in processes:
        process.communicate(b"!", timeout=60)
    assert {kept.key for kept in cache} == {f"{p}/{n}" for p in range(4) for n in range(10)}


def test_the_facts_tell_model_files_and_engines_apart(tiny_export: Path, tmp_path: Path):
    import onnxruntime

    file = tmp_path / "model.onnx"
    shutil.copy(tiny_export / "visual" / "model.onnx", file)
    free, held = open_onnx(file), open_onnx(file, threads=1)
    try:

        def facts_now(session: OnnxSession, item: tuple[int, ...] = (3, 32, 32)) -> Facts:
            return facts_of(session, model_id="tiny", files=[file], item=item)

        facts = facts_now(held)
        assert facts["engine"] == onnxruntime.__version__
        assert (facts["device"], facts["precision"], facts["threads"]) == ("cpu", "fp32", 1)
        assert (facts["cpu"], facts["cores"]) == (cpu_model(), usable_cores())
        assert facts_now(held) == facts
        assert facts_now(free) == {**facts, "threads": None}
        assert facts_now(held, (3, 64, 64)) == {**facts, "item": [3, 64, 64]}
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        assert facts_now(held) != facts
    finally:
        free.close()
        held.close()


async def test_a_curve_is_kept_with_the_size_of_what_was_measured(
    tiny_export: Path, cache: ProfileCache, tmp_path: Path
):
    options = QueueOptions(profiles=cache, max_batch=1)
    model = source(tmp_path, options=options, model=str(tiny_export)).load()
    try:
        await model.warm_up()
        await until_measured(*model.queues)
        height, width = model.transform.height, model.transform.width
        context = int(model.metadata["context_length"])
    finally:
        model.close()
    items = {kept.key: kept.facts["item"] for kept in cache}
    assert items == {"clip-image": [height, width, 3], "clip-text": [context]}


def test_a_curve_reads_well():
    assert (
        described(LatencyProfile({1: 0.02814, 8: 0.2, 16: 1.53}))
        == "1: 28.1 ms, 8: 200 ms, 16: 1530 ms"
    )


async def capability(stub: pb_grpc.InferenceStub) -> pb.Capability:
    lab, _compose = [each async for each in stub.StreamCapabilities(Empty())]
    return lab


async def test_the_capabilities_tell_the_curve_and_the_batch_in_force():
    async with lab_node() as node, stub_of(node) as stub:
        assert "curve.lab" not in (await capability(stub)).extra
        node.models["lab"].require().queues[0].tune(PROFILE)
        lab = await capability(stub)
        assert lab.extra["curve.lab"] == "1: 10 ms, 2: 15 ms, 4: 28 ms"
        assert lab.extra["max_batch"] == lab.extra["max_batch.lab"] == str(PROFILE.best())
        assert {task.limits["max_batch"] for task in lab.tasks} == {str(PROFILE.best())}
        assert "shrunk.lab" not in lab.extra


async def test_the_capabilities_tell_that_memory_was_short():
    gate, entered = threading.Event(), threading.Event()

    def run(batch: Sequence[bytes]) -> list[bytes]:
        entered.set()
        assert gate.wait(30)
        if len(batch) > 2:
            raise OutOfMemory("no memory left")
        return list(batch)

    async with lab_node(LabLoader(run)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, [ask(b"first")])
        assert await asyncio.to_thread(entered.wait, 10)
        await write_all(stream, [ask(b"more") for _ in range(8)])
        await stream.done_writing()
        queue = node.models["lab"].require().queues[0]
        while queue.statistics().waiting < 8:
            await asyncio.sleep(0)
        gate.set()
        answers = [answer async for answer in stream]
        assert [answer.error.message for answer in answers] == [""] * 9
        lab = await capability(stub)
    assert int(lab.extra["max_batch.lab"]) <= 2
    assert "for lack of memory" in lab.extra["shrunk.lab"]


async def test_every_task_tells_that_it_understands_a_priority():
    async with lab_node() as node, stub_of(node) as stub:
        for task in (await capability(stub)).tasks:
            assert task.limits["priority"] == "choice, default bulk, one of interactive bulk"
