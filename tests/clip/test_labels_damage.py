"""Label vectors that something has garbled: found out, never used, made again."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import labels_kit as kit
from hearth.errors import NotReady
from hearth.families.clip.labels.making.label_files import described, verify_folder
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.labels.sets.tree_of_life import prompt_of, tree_of_life
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")
TOOLS = LabelSet("tools", ("saw", "axe", "rake"), (("saw",), ("axe",), ("rake",)), "test")

FILES = ["fruit.vectors.npy", "fruit.names.npz", "fruit.meta.json"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "half": content[:middle],
        "longer": content + b"x",
        "noise": bytes(range(256)),
        "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
    }
    path.unlink()
    if how != "gone":
        path.write_bytes(damaged[how])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["gone", "empty", "half", "longer", "noise", "flipped"])
async def test_what_is_damaged_is_made_again(tmp_path, file, how):
    await kit.made(tmp_path, FRUIT)
    damage(tmp_path / "toy" / file, how)
    if (file, how) == ("fruit.meta.json", "longer"):
        assert kit.present(tmp_path, FRUIT) == set()
    assert kit.present(tmp_path, FRUIT) == set()
    assert len((await kit.made(tmp_path, FRUIT)).texts) > 0
    assert kit.present(tmp_path, FRUIT) == {"fruit"}
    assert verify_folder(tmp_path / "toy") == []


@pytest.mark.parametrize("file", FILES[:2])
@pytest.mark.parametrize("how", ["gone", "half", "flipped"])
async def test_verify_names_the_file_that_is_damaged(tmp_path, file, how):
    await kit.made(tmp_path, FRUIT, TOOLS)
    assert verify_folder(tmp_path / "toy") == []
    damage(tmp_path / "toy" / file, how)
    [problem] = verify_folder(tmp_path / "toy")
    assert problem.startswith(file)


async def test_verify_tells_of_a_meta_that_is_none(tmp_path):
    await kit.made(tmp_path, FRUIT)
    (tmp_path / "toy" / "fruit.meta.json").write_text('{"set": "fruit"}')
    [problem] = verify_folder(tmp_path / "toy")
    assert "fruit.meta.json" in problem


async def test_a_byte_in_the_middle_of_a_large_file_is_found_by_verify(tmp_path):
    labels = kit.many(count=20_000)
    await kit.made(tmp_path, labels, dim=64)
    path = tmp_path / "toy" / "many.vectors.npy"
    assert path.stat().st_size < 16 << 20
    damage(path, "flipped")
    assert kit.present(tmp_path, labels, dim=64) == set()
    assert verify_folder(tmp_path / "toy") == ["many.vectors.npy is damaged: its SHA-256 is wrong"]


async def test_a_byte_in_the_middle_of_large_names_is_found_at_the_start(tmp_path):
    labels = tuple(f"{number} {'long ' * 300}" for number in range(2100))
    named = LabelSet("named", labels, tuple((label[:20],) for label in labels), "test")
    await kit.made(tmp_path, named)
    path = tmp_path / "toy" / "named.names.npz"
    damage(path, "flipped")
    assert kit.present(tmp_path, named) == set()


async def test_nothing_is_ever_unpickled(tmp_path):
    await kit.made(tmp_path, FRUIT)
    path = tmp_path / "toy" / "fruit.names.npz"
    np.savez(path, allow_pickle=True, label_text=np.array([print]), label_offsets=np.zeros(1))
    vouch(tmp_path, "names", path)
    assert kit.present(tmp_path, FRUIT) == set()


@pytest.mark.parametrize(
    "vectors", [np.zeros((3, 16), "f4"), np.zeros((2, 16), "f8"), np.zeros(32, "f4")]
)
async def test_vectors_of_the_wrong_shape_or_kind_count_as_absent(tmp_path, vectors):
    await kit.made(tmp_path, FRUIT)
    path = tmp_path / "toy" / "fruit.vectors.npy"
    np.save(path, vectors)
    vouch(tmp_path, "vectors", path)
    assert kit.present(tmp_path, FRUIT) == set()


def vouch(folder, what, path):
    """Let the meta say that this is the right file."""
    meta_path = folder / "toy" / "fruit.meta.json"
    meta = json.loads(meta_path.read_text())
    meta["files"][what] = described(path)
    meta_path.write_text(json.dumps(meta))
    assert verify_folder(folder / "toy") == []


async def test_nothing_but_the_three_files_and_the_lock_is_left(tmp_path):
    await kit.made(tmp_path, FRUIT, kit.many())
    names = {path.name for path in (tmp_path / "toy").iterdir()}
    ends = (".vectors.npy", ".names.npz", ".meta.json")
    assert names - {".fruit.lock", ".many.lock"} == {
        f"{name}{end}" for name in ("fruit", "many") for end in ends
    }


# --- large sets ----------------------------------------------------------------------------

WIDE = 64


@pytest.fixture
async def large(tmp_path):
    """A kept index that is mapped."""
    labels = kit.many()
    await kit.made(tmp_path, labels, dim=WIDE)
    return labels


def garble(folder: Path, content: bytes) -> None:
    with (folder / "toy" / "many.vectors.npy").open("r+b") as file:
        file.seek(128 + 5000 * WIDE * 4)
        file.write(content)


async def test_what_is_garbled_in_the_middle_is_never_used(tmp_path, large):
    garble(tmp_path, b"\xff" * 4096)
    classifier = kit.classifier(large, embed=kit.Toy(WIDE), store=kit.store(tmp_path))
    classifier.load(WIDE)
    vector = kit.embedded("a picture", WIDE)
    with pytest.raises(NotReady):
        await classifier.classify(vector, "many", 3)
    await classifier.derive_artifacts(no_progress)
    reference = kit.probabilities(kit.expected(large, WIDE), vector)
    answer = await classifier.classify(vector, "many", 3)
    assert [name for name, _ in answer] == [large.labels[i] for i in np.argsort(-reference)[:3]]
    classifier.close()
    assert verify_folder(tmp_path / "toy") == []


async def test_vectors_of_other_labels_in_the_middle_are_found_out(tmp_path, large, caplog):
    garble(tmp_path, kit.embedded("something else", WIDE).tobytes())
    again = await kit.made(tmp_path, large, dim=WIDE)
    assert len(again.texts) >= kit.MANY
    assert "many.vectors.npy is damaged" in caplog.text
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(large, WIDE)).max() < 1e-6


async def test_what_is_right_is_read_and_kept(tmp_path, large, caplog):
    assert (await kit.made(tmp_path, large, dim=WIDE)).texts == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_no_halves_are_made_of_floats_that_are_garbled(tmp_path, large):
    garble(tmp_path, kit.embedded("something else", WIDE).tobytes())
    await kit.made(tmp_path, large, dim=WIDE, dtype="float16")
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(large, WIDE)).max() < 4e-4


# --- what others made ----------------------------------------------------------


def header(text: str) -> bytes:
    """An .npy file that begins with this."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(5000)


