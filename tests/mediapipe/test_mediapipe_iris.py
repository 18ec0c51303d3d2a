"""Irises are where mp.solutions sees them, and gaze turns the way the eyes do."""

import itertools
import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import reference_kit as kit
from hearth.families.mediapipe.gaze import Gaze, Side, gaze, head_axes
from hearth.families.mediapipe.iris import CORNERS, Eyes
from hearth.families.mediapipe.mesh import WantedMeshes
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.iris import IRIS_TRACKING
from mesh_kit import Client, Track, Turn, followed, raw, see

SIDES: tuple[Side, Side] = ("right", "left")

UNSEEN = {"astronaut_turned_90", "astronaut_turned_180", "astronaut_half_a_face", "camera_mirrored"}
"""Where eyes are upside down, in profile or cut off: whatever is said of them is a guess."""


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def eyes_of(
    model: MediaPipeModel,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: WantedMeshes | None = None,
) -> list[Eyes]:
    wanted = wanted or WantedMeshes(smooth=False)
    found: list[Eyes] = await followed(model, model.iris, pixels, turn, wanted)
    return found


def eye_width(eyes: Eyes, side: Side) -> float:
    outer, inner = (eyes.face.points[at, :2] for at in CORNERS[side])
    return float(np.linalg.norm(outer - inner))


# --- irises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
async def test_irises_are_where_mediapipe_sees_them(side: Side, model: MediaPipeModel) -> None:
    """By another model of its own (face_landmark_with_attention), so not to the pixel."""
    compared = 0
    for name, pixels, answer in kit.compared("iris"):
        if name in UNSEEN or not answer["faces"]:
            continue
        [eyes] = await eyes_of(model, pixels)
        [theirs] = answer["faces"]
        # In its order as well: exchanged points would be a third of the eye's width off.
        off = np.linalg.norm(
            getattr(eyes, side).iris[:, :2] - np.array(theirs[side])[:, :2], axis=1
        )
        assert off.mean() < 0.065 * eye_width(eyes, side), name
        compared += 1
    assert compared >= 12


async def test_right_and_left_are_the_subjects(model: MediaPipeModel) -> None:
    [eyes] = await eyes_of(model, kit.picture("astronaut"))
    right, left = eyes.right, eyes.left
    assert right.iris[0, 0] < left.iris[0, 0]
    for eye, outwards in ((right, -1), (left, 1)):
        outer, inner = eye.contour[0, 0], eye.contour[8, 0]
        assert (outer - inner) * outwards > 0
        # The lower lid, then the upper one.
        assert eye.contour[4, 1] > eye.iris[0, 1] > eye.contour[12, 1]
        centre, *edge = eye.iris[:, :2]
        towards = [tuple(np.sign(np.rint((point - centre) / 2))) for point in edge]
        assert towards == [(1, 0), (0, -1), (-1, 0), (0, 1)]
        assert eye.diameter == pytest.approx(0.42 * eye_width(eyes, "right"), rel=0.15)


async def test_who_is_mirrored_looks_the_other_way(model: MediaPipeModel) -> None:
    for name in ("astronaut", "grace"):
        [eyes] = await eyes_of(model, kit.picture(name))
        [mirrored] = await eyes_of(model, kit.picture(f"{name}_mirrored"))
        for side, other in (SIDES, SIDES[::-1]):
            one, twin = eyes.of(side).gaze, mirrored.of(other).gaze
            assert twin.yaw_degrees == pytest.approx(-one.yaw_degrees, abs=6)
            assert twin.pitch_degrees == pytest.approx(one.pitch_degrees, abs=6)


# --- gaze, on faces made of numbers ------------------------------------------------------------


def made_face(turned: float = 0.0, nodded: float = 0.0) -> NDArray[np.float32]:
    """A mesh of the points that matter, in millimetres from between the eyes, in degrees."""
    mesh = np.zeros((468, 3), np.float64)
    # MediaPipe's canonical_face_model.obj, with y down and z away.
    for right, left, point in ((33, 263, (44.5, -26.6, -31.7)), (133, 362, (18.6, -25.9, -37.6)),
                               (129, 358, (17.9, 9.8, -48.5))):  # fmt: skip
        x, y, z = point
        mesh[right], mesh[left] = (-x, y, z), (x, y, z)
    mesh[10] = (0, -82.6, -44.8)
    yaw, pitch = math.radians(turned), math.radians(nodded)
    # Positive: to the picture's right, and up.
    across = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0],
                       [math.sin(yaw), 0, math.cos(yaw)]])  # fmt: skip
    up = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)],
                   [0, -math.sin(pitch), math.cos(pitch)]])  # fmt: skip
    return (mesh @ (across @ up).T).astype(np.float32)


