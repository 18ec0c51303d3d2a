"""Where labels come from: what is bundled, the user's own files, TreeOfLife."""

import json
import subprocess
import sys

import numpy as np
import pytest

import labels_kit as kit
from hearth.errors import ModelUnavailable, SettingsError
from hearth.families.clip.labels.sets.bundled import imagenet, scenes
from hearth.families.clip.labels.sets.own import own_labels
from hearth.families.clip.labels.sets.rows_of_json import _CHUNK, rows_of
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.labels.sets.tree_of_life import label_of, prompt_of, tree_of_life
from hearth.families.clip.openclip import import_open_clip
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")


def test_imagenet_has_open_clips_names_and_templates():
    import_open_clip()
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, SIMPLE_IMAGENET_TEMPLATES

    labels = imagenet("auto")
    assert labels.origin == "simple"
    assert labels.labels == tuple(IMAGENET_CLASSNAMES)
    assert labels.texts[7] == tuple(one(labels.labels[7]) for one in SIMPLE_IMAGENET_TEMPLATES)


def test_a_single_template_is_one_prompt_for_each_name():
    labels = imagenet("single")
    assert labels.texts[0] == (f"a photo of a {labels.labels[0]}",)
    assert len(labels.labels) == labels.count == 1000


def test_scenes_have_each_a_name_and_prompts():
    labels = scenes()
    assert len(labels.labels) == len(set(labels.labels))
    assert all(prompts and all(prompts) for prompts in labels.texts)


WITHOUT_OPEN_CLIP = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "open_clip" else find(name, *rest)
from hearth.errors import SettingsError
from hearth.families.clip.labels.sets.bundled import imagenet
labels = imagenet("auto")
assert len(labels.labels) == 1000 and labels.origin == "single", labels.origin
try:
    imagenet("openai")
except SettingsError as error:
    assert "pip install" in str(error)
else:
    raise AssertionError("no error")