def tree(hub, folder, rows, **files):
    hub.add_repository("org/tree", {**kit.tree_files(rows), **files})
    return tree_of_life(HubStore(folder / "hub", endpoint=hub.url), "org/tree", "org/m")


MINUS = '{"descr": "<f4", "fortran_order": False, "shape": (' + "-" * 5000 + "1,2)}"


@pytest.mark.parametrize("text", [MINUS, "{[]:1}"], ids=["deep", "unhashable"])
async def test_vectors_that_cannot_be_read_for_any_reason_are_not_used(tmp_path, hub, text, caplog):
    rows = kit.species(20)
    source = tree(hub, tmp_path, rows, **{"embeddings/txt_emb_species.npy": header(text)})
    embed = await kit.made(tmp_path, source)
    assert set(embed.texts) == {prompt_of(*row) for row in rows}
    assert "(shipped) are not used" in caplog.text


async def test_endless_names_are_cut(tmp_path, hub):
    rows = kit.species(20)
    rows[3][1] = "y" * 70_000
    source = tree(hub, tmp_path, rows)
    own = LabelSet("own", ("long",), (("z" * 70_000,),), "test")
    embed = await kit.made(tmp_path, source, own)
    assert max(map(len, embed.texts)) == 1000
    assert max(map(len, source.catalogue().labels)) < 1100


async def test_an_error_is_told_and_the_other_sets_are_made():
    class Picky(kit.Toy):
        async def __call__(self, texts, context=None, /):
            if "an apple" in texts:
                raise TypeError("no apples,\nplease")
            return await super().__call__(texts)

    classifier = kit.classifier(FRUIT, TOOLS, embed=Picky())
    with pytest.raises(TypeError):
        await classifier.derive_artifacts(no_progress)
    assert classifier.missing("fruit") == "the label vectors can't be made: no apples, please"
    with pytest.raises(NotReady, match="no apples"):
        await classifier.classify(kit.embedded("a picture"), "fruit", 1)
    assert classifier.missing("tools") is None
    classifier.close()
