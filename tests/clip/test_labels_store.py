"""Label vectors made, kept, found again; killed, cut short, garbled, and on a full disk."""

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import labels_kit as kit
from checkout import KITS
from hearth.errors import ModelUnavailable
from hearth.families.clip.labels.making.label_files import verify_folder
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.labels.sets.tree_of_life import label_of, prompt_of, tree_of_life
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")
TOOLS = LabelSet("tools", ("saw", "axe", "rake"), (("saw",), ("axe",), ("rake",)), "test")
VECTOR = kit.embedded("a picture")


async def test_what_was_made_is_found_again_and_nothing_is_embedded(tmp_path):
    await kit.made(tmp_path, FRUIT, TOOLS)
    assert kit.present(tmp_path, FRUIT, TOOLS) == {"fruit", "tools"}
    assert np.abs(kit.vectors_of(tmp_path, "fruit") - kit.expected(FRUIT)).max() < 1e-6
    again = await kit.made(tmp_path, FRUIT, TOOLS)
    assert again.texts == []


async def test_the_meta_says_what_the_vectors_were_made_from(tmp_path):
    await kit.made(tmp_path, FRUIT)
    meta = json.loads((tmp_path / "toy" / "fruit.meta.json").read_text())
    assert meta["made_from"] == kit.MADE_FROM
    assert (meta["labels"], meta["dim"], meta["dtype"]) == (2, kit.DIM, "float32")
    assert meta["hearth"] and meta["created"]


async def test_a_large_set_is_mapped(tmp_path):
    labels = kit.many()
    classifier = kit.classifier(labels, store=kit.store(tmp_path))
    await classifier.derive_artifacts(no_progress)
    index = classifier._indexes["many"]
    assert isinstance(index.vectors.base, np.memmap)
    answer = await classifier.classify(VECTOR, "many", 3)
    reference = kit.probabilities(kit.expected(labels), VECTOR)
    assert [name for name, _ in answer] == [labels.labels[i] for i in np.argsort(-reference)[:3]]
    assert classifier.queues[0].statistics().items == 1
    classifier.close()


async def test_a_small_set_is_in_memory(tmp_path):
    await kit.made(tmp_path, FRUIT)
    classifier = kit.classifier(FRUIT, store=kit.store(tmp_path))
    classifier.load(kit.DIM)
    vectors = classifier._indexes["fruit"].vectors
    assert not isinstance(vectors, np.memmap) and not isinstance(vectors.base, np.memmap)
    classifier.close()


async def test_nothing_is_found_for_another_model_key_or_length(tmp_path):
    await kit.made(tmp_path, FRUIT)
    assert kit.present(tmp_path, FRUIT, kept=kit.store(tmp_path, model_id="other")) == set()
    changed = LabelSet("fruit", ("apple", "fig"), FRUIT.texts, "test")
    assert kit.present(tmp_path, changed) == set()
    assert kit.present(tmp_path, FRUIT, dim=kit.DIM + 1) == set()
    assert kit.present(tmp_path, FRUIT, dim=None) == {"fruit"}


async def test_only_the_set_that_changed_is_made_again(tmp_path):
    await kit.made(tmp_path, FRUIT, TOOLS)
    changed = LabelSet("fruit", ("apple", "fig"), (("an apple",), ("a fig",)), "test")
    embed = await kit.made(tmp_path, changed, TOOLS)
    assert set(embed.texts) == {"an apple", "a fig"}
    assert kit.present(tmp_path, changed, TOOLS) == {"fruit", "tools"}


# --- interrupted ----------------------------------------------------------


async def test_what_was_embedded_before_an_error_is_not_embedded_again(tmp_path):
    labels = kit.many()
    embed = kit.Toy()
    embed.fails_after = 6000
    with pytest.raises(RuntimeError, match="killed"):
        await kit.made(tmp_path, labels, embed=embed)
    assert kit.present(tmp_path, labels) == set()
    again = await kit.made(tmp_path, labels)
    assert len(again.texts) < kit.MANY - 4500
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(labels)).max() < 1e-6


