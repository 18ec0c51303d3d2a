"""Face boxes and meshes are those of mp.solutions, and each video is followed by itself."""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from PIL import Image

import reference_kit as kit
from hearth.families.mediapipe.mesh import FaceMesh, TrackedFace, WantedMeshes
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.faces import FACE_DETECTION
from hearth.families.mediapipe.tasks.mesh import FACE_MESH
from mediapipe_kit import place
from mesh_kit import Track, Turn, followed, raw, runs_of, see
from node_kit import NodeThread, ask, stub_of, talk
from vision_kit import model_of

DETECTOR = "face_detection_short_range"
RAW = WantedMeshes(smooth=False)
PASSING = ("two_passing", "video_face_mesh_two")


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def meshes(
    model: MediaPipeModel,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: WantedMeshes = RAW,
) -> list[TrackedFace]:
    found: list[TrackedFace] = await followed(model, model.mesh, pixels, turn, wanted)
    return found


def width_of(points: NDArray[np.floating]) -> float:
    return float(np.ptp(points[:, 0]))


def difference(ours: Sequence[TrackedFace], theirs: Any) -> float:
    """Of one of their faces to ours that is nearest: the mean in x and y, in face widths."""
    points = np.array(theirs)
    distances = [np.linalg.norm((face.points - points)[:, :2], axis=1).mean() for face in ours]
    nearest = int(np.argmin(distances))
    depth = np.abs(ours[nearest].points[:, 2] - points[:, 2]).mean()
    assert depth < 0.015 * width_of(points)
    return float(distances[nearest]) / width_of(points)


# --- boxes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "least"), [("short", "0.5"), ("full", "0.6")])
async def test_faces_are_boxed_as_with_mediapipe(
    which: str, least: str, model: MediaPipeModel
) -> None:
    """With the least scores of its graphs; its option for them does nothing."""
    compared = 0
    for name, pixels, answer in kit.compared(f"face_detection_{which}"):
        found = await see(model, FACE_DETECTION, raw(pixels), range=which, min_confidence=least)
        assert found["count"] == len(answer["faces"]), name
        side = max(pixels.shape[:2])
        for ours, theirs in zip(found["faces"], answer["faces"], strict=True):
            assert ours["confidence"] == pytest.approx(theirs["score"], abs=0.02), name
            keypoints = list(ours["keypoints"].values())
            # 2 % of the side is what the issue asks for; this is 0.2 %.
            np.testing.assert_allclose(ours["box"], theirs["box"], atol=0.002 * side)
            np.testing.assert_allclose(keypoints, theirs["keypoints"], atol=0.002 * side)
            compared += 1
    assert compared > 20


# --- meshes -----------------------------------------------------------------------------------


async def test_meshes_are_those_of_mediapipe(model: MediaPipeModel) -> None:
    """Whole, turned, scaled, mirrored and cropped pictures, and some without anybody."""
    compared = 0
    for name, pixels, answer in kit.compared("face_mesh"):
        ours = await meshes(model, pixels)
        assert len(ours) == len(answer["faces"]), name
        for theirs in answer["faces"]:
            # 1.5 % is what the issue asks for.
            assert difference(ours, theirs) < 0.002, name
            compared += 1
    assert compared > 15


async def test_several_faces_in_one_picture_have_their_own_meshes(model: MediaPipeModel) -> None:
    most = 0
    for name, pixels, answer in kit.compared("face_mesh_several"):
        ours = await meshes(model, pixels, wanted=WantedMeshes(max_faces=3))
        assert len(ours) == len(answer["faces"]), name
        most = max(most, len(ours))
        for theirs in answer["faces"]:
            assert difference(ours, theirs) < 0.005, name
    assert most == 3


