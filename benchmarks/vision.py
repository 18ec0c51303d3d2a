"""Cost of seeing faces, hands and bodies, and who is followed by whom.

Each of MediaPipe's tasks against ``mp.solutions`` of mediapipe 0.10.21, which runs in an
environment of its own (tools/mediapipe_reference.py makes it): CPU time of a frame, all
threads, both processes on the same one core in turns. Raw: a decoded frame by itself; jpeg:
from the file on, which mediapipe's side reads with OpenCV; video: frames of a moving camera,
followed. hearth's side goes through the model's queues, without gRPC and without JSON.

Then ten faces of one picture through recognition; the memory of a node that has all of
MediaPipe's models loaded; and four cameras at 30 frames a second, over gRPC, before four
different people: who gets how many frames, how late, and whether anybody is taken for
somebody else.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kits"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import mediapipe_reference
import uvloop

import _kit as kit
import _vision_cameras as cameras
import _vision_faces as faces
import mediapipe_kit
import reference_kit as people
from _clients import connected
from _models import FOLDER
from _vision_cases import CASES, FRAME_SECONDS, MODES, Case, there_and_back
from hearth.backends.litert_pool import LiteRtPool
from hearth.contract import ml_service_pb2 as pb
from hearth.families.mediapipe.faces import WantedFaces
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.mediapipe.wheel import WheelModels
from hearth.media import ImagePayload, ImageReader, Picture
from hearth.serving.stream_state import StreamStates

MOST_MEMORY_MB = 400
RAW = "image/x-raw;format=rgb;width={};height={}"

Find = Callable[[MediaPipeModel, Frame, Any, float | None], Awaitable[tuple[Any, Any]]]
"""Function of a frame, what the one before has left, and its moment."""


async def _alone(found: Awaitable[Any]) -> tuple[Any, None]:
    """Measure what isn't followed."""
    return await found, None


async def _mask(model: MediaPipeModel, frame: Frame, kind: Any) -> Any:
    """mediapipe gives masks in the picture's size, so ours are brought to it as well."""
    mask = await model.selfie.find(frame, model=kind)
    return mask.eight_bit(None)


FINDERS: Mapping[str, Find] = {
    "face_detection": lambda m, f, *_: _alone(m.faces.find(f)),
    "face_detection full": lambda m, f, *_: _alone(m.faces.find(f, WantedFaces("full"))),
    "face_mesh": lambda m, f, *past: m.mesh.follow(f, *past),
    "iris_tracking": lambda m, f, *past: m.iris.follow(f, *past),
    "hand_tracking": lambda m, f, *past: m.hands.follow(f, *past),
    "pose_tracking": lambda m, f, *past: m.pose.follow(f, *past),
    "holistic_tracking": lambda m, f, *past: m.holistic.follow(f, *past),
    "selfie_segmentation": lambda m, f, *_: _alone(_mask(m, f, "general")),
    "selfie_segmentation landscape": lambda m, f, *_: _alone(_mask(m, f, "landscape")),
}
"""How each of CASES is asked for."""


class Ours:
    """hearth's side of the comparison."""

    def __init__(self, model: MediaPipeModel) -> None:
        self._model = model
        self._videos = StreamStates()
        self._at: dict[str, int] = {}
        self._frames: dict[str, list[tuple[bytes, str]]] = {}

    async def measure(self, task: str, mode: str, frames: int, jpeg: Path) -> float:
        """CPU seconds of a frame."""
        if mode == "video":
            return await self._follow(task, CASES[task].video or "", frames)
        content = jpeg.read_bytes()
        payload, mime = _raw(people.picture(CASES[task].picture))
        find = FINDERS[task]
        started = time.process_time()
        for _ in range(frames):
            file: ImagePayload = content if mode == "jpeg" else Picture(payload, mime)
            async with self._model.frame(file) as frame:
                found, _ = await find(self._model, frame, None, None)
        return self._each(started, frames, task, found)

    async def _follow(self, task: str, name: str, count: int) -> float:
        if name not in self._frames:
            self._frames[name] = [_raw(frame) for frame in people.VIDEOS[name].frames()]
        shown = self._frames[name]
        start = self._at.get(task, 0)
        self._at[task] = start + count
        find = FINDERS[task]
        video = self._videos.of(self, task)
        started = time.process_time()
        for number, at in enumerate(there_and_back(count, start, len(shown)), start):
            async with video.turn(drop=False), self._model.frame(Picture(*shown[at])) as frame:
                moment = number * FRAME_SECONDS
                before = video.begin(moment, (frame.width, frame.height))
                found, video.before = await find(self._model, frame, before, moment)
        return self._each(started, count, task, found)

    @staticmethod
    def _each(started: float, frames: int, task: str, found: Any) -> float:
        took = time.process_time() - started
        if found is None or found == []:
            raise SystemExit(f"hearth found nothing: {task}")
        return took / frames


def _raw(pixels: Any) -> tuple[bytes, str]:
    return pixels.tobytes(), RAW.format(pixels.shape[1], pixels.shape[0])