def gaze_at(
    side: Side,
    x: float = 0.0,
    y: float = 0.0,
    mesh: NDArray[np.float32] | None = None,
    size: float = 1.0,
) -> Gaze:
    """With the iris moved by millimetres in the picture from where it looks straight ahead."""
    mesh = made_face() if mesh is None else mesh
    out, above, ahead = 0.85, 1.6, 3.6
    left, down, back = map(np.array, head_axes(mesh))
    straight = (-out if side == "right" else out) * left - above * down - ahead * back
    corners = mesh[list(CORNERS[side])]
    iris = corners.mean(axis=0) + straight + (x, y, 0)
    return gaze(side, mesh * size, corners * size, iris * size, 11.8 * size)


@pytest.mark.parametrize("side", SIDES)
def test_an_eye_that_looks_straight_ahead_looks_at_the_camera(side: Side) -> None:
    seen = gaze_at(side)
    assert seen.direction == pytest.approx((0, 0, -1), abs=0.01)
    assert (seen.yaw_degrees, seen.pitch_degrees) == pytest.approx((0, 0), abs=0.5)


@pytest.mark.parametrize("side", SIDES)
def test_gaze_turns_with_the_iris(side: Side) -> None:
    yaws = [gaze_at(side, x=x).yaw_degrees for x in np.linspace(-5, 5, 21)]
    assert yaws == sorted(yaws) and yaws[0] < -40 and yaws[-1] > 40
    pitches = [gaze_at(side, y=y).pitch_degrees for y in np.linspace(-5, 5, 21)]
    assert pitches == sorted(pitches, reverse=True) and pitches[0] > 40 and pitches[-1] < -40
    assert gaze_at(side, x=1.7).yaw_degrees == pytest.approx(15.2, abs=1)


def test_gaze_is_a_direction_of_length_one_whatever_the_iris_says() -> None:
    for x, y in itertools.product((-40, -3, 0, 3, 40), repeat=2):
        for side in SIDES:
            seen = gaze_at(side, x, y)
            assert math.hypot(*seen.direction) == pytest.approx(1)
            assert seen.direction[2] < 0
            yaw, pitch = math.radians(seen.yaw_degrees), math.radians(seen.pitch_degrees)
            told = (math.cos(pitch) * math.sin(yaw), -math.sin(pitch),
                    -math.cos(pitch) * math.cos(yaw))  # fmt: skip
            assert told == pytest.approx(seen.direction)


def test_gaze_of_one_eye_mirrors_the_others() -> None:
    right, left = gaze_at("right", x=2, y=1), gaze_at("left", x=-2, y=1)
    assert right.yaw_degrees == pytest.approx(-left.yaw_degrees)
    assert right.pitch_degrees == pytest.approx(left.pitch_degrees)


def test_gaze_does_not_depend_on_the_size() -> None:
    assert gaze_at("left", 2, 1, size=7).direction == pytest.approx(gaze_at("left", 2, 1).direction)


@pytest.mark.parametrize("turned", [-25, 25])
@pytest.mark.parametrize("nodded", [-15, 0, 15])
@pytest.mark.parametrize("side", SIDES)
def test_eyes_that_look_ahead_turn_with_the_head(side: Side, turned: int, nodded: int) -> None:
    seen = gaze_at(side, mesh=made_face(turned, nodded))
    assert (seen.yaw_degrees, seen.pitch_degrees) == pytest.approx((turned, nodded), abs=0.5)


# --- gaze, on photographs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["astronaut", "astronaut_double", "grace", "grace_double"])
async def test_who_looks_near_the_camera_is_told_so(name: str, model: MediaPipeModel) -> None:
    [eyes] = await eyes_of(model, kit.picture(name))
    each = np.array([(eye.gaze.yaw_degrees, eye.gaze.pitch_degrees) for eye in eyes[1:]])
    assert np.abs(each).max() < 9
    assert np.abs(each.mean(axis=0)).max() < 6


