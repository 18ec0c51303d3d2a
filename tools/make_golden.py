"""Write tests/golden/*.json: what reference implementations answer, for each task a few inputs.

    tools/make_golden.py [FAMILY …]

Vectors and labels are open_clip's, with toy models that are made from a seed; text is rapidocr's;
faces, hands, bodies and masks are mediapipe's, out of tests/references; marks that stand for faces
are where SCRFD's definition has them, their vectors those of onnx's own evaluator. Nothing of it is
hearth's. The form of the files is told by tests/kits/golden_kit.py.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from rapidocr import RapidOCR
from skimage.transform import SimilarityTransform

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "kits"))

import clip_kit  # noqa: E402
import face_kit  # noqa: E402
import family_kit  # noqa: E402
import golden_kit  # noqa: E402
import reference_kit  # noqa: E402
from golden_kit import Case, Golden, image, input_of  # noqa: E402

ANIMALS = {"animal", "bird", "insect"}
"""Scenes of which smart_classify asks BioCLIP."""
PICTURES = ("astronaut", "coffee", "chelsea", "rocket")
TEXTS = ("dog", "a {brace} and 100 %", "Crème brûlée — naïve café")
DIGITS = 6


class Toy:
    """A toy of CLIP's family, as open_clip runs it."""

    def __init__(
        self, model: Any, images: Callable[[list[Any]], Any], texts: Callable[[Sequence[str]], Any]
    ) -> None:
        self.images, self.texts = images, texts
        self._scale = float(model.logit_scale.detach().exp())

    def labels(self, picture: str, prompts: Mapping[str, Sequence[str]], most: int) -> Any:
        """Score labels by open_clip's zero-shot rule: each is the mean of its prompts."""
        weights = []
        for texts in prompts.values():
            mean = self.texts(texts).mean(axis=0)
            weights.append(mean / np.linalg.norm(mean))
        logits = self._scale * self.images([image(picture)])[0] @ np.array(weights).T
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares)[:most]
        names = list(prompts)
        return {"labels": [{"label": names[at], "score": _round(shares[at])} for at in best]}


def _round(values: Any) -> Any:
    return np.round(np.asarray(values, np.float64), DIGITS).tolist()


def toys(folder: Path) -> tuple[Toy, Toy, Toy]:
    """Make CLIP, BioCLIP and SigLIP."""
    tiny = clip_kit.tiny_module()
    clip = Toy(
        tiny,
        lambda images: clip_kit.reference_image_vectors(tiny, images),
        lambda texts: clip_kit.reference_text_vectors(tiny, tuple(texts)),
    )
    bio, sig = family_kit.bioclip(folder / "bioclip"), family_kit.siglip(folder / "siglip")
    tokens = clip_kit.import_open_clip().SimpleTokenizer(context_length=77)
    bioclip = Toy(
        bio.module, bio.image_vectors, lambda texts: bio.text_vectors(tokens(list(texts)).numpy())
    )
    siglip = Toy(
        sig.module,
        sig.image_vectors,
        lambda texts: sig.text_vectors(np.concatenate([*map(family_kit.letter_ids, texts)])),
    )
    return clip, bioclip, siglip


def prompts_of(labels: Iterable[str]) -> dict[str, list[str]]:
    """Put labels into the prompt of their own."""
    return {label: [f"a photo of a {label}"] for label in labels}


