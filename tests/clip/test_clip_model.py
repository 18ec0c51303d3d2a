"""A ClipModel gives the vectors and labels that open_clip itself gives, on both engines."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clip_kit
from clip_kit import TEXTS, cosine, decoded, pictures
from hearth.backends import BatchSizes, TensorSpec
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable, NotReady
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.model import LONGEST_TEXT, ClipModel
from hearth.families.clip.parts import Parts
from hearth.families.clip.transform import ImageTransform
from hearth.hub.progress import no_progress
from hearth.media import ImageReader
from hearth.models.options import QueueOptions

NEAR = 0.9999

PICTURES = pictures()


@pytest.fixture(scope="module", params=["onnxrt", "torch"])
def model(
    request: pytest.FixtureRequest, tiny_folder: Path, tiny_export: Path, tmp_path_factory: Any
) -> Iterator[ClipModel]:
    folder = tiny_export if request.param == "onnxrt" else tiny_folder
    with clip_kit.loaded(
        tmp_path_factory.mktemp("data"), backend=request.param, model=str(folder)
    ) as made:
        yield made


@pytest.mark.parametrize("name", PICTURES)
async def test_a_picture_of_any_kind_has_open_clips_vector(model, tiny_module, name):
    vector = await model.embed_image(PICTURES[name])
    [expected] = clip_kit.reference_image_vectors(tiny_module, [decoded(PICTURES[name])])
    assert cosine(vector, expected) >= NEAR
    assert vector.dtype == np.float32 and vector.shape == (16,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


async def test_pictures_are_told_apart(model):
    vectors = await asyncio.gather(
        *(
            model.embed_image(PICTURES[name])
            for name in ("photo.jpg", "one-pixel.png", "wide-20000x10.png")
        )
    )
    assert max(cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2])) < 0.95


async def test_texts_have_open_clips_vectors_in_their_order(model, tiny_module):
    vectors = await model.embed_texts(TEXTS)
    expected = clip_kit.reference_text_vectors(tiny_module)
    assert min(map(cosine, vectors, expected)) >= NEAR
    assert cosine(vectors[1], vectors[2]) < 0.9


async def test_one_text_has_the_vector_that_it_has_among_many(model):
    alone = await model.embed_text(TEXTS[4])
    assert cosine(alone, (await model.embed_texts(TEXTS))[4]) >= NEAR


async def test_classification_is_open_clips_zero_shot_softmax(tiny_export, tiny_module, tmp_path):
    import torch

    from hearth.families.clip.openclip import import_open_clip

    names = ["cat", "dog", "sandy beach", "a (strange) thing", "cat's paw"]
    templates = ["a photo of a {}.", "art of the {}."]
    open_clip = import_open_clip()
    with torch.inference_mode():
        weights = open_clip.build_zero_shot_classifier(
            tiny_module, open_clip.SimpleTokenizer(), names, templates
        )
        [image] = clip_kit.reference_image_vectors(tiny_module, [decoded(PICTURES["photo.bmp"])])
        logits = tiny_module.logit_scale.exp() * torch.from_numpy(image) @ weights
        expected = logits.softmax(-1).numpy()

    prompts = tuple(tuple(text.format(name) for text in templates) for name in names)
    labels = LabelSet("test", tuple(names), prompts, "test")
    with clip_kit.loaded(tmp_path, model=str(tiny_export), labels=[labels]) as model:
        await model.derive_artifacts(no_progress)
        vector = await model.embed_image(PICTURES["photo.bmp"])
        scored = await model.classify(vector, "test", 100)
        best = await model.classify(vector, "test", 2)
    assert [label for label, _ in scored] == [names[i] for i in np.argsort(-expected)]
    scores = [score for _, score in scored]
    assert scores == pytest.approx(sorted(expected, reverse=True), rel=1e-3, abs=1e-6)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert len(best) == 2


async def test_a_broken_picture_is_the_requests_fault(model):
    with pytest.raises(InvalidInput):
        model.prepare_image(b"not a picture")


async def test_a_text_without_end_is_refused(model):
    with pytest.raises(InvalidInput, match="65537 characters"):
        await model.embed_text("x" * (LONGEST_TEXT + 1))


def test_what_is_in_use_is_told(model):
    assert model.precisions == ("fp32",)
    assert model.device == "cpu"
    assert model.metadata["embedding_dim"] == "16"
    assert model.metadata["context_length"] == "77"
    assert model.metadata["image_size"] == "32x32"
    assert model.metadata["logit_scale"] == "37.5"
    assert model.queues[0].max_batch == 8
    providers = {"torch": "torch", "onnxrt": "CPUExecutionProvider"}
    assert model.metadata["provider"] == providers[model.runtime]


async def test_pictures_that_come_together_share_batches(model):
    before = model.queues[0].statistics()
    picture = PICTURES["photo.jpg"]
    vectors = await asyncio.gather(*(model.embed_image(picture) for _ in range(40)))
    after = model.queues[0].statistics()
    assert after.items - before.items == 40
    assert after.batches - before.batches < 40
    assert min(cosine(vector, vectors[0]) for vector in vectors) >= NEAR


ANY_SIZE = BatchSizes()


class Graph:
    """A session over a plain function from a batch of pixels to vectors."""

    runtime = "python"
    device = "cpu"
    precision = "fp32"
    provider = "test"
    metadata: Mapping[str, str] = {}

    def __init__(self, function: Any, sizes: BatchSizes = ANY_SIZE, dim: int = 4) -> None:
        self.function = function
        self.batch_sizes = sizes
        self.seen: list[int] = []
        self.inputs = (TensorSpec("image", (None, 3, 8, 8), np.dtype(np.float32)),)
        self.outputs = (TensorSpec("embedding", (None, dim), np.dtype(np.float32)),)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.seen.append(len(feeds["image"]))
        return {"embedding": self.function(feeds["image"])}

    def close(self) -> None: ...


def model_over(graph: Graph, **options: Any) -> ClipModel:
    parts = {name: options.pop(name) for name in ("text", "tokenizer") if name in options}
    return ClipModel(
        Parts("test", graph, ImageTransform(8, 8), (), **parts),
        reader=ImageReader(10_000),
        **options,
    )


def mean_colours(pixels: Any) -> Any:
    means = pixels.mean(axis=(2, 3))
    return np.concatenate([means, np.zeros((len(means), 1))], axis=1)


def plain(value: float) -> Any:
    return np.full((3, 8, 8), value, np.float32)


async def embed_all(model: ClipModel, values: Sequence[float]) -> list[Any]:
    return await asyncio.gather(
        *(model.queues[0].submit(plain(value)) for value in values), return_exceptions=True
    )


@pytest.mark.parametrize("poison", [np.nan, np.inf])
async def test_only_the_picture_whose_numbers_arent_finite_fails(poison):
    model = model_over(Graph(mean_colours))
    first, second, third = await embed_all(model, [1, poison, 2])
    model.close()
    assert isinstance(second, ModelFailed)
    assert first == pytest.approx(third)


async def test_a_vector_of_zeros_stays_what_it_is():
    model = model_over(Graph(mean_colours))
    [vector] = await embed_all(model, [0])
    model.close()
    assert vector.tolist() == [0, 0, 0, 0]


async def test_a_graph_of_a_fixed_batch_is_filled_up_and_never_exceeded():
    graph = Graph(mean_colours, BatchSizes(fixed=(4,)))
    model = model_over(graph, options=QueueOptions(max_batch=16))
    vectors = await embed_all(model, range(1, 7))
    model.close()
    assert model.queues[0].max_batch == 4
    assert set(graph.seen) == {4}
    assert len(vectors) == 6


async def test_without_a_text_tower_pictures_are_embedded_and_texts_are_not():
    model = model_over(Graph(mean_colours), labels=[LabelSet("x", ("a",), (("a",),), "test")])
    await model.derive_artifacts(no_progress)
    [vector] = await embed_all(model, [1])
    assert vector[3] == 0
    assert len(model.queues) == 1
    assert "no text tower" in (model.labels_missing("x") or "")
    with pytest.raises(NotReady, match="no text tower"):
        await model.embed_text("a")
    with pytest.raises(NotReady):
        await model.classify(vector, "x", 1)
    model.close()


def test_a_graph_that_takes_another_size_than_the_pictures_get_is_refused():
    with pytest.raises(ModelUnavailable, match="n×3×8×8"):
        ClipModel(
            Parts("test", Graph(mean_colours), ImageTransform(9, 9), ()),
            reader=ImageReader(10_000),
        )


def test_a_text_graph_of_another_model_is_refused():
    with pytest.raises(ModelUnavailable, match="aren't of one model"):
        model_over(Graph(mean_colours), text=Graph(mean_colours, dim=5), tokenizer=lambda _: ...)
