"""docs/vision.md tells what a node answers: every field, every option, every length."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

import reference_kit as kit
from checkout import ROOT
from hearth.batching import RequestContext
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.mediapipe.tasks.frames import VIDEO, Seen
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request
from node_kit import stub_of
from vision_kit import Answer, answers, frame, vision_node

PAGE = (ROOT / "docs" / "vision.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `?([^`\n]+)`?\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
EXAMPLES = {
    name: orjson.loads(found[0])
    for name, section in SECTIONS.items()
    if (found := re.findall(r"```json\n(.*?)```", section, re.DOTALL))
}
META = {"face_detection": {}, "selfie_segmentation": {"format": "rle"}}
PIXEL = {"coordinates": "pixel"}


@pytest.fixture(scope="module")
def told(vision_model: MediaPipeModel) -> dict[str, Answer]:
    """The answers that the examples are of, by task."""
    return {**asyncio.run(_answers()), "Videos": _dropped(vision_model)}


async def _answers() -> dict[str, Answer]:
    pictures = {
        "hand_tracking": kit.picture("victory_right"),
        "pose_tracking": kit.picture("grace_waving"),  # whose elbows are seen
    }
    requests = [
        frame(
            pictures.get(name, kit.picture("astronaut")), name, name, **META.get(name, PIXEL),
        )
        for name in EXAMPLES if name != "Videos"  # which has the answer for a dropped frame
    ]  # fmt: skip
    async with vision_node() as node, stub_of(node) as stub:
        return {answer.cid: answer for answer in await answers(stub, requests)}


def _dropped(model: MediaPipeModel) -> Answer:
    task = MEDIAPIPE_TASKS[0]
    meta = {"stream_id": "door", "frame_number": "41", "timestamp_ms": "1366.7"}
    call = Call(Request(task.name, b"", meta=meta), read_all(task.options, meta), RequestContext())
    body, mime, schema, told = task.render(model, Seen(), call)
    return Answer("", body, mime, schema, dict(told), "")


def shape_of(value: Any) -> Any:
    """Names, kinds and lengths, of an answer or of an example that is cut short."""
    if isinstance(value, dict):
        return {key: shape_of(each) for key, each in value.items()}
    if isinstance(value, list):
        cut = re.fullmatch(r"… (\d+) in all", value[-1]) if isinstance(value[-1], str) else None
        return [shape_of(value[0]), int(cut[1]) if cut else len(value)]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


TOLERANCES = {"points": 3.0, "box": 3.0, "keypoints": 3.0, "iris": 3.0, "contour": 3.0,
              "counts": 10.0, "angles": 3.0, "yaw_degrees": 1.5, "pitch_degrees": 1.5,
              "diameter": 0.3}  # fmt: skip
"""Pixels, and degrees."""
TOLERANCE = 0.05
"""Of shares, scores, metres and unit vectors."""


def numbers_of(
    example: Any, answer: Any, tolerance: float = TOLERANCE
) -> Iterator[tuple[float, float, float]]:
    """Pairs of numbers at the same place, as far as the example goes, and how far apart at most."""
    if isinstance(example, dict):
        for key in example:
            within = TOLERANCES.get(key, tolerance)
            yield from numbers_of(example[key], answer[key], within)
    elif isinstance(example, list):
        for one, other in zip(example, answer, strict=False):
            yield from numbers_of(one, other, tolerance)
    elif isinstance(example, int | float):
        yield example, answer, tolerance


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_has_the_fields_of_a_real_answer(told, name):
    assert shape_of(EXAMPLES[name]) == shape_of(told[name].json)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_real(told, name):
    for shown, real, within in numbers_of(EXAMPLES[name], told[name].json):
        assert shown == pytest.approx(real, abs=within)


def test_every_task_and_every_option_of_it_is_told():
    for task in MEDIAPIPE_TASKS:
        section = SECTIONS[task.name]
        if inherited := re.search(r"Options as of `(\w+)`", section):
            section += SECTIONS[inherited[1]]
        for option in task.options:
            where = SECTIONS["Videos"] if option in VIDEO else section
            assert f"`{option.name}`" in where, f"{task.name}: {option.name}"


def test_normalized_names_are_told_where_both_are_asked_for(told):
    both = {key for face in told["face_detection"].json["faces"] for key in face}
    assert {key.removesuffix("_normalized") for key in both} == {"box", "keypoints", "confidence"}
    for name in ("box", "points", "keypoints", "iris", "contour"):
        assert f"`{name}`" in SECTIONS["Coordinates"]


def test_the_runs_are_read_as_the_page_says(told):
    mask = told["selfie_segmentation"].json
    counts, height, width = mask["counts"], mask["height"], mask["width"]
    kinds = np.arange(len(counts)) % 2
    assert "np.repeat(kinds, counts).reshape(height, width)" in PAGE
    front = np.repeat(kinds, counts).reshape(height, width)
    assert front.mean() == pytest.approx(mask["coverage"], abs=1e-5)