def scenes() -> dict[str, list[str]]:
    """Read the scenes and their prompts out of the asset."""
    lines = (ROOT / "src/hearth/assets/scenes.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if line.strip() and line[0] != "#"]
    return {name.strip(): [text.strip() for text in texts] for name, *texts in rows}


def families() -> Iterable[Golden]:
    """Ask open_clip."""
    made_by = f"open_clip {version('open_clip_torch')}, torch {version('torch')}: toys of a seed"
    alike, scores = {"vector": 0.9999}, {"score": 0.002}
    with TemporaryDirectory() as folder:
        clip, bioclip, siglip = toys(Path(folder))

        def of_pictures(task: str, toy: Toy) -> Golden:
            cases = [
                Case(name, input_of(name), {}, {"vector": _round(toy.images([image(name)])[0])})
                for name in PICTURES[:3]
            ]
            return Golden(task, made_by, alike, tuple(cases))

        def of_texts(task: str, toy: Toy, texts: Sequence[str], prompt: str) -> Golden:
            cases = [
                Case(text, {"text": text}, {}, {"vector": _round(vector)})
                for text, vector in zip(
                    texts, toy.texts([prompt.replace("{}", text) for text in texts]), strict=True
                )
            ]
            return Golden(task, made_by, alike, tuple(cases))

        def of_labels(
            task: str, toy: Toy, prompts: Mapping[str, Sequence[str]], usual: int, *, own: bool
        ) -> Golden:
            cases = [
                Case(name, input_of(name), {}, toy.labels(name, prompts, usual))
                for name in PICTURES[:3]
            ]
            name = PICTURES[3]
            cases.append(Case("topk", input_of(name), {"topk": "2"}, toy.labels(name, prompts, 2)))
            if own:
                names = ["red", "green", "blue"]
                found = toy.labels(name, prompts_of(names), 3)
                cases.append(Case("labels", input_of(name), {"labels": ",".join(names)}, found))
            return Golden(task, made_by, scores, tuple(cases))

        labels = prompts_of(golden_kit.LABELS)
        yield of_pictures("clip_image_embed", clip)
        yield of_pictures("bioclip_image_embed", bioclip)
        yield of_pictures("semantic_image_embed", siglip)
        yield of_texts("clip_embed", clip, TEXTS, "a photo of a {}")
        yield of_texts("bioclip_embed", bioclip, TEXTS, "a photo of a {}")
        yield of_texts("semantic_text_embed", siglip, ("two dogs on a beach", "word " * 19), "{}")
        yield of_labels("clip_classify", clip, labels, 5, own=True)
        yield of_labels("clip_scene_classify", clip, scenes(), 3, own=False)
        yield of_labels("bioclip_classify", bioclip, labels, 3, own=True)
        smart = []
        for name in PICTURES:
            found = clip.labels(name, scenes(), 3)
            if found["labels"][0]["label"] in ANIMALS:
                found = bioclip.labels(name, labels, 3)
            smart.append(Case(name, input_of(name), {}, found))
        yield Golden("smart_classify", made_by, scores, tuple(smart))


def printed() -> Iterable[Golden]:
    """Ask rapidocr."""
    reader = RapidOCR(params={"Global.log_level": "error"})
    cases = []
    for name in ("page", "page_corner", "rocket"):
        found = reader(np.ascontiguousarray(np.asarray(image(name))[..., ::-1]))
        items = [
            {"box": np.round(box, 1).tolist(), "text": text, "confidence": _round(score)}
            for text, box, score in zip(found.txts or (), _listed(found.boxes), found.scores or (),
                                        strict=True)
        ]  # fmt: skip
        cases.append(Case(name, input_of(name), {}, {"items": items, "count": len(items)}))
    made_by = f"rapidocr {version('rapidocr')}"
    yield Golden("ocr", made_by, {"corners": 4.0, "confidence": 0.05}, tuple(cases))


def _listed(values: Any) -> Any:
    return () if values is None else values


def faces() -> Iterable[Golden]:
    """Have onnx's evaluator run the toy recogniser on faces where the definition has them."""
    places = [face_kit.expected(golden_kit.MARKED, mark) for mark in golden_kit.MARKS]
    confidence = face_kit.RED / 255
    pixels = np.asarray(image("marks"))
    with TemporaryDirectory() as folder:
        graph = face_kit.recogniser(Path(folder) / "model.onnx")
        vectors = [_vector(graph, pixels, place.landmarks) for place in places]
    found = [
        {
            "bbox": _round(place.box.clip(0, golden_kit.MARKED).ravel()),
            "confidence": _round(confidence),
            "landmarks": _round(place.landmarks.ravel()),
        }
        for place in places
    ]
    with_vectors = [
        {**face, "embedding": _round(vector)} for face, vector in zip(found, vectors, strict=True)
    ]
    made_by = f"SCRFD's definition; scikit-image, opencv and onnx {version('onnx')}"
    tolerances = {"box": 0.5, "landmarks": 0.3, "score": 0.02, "vector": 0.999}

    def golden(task: str, faces: Sequence[Any]) -> Golden:
        marks, none = input_of("marks"), input_of("no_marks")
        cases = (
            Case("marks", marks, {}, {"faces": list(faces), "count": len(faces)}),
            Case("no_marks", none, {}, {"faces": [], "count": 0}),
        )
        return Golden(task, made_by, tolerances, cases)

    # Equally sure ones come in their order from left to right; the largest is the most prominent.
    largest = max(range(len(places)), key=lambda at: np.prod(places[at].box[1] - places[at].box[0]))
    yield golden("face_detect", found)
    yield golden("face_detect_and_embed", with_vectors)
    yield golden("face_embed", [with_vectors[largest]])


def _vector(graph: Path, pixels: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> Any:
    """Align as insightface's norm_crop does, and run the graph plainly."""
    template = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
                         [41.5493, 92.3655], [70.7299, 92.2041]])  # fmt: skip
    transform = SimilarityTransform.from_estimate(landmarks, template)
    crop = cv2.warpAffine(pixels, transform.params[:2], (112, 112), borderValue=0.0)
    blob = ((crop.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
    [[vector]] = ReferenceEvaluator(str(graph)).run(None, {"input.1": blob})
    return vector / np.linalg.norm(vector)


# --- mediapipe's, out of tests/references -------------------------------------------------------


KEYPOINTS = ("right_eye", "left_eye", "nose_tip", "mouth_center", "right_ear_tragion",
             "left_ear_tragion")  # fmt: skip


def people() -> Iterable[Golden]:
    """Take what mediapipe answered."""

    def golden(
        task: str,
        kept: Iterable[tuple[str, str, Mapping[str, str]]],
        told: Callable[[Any], Any],
        **tolerances: float,
    ) -> Golden:
        cases, made_by = [], {}
        for file, picture, options in kept:
            answers = reference_kit.answers(file)
            made_by[answers.made_by.removeprefix("mediapipe 0.10.21, mp.solutions.")] = None
            answer = told(answers.cases[picture])
            name = " ".join((picture, *options.values()))
            cases.append(Case(name, input_of(picture), options, answer))
        return Golden(task, f"mediapipe 0.10.21: {', '.join(made_by)}", tolerances, tuple(cases))

    def listed(name: str, things: Sequence[Any]) -> Any:
        return {name: list(things), "count": len(things)}

    yield golden(
        "face_detection",
        [
            ("face_detection_short", "astronaut", {}),
            ("face_detection_short", "coffee", {}),
            ("face_detection_full", "grace", {"range": "full"}),
        ],
        lambda case: listed(
            "faces",
            [
                {
                    "box": face["box"],
                    "confidence": face["score"],
                    "keypoints": dict(zip(KEYPOINTS, face["keypoints"], strict=True)),
                }
                for face in case["faces"]
            ],
        ),
        box=2.0, keypoints=2.0, score=0.02,
    )  # fmt: skip
    yield golden(
        "face_mesh",
        [("face_mesh", "astronaut", {}), ("face_mesh", "coffee", {})],
        lambda case: listed("faces", [{"points": points} for points in case["faces"]]),
        points=1.0,
    )
    yield golden(
        "iris_tracking",
        [("iris", "astronaut", {}), ("iris", "grace", {})],
        # Another model of mediapipe's: a second opinion.
        lambda case: listed(
            "faces",
            [{side: {"iris": eye[side]} for side in ("right", "left")} for eye in case["faces"]],
        ),
        iris=2.0,
    )
    yield golden(
        "hand_tracking",
        [("hands", "open_right", {}), ("hands", "victory_left", {})],
        lambda case: listed("hands", [_hand(hand) for hand in case["hands"]]),
        points=3.0, world_points=0.02,
    )  # fmt: skip
    yield golden(
        "pose_tracking",
        [("pose", "astronaut", {}), ("pose", "coffee", {})],
        lambda case: listed("poses", [_pose(case["pose"])] if case["pose"] else []),
        points=4.0, world_points=0.05, visibility=0.25,
    )  # fmt: skip
    yield golden(
        "holistic_tracking",
        [("holistic", "astronaut", {})],
        lambda case: {
            "pose": _pose(case["pose"]) if case["pose"] else None,
            "face": {"points": case["face"]} if case["face"] else None,
            "left_hand": None if case["left_hand"] is None else {"points": case["left_hand"]},
            "right_hand": None if case["right_hand"] is None else {"points": case["right_hand"]},
        },
        points=4.0, world_points=0.05, visibility=0.25,
    )  # fmt: skip
    masks = [
        ("selfie_general", "astronaut", {}),
        ("selfie_landscape", "astronaut", {"model": "landscape"}),
    ]
    yield golden(
        "selfie_segmentation",
        [(file, picture, {**options, "format": "rle"}) for file, picture, options in masks],
        lambda case: {"counts": golden_kit.runs_of(reference_kit.front_of(case))},
        runs=0.98,
    )
    yield golden(
        "segmentation_effect",
        [(file, picture, {**options, "effect": "cutout"}) for file, picture, options in masks],
        lambda case: {"alpha_every_eighth": golden_kit.packed(reference_kit.every_eighth_of(case))},
        alpha_every_eighth=6.0,
    )


def _hand(hand: Mapping[str, Any]) -> dict[str, Any]:
    told = {"handedness": hand["side"], "points": hand["points"]}
    return {**told, "world_points": hand["world_points"]} if "world_points" in hand else told


def _pose(pose: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pose[name] for name in ("points", "world_points", "visibility")}


def composed() -> Iterable[Golden]:
    """Put answers of other tasks together."""
    entries = ("face_detection", "pose_tracking")
    parts = {entry: golden_kit.golden(entry) for entry in entries}
    [astronaut] = {case.name for part in parts.values() for case in part.cases[:1]}
    answer = {entry: part.cases[0].answer for entry, part in parts.items()}
    tolerances = {key: size for part in parts.values() for key, size in part.tolerances.items()}
    made_by = "; ".join(part.made_by for part in parts.values())
    case = Case(astronaut, input_of(astronaut), {"entries": ",".join(entries)}, answer)
    yield Golden("compose", made_by, tolerances, (case,))


REFERENCES = {
    "clip": families,
    "ocr": printed,
    "face": faces,
    "mediapipe": people,
    "compose": composed,  # of what those before have written
}
"""Functions that ask the reference for the tasks of a family, by its name."""


def main() -> None:
    """Ask those that are wanted, and write what they say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(REFERENCES))
    wanted = parser.parse_args().families or list(REFERENCES)
    if unknown := set(wanted) - REFERENCES.keys():
        parser.error(f"no family {min(unknown)}: choose from {', '.join(REFERENCES)}")
    golden_kit.GOLDEN.mkdir(exist_ok=True)
    for name, ask in REFERENCES.items():
        for content in ask() if name in wanted else ():
            golden_kit.write(content)
            print(content.task, len(content.cases))


if __name__ == "__main__":
    main()
