"""Four cameras before four people, and a node that follows them all at once.

Each films one of tests/kits/reference_kit.py's people, at another place of its picture, while it
moves; so where a person's points are in each frame is known, from mediapipe's answer for the
photograph and from how the camera moves, and is near no other camera's.
"""

import asyncio
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

import _kit as kit
import reference_kit as people
from _clients import connected
from hearth.contract import ml_service_pb2 as pb

SIZE = (640, 480)
RATE = 30.0
ROUND = 60
"""Frames until a camera is where it was."""


class Subject(NamedTuple):
    """Person, and where they are in the camera's picture."""

    picture: str
    scale: float
    place: tuple[float, float]
    """Place of the nose, in shares of the picture."""


SUBJECTS: Mapping[str, Subject] = {
    "astronaut": Subject("astronaut", 1.2, (0.3, 0.35)),
    "astronaut, mirrored": Subject("astronaut_mirrored", 1.2, (0.7, 0.35)),
    "captain": Subject("grace", 1.3, (0.3, 0.62)),
    "captain, mirrored": Subject("grace_mirrored", 1.3, (0.7, 0.62)),
}

Points = NDArray[np.float64]


class Asked(NamedTuple):
    """Request of the cameras for, and what of the answer is looked at."""

    task: str
    list_name: str
    options: Mapping[str, str]
    kept: str
    """mediapipe's answers, a file of tests/references."""
    count: int
    """The first points, which are those of the face."""


TASKS: Mapping[str, Asked] = {
    "face_mesh": Asked("face_mesh", "faces", {"coordinates": "pixel"}, "face_mesh", 468),
    "pose_tracking": Asked("pose_tracking", "poses", {"coordinates": "pixel"}, "pose", 11),
}

FAR = 0.25
"""Share of the face's width: points further off than this on average are somebody else's, or
nobody's. Smoothed points lag behind by a few hundredths of it."""


class Camera:
    """Film of one camera: its frames as they are sent, and where the points are in each."""

    def __init__(self, subject: Subject, asked: Asked, *, raw: bool) -> None:
        source = people.picture(subject.picture)
        points = self._points(subject, asked)
        nose = self._points(subject, TASKS["face_mesh"])[1]
        self.mime = f"image/x-raw;format=rgb;width={SIZE[0]};height={SIZE[1]}"
        self.mime = self.mime if raw else "image/jpeg"
        self.payloads: list[bytes] = []
        self.expected: list[Points] = []
        for at in range(ROUND):
            # There and back, coming nearer and leaning over.
            far = 1 - abs(2 * at / ROUND - 1)
            scale, degrees = subject.scale * (1 + 0.08 * far), 8 * far - 4
            shift = np.array(SIZE) * (np.array(subject.place) - 0.5) + (20 * far, 8 * far)
            middle = nose - _turned(shift / scale, -degrees)
            pixels = people.seen(
                source, SIZE, at=(middle[0], middle[1]), scale=scale, degrees=degrees
            )
            self.payloads.append(pixels.tobytes() if raw else jpeg(pixels))
            seen = _turned(points - middle, degrees) * scale + np.array(SIZE) / 2
            self.expected.append(seen)

    @staticmethod
    def _points(subject: Subject, asked: Asked) -> Points:
        case = people.answers(asked.kept).cases[subject.picture]
        found = case["faces"][0] if "faces" in case else case["pose"]["points"]
        return np.array(found, np.float64)[: asked.count, :2]


def _turned(vectors: Points, degrees: float) -> Points:
    """Clockwise in the picture."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return vectors @ np.array([[cos, sin], [-sin, cos]])


def jpeg(pixels: Any) -> bytes:
    """Encode the pixels as a camera sends them."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=85)
    return target.getvalue()


class Record:
    """Record of one camera's frames."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.latencies: list[float] = []
        self.right = self.dropped = self.empty = self.off = self.mixed = self.failed = 0
        self.offsets: list[float] = []
        """Offsets of right answers, in shares of the face's width."""

    @property
    def unanswered(self) -> int:
        """Frames that nothing was heard of."""
        return len(self.sent)