async def test_a_stop_keeps_what_is_safe(tmp_path):
    labels, toy, waiting = kit.many(), kit.Toy(), asyncio.Event()

    async def embed(texts, context=None, /):
        if len(toy.texts) > 6000:
            waiting.set()
            await asyncio.Event().wait()
        return await toy(texts)

    classifier = kit.classifier(labels, embed=embed, store=kit.store(tmp_path))
    work = asyncio.create_task(classifier.derive_artifacts(no_progress))
    await waiting.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    classifier.close()
    again = await kit.made(tmp_path, labels)
    assert len(again.texts) < kit.MANY - 4500
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(labels)).max() < 1e-6


async def test_another_model_goes_on_with_nothing(tmp_path):
    labels = kit.many()
    embed = kit.Toy()
    embed.fails_after = 6000
    with pytest.raises(RuntimeError):
        await kit.made(tmp_path, labels, embed=embed)
    other = await kit.made(tmp_path, labels, kept=kit.store(tmp_path, model_id="other"))
    assert len(other.texts) >= kit.MANY


async def test_rows_that_the_disk_has_lost_are_made_again(tmp_path):
    labels = kit.many()
    embed = kit.Toy()
    embed.fails_after = 6000
    with pytest.raises(RuntimeError):
        await kit.made(tmp_path, labels, embed=embed)
    partial = tmp_path / "toy" / ".many.vectors.partial"
    with partial.open("r+b") as file:
        file.seek(128 + 3000 * kit.DIM * 4)
        file.write(bytes(1000))
    again = await kit.made(tmp_path, labels)
    assert kit.MANY - 3100 < len(again.texts) < kit.MANY - 2900
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(labels)).max() < 1e-6


BUILD = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import labels_kit as kit

class Doomed(kit.Toy):
    async def __call__(self, texts, context=None, /):
        print(len(self.texts), flush=True)
        if len(self.texts) >= int(sys.argv[3]):
            sys.stdin.readline()  # until it is killed, or told to go on
        return await super().__call__(texts)

