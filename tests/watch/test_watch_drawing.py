"""How answers are drawn: every form that they come in, whatever a node sends."""

from typing import Any

import numpy as np
import orjson
import pytest

from hearth.client import Capabilities, Failure, Job, Node, Outcome, Service, TaskInfo
from hearth.errors import InvalidInput
from hearth.media import encode
from hearth.watch import skeletons
from hearth.watch.drawing import DrawingStyle, drawn
from hearth.watch.frames import FrameSource
from hearth.watch.lettering import letters
from hearth.watch.requests import FrameRequests
from hearth.watch.sources import natural
from view_kit import Pixels

GREY = np.full((240, 320, 3), 120, np.uint8)
SENT = (320, 240)


def answer(schema: str, content: Any, **meta: str) -> Outcome:
    body = orjson.dumps(content)
    return Outcome(Job("look", b""), body, f"application/json;schema={schema}", schema, meta)


def picture(pixels: Pixels, **meta: str) -> Outcome:
    return Outcome(Job("look", b""), encode.png(pixels), "image/png", "", meta)


def seen(outcome: Outcome, sent: tuple[int, int] = SENT, **look: bool) -> np.ndarray:
    """Where something was drawn (h, w)."""
    return np.any(drawn(GREY, outcome, sent, DrawingStyle(**look)) != GREY, axis=2)


def columns(mask: np.ndarray) -> tuple[int, int]:
    where = np.flatnonzero(mask.any(axis=0))
    return int(where[0]), int(where[-1])


LABEL = {"labels": [{"label": f"größe {n}", "score": 0.5} for n in range(20)]}
POSE = {
    "points": [[100 + 3 * n, 60 + 4 * n, 0] for n in range(33)],
    "visibility": [1.0] * 33,
    "angles": {"left_elbow": 142.1, "right_elbow": None},
}


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        ("labels_v1", LABEL),
        ("embedding_v1", {"vector": [0.0] * 512, "dim": 512}),
        ("text_generation_v1", {"text": "a cat\non a mat"}),
        ("ocr_v1", {"items": [{"box": [[9, 9], [99, 9], [99, 30], [9, 30]], "text": "字 ä"}]}),
        ("face_v1", {"faces": [{"bbox": [9, 9, 90, 90], "confidence": 1, "landmarks": []}]}),
        ("some_later_v7", {"count": 3}),
        ("ocr_v1", {"items": [{"text": "without a box"}]}),
        ("labels_v1", ["not", "what", "was", "promised"]),
        ("pose_tracking_v1", {"poses": [{"points": [[1, 2, 3]], "visibility": [1]}]}),
    ],
)
def test_every_answer_leaves_something_to_be_seen(schema: str, content: Any):
    assert seen(answer(schema, content)).any()
    assert seen(answer(schema, content), sent=(16, 12)).any()


def test_an_error_is_written_on_the_frame():
    drawing = drawn(
        GREY, Outcome(Job("look", b""), error=Failure("INTERNAL", "no")), SENT, DrawingStyle()
    )
    assert ((drawing[:30, :80, 0] > 200) & (drawing[:30, :80, 1] < 100)).any()


def test_nothing_is_drawn_where_nobody_was_found():
    for schema, content in (
        ("face_detection_v1", {"faces": []}),
        ("hand_tracking_v1", {"hands": []}),
        ("pose_tracking_v1", {"poses": [{**POSE, "visibility": [0.1] * 33}]}),
        ("holistic_tracking_v1", {"pose": None, "face": None, "left_hand": None,
                                  "right_hand": None}),
        ("face_mesh_v1", {"dropped": True}),
    ):  # fmt: skip
        assert not seen(answer(schema, content)).any(), schema


