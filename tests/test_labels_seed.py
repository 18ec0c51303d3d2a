"""The seed's own caches: taken over where they fit, and never trusted."""

import hashlib
import os
import pickle

import numpy as np
import pytest

import labels_kit as kit
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore
from hearth.models.labels import LabelSet, tree_of_life, verify_folder
from hearth.models.labels.making.seed import _Unpickler, seed_vectors
from hearth.models.labels.sets.tree_of_life import prompt_of

LABELS = LabelSet(
    "imagenet",
    tuple(f"thing {number}" for number in range(30)),
    tuple((f"a thing {number}",) for number in range(30)),
    "test",
)


def right():
    """Vectors as another set of prompts would give: close, and not of length 1."""
    noise = np.random.default_rng(0).standard_normal((30, kit.DIM))
    return (2 * kit.expected(LABELS) + 0.05 * noise).astype(np.float32)


def write(path, names, vectors, save=np.savez):
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = np.empty(len(names), object)
    objects[:] = names
    save(path, names=objects, vecs=vectors)
    return path


async def derived(folder, *older, embed=None):
    """Whether the vectors were taken over, by what was embedded; and what they are."""
    embed = embed or kit.Toy()
    classifier = kit.classifier(LABELS, embed=embed, store=kit.store(folder, *older))
    await classifier.derive(no_progress)
    classifier.close()
    return len(embed.texts) == 8, np.load(folder / "toy" / "imagenet.vectors.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
async def test_a_cache_that_fits_is_taken_over_and_stays_as_it_is(tmp_path, save):
    path = write(tmp_path / "clip" / "old_imagenet_vectors.npz", LABELS.labels, right(), save)
    before = hashlib.sha256(path.read_bytes()).digest()
    taken, vectors = await derived(tmp_path, path)
    assert taken
    assert np.abs(vectors - kit.unit(right())).max() < 1e-6
    assert hashlib.sha256(path.read_bytes()).digest() == before
    path.unlink()
    embed = kit.Toy()
    classifier = kit.classifier(LABELS, embed=embed, store=kit.store(tmp_path, path))
    classifier.load(kit.DIM)
    await classifier.derive(no_progress)
    assert embed.texts == []
    classifier.close()


async def test_the_newer_layout_in_the_folder_itself_is_taken_over(tmp_path):
    write(tmp_path / "toy" / "text_vectors.npz", LABELS.labels, right())
    (tmp_path / "toy" / "text_vectors.meta.json").write_text('{"model_id": "m", "embed_dim": 16}')
    taken, _ = await derived(tmp_path)
    assert taken
    assert verify_folder(tmp_path / "toy") == []


async def test_names_as_plain_text_do(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, names=np.array(LABELS.labels), vecs=right())
    assert (await derived(tmp_path, path))[0]


async def test_without_names_the_proof_decides(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, vecs=right())
    assert (await derived(tmp_path, path))[0]


@pytest.mark.parametrize(
    "fault", ["order", "fewer", "length", "model", "noise", "nan", "no vectors", "cut short"]
)
async def test_a_cache_that_does_not_fit_is_ignored(tmp_path, fault):
    names, vectors = list(LABELS.labels), right()
    if fault == "order":
        names[3], names[4] = names[4], names[3]
    if fault == "fewer":
        names, vectors = names[1:], vectors[1:]
    if fault == "length":
        vectors = vectors[:, 1:]
    if fault == "model":
        vectors = np.random.default_rng(1).standard_normal(vectors.shape).astype(np.float32)
    if fault == "nan":
        vectors[13] = np.nan
    path = write(tmp_path / "old.npz", names, vectors)
    if fault == "noise":
        path.write_bytes(os.urandom(5000))
    if fault == "no vectors":
        np.savez(path, names=np.array(names))
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[:-900])
    taken, made = await derived(tmp_path, path)
    assert not taken
    assert np.abs(made - kit.expected(LABELS)).max() < 1e-6


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
async def test_a_cache_that_is_garbled_within_is_ignored(tmp_path, save):
    path = write(tmp_path / "old.npz", LABELS.labels, right(), save)
    content = bytearray(path.read_bytes())
    at = content.index(b"vecs.npy") + 400
    content[at : at + 8] = bytes(255 - byte for byte in content[at : at + 8])
    path.write_bytes(content)
    taken, vectors = await derived(tmp_path, path)
    assert not taken
    assert np.abs(vectors - kit.expected(LABELS)).max() < 1e-6


async def test_another_sets_cache_is_passed_over_without_a_word(tmp_path, caplog):
    path = write(tmp_path / "old_imagenet_vectors.npz", LABELS.labels, right())
    scenes = LabelSet("scenes", ("sea", "wood"), (("a sea",), ("a wood",)), "test")
    classifier = kit.classifier(scenes, store=kit.store(tmp_path, path))
    await classifier.derive(no_progress)
    assert classifier.missing("scenes") is None
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    classifier.close()


async def test_a_sample_is_embedded_once_for_all_caches(tmp_path):
    noise = np.random.default_rng(1).standard_normal((2, 30, kit.DIM)).astype(np.float32)
    paths = [
        write(tmp_path / f"{number}.npz", LABELS.labels, vectors)
        for number, vectors in enumerate(noise)
    ]
    embed = kit.Toy()
    classifier = kit.classifier(LABELS, embed=embed, store=kit.store(tmp_path, *paths))
    await classifier.derive(no_progress)
    classifier.close()
    # The sample, one to see how long vectors are, and all of them.
    assert len(embed.texts) == 8 + 1 + 30


async def test_vectors_in_another_order_are_found_out_without_names(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, vecs=np.roll(right(), 1, axis=0))
    assert not (await derived(tmp_path, path))[0]


async def test_names_as_the_data_set_lists_them_are_understood(tmp_path, hub):
    rows = kit.species(40)
    files = kit.tree_files(rows)
    del files["embeddings/txt_emb_species.npy"]
    hub.add_repository("org/tree", files)
    source = tree_of_life(HubStore(tmp_path, endpoint=hub.url), "org/tree", "org/m")
    source.download(no_progress)
    vectors = np.stack([kit.embedded(prompt_of(*row)) for row in rows])
    path = tmp_path / "text_vectors.npz"
    np.savez(path, names=np.array(rows, object), vecs=vectors)
    taken = seed_vectors(path, source, source.catalogue())
    assert np.array_equal(taken.block(0, 40), vectors)
    taken.close()
    np.savez(path, names=np.array([*rows[1:], rows[0]], object), vecs=vectors)
    with pytest.raises(ValueError, match="name 0"):
        seed_vectors(path, source, source.catalogue())


# --- pickles ----------------------------------------------------------


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


async def test_a_malicious_pickle_does_nothing(tmp_path):
    trap = tmp_path / "trap"
    path = write(tmp_path / "old.npz", [Evil(trap), *LABELS.labels[1:]], right())
    assert (await derived(tmp_path, path))[0]  # by its vectors alone
    assert not trap.exists()
    with np.load(path, allow_pickle=True) as arrays:
        arrays["names"]
    assert trap.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "numpy.load", "numpy.f2py.os", "posix.mkdir", "x.dtype"]
)
def test_every_other_name_is_refused(name):
    import io

    module, _, function = name.rpartition(".")
    content = f"c{module}\n{function}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match="no part of a list of names"):
        _Unpickler(io.BytesIO(content)).load()
