"""Label vectors on disks that are full, read-only, or shared with other processes."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import disk_kit
import labels_kit as kit
from hearth.errors import ModelUnavailable, NotReady
from hearth.families.clip.labels.making.label_files import verify_folder
from hearth.families.clip.labels.making.resumable import ResumableVectors
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.hub.progress import no_progress

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")
VECTOR = kit.embedded("a picture")

# --- a full disk ----------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB."""
    with disk_kit.small_disk(tmp_path / "disk", "512k") as folder:
        yield folder


@pytest.fixture
def no_memory(monkeypatch):
    """As for vectors of gigabytes: nothing but the disk can take them."""
    monkeypatch.setattr("hearth.families.clip.labels.making.builder.MOST_HELD", 0)


async def test_what_does_not_fit_is_refused_and_small_sets_work_all_the_same(small_disk, no_memory):
    labels = kit.many()
    classifier = kit.classifier(labels, FRUIT, store=kit.store(small_disk))
    with pytest.raises(ModelUnavailable, match=r"no room for the label vectors of many: 0.7 MB"):
        await classifier.derive_artifacts(no_progress)
    assert "no room" in (classifier.missing("many") or "")
    with pytest.raises(NotReady, match="no room"):
        await classifier.classify(VECTOR, "many", 1)
    assert len(await classifier.classify(VECTOR, "fruit", 9)) == 2
    assert classifier.metadata["labels.fruit"] == "2"
    assert "no room" in classifier.metadata["labels.many"]
    classifier.close()


def fill(folder: Path, leave: int) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    os.truncate(filler, filler.stat().st_size - leave)
    return filler


async def test_a_small_set_lives_in_memory_where_the_disk_is_full(small_disk):
    filler = fill(small_disk, 0)
    classifier = kit.classifier(FRUIT, store=kit.store(small_disk))
    await classifier.derive_artifacts(no_progress)
    assert len(await classifier.classify(VECTOR, "fruit", 9)) == 2
    classifier.close()
    assert kit.present(small_disk, FRUIT) == set()
    filler.unlink()
    await kit.made(small_disk, FRUIT)
    assert kit.present(small_disk, FRUIT) == {"fruit"}


async def test_a_disk_that_fills_up_on_the_way_keeps_what_is_safe(small_disk, no_memory):
    labels = kit.many()
    # Room for all by what is free at the start, but not for names as well as vectors.
    subprocess.run(["mount", "-o", "remount,size=1000k", str(small_disk)], check=True)
    classifier = kit.classifier(labels, store=kit.store(small_disk))
    filled = []

    def progress(what, done, total):
        if done > 5000 and not filled:
            filled.append(fill(small_disk, 8192))

    with pytest.raises(ModelUnavailable, match="no room for the label vectors of many: the disk"):
        await classifier.derive_artifacts(progress)
    assert classifier.missing("many")
    filled[0].unlink()
    classifier.close()
    again = await kit.made(small_disk, labels)
    assert 0 < len(again.texts) < kit.MANY - 4000
    assert np.abs(kit.vectors_of(small_disk, "many") - kit.expected(labels)).max() < 1e-6


async def test_sets_of_thousands_live_in_memory_where_the_disk_is_too_small(small_disk, caplog):
    labels = kit.many()
    classifier = kit.classifier(labels, store=kit.store(small_disk))
    await classifier.derive_artifacts(no_progress)
    assert "no room for the label vectors of many: 0.7 MB" in caplog.text
    await right(classifier, labels)
    classifier.close()
    assert kit.present(small_disk, labels) == set()


async def test_sets_of_thousands_live_in_memory_where_nothing_can_be_written(small_disk, caplog):
    (small_disk / "toy").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    labels = kit.many(count=2001)
    classifier = kit.classifier(labels, store=kit.store(small_disk))
    await classifier.derive_artifacts(no_progress)
    assert "can't be kept" in caplog.text
    await right(classifier, labels)
    classifier.close()


async def right(classifier, labels):
    """See that it answers as it should."""
    reference = kit.probabilities(kit.expected(labels), VECTOR)
    answer = await classifier.classify(VECTOR, labels.name, 3)
    assert [name for name, _ in answer] == [labels.labels[i] for i in np.argsort(-reference)[:3]]


async def test_what_is_damaged_is_not_used_where_it_cannot_be_replaced(small_disk):
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    labels = kit.many(count=40_000)
    await kit.made(small_disk, labels)
    path = small_disk / "toy" / "many.vectors.npy"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 64)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    classifier = kit.classifier(labels, store=kit.store(small_disk))
    classifier.load(kit.DIM)
    await classifier.derive_artifacts(no_progress)
    await right(classifier, labels)
    classifier.close()


# --- other processes ----------------------------------------------------------


async def test_a_file_that_others_have_mapped_is_never_written_to(tmp_path, monkeypatch):
    labels, path = kit.many(), tmp_path / "toy" / "many.vectors.npy"
    with monkeypatch.context() as killed:  # between the appearing of the vectors and the end
        killed.setattr(ResumableVectors, "forget", lambda self: None)
        await kit.made(tmp_path, labels)
    with path.open("r+b", buffering=0) as file:
        file.seek(20_000)
        file.write(b"\xff" * 64)
        before = path.read_bytes()
        embed = kit.Toy()
        embed.fails_after = 6000
        with pytest.raises(RuntimeError, match="killed"):
            await kit.made(tmp_path, labels, embed=embed)
        await kit.made(tmp_path, labels)
        file.seek(0)
        assert file.read() == before
    assert np.abs(kit.vectors_of(tmp_path, "many") - kit.expected(labels)).max() < 1e-6
    assert verify_folder(tmp_path / "toy") == []


async def test_what_killed_processes_left_is_taken_away_after_a_day(tmp_path):
    folder, removed = tmp_path / "toy", tmp_path / ".toy.123"
    names = [".fruit.meta.json.1-2", "..fruit.vectors.partial.json.1-2"]
    kept = [".other.vectors.partial", ".other.lock", "fruit.notes.1-2"]
    removed.mkdir()
    folder.mkdir()
    (removed / "fruit.vectors.npy").write_bytes(b"x")
    for name in (*names, *kept):
        (folder / name).write_bytes(b"x")
    (folder / ".fruit.names.npz.3-4").write_bytes(b"of somebody who is at it")
    old = time.time() - 25 * 3600
    for path in (removed, *(folder / name for name in (*names, *kept))):
        os.utime(path, (old, old))
    await kit.made(tmp_path, FRUIT)
    assert not removed.exists()
    left = {path.name for path in folder.iterdir()}
    assert not left & set(names)
    assert left >= {*kept, ".fruit.names.npz.3-4"}