def test_shares_of_the_picture_do_where_pixels_were_not_asked_for():
    face = {"box": [40, 60, 120, 180], "confidence": 0.9, "keypoints": {"nose_tip": [80, 120]}}
    shares = {
        "box_normalized": [0.125, 0.25, 0.375, 0.75],
        "confidence": 0.9,
        "keypoints_normalized": {"nose_tip": [0.25, 0.5]},
    }
    in_pixels = seen(answer("face_detection_v1", {"faces": [face]}))
    assert np.array_equal(in_pixels, seen(answer("face_detection_v1", {"faces": [shares]})))


def test_what_was_sent_smaller_is_drawn_at_the_right_place_and_mirrored_if_asked():
    face = {"bbox": [40, 60, 120, 180], "confidence": 0.9, "landmarks": []}
    half = {"bbox": [20, 30, 60, 90], "confidence": 0.9, "landmarks": []}
    whole = seen(answer("face_v1", {"faces": [face]}))
    assert np.array_equal(whole, seen(answer("face_v1", {"faces": [half]}), sent=(160, 120)))
    assert abs(columns(whole[100:150])[0] - 40) <= 3
    mirrored = seen(answer("face_v1", {"faces": [face]}), mirrored=True)
    assert columns(mirrored[100:150]) == pytest.approx((200, 280), abs=3)


def test_the_angles_at_joints_are_written_only_if_asked():
    poses = answer("pose_tracking_v1", {"poses": [POSE]})
    without, with_angles = seen(poses), seen(poses, angles=True)
    assert without.any() and with_angles.sum() > without.sum() + 100


def test_a_mask_tints_who_is_in_front_in_each_of_its_formats():
    mask = np.zeros((240, 320), np.uint8)
    mask[100:200, 50:150] = 255
    told = {"width": "320", "height": "240", "coverage": "0.13"}
    raw = Outcome(Job("look", b""), mask.tobytes(), "application/octet-stream", "", told)
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(), prepend=1, append=1) != 0))
    runs = {"width": 320, "height": 240, "counts": [int(run) for run in runs]}
    for outcome in (picture(mask, **told), raw, answer("selfie_segmentation_v1", runs, **told)):
        assert np.array_equal(seen(outcome), mask > 0)
    assert np.array_equal(seen(picture(mask), mirrored=True), mask[:, ::-1] > 0)


def test_a_picture_takes_the_frames_place_and_what_is_transparent_shows_a_chessboard():
    colours = np.random.default_rng(5).integers(0, 256, (240, 320, 3), np.uint8)
    assert np.array_equal(drawn(GREY, picture(colours), SENT, DrawingStyle()), colours)
    alpha = np.zeros((240, 320, 1), np.uint8)
    alpha[:, :160] = 255
    laid = drawn(GREY, picture(np.concatenate([colours, alpha], axis=2)), SENT, DrawingStyle())
    assert np.array_equal(laid[:, :160], colours[:, :160])
    assert set(np.unique(laid[:, 160:])) == {200, 240}


def test_what_covers_all_is_drawn_first_whatever_comes_first():
    face = {"bbox": [40, 60, 120, 180], "confidence": 0.9, "landmarks": []}
    blue = np.zeros((240, 320, 3), np.uint8)
    blue[..., 2] = 255
    parts = {
        "faces": answer("face_v1", {"faces": [face]}),
        "broken": Outcome(Job("look", b""), error=Failure("INTERNAL", "no")),
        "effect": picture(blue),
    }
    laid = drawn(GREY, Outcome(Job("look", b""), parts=parts), SENT, DrawingStyle())
    assert tuple(laid[230, 300]) == (0, 0, 255)
    assert laid[180, 80, 1] > 150 and laid[12, 12, 0] > 150  # the box, the complaint


def test_letters_of_any_script_have_one_height_and_long_texts_an_end():
    heights = {letters(text, 20).shape[0] for text in ("a", "Ågy", "字", "ж")}
    assert len(heights) == 1
    assert letters("x" * 10_000, 20).shape[1] < 3000