@contextmanager
def theirs(core: list[int]) -> Iterator[Callable[[str, str, int, Path], float]]:
    """mediapipe's side: a function like ``Ours.measure``."""
    python = mediapipe_reference.interpreter()
    script = Path(__file__).with_name("_vision_reference.py")
    quiet = {**os.environ, "GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [python, "-W", "ignore", script], env=quiet, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # Long before it has imported an engine, which would count the cores.
    os.sched_setaffinity(process.pid, core)
    assert process.stdin is not None
    assert process.stdout is not None
    asks, answers = process.stdin, process.stdout

    def measure(task: str, mode: str, frames: int, jpeg: Path) -> float:
        asked = {"task": task, "mode": mode, "frames": frames, "jpeg": str(jpeg)}
        print(json.dumps(asked), file=asks, flush=True)
        if not (line := answers.readline()):
            raise SystemExit(f"{script.name} has ended: run it with {python} to see why")
        answer = json.loads(line)
        if not answer["found"]:
            raise SystemExit(f"mediapipe found nothing: {task}")
        return float(answer["cpu"])

    try:
        yield measure
    finally:
        process.terminate()
        process.communicate()


async def compare(rounds: int, frames: int) -> list[list[Any]]:
    """Rows of task, mode, both sides' CPU milliseconds a frame, and their ratio."""
    folder = FOLDER / "mediapipe"
    pairs = [(task, mode) for task, case in CASES.items() for mode in case.modes]
    model = MediaPipeModel(
        lambda name: LiteRtPool(folder / f"{name}.tflite", width=1),
        reader=ImageReader(100_000_000),
    )
    ours = Ours(model)
    sides: dict[tuple[str, str], tuple[list[float], list[float]]] = {
        pair: ([], []) for pair in pairs
    }
    try:
        with theirs(kit.SERVER_CORE) as other:
            for number in range(rounds + 1):
                for task, mode in pairs:
                    jpeg = _jpeg(CASES[task])
                    mine = await ours.measure(task, mode, frames, jpeg)
                    yours = other(task, mode, frames, jpeg)
                    if number:  # the first round loads the models
                        sides[task, mode][0].append(1e3 * mine)
                        sides[task, mode][1].append(1e3 * yours)
    finally:
        model.close()
    return [
        [task, mode, median(mine), median(yours), kit.median_ratio(mine, yours)]
        for (task, mode), (mine, yours) in sides.items()
    ]


def _jpeg(case: Case) -> Path:
    path = FOLDER / "vision" / f"{case.picture}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cameras.jpeg(people.picture(case.picture)))
    return path


def settings(**more: object) -> list[str]:
    """Flags for a node with MediaPipe's tasks alone."""
    return kit.flags({"services": "mediapipe", "mediapipe.load": "ready", **more})


async def loaded_mb(serving: kit.Serving) -> float:
    """Resident memory once every task has answered, single and in a video."""
    pixels = people.picture("grace_waving")
    payload, mime = _raw(pixels)
    async with connected(serving.port) as stub:
        for task in MEDIAPIPE_TASKS:
            for meta in ({}, {"stream_id": "1"}, {"stream_id": "1"}):
                request = pb.InferRequest(
                    correlation_id="1", task=task.name, payload=payload, payload_mime=mime,
                    meta=meta,
                )  # fmt: skip
                async for response in stub.Infer(iter([request])):
                    if response.error.code:
                        raise SystemExit(f"{task.name}: {response.error.message}")
    return serving.resident_mb()


def film(seconds: float, *, raw: bool) -> tuple[dict[str, cameras.Filmed], float]:
    """Measure what the cameras got of each of their tasks, and the node's memory with all
    models.
    """
    with kit.server("_servers.py", "clip", *settings()) as serving:
        memory = uvloop.run(loaded_mb(serving))
        done = {
            name: uvloop.run(cameras.filmed(serving, asked, seconds, raw=raw))
            for name, asked in cameras.TASKS.items()
        }
    return done, memory


def main() -> int:
    """Measure everything, report."""
    options = kit.options(
        __doc__ or "",
        ("--raw", {"action": "store_true", "help": "cameras send raw frames instead of JPEGs"}),
        ("--seconds", {"type": float, "help": "of filming (60; quick: 10)"}),
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    WheelModels(FOLDER / "mediapipe").fetch(wheel=mediapipe_kit.wheel_path())
    rounds, frames = (5, 6) if options.quick else (20, 20)
    with kit.confined(kit.SERVER_CORE):
        rows = uvloop.run(compare(rounds, frames))
    ways = uvloop.run(faces.measure(4 if options.quick else 15))
    filmed, memory = film(options.seconds or (10 if options.quick else 60), raw=options.raw)
    print(f"a node with all of MediaPipe's models loaded: {memory:.0f} MB")
    for way in ways:
        print(f"{faces.FACES} faces, {way.recogniser}: one batch {way.one_batch:.0f} ms, "
              f"one by one {way.one_by_one:.0f} ms, ten requests at once {way.at_once:.0f} ms; "
              f"ratio {way.ratio:.2f}")  # fmt: skip
    for task, done in filmed.items():
        print(*cameras.lines(task, done), sep="\n")
    goals = [
        *(kit.Goal(f"{task}, {mode}: CPU time against mp.solutions", ratio, most=1.0)
          for task, mode, _, _, ratio in rows),
        kit.Goal("all models loaded: MB resident", memory, most=MOST_MEMORY_MB),
        *(kit.Goal(f"ten faces, {way.recogniser}: one batch against one by one", way.ratio,
                   most=1.1)
          for way in ways),
        *(goal for task, done in filmed.items() for goal in cameras.goals(task, done)),
    ]  # fmt: skip
    return kit.report(
        "vision",
        ["task", "mode", "hearth, ms", "mp.solutions, ms", "hearth / mp.solutions"],
        rows,
        goals,
        check=options.check,
        faces=[way._asdict() for way in ways],
        memory_mb=memory,
        cameras={
            task: {
                name: {
                    "frames_per_second": record.right / done.seconds,
                    "p50_ms": 1e3 * kit.percentile(record.latencies or [0], 0.5),
                    "p95_ms": 1e3 * kit.percentile(record.latencies or [0], 0.95),
                    "dropped": record.dropped,
                }
                for name, record in done.records.items()
            }
            for task, done in filmed.items()
        },
    )


if __name__ == "__main__":
    assert set(MODES) >= {mode for case in CASES.values() for mode in case.modes}
    sys.exit(main())