async def test_no_more_faces_are_given_than_asked_for(model: MediaPipeModel) -> None:
    pixels = kit.picture("three_heads")
    [surest] = await meshes(model, pixels)
    first, second = await meshes(model, pixels, wanted=WantedMeshes(max_faces=2))
    np.testing.assert_array_equal(first.points, surest.points)
    assert np.linalg.norm(first.points[0] - second.points[0]) > 100


async def test_where_nobody_is_the_list_is_empty(model: MediaPipeModel) -> None:
    answer = await see(model, FACE_MESH, raw(kit.picture("coffee")))
    assert answer["faces"] == [] and answer["count"] == 0


async def test_faces_that_are_less_sure_can_be_left_out(model: MediaPipeModel) -> None:
    """A head upside down, which the model hardly knows."""
    pixels = kit.picture("astronaut_turned_180")
    [face] = await meshes(model, pixels)
    assert 0.5 <= face.presence < 0.97
    assert await meshes(model, pixels, wanted=WantedMeshes(min_tracking_confidence=0.97)) == []


# --- videos -----------------------------------------------------------------------------------


def frames_of(case: str, file: str = "video_face_mesh") -> NDArray[np.uint8]:
    frames, _ = kit.video(file, case)
    return frames


async def film(
    model: MediaPipeModel, frames: NDArray[np.uint8], wanted: WantedMeshes
) -> list[list[TrackedFace]]:
    track = Track()
    return [
        await meshes(model, pixels, Turn(track, at * kit.FRAME_MS / 1000), wanted)
        for at, pixels in enumerate(frames)
    ]


@pytest.mark.parametrize(
    ("file", "case", "faces"),
    [
        ("video_face_mesh", "astronaut_drifting", 1),
        ("video_face_mesh", "grace_leaving", 1),
        (*reversed(PASSING), 2),
    ],
)
async def test_videos_are_followed_as_mediapipe_does(
    file: str, case: str, faces: int, model: MediaPipeModel
) -> None:
    frames, answer = frames_of(case, file), kit.answers(file).cases[case]
    before = runs_of(model, DETECTOR)
    found = await film(model, frames, WantedMeshes(max_faces=faces, smooth=False))
    detected = runs_of(model, DETECTOR) - before
    assert [len(ours) for ours in found] == [count for [count] in answer["found"]]
    for at, kept in answer["frames"].items():
        for theirs in kept["faces"]:
            assert difference(found[int(at)], theirs) < 0.002
    # Looked for in the first frame, and again as long as somebody was missing.
    missing = sum(len(ours) < faces for ours in found[:-1])
    assert detected == 1 + missing


async def test_a_face_keeps_its_place_in_the_list(model: MediaPipeModel) -> None:
    found = await film(model, frames_of(*PASSING)[:8], WantedMeshes(max_faces=2))
    for before, after in itertools.pairwise(found):
        assert [face.follows for face in after] == [0, 1]
        for one, next_one in zip(before, after, strict=True):
            assert np.linalg.norm(one.points[1] - next_one.points[1]) < 15


async def test_smoothing_keeps_up_with_what_moves(model: MediaPipeModel) -> None:
    frames = frames_of("astronaut_drifting")[:10]
    calm = await film(model, frames, WantedMeshes())
    quick = await film(model, frames, RAW)
    for [one], [other] in zip(calm, quick, strict=True):
        lag = np.linalg.norm((one.points - other.points)[:, :2], axis=1).mean()
        assert lag < 0.03 * width_of(other.points)
    # And what is followed is what was seen.
    assert calm[-1][0].region == quick[-1][0].region


async def test_one_more_face_is_looked_for_only_while_one_is_missing(
    model: MediaPipeModel,
) -> None:
    """A second face comes into the picture: the first keeps its place."""
    two, track = kit.picture("two_heads"), Track()
    one = np.array(two)
    one[:, 240:] = 0
    first = await meshes(model, one, Turn(track, 0.0), WantedMeshes(max_faces=2, smooth=False))
    both = await meshes(model, two, Turn(track, 0.1), WantedMeshes(max_faces=2, smooth=False))
    assert (len(first), [face.follows for face in both]) == (1, [0, None])
    before = runs_of(model, DETECTOR)
    await meshes(model, two, Turn(track, 0.2), WantedMeshes(max_faces=2, smooth=False))
    assert runs_of(model, DETECTOR) == before