def test_bones_join_the_points_there_are():
    hands = [pair for finger in skeletons.HAND_BONES for pair in finger]
    assert len(hands) == len(set(hands)) == 21 and {at for pair in hands for at in pair} == {
        *range(21)
    }
    sides = [*skeletons.POSE_LEFT, *skeletons.POSE_RIGHT]
    body = [*sides, *skeletons.POSE_TRUNK, *skeletons.POSE_FACE]
    assert len(body) == len(set(body)) == 35 and {at for pair in body for at in pair} == {
        *range(33)
    }
    # The subject's left is odd, the right is even, and each bone has its like.
    assert [(a + 1, b + 1) for a, b in skeletons.POSE_LEFT] == list(skeletons.POSE_RIGHT)


def test_names_are_sorted_as_people_count():
    names = ["b1", "a10", "a2", "a1.png", "A3", "10", "9", "a", "x2y10", "x2y9"]
    assert sorted(names, key=natural) == [
        "9", "10", "a", "a1.png", "a2", "A3", "a10", "b1", "x2y9", "x2y10"
    ]  # fmt: skip


# --- what is asked for ------------------------------------------------------------------------


def asking(task: str, source: FrameSource, *, raw: bool = False, **options: str) -> FrameRequests:
    images = ("image/jpeg",)
    video = dict.fromkeys(("stream_id", "frame_number", "timestamp_ms", "drop"), "text")
    tasks = (
        TaskInfo("pose", (*images, "image/x-raw"), (), video),
        TaskInfo("ocr", images, ()),
        TaskInfo("compose", images, (), {"entries": "text"}),
        TaskInfo("embed", ("text/plain",), ()),
    )
    can = Capabilities((Service("any", (), "", (), tasks),))
    found = Node("node:1", "node", "", "up", "", False, can)
    return FrameRequests(task, found, source, options, raw=raw)


class Video(FrameSource):
    name = "video"

    def __init__(self, *, live: bool = False, stills: bool = False) -> None:
        self.live, self.stills = live, stills

    def read(self) -> None:
        return None


def test_only_what_a_task_knows_is_told_and_the_user_goes_first():
    live = asking("pose", Video(live=True), stream_id="mine")
    assert live.meta(7, 0.5) == {
        "stream_id": "mine", "frame_number": "7", "timestamp_ms": "500.000", "drop": "oldest"
    }  # fmt: skip
    assert "drop" not in asking("pose", Video()).meta(0, 0)
    assert asking("pose", Video(stills=True), smooth="false").meta(0, 0) == {"smooth": "false"}
    assert asking("ocr", Video(live=True)).meta(3, 1) == {}
    # What can't be dropped over there isn't sent before there is an answer.
    assert (live.in_flight, asking("ocr", Video(live=True)).in_flight) == (3, 1)


def test_each_entry_of_a_composed_request_is_told_what_it_knows():
    raw = {"task": "pose", "id": "x", "options": {"smooth": "false"}}
    listed = ["pose", {"task": "ocr", "options": {"a": "b"}}, raw, 7]
    entries = orjson.dumps(listed).decode()
    meta = asking("compose", Video(live=True), entries=entries, priority="bulk").meta(3, 0.1)
    first, second, third, junk = orjson.loads(meta["entries"])
    assert meta["priority"] == "bulk" and junk == 7
    assert first["options"].keys() == {"stream_id", "frame_number", "timestamp_ms"}
    assert second["options"] == {"a": "b"} and third["id"] == "x"
    assert third["options"] == {**first["options"], "smooth": "false"}
    for nonsense in ("", "{", "{}"):
        sent = asking("compose", Video(), entries=nonsense).meta(0, 0)
        assert sent == {"entries": nonsense}


def test_tasks_that_look_at_no_pictures_are_refused():
    with pytest.raises(InvalidInput, match="embed takes texts"):
        asking("embed", Video())
    with pytest.raises(InvalidInput, match="ocr at node:1 takes no raw frames"):
        asking("ocr", Video(), raw=True)
