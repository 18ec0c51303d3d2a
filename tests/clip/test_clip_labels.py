"""Label sets and a real model together: made once, kept, and made again for another model."""

import pytest

import clip_kit
from clip_kit import pictures
from hearth.families.clip.labels.sets.source import IMAGENET, SCENES, LabelSet
from hearth.hub.progress import no_progress

PHOTO = pictures()["photo.jpg"]
SETS = [
    LabelSet(
        IMAGENET, ("cat", "dog", "cow"), (("a cat",), ("a dog", "one dog"), ("a cow",)), "test"
    ),
    LabelSet(SCENES, ("sea", "forest"), (("the sea",), ("trees",)), "test"),
]


@pytest.fixture
def opened(tiny_export, tmp_path):
    """Opens the tiny model with a few labels, over one data folder."""
    return lambda model=tiny_export: clip_kit.loaded(tmp_path, model=str(model), labels=SETS)


async def scores_of(model):
    return await model.classify(await model.embed_image(PHOTO), IMAGENET, 5)


async def test_vectors_are_made_once_and_then_read(opened, tmp_path):
    seen = []
    with opened() as model:
        model.load_artifacts()
        assert model.labels_missing(IMAGENET)
        await model.derive_artifacts(lambda *args: seen.append(args))
        assert model.labels_missing(IMAGENET) is None
        first = await scores_of(model)
    assert {what for what, *_ in seen} >= {f"{IMAGENET} label vectors", f"{SCENES} label vectors"}
    assert list((tmp_path / "clip" / "onnxrt" / "tiny").glob("*.meta.json"))

    with opened() as model:
        model.load_artifacts()
        assert model.labels_missing(IMAGENET) is None
        await model.derive_artifacts(no_progress)
        assert model.queues[1].statistics().items == 0
        assert await scores_of(model) == first


async def test_the_smallest_set_is_usable_first(opened):
    with opened() as model:
        states = []

        def progress(what, done, total):
            states.append((what, model.labels_missing(SCENES) is None))

        await model.derive_artifacts(progress)
    assert states[0] == (f"{SCENES} label vectors", False)
    assert states[-1] == (f"{IMAGENET} label vectors", True)


async def test_other_model_files_have_the_vectors_made_again(opened, tmp_path, tmp_path_factory):
    with opened() as model:
        await model.derive_artifacts(no_progress)
        first = await scores_of(model)
    other = clip_kit.write_open_clip(
        tmp_path_factory.mktemp("other") / "tiny", clip_kit.tiny_module(seed=1)
    )
    export = clip_kit.export(other, tmp_path / "tiny")
    with opened(export) as model:
        model.load_artifacts()
        assert model.labels_missing(IMAGENET)
        await model.derive_artifacts(no_progress)
        assert await scores_of(model) != first
    with opened(export) as model:
        model.load_artifacts()
        assert model.labels_missing(IMAGENET) is None


async def test_a_users_own_labels_take_the_place_of_imagenets(tiny_export, tmp_path):
    path = tmp_path / "pets.txt"
    path.write_text("# mine\ntabby | a photo of a tabby cat\npoodle\n")
    with clip_kit.loaded(tmp_path, model=str(tiny_export), labels_file=path) as model:
        await model.derive_artifacts(no_progress)
        vector = await model.embed_image(PHOTO)
        scored = await model.classify(vector, model.classes, 5)
    assert {label for label, _ in scored} == {"tabby", "poodle"}


async def test_a_full_disk_leaves_small_sets_usable(opened, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with opened() as model:
        monkeypatch.setattr("os.fsync", full)
        await model.derive_artifacts(no_progress)
        assert len(await scores_of(model)) == 3
    monkeypatch.undo()
    with opened() as model:
        model.load_artifacts()
        assert model.labels_missing(IMAGENET)