# --- as a task --------------------------------------------------------------------------------


async def test_points_come_in_pixels_and_as_shares(model: MediaPipeModel) -> None:
    pixels = kit.picture("astronaut_bust")
    answer = await see(model, FACE_MESH, raw(pixels))
    assert (answer["width"], answer["height"]) == (370, 400)
    [face] = answer["faces"]
    points, shares = np.array(face["points"]), np.array(face["points_normalized"])
    assert points.shape == shares.shape == (468, 3)
    np.testing.assert_allclose(points, shares * [370, 400, 370], atol=0.01)
    left, top, right, bottom = face["box"]
    assert (left, top) == tuple(points[:, :2].min(axis=0))
    assert (right, bottom) == tuple(points[:, :2].max(axis=0))
    [face] = (await see(model, FACE_MESH, raw(pixels), coordinates="pixel"))["faces"]
    assert face.keys() == {"points", "box", "presence"}


async def test_full_range_finds_faces_that_are_farther_away(model: MediaPipeModel) -> None:
    pixels = kit.picture("all_three")
    short = await see(model, FACE_MESH, raw(pixels), max_faces="3")
    full = await see(model, FACE_MESH, raw(pixels), max_faces="3", range="full")
    assert full["count"] > short["count"]


def test_the_mesh_can_be_used_in_a_notebook() -> None:
    """Nothing is loaded by making it."""
    with model_of() as model:
        assert isinstance(model.mesh, FaceMesh)
        assert model.metadata == {"loaded": ""}


# --- on a node --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    data_dir: Path = tmp_path_factory.mktemp("data")
    place(data_dir)
    with NodeThread(services="mediapipe", data_dir=data_dir) as running:
        yield running


async def test_a_node_answers_files_and_raw_frames_alike(
    node: NodeThread, model: MediaPipeModel
) -> None:
    pixels = kit.picture("astronaut")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    payload, mime = raw(pixels)
    async with stub_of(node.node) as stub:
        answers = [
            orjson.loads(b"".join(part.result for part in await talk(stub, [request])))
            for request in (
                ask(file.getvalue(), task="face_mesh", payload_mime="image/png"),
                ask(payload, task="face_mesh", payload_mime=mime),
            )
        ]
    assert answers[0] == answers[1] == await see(model, FACE_MESH, raw(pixels))
    assert answers[0]["model_id"] == "mediapipe-0.10.21"


async def test_a_node_follows_a_video_and_tells_its_limits(node: NodeThread) -> None:
    frames = frames_of("astronaut_drifting")[:4]
    async with stub_of(node.node) as stub:
        requests = []
        for at, pixels in enumerate(frames):
            payload, mime = raw(pixels)
            meta = {"stream_id": "door", "frame_number": str(at), "timestamp_ms": str(at * 33)}
            requests.append(ask(payload, str(at), "face_mesh", payload_mime=mime, meta=meta))
        responses = await talk(stub, requests)
        capabilities = [capability async for capability in stub.StreamCapabilities(_empty())]
    answers = {part.correlation_id: orjson.loads(part.result) for part in responses}
    assert [answers[str(at)]["frame_number"] for at in range(4)] == [0, 1, 2, 3]
    assert all(answer["count"] == 1 for answer in answers.values())
    [served] = [one for one in capabilities if one.service_name == "mediapipe"]
    [task] = [task for task in served.tasks if task.name == "face_mesh"]
    assert task.limits["max_faces"].endswith("at most 16")
    assert "image/x-raw" in task.input_mimes


def _empty() -> Any:
    from google.protobuf import empty_pb2

    return empty_pb2.Empty()
