"""SCRFD's answers read as its definition says, whatever the graph's outputs look like."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_kit import Mark, detector, drawn, expected, pack, recogniser, shrunk
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.families.face import parameters as p
from hearth.families.face.arcface import FaceRecogniser
from hearth.families.face.faces import DetectedFace, Kept, Wanted
from hearth.families.face.files import open_detection, open_recognition
from hearth.families.face.letterbox import letterbox
from hearth.families.face.scrfd import DetectionInput, FaceDetector, faces_of, levels_of, suppress
from hearth.families.face.settings import FaceSettings

CPU = FaceSettings(device="cpu")


# --- decoding, against the definition in float64 --------------------------------------------


def heads(rng: np.random.Generator, side: int, strides=(8, 16, 32), for_each=2) -> dict[str, Any]:
    """Numbers as a graph gives them, of a few hundred likely anchors."""
    arrays = {}
    for stride in strides:
        count = (side // stride) ** 2 * for_each
        scores = rng.uniform(size=(count, 1)) ** 8
        arrays[f"score{stride}"] = scores.astype(np.float32)
        arrays[f"box{stride}"] = rng.uniform(0.2, 4, (count, 4)).astype(np.float32)
        arrays[f"points{stride}"] = rng.normal(scale=2, size=(count, 10)).astype(np.float32)
    return arrays


def by_definition(arrays, side, strides, for_each, least, threshold, scale):
    """Every anchor by itself, in Python's floats: (score, box, points), the surest first."""
    found = []
    for stride in strides:
        places = side // stride
        for index in range(places * places * for_each):
            score = float(arrays[f"score{stride}"][index, 0])
            if score < least:
                continue
            row, column = divmod(index // for_each, places)
            x, y = column * stride, row * stride
            left, up, right, down = (float(v) * stride for v in arrays[f"box{stride}"][index])
            box = (x - left, y - up, x + right, y + down)
            offsets = [float(v) * stride for v in arrays[f"points{stride}"][index]]
            points = [(x, y)[at % 2] + offset for at, offset in enumerate(offsets)]
            found.append((score, [v / scale for v in box], [v / scale for v in points]))
    found.sort(key=lambda one: -one[0])
    kept: list[Any] = []
    for one in found:
        if all(iou(one[1], other[1]) <= threshold for other in kept):
            kept.append(one)
    return kept


def iou(one, other) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize(
    ("side", "strides", "for_each"),
    [(160, (8, 16, 32), 2), (128, (8, 16, 32), 1), (256, p.STRIDES, 1)],
)
@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.9])
def test_faces_are_those_of_the_definition(side, strides, for_each, threshold):
    arrays = heads(np.random.default_rng(side), side, strides, for_each)
    picture = np.zeros((side * 3, side * 3, 3), np.uint8)
    seen = letterbox(picture, side, side)
    [levels] = zip(*levels_of(arrays, 1, side, side), strict=True)
    found = faces_of(levels, seen, Wanted(0.3, threshold))
    theirs = by_definition(arrays, side, strides, for_each, 0.1, threshold, 1 / 3)
    assert len(found) == len(theirs) > 10
    for face, (score, box, points) in zip(found, theirs, strict=True):
        assert abs(face.confidence - score) < 1e-6
        assert np.abs(np.array(face.box) - np.clip(box, 0, side * 3)).max() < 2e-3
        assert np.abs(np.array(face.landmarks) - points).max() < 2e-3


def test_outputs_may_come_in_any_order_and_with_the_pictures_in_front():
    rng = np.random.default_rng(5)
    one, other = heads(rng, 96), heads(rng, 96)
    flat = levels_of(one, 1, 96, 96)
    stacked = {name: np.stack([one[name], other[name]]) for name in reversed(one)}
    for alone, both in zip(flat, levels_of(stacked, 2, 96, 96), strict=True):
        assert len(both) == 2
        for mine, theirs in zip(alone[0], both[0], strict=True):
            assert np.array_equal(mine, theirs)
    # Without an axis of their own, pictures follow one another.
    joined = {name: np.concatenate([one[name], other[name]]) for name in one}
    second = [level[1] for level in levels_of(joined, 2, 96, 96)]
    assert np.array_equal(second[0].boxes, other["box8"])


@pytest.mark.parametrize("name", ["score8", "box16", "points32"])
@pytest.mark.parametrize("spoil", [lambda a: a[:-1], lambda a: a[:, :0], lambda a: a[None, None],
                                   lambda a: np.tile(a, (1, 3))])  # fmt: skip
def test_outputs_that_dont_go_together_are_a_failure(name, spoil):
    arrays = heads(np.random.default_rng(6), 96)
    arrays[name] = spoil(arrays[name])
    with pytest.raises(ModelFailed, match="detection model"):
        levels_of(arrays, 1, 96, 96)


def test_boxes_for_another_size_of_picture_are_a_failure():
    arrays = heads(np.random.default_rng(7), 96)
    with pytest.raises(ModelFailed, match="anchors for"):
        levels_of(arrays, 1, 128, 128)


# --- boxes that share too much --------------------------------------------------------------


def test_of_boxes_that_share_too_much_the_surest_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 4], [30, 0, 40, 10]], float)
    assert suppress(boxes, 0.4, 100) == [0, 2, 3]  # 0.82, and 0.4: that much may be shared
    assert suppress(boxes, 0.39, 100) == [0, 3]
    assert suppress(boxes[[0, 2]], 0.4, 100) == [0, 1]
    assert suppress(boxes, 0.0, 100) == [0, 3]
    assert suppress(boxes, 1.0, 100) == [0, 1, 2, 3]
    assert suppress(boxes, 1.0, 2) == [0, 1]
    assert suppress(np.empty((0, 4)), 0.4, 100) == []


