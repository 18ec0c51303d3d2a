"""Label sets, and the cache of their vectors."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clip_kit
from hearth.models.clip.labels import (
    IMAGENET,
    SCENES,
    LabelCache,
    LabelSet,
    _imagenet_names,
    imagenet,
    scenes,
)
from hearth.models.manager import no_progress

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")
TOOLS = LabelSet("tools", ("saw",), (("a saw",),), "test")
VECTORS = {"fruit": np.eye(2, 4, dtype=np.float32), "tools": np.ones((1, 4), np.float32) / 2}
SETS = {"fruit": FRUIT, "tools": TOOLS}
MADE_FROM = {"model_id": "m", "files": {"a": {"size": 1}}}


# --- the sets -------------------------------------------------------------------------------


def test_imagenet_has_open_clips_names_and_prompts():
    labels = imagenet("auto")
    assert len(labels.labels) == 1000
    assert labels.labels[:2] == ("tench", "goldfish")
    assert (labels.source, len(labels.prompts[0])) == ("simple", 7)
    assert "itap of a tench." in labels.prompts[0]
    assert len(imagenet("openai").prompts[999]) == 80
    assert imagenet("single").prompts[1] == ("a photo of a goldfish",)


def test_our_own_names_are_the_same():
    assert _imagenet_names() == imagenet("single").labels


def test_scenes_are_distinct_and_each_has_prompts():
    labels = scenes()
    assert 20 <= len(labels.labels) == len(set(labels.labels))
    assert all(prompts and all(prompts) for prompts in labels.prompts)


WITHOUT_OPEN_CLIP = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "open_clip" else find(name, *rest)
from hearth.errors import SettingsError
from hearth.models.clip.labels import imagenet
labels = imagenet("auto")
assert len(labels.labels) == 1000 and labels.source == "single", labels.source
try:
    imagenet("openai")
except SettingsError as error:
    assert "pip install" in str(error)
else:
    raise AssertionError("no error")
"""


def test_without_open_clip_one_prompt_for_a_name_does():
    subprocess.run([sys.executable, "-c", WITHOUT_OPEN_CLIP], check=True)


def test_the_digest_changes_with_any_label_prompt_or_order():
    others = [
        LabelSet("fruit", ("apple", "plum"), FRUIT.prompts, "test"),
        LabelSet("fruit", FRUIT.labels, (("an apple",), ("a pear",)), "test"),
        LabelSet("fruit", FRUIT.labels[::-1], FRUIT.prompts[::-1], "test"),
    ]
    digests = {labels.digest for labels in (FRUIT, *others)}
    assert len(digests) == 4


# --- the cache ------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    made = LabelCache(tmp_path / "cache", MADE_FROM)
    made.save(SETS, VECTORS)
    return made


def test_what_was_saved_comes_back(cache):
    loaded = cache.load(SETS.values())
    assert loaded.keys() == VECTORS.keys()
    assert all(np.array_equal(loaded[name], VECTORS[name]) for name in VECTORS)
    assert loaded["fruit"].dtype == np.float32


def test_the_meta_says_what_the_vectors_were_made_from(cache):
    meta = json.loads(cache.meta_path.read_text())
    assert meta["made_from"] == MADE_FROM
    assert meta["sets"]["fruit"]["labels"] == 2
    assert meta["sets"]["fruit"]["prompts"] == 3
    assert meta["hearth"] and meta["created"]


def test_nothing_comes_back_for_another_model(cache):
    other = LabelCache(cache.meta_path.parent, {**MADE_FROM, "model_id": "n"})
    assert other.load(SETS.values()) == {}


def test_only_the_set_that_changed_is_missing(cache):
    changed = LabelSet("fruit", ("apple", "fig"), FRUIT.prompts, "test")
    assert cache.load([changed, TOOLS]).keys() == {"tools"}


def test_a_set_that_was_never_saved_is_missing(cache):
    new = LabelSet("new", ("a",), (("a",),), "test")
    assert cache.load([new, TOOLS]).keys() == {"tools"}