class Crew:
    """All cameras, filming a node for some seconds."""

    def __init__(self, port: int, asked: Asked, *, raw: bool = False) -> None:
        self._port, self._asked = port, asked
        self.cameras = {name: Camera(subject, asked, raw=raw) for name, subject in SUBJECTS.items()}
        self.records = {name: Record() for name in SUBJECTS}

    async def film(self, seconds: float) -> None:
        """Film until every frame has its answer."""
        begin = kit.now() + 0.2
        async with asyncio.TaskGroup() as group:
            for number, name in enumerate(self.cameras):
                # Cameras don't wait for each other.
                first = begin + number / (len(self.cameras) * RATE)
                group.create_task(self._film(name, first, round(seconds * RATE)))

    async def _film(self, name: str, first: float, frames: int) -> None:
        camera, record = self.cameras[name], self.records[name]
        async with connected(self._port) as stub:
            stream = stub.Infer()

            async def send() -> None:
                for number in range(frames):
                    await asyncio.sleep(max(0.0, first + number / RATE - kit.now()))
                    request = self._request(camera, number)
                    record.sent[number] = kit.now()
                    await stream.write(request)
                await stream.done_writing()

            sending = asyncio.create_task(send())
            async for response in stream:
                self._received(name, record, response)
            await sending

    def _request(self, camera: Camera, number: int) -> pb.InferRequest:
        return pb.InferRequest(
            correlation_id=str(number),
            task=self._asked.task,
            payload=camera.payloads[number % ROUND],
            payload_mime=camera.mime,
            # All have the same name for it: what is followed is kept apart by connection.
            meta={
                **self._asked.options,
                "stream_id": "camera",
                "frame_number": str(number),
                "timestamp_ms": str(1e3 * number / RATE),
                "drop": "oldest",
            },
        )

    def _received(self, name: str, record: Record, response: pb.InferResponse) -> None:
        number = int(response.correlation_id)
        took = kit.now() - record.sent.pop(number)
        if response.error.code:
            record.failed += 1
            return
        answer = orjson.loads(response.result)
        if answer["frame_number"] != number:
            record.mixed += 1
        elif answer.get("dropped"):
            record.dropped += 1
        else:
            record.latencies.append(took)
            self._judge(name, record, number, answer)

    def _judge(self, name: str, record: Record, number: int, answer: Mapping[str, Any]) -> None:
        found = answer[self._asked.list_name]
        if not found:
            record.empty += 1
            return
        points = np.array(found[0]["points"], np.float64)[: self._asked.count, :2]
        at = number % ROUND
        offsets = {
            other: float(np.linalg.norm(points - camera.expected[at], axis=1).mean())
            / float(np.ptp(camera.expected[at][:, 0]))
            for other, camera in self.cameras.items()
        }
        if min(offsets, key=lambda other: offsets[other]) != name:
            record.mixed += 1
        elif offsets[name] > FAR:
            record.off += 1
        else:
            record.right += 1
            record.offsets.append(offsets[name])


class Filmed(NamedTuple):
    """Results of the cameras."""

    records: Mapping[str, Record]
    seconds: float
    memory_mb: Sequence[float]
    """Memory of the node, second by second."""
    cores: float
    """Cores that the node had at work on average."""

    @property
    def growth_mb(self) -> float:
        """From the middle third of the time to the last."""
        third = max(1, len(self.memory_mb) // 3)
        middle, last = self.memory_mb[third : 2 * third], self.memory_mb[-third:]
        return float(np.median(last) - np.median(middle))


async def filmed(serving: kit.Serving, asked: Asked, seconds: float, *, raw: bool) -> Filmed:
    """Have all cameras film."""
    # Models are loaded by the first who need them.
    await Crew(serving.port, asked, raw=raw).film(1)
    crew, memory = Crew(serving.port, asked, raw=raw), []

    async def watch() -> None:
        while True:
            memory.append(serving.resident_mb())
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    cpu, started = serving.cpu_seconds(), kit.now()
    await crew.film(seconds)
    cores = (serving.cpu_seconds() - cpu) / (kit.now() - started)
    watching.cancel()
    return Filmed(crew.records, seconds, memory, cores)


def lines(task: str, done: Filmed) -> Iterator[str]:
    """Write what there is to say of one task's cameras."""
    yield (f"{task}, four cameras for {done.seconds:g} s: the node used {done.cores:.2f} cores, "
           f"its memory grew by {done.growth_mb:.1f} MB")  # fmt: skip
    for name, record in done.records.items():
        late = sorted(record.latencies) or [float("nan")]
        yield (
            f"  {name:20} {record.right / done.seconds:5.1f} frames/s, "
            f"p50 {1e3 * kit.percentile(late, 0.5):5.1f} ms, "
            f"p95 {1e3 * kit.percentile(late, 0.95):5.1f} ms; dropped {record.dropped}, "
            f"empty {record.empty}, astray {record.off}, mixed up {record.mixed}, "
            f"failed {record.failed}, unanswered {record.unanswered}; "
            f"points off by {100 * float(np.mean(record.offsets or [0])):.0f} % of the face"
        )


def goals(task: str, done: Filmed) -> Iterator[kit.Goal]:
    """Check for no mix-ups, fair shares, flat memory."""
    records = done.records.values()
    wrong = sum(r.mixed + r.off + r.empty + r.failed + r.unanswered for r in records)
    rates = [record.right / done.seconds for record in records]
    yield kit.Goal(f"{task}, four cameras: answers that are wrong or missing", wrong, most=0)
    yield kit.Goal(f"{task}, four cameras: least share against the greatest",
                   min(rates) / max(rates), least=0.8)  # fmt: skip
    yield kit.Goal(f"{task}, four cameras: growth of memory in MB", done.growth_mb, most=8)