def test_a_box_that_was_left_out_keeps_no_other_from_staying():
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)
    assert suppress(chain, 0.4, 100) == [0, 2]


def test_what_one_asks_for_is_part_of_what_all_may_ask_for():
    """So faces that were found for one serve the next, who wants others."""
    arrays = heads(np.random.default_rng(8), 160)
    seen = letterbox(np.zeros((160, 160, 3), np.uint8), 160, 160)
    [levels] = zip(*levels_of(arrays, 1, 160, 160), strict=True)
    everything = faces_of(levels, seen, Wanted(0.0))
    for least in (0.05, 0.1, 0.5, 0.9):
        wanted = Wanted(least)
        alone = wanted.choose(faces_of(levels, seen, wanted))
        assert alone == wanted.choose(everything)


# --- which faces are wanted -----------------------------------------------------------------


def face(confidence: float, width: float, height: float) -> DetectedFace:
    return DetectedFace((0, 0, width, height), confidence, (0.0,) * 10)


def test_faces_are_chosen_by_confidence_size_and_prominence():
    faces = [face(0.9, 20, 30), face(0.8, 100, 100), face(0.6, 40, 300), face(0.3, 500, 500)]
    sure, square, long, doubtful = faces
    assert Wanted().choose(faces) == (sure, square, long)
    assert Wanted(min_confidence=0.3).choose(faces) == tuple(faces)
    assert Wanted(min_size=25).choose(faces) == (square, long)
    assert Wanted(max_size=250).choose(faces) == (sure, square)
    assert Wanted(max_faces=1).choose(faces) == (square,)
    assert Wanted(max_faces=2).choose(faces) == (square, long)
    assert Wanted(max_faces=-1).choose(faces) == (sure, square, long)
    assert Wanted(0.0, max_faces=1).choose(faces) == (doubtful,)


# --- graphs ---------------------------------------------------------------------------------

VARIANTS = {
    "as insightface's": {},
    "fixed size": {"side": 640},
    "smaller": {"side": 320},
    "with a batch axis": {"flat": False},
    "free batch": {"batch": None, "flat": False},
    "free batch, flat": {"batch": None},
    "batch of two": {"batch": 2, "flat": False},
    "other order": {"shuffled": True},
    "five levels": {"strides": p.STRIDES},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_faces_are_found_with_every_form_of_graph(name, tmp_path: Path):
    session = open_detection(detector(tmp_path / "graph.onnx", **VARIANTS[name]), CPU)
    look = FaceDetector(session)
    side = look.width
    sizes = [(1200, 900), (500, 700)]
    marks = [[Mark(3, 4, 2), Mark(7, 4, 1.5)], [Mark(2, 2, 1)]]
    views = [
        DetectionInput(letterbox(np.asarray(drawn(size, its, side=side)), side, side), Wanted())
        for size, its in zip(sizes, marks, strict=True)
    ]
    at_once = session.batch_sizes.limit(2)
    together = [found for at in range(0, 2, at_once) for found in look(views[at : at + at_once])]
    assert together[1] == look(views[1:])[0]
    session.close()
    for found, size, its in zip(together, sizes, marks, strict=True):
        assert len(found.faces) == len(its) and found.kept is None
        for one in sorted(its):
            should = expected(size, one, side)
            [best] = [f for f in found.faces if np.abs(f.landmarks - should.landmarks.ravel()).max()
                      < 0.5]  # fmt: skip
            assert np.abs(np.reshape(best.box, (2, 2)) - should.box.clip(0, size)).max() < 0.5
    assert shrunk(sizes[0], side) == (side, side * 3 // 4)


REFUSED = {
    "without keypoints": (lambda path: detector(path, keypoints=False), "no keypoints"),
    "a recogniser": (recogniser, "1 outputs"),
    "two levels": (lambda path: detector(path, strides=(8, 16)), "no keypoints"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_that_are_no_detectors_are_refused(name, tmp_path: Path):
    make, reason = REFUSED[name]
    session = open_detection(make(tmp_path / "graph.onnx"), CPU)
    with pytest.raises(ModelUnavailable, match=reason):
        FaceDetector(session)
    session.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [(detector, "ArcFace gives 512"), (lambda path: recogniser(path, dim=128), "gives .128.")],
)  # fmt: skip
def test_graphs_that_are_no_recognisers_are_refused(make, reason, tmp_path: Path):
    session = open_recognition(make(tmp_path / "graph.onnx"), CPU)
    with pytest.raises(ModelUnavailable, match=reason):
        FaceRecogniser(session)
    session.close()


def test_a_picture_whose_numbers_arent_finite_fails_alone(tmp_path: Path):
    graph = pack(tmp_path, detection={"batch": None, "flat": False, "with_nan": True})
    session = open_detection(graph / "detection/model.onnx", CPU)
    good = np.asarray(drawn((640, 640), [Mark(4, 4, 2)]))
    bad = good.copy()
    bad[0, 0, 2] = 255
    views = [
        DetectionInput(letterbox(each, 640, 640), Wanted(), Kept(each))
        for each in (good, bad, good)
    ]
    first, failed, last = FaceDetector(session)(views)
    session.close()
    assert len(first.faces) == len(last.faces) == 1 and last.kept.take() is good
    assert isinstance(failed, ModelFailed)
    assert str(failed) == "the detection model gave numbers that aren't finite"