@pytest.mark.parametrize("part", ["vectors_path", "meta_path"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "noise", "flipped"])
def test_a_damaged_cache_counts_as_absent(cache, part, damage):
    path: Path = getattr(cache, part)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 0xFF])
    damaged = {
        "empty": b"",
        "half": content[:middle],
        "noise": bytes(range(256)),
        "flipped": content[:middle] + flipped + content[middle + 1 :],
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    assert cache.load(SETS.values()) == {}


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((3, 4), np.float32),
        np.zeros((2, 4), np.float64),
        np.full((2, 4), np.nan, np.float32),
        np.zeros(2, np.float32),
    ],
)
def test_vectors_of_the_wrong_shape_or_kind_count_as_absent(cache, vectors):
    replace_vectors(cache, fruit=vectors)
    assert cache.load([FRUIT]) == {}


def test_nothing_is_ever_unpickled(cache):
    replace_vectors(cache, fruit=np.array([print, print], object))
    assert cache.load([FRUIT]) == {}


def replace_vectors(cache, **vectors):
    """Other vectors, with a meta that vouches for them."""
    np.savez(cache.vectors_path, allow_pickle=True, **vectors)
    meta = json.loads(cache.meta_path.read_text())
    meta["sha256"] = hashlib.sha256(cache.vectors_path.read_bytes()).hexdigest()
    cache.meta_path.write_text(json.dumps(meta))
    assert cache.load([TOOLS]) == {}


def test_no_temporary_files_are_left(cache):
    names = {path.name for path in cache.meta_path.parent.iterdir()}
    assert names == {"text_vectors.npz", "text_vectors.meta.json"}


# --- cache and model together ---------------------------------------------------------------


@pytest.fixture
def few_labels(monkeypatch):
    """Label sets that are made in a moment."""
    short = {
        IMAGENET: LabelSet(IMAGENET, ("cat", "dog"), (("a cat",), ("a dog", "one dog")), "test"),
        SCENES: LabelSet(SCENES, ("sea",), (("the sea",),), "test"),
    }
    monkeypatch.setattr(
        "hearth.models.clip.source.label_sets", lambda templates: tuple(short.values())
    )
    return short


def batches_of_texts(model):
    return model.queues[1].statistics().items


async def test_vectors_are_made_once_and_then_read(tiny_export, tmp_path, few_labels):
    seen = []
    with clip_kit.loaded(tmp_path, model=str(tiny_export)) as model:
        model.load_derived()
        assert model.labels_missing(IMAGENET)
        await model.derive(lambda *args: seen.append(args))
        assert model.labels_missing(IMAGENET) is None
        first = dict(model._vectors)
    assert seen[-1] == (f"{IMAGENET} label vectors", 3, 3)
    folder = tmp_path / "clip" / "onnxrt" / "tiny"
    assert (folder / "text_vectors.npz").is_file()
    assert (folder / "text_vectors.meta.json").is_file()

    with clip_kit.loaded(tmp_path, model=str(tiny_export)) as model:
        model.load_derived()
        assert model.labels_missing(IMAGENET) is None
        await model.derive(no_progress)
        assert batches_of_texts(model) == 0
        assert all(np.array_equal(model._vectors[name], first[name]) for name in first)


async def test_the_smallest_set_is_usable_first(tiny_export, tmp_path, few_labels):
    with clip_kit.loaded(tmp_path, model=str(tiny_export)) as model:
        states = []

        def progress(what, done, total):
            states.append((what, model.labels_missing(SCENES) is None))

        await model.derive(progress)
    assert states[0] == (f"{SCENES} label vectors", False)
    assert states[-1] == (f"{IMAGENET} label vectors", True)


async def test_other_model_files_have_the_vectors_made_again(
    tiny_export, tmp_path, few_labels, tmp_path_factory
):
    with clip_kit.loaded(tmp_path, model=str(tiny_export)) as model:
        await model.derive(no_progress)
        first = dict(model._vectors)
    other = clip_kit.write_open_clip(
        tmp_path_factory.mktemp("other") / "tiny", clip_kit.tiny_module(seed=1)
    )
    export = clip_kit.export(other, tmp_path / "tiny")
    with clip_kit.loaded(tmp_path, model=str(export)) as model:
        model.load_derived()
        assert model.labels_missing(IMAGENET)
        await model.derive(no_progress)
        assert not np.allclose(model._vectors[IMAGENET], first[IMAGENET])
    with clip_kit.loaded(tmp_path, model=str(export)) as model:
        model.load_derived()
        assert model.labels_missing(IMAGENET) is None