def with_irises_moved(
    pixels: NDArray[np.uint8], eyes: Eyes, x: float, y: float
) -> NDArray[np.uint8]:
    """The picture with both irises moved by millimetres, and what is around them drawn along."""
    moved = pixels.copy()
    for eye in (eyes.right, eyes.left):
        millimetre = eye.diameter / 11.8
        reach = 2 * math.ceil(eye.diameter)
        left, top = (round(value) - reach for value in eye.iris[0, :2].tolist())
        area = pixels[top : top + 2 * reach, left : left + 2 * reach]
        rows, columns = np.mgrid[: 2 * reach, : 2 * reach].astype(np.float32)
        shift = np.float32([x * millimetre, y * millimetre])
        centre = eye.iris[0, :2] - (left, top) + shift
        # 1 within the iris, 0 from twice its radius on.
        far = np.hypot(columns - centre[0], rows - centre[1]) / (eye.diameter / 2)
        share = np.clip(2 - far, 0, 1)
        share = (share * share * (3 - 2 * share)).astype(np.float32)
        moved[top : top + 2 * reach, left : left + 2 * reach] = cv2.remap(
            area, columns - shift[0] * share, rows - shift[1] * share, cv2.INTER_LINEAR
        )
    return moved


async def test_gaze_follows_irises_that_are_moved_in_a_photograph(model: MediaPipeModel) -> None:
    pixels = kit.picture("astronaut")
    [eyes] = await eyes_of(model, pixels)
    yaws, pitches = [], []
    for x in (-3, -1.5, 0, 1.5, 3):
        [seen] = await eyes_of(model, with_irises_moved(pixels, eyes, x, 0))
        yaws.append([seen.right.gaze.yaw_degrees, seen.left.gaze.yaw_degrees])
    for y in (-1.5, 0, 1.5):
        [seen] = await eyes_of(model, with_irises_moved(pixels, eyes, 0, y))
        pitches.append([seen.right.gaze.pitch_degrees, seen.left.gaze.pitch_degrees])
    assert np.all(np.diff(yaws, axis=0) > 1)
    assert np.all(np.diff(pitches, axis=0) < -1)
    # 3 mm of a ball of 10 are 17.5 degrees, each way.
    assert 0.6 * 35 < np.mean(np.subtract(yaws[-1], yaws[0])) < 1.3 * 35


# --- videos -----------------------------------------------------------------------------------


async def test_each_faces_eyes_are_followed_by_themselves(model: MediaPipeModel) -> None:
    """The one who is first in the list leaves: the other's eyes go on from their own past."""
    two = np.array(kit.picture("two_heads"))
    track, wanted = Track(), WantedMeshes(max_faces=2)
    first = await eyes_of(model, two, Turn(track, 0.0), wanted)
    assert len(first) == 2
    gone, stays = (eyes.face.box for eyes in first)
    two[:, int(gone[0]) - 20 : int(gone[2]) + 20] = 0
    [left_over] = await eyes_of(model, two, Turn(track, 1 / 30), wanted)
    assert left_over.face.follows == 1
    assert left_over.face.box == pytest.approx(stays, abs=2)
    for side in SIDES:
        past, now = getattr(first[1], side), getattr(left_over, side)
        np.testing.assert_allclose(now.iris, past.iris, atol=0.5)


# --- as a task --------------------------------------------------------------------------------


async def test_an_answer_has_both_eyes_in_pixels_and_shares(model: MediaPipeModel) -> None:
    pixels = kit.picture("astronaut_bust")
    answer = await see(
        model, IRIS_TRACKING, raw(pixels), source=Client(), stream_id="door", frame_number="7"
    )
    assert (answer["count"], answer["frame_number"]) == (1, 7)
    [face] = answer["faces"]
    assert face.keys() == {"box", "box_normalized", "presence", "right", "left"}
    for side in SIDES:
        eye = face[side]
        for name, count in (("iris", 5), ("contour", 71)):
            points, shares = np.array(eye[name]), np.array(eye[f"{name}_normalized"])
            assert points.shape == (count, 3)
            np.testing.assert_allclose(points, shares * [370, 400, 370], atol=0.01)
        assert eye["gaze"].keys() == {"direction", "yaw_degrees", "pitch_degrees"}
        assert math.hypot(*eye["gaze"]["direction"]) == pytest.approx(1, abs=1e-3)
        assert 6 < eye["diameter"] < 10


async def test_where_nobody_is_there_are_no_eyes(model: MediaPipeModel) -> None:
    answer = await see(model, IRIS_TRACKING, raw(kit.picture("coffee")))
    assert answer["faces"] == []