"""


def test_without_open_clip_one_prompt_for_a_name_does():
    subprocess.run([sys.executable, "-c", WITHOUT_OPEN_CLIP], check=True)


def test_the_key_changes_with_any_label_prompt_or_order():
    others = [
        LabelSet("fruit", ("apple", "plum"), FRUIT.texts, "test"),
        LabelSet("fruit", FRUIT.labels, (("an apple",), ("a pear",)), "test"),
        LabelSet("fruit", FRUIT.labels[::-1], FRUIT.texts[::-1], "test"),
    ]
    assert len({labels.key for labels in (FRUIT, *others)}) == 4


# --- the user's own labels ----------------------------------------------------------


def test_a_text_file_has_labels_prompts_and_comments(tmp_path):
    file = tmp_path / "birds.txt"
    file.write_text("\ufeff# at the pond\nheron | a heron | a grey heron\n\n  Ente \n", "utf-8")
    labels = own_labels(file)
    assert labels.labels == ("heron", "Ente")
    assert labels.texts == (("a heron", "a grey heron"), ("a photo of a Ente",))
    assert (labels.name, labels.origin) == ("own", "birds.txt")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (["heron", "duck"], (("a photo of a heron",), ("a photo of a duck",))),
        ({"heron": "a heron", "duck": ["a duck", "ducks"]}, (("a heron",), ("a duck", "ducks"))),
    ],
)
def test_a_json_file_is_a_list_or_an_object(tmp_path, content, texts):
    file = tmp_path / "birds.json"
    file.write_text(json.dumps(content))
    labels = own_labels(file)
    assert labels.labels == ("heron", "duck")
    assert labels.texts == texts


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", "", "holds no labels"),
        ("a.txt", "heron\nduck\nheron", "'heron' more than once"),
        ("a.txt", "heron\n| a duck", "label 2 is empty"),
        ("a.txt", b"\xff\xfe\x00", "isn't UTF-8"),
        ("a.json", "[1]", "must be a list of labels"),
        ("a.json", '"heron"', "must be a list of labels"),
        ("a.json", "[", "can't be read"),
        ("a.json", "[" * 100_000, "can't be read"),
        ("a.json", '{"heron": 1}', "prompts of 'heron'"),
        ("a.json", '{"heron": {"a": "b"}}', "prompts of 'heron'"),
        ("a.json", '{"heron": "a", "heron": "b"}', "'heron' more than once"),
        ("none.txt", None, "No such file"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path, name, content, why):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=why) as caught:
        own_labels(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


# --- long arrays ----------------------------------------------------------


def test_rows_come_as_the_json_library_reads_them_wherever_chunks_end(tmp_path):
    rows = [[["é" * (number % 97), "]", '"', "\\"], str(number)] for number in range(30_000)]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    assert file.stat().st_size > 2 * _CHUNK
    assert list(rows_of(file)) == rows


@pytest.mark.parametrize("text", ["", "{}", "[[1]", "[[1] [2]]", "[1]", "[[1],]", '[["a'])
def test_anything_but_an_array_of_arrays_is_refused(tmp_path, text):
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        list(rows_of(file))


def test_an_empty_array_has_no_rows(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(" [ ] ")
    assert list(rows_of(file)) == []


# --- TreeOfLife ----------------------------------------------------------

HERON = ["Animalia", "Chordata", "Aves", "Pelecaniformes", "Ardeidae", "Ardea", "cinerea"]


@pytest.mark.parametrize(
    ("taxon", "common", "label", "prompt"),
    [
        (HERON, "grey heron", "Ardea cinerea (grey heron)",
         "a photo of Animalia Chordata Aves Pelecaniformes Ardeidae Ardea cinerea "
         "with common name grey heron."),
        ([*HERON[:6], ""], "", "Ardea",
         "a photo of Animalia Chordata Aves Pelecaniformes Ardeidae Ardea."),
        ([*HERON[:5], "", ""], "herons", "Ardeidae (herons)",
         "a photo of Animalia Chordata Aves Pelecaniformes Ardeidae with common name herons."),
        ([""] * 7, "heron", "heron", "a photo of heron."),
        ([""] * 7, "", "unnamed", "a photo of unnamed."),
    ],
)  # fmt: skip
def test_a_species_is_named_as_exactly_as_the_data_does(taxon, common, label, prompt):
    assert label_of(taxon, common) == label
    assert prompt_of(taxon, common) == prompt


REPOSITORY = "org/tree"


@pytest.fixture
def tree(hub, tmp_path):
    def make(files, model_id="org/bioclip-2"):
        hub.add_repository(REPOSITORY, files)
        return tree_of_life(HubStore(tmp_path, endpoint=hub.url), REPOSITORY, model_id)

    return make


def test_names_vectors_and_prompts_come_from_the_hub(tree):
    rows = kit.species(50)
    source = tree(kit.tree_files(rows))
    assert not source.is_local()
    source.download(no_progress)
    assert source.is_local()
    assert list(source.catalogue().labels) == [label_of(*row) for row in rows]
    assert [text for [text] in source.prompts(7)] == [prompt_of(*row) for row in rows[7:]]
    matrix = source.shipped()
    expected = np.stack([3 * kit.embedded(prompt_of(*row)) for row in rows])
    assert np.array_equal(matrix.block(0, 50), expected)
    assert np.array_equal(matrix.block(11, 13), expected[11:13])
    matrix.close()


def test_files_made_for_the_model_come_before_the_others(tree, hub):
    rows = kit.species(9)
    source = tree({**kit.tree_files(rows[:5]), **kit.tree_files(rows, stem="bioclip-2")})
    source.download(no_progress)
    assert len(source.catalogue().labels) == 9
    assert hub.bytes_sent(REPOSITORY, "embeddings/txt_emb_species.npy") == 0


def test_names_without_vectors_do(tree):
    files = kit.tree_files(kit.species(5))
    del files["embeddings/txt_emb_species.npy"]
    source = tree(files)
    source.download(no_progress)
    assert source.is_local() and source.shipped() is None


@pytest.mark.parametrize("content", [b"[[1, 2]]", b"[[[], 3]]", b"{}", b'[[["a"', b"\xff"])
def test_a_list_that_is_none_is_refused(tree, content):
    source = tree({"embeddings/txt_emb_species.json": content})
    source.download(no_progress)
    with pytest.raises(ModelUnavailable, match="can't be read"):
        source.catalogue()


def test_an_empty_list_is_refused(tree):
    source = tree({"embeddings/txt_emb_species.json": b"[]"})
    source.download(no_progress)
    with pytest.raises(ModelUnavailable, match="lists no species"):
        source.catalogue()