classifier = kit.classifier(kit.many(), embed=Doomed(), store=kit.store(Path(sys.argv[1])))
asyncio.run(classifier.derive_artifacts(lambda *_: None))
classifier.close()
"""


def builder(folder: Path, stops_at: int) -> "subprocess.Popen[str]":
    arguments = [str(folder), str(KITS), str(stops_at)]
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", texts: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= texts:
            return
    raise AssertionError("it ended early")


async def test_a_killed_process_is_gone_on_with(tmp_path):
    with builder(tmp_path, 5000) as process:
        wait_for(process, 5000)
        process.kill()
    labels = kit.many()
    assert kit.present(tmp_path, labels) == set()
    again = await kit.made(tmp_path, labels)
    assert len(again.texts) < kit.MANY - 3800
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(labels)).max() < 1e-6
    assert verify_folder(tmp_path / "toy") == []


async def test_two_that_want_the_same_make_it_once(tmp_path):
    labels = kit.many()
    embed = kit.Toy()
    seen, progress = kit.recorded()
    classifier = kit.classifier(labels, embed=embed, store=kit.store(tmp_path))
    with builder(tmp_path, 5000) as process:
        wait_for(process, 5000)
        waiting = asyncio.create_task(classifier.derive_artifacts(progress))
        while not seen:
            await asyncio.sleep(0.01)
        assert "another process" in (classifier.missing("many") or "")
        process.stdin.write("\n" * 1000)
        process.stdin.flush()
        process.stdout.read()
    await waiting
    assert embed.texts == []
    assert classifier.missing("many") is None
    classifier.close()
    assert verify_folder(tmp_path / "toy") == []


async def test_killed_before_the_vectors_appear_nothing_is_embedded_again(tmp_path):
    labels = kit.many()
    with builder(tmp_path, 5000) as process:
        wait_for(process, 5000)
        process.kill()
    folder = tmp_path / "toy"
    note = json.loads((folder / ".many.vectors.partial.json").read_text())
    await kit.made(tmp_path, labels)
    # As it is between the writing of the meta and the renaming of the vectors.
    (folder / "many.vectors.npy").rename(folder / ".many.vectors.partial")
    note["rows"] = kit.MANY
    (folder / ".many.vectors.partial.json").write_text(json.dumps(note))
    again = await kit.made(tmp_path, labels)
    assert len(again.texts) == 1  # one to see how long vectors are
    assert kit.present(tmp_path, labels) == {"many"}


# --- shipped vectors ----------------------------------------------------------

REPOSITORY = "org/tree"
SPECIES = 5_000


@pytest.fixture(scope="module")
def species():
    return kit.species(SPECIES)


@pytest.fixture
def tree(hub, tmp_path):
    def make(files):
        hub.add_repository(REPOSITORY, files)
        store = HubStore(tmp_path / "hub", endpoint=hub.url)
        return tree_of_life(store, REPOSITORY, "org/bioclip-2")

    return make


@pytest.mark.parametrize("dtype", ["float32", "float16"])
async def test_shipped_vectors_that_fit_are_taken(tree, tmp_path, species, dtype):
    source = tree(kit.tree_files(species))
    embed = await kit.made(tmp_path, source, dtype=dtype)
    assert len(embed.texts) == 8
    vectors = kit.vectors_of(tmp_path, "tree_of_life")
    assert vectors.dtype == dtype
    expected = np.stack([kit.embedded(prompt_of(*row)) for row in species])
    assert np.abs(vectors - expected).max() < (1e-6 if dtype == "float32" else 4e-4)
    assert kit.present(tmp_path, source, dtype=dtype) == {"tree_of_life"}


@pytest.mark.parametrize("fault", ["other model", "other length", "fewer", "cut short", "many bad"])
async def test_shipped_vectors_that_do_not_fit_are_computed(tree, tmp_path, species, fault):
    files = kit.tree_files(species, seed="other" if fault == "other model" else "")
    name = "embeddings/txt_emb_species.npy"
    if fault == "other length":
        files[name] = kit.tree_files(species, dim=8)[name]
    if fault == "fewer":
        files[name] = kit.tree_files(species[:-1])[name]
    if fault == "cut short":
        files[name] = files[name][:-4]
    if fault == "many bad":
        files[name] = files[name][:-500] + b"\xff" * 500
    source = tree(files)
    embed = await kit.made(tmp_path, source)
    assert set(embed.texts) >= {prompt_of(*row) for row in species}
    vectors = kit.vectors_of(tmp_path, "tree_of_life")
    expected = np.stack([kit.embedded(prompt_of(*row)) for row in species])
    assert np.abs(vectors - expected).max() < 1e-6


async def test_the_few_shipped_vectors_that_have_no_direction_are_embedded(tree, tmp_path, species):
    files = kit.tree_files(species)
    name = "embeddings/txt_emb_species.npy"
    vectors = np.load(io.BytesIO(files[name]))
    # The first and the last are of the sample as well.
    bad = [0, 5, 3000, 3001, SPECIES - 1]
    vectors[:, bad] = 0
    vectors[3, 3001] = np.nan
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    source = tree({**files, name: buffer.getvalue()})
    embed = await kit.made(tmp_path, source)
    assert embed.texts[8:] == [prompt_of(*species[row]) for row in bad]
    expected = np.stack([kit.embedded(prompt_of(*row)) for row in species])
    assert np.abs(kit.vectors_of(tmp_path, "tree_of_life") - expected).max() < 1e-6


async def test_an_error_of_the_model_is_no_fault_of_shipped_vectors(tree, tmp_path, species):
    files = kit.tree_files(species)
    name = "embeddings/txt_emb_species.npy"
    source = tree({**files, name: files[name][:-4] + b"\xff" * 4})
    embed = kit.Toy()
    embed.fails_after, embed.error = 8, ValueError("the model's own")
    with pytest.raises(ValueError, match="the model's own"):
        await kit.made(tmp_path, source, embed=embed)
    assert len(embed.texts) == 8


def newer(hub, tmp_path, files):
    """What `hearth models remove` and `pull` do."""
    store = HubStore(tmp_path / "hub", endpoint=hub.url)
    store.remove(REPOSITORY)
    hub.add_repository(REPOSITORY, files)
    source = tree_of_life(store, REPOSITORY, "org/bioclip-2")
    assert source.version is None
    source.download(no_progress)
    return source


async def test_a_newer_list_of_species_takes_the_place_of_the_old_one(tree, tmp_path, hub):
    await kit.made(tmp_path, tree(kit.tree_files(kit.species(90))))
    rows = kit.species(93)[3:]
    source = newer(hub, tmp_path, kit.tree_files(rows))
    assert kit.present(tmp_path, source) == set()
    await kit.made(tmp_path, source)
    expected = np.stack([kit.embedded(prompt_of(*row)) for row in rows])
    assert np.abs(kit.vectors_of(tmp_path, "tree_of_life") - expected).max() < 1e-6


async def test_two_lists_of_one_length_are_never_joined(tree, tmp_path, species, hub):
    def names_of(rows):
        return {"embeddings/txt_emb_species.json": json.dumps(rows).encode()}

    embed = kit.Toy()
    embed.fails_after = 2500
    with pytest.raises(RuntimeError):
        await kit.made(tmp_path, tree(names_of(species)), embed=embed)
    assert verify_folder(tmp_path / "toy") == []
    rows = species[::-1]
    await kit.made(tmp_path, newer(hub, tmp_path, names_of(rows)))
    expected = np.stack([kit.embedded(prompt_of(*row)) for row in rows])
    assert np.abs(kit.vectors_of(tmp_path, "tree_of_life") - expected).max() < 1e-6


async def test_a_cached_start_needs_neither_the_network_nor_the_names(tree, tmp_path, species, hub):
    source = tree(kit.tree_files(species))
    await kit.made(tmp_path, source)
    hub.forget()
    for path in (tmp_path / "hub").rglob("*.json"):
        path.unlink()
    classifier = kit.classifier(source, store=kit.store(tmp_path))
    classifier.load(kit.DIM)
    answer = await classifier.classify(VECTOR, "tree_of_life", 3)
    assert {name for name, _ in answer} <= {label_of(*row) for row in species}
    assert await classifier.classify(VECTOR, "tree_of_life", 3, rank="family")
    classifier.close()
    assert hub.count() == 0


async def test_halves_are_made_of_floats_that_are_kept(tmp_path):
    labels = kit.many()
    await kit.made(tmp_path, labels)
    embed = await kit.made(tmp_path, labels, dtype="float16")
    assert len(embed.texts) == 8
    vectors = kit.vectors_of(tmp_path, "many")
    assert vectors.dtype == np.float16
    assert np.abs(vectors - kit.expected(labels)).max() < 4e-4
    # The other way round nothing that was lost comes back.
    assert len((await kit.made(tmp_path, labels)).texts) > kit.MANY


async def test_without_the_network_the_other_sets_are_made(tmp_path, hub):
    source = tree_of_life(HubStore(tmp_path, offline=True), REPOSITORY, "org/m")
    classifier = kit.classifier(source, FRUIT, store=kit.store(tmp_path))
    with pytest.raises(ModelUnavailable, match="org/tree"):
        await classifier.derive_artifacts(no_progress)
    assert classifier.missing("fruit") is None
    assert "org/tree" in (classifier.missing("tree_of_life") or "")
    classifier.close()
