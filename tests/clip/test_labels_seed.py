"""The seed's own caches: taken over where they fit, and never trusted."""

import hashlib
import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

import labels_kit as kit
from hearth.families.clip.labels.making.label_files import verify_folder
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.hub.progress import no_progress

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
    await classifier.derive_artifacts(no_progress)
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
    await classifier.derive_artifacts(no_progress)
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


async def test_the_proof_decides_without_names(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, vecs=right())
    assert (await derived(tmp_path, path))[0]


@pytest.mark.parametrize(
    "fault", ["fewer", "length", "model", "noise", "nan", "no vectors", "cut short"]
)
async def test_a_cache_that_does_not_fit_is_ignored(tmp_path, fault):
    names, vectors = list(LABELS.labels), right()
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
    await classifier.derive_artifacts(no_progress)
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
    await classifier.derive_artifacts(no_progress)
    classifier.close()
    # The sample, one to see how long vectors are, and all of them.
    assert len(embed.texts) == 8 + 1 + 30


async def test_vectors_in_another_order_are_found_out_without_names(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, vecs=np.roll(right(), 1, axis=0))
    assert not (await derived(tmp_path, path))[0]


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


# Each a list: with a memo that takes gigabytes, and 100,000 deep.
PICKLES = {
    "memo": b"\x80\x04]r\xff\xff\xff\x0f(\x8c\x01a\x8c\x01be.",
    "deep": b"\x80\x04](" + b"]" * 100_000 + b"a" * 99_999 + b"\x8c\x01b" * 29 + b"e.",
}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
async def test_names_are_never_read(tmp_path, content):
    path = tmp_path / "old.npz"
    with zipfile.ZipFile(path, "w") as archive:
        names, vectors = io.BytesIO(), io.BytesIO()
        np.lib.format.write_array_header_1_0(
            names, {"descr": "|O", "fortran_order": False, "shape": (30,)}
        )
        np.save(vectors, right())
        archive.writestr("names.npy", names.getvalue() + content)
        archive.writestr("vecs.npy", vectors.getvalue())
    tracemalloc.start()
    try:
        assert (await derived(tmp_path, path))[0]
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


async def test_a_header_that_unpacks_to_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "old.npz"
    header = b"\x93NUMPY\x02\x00" + (300 << 20).to_bytes(4, "little")
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("vecs.npy", "w") as file,
    ):
        file.write(header)
        for _ in range(300):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        assert not (await derived(tmp_path, path))[0]
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
