"""The inventory of a data folder: what is here, what is wrong with it, and taking it away."""

import json
import random
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable
from hearth.families.inventory import inventory_of
from hearth.hub.hashes import content
from hearth.hub.maintenance import Condition
from hearth.hub.manifest import made_of
from hearth.hub.model_files import FilesKind, matching
from hearth.hub.store import HubStore
from hub_kit import HubServer

GRAPH = random.Random(3).randbytes(3_000_000)


def export(folder: Path, **told: object) -> Path:
    """Write what an export looks like to whoever reads no graphs; returns the folder."""
    for tower in ("visual", "textual"):
        (folder / tower).mkdir(parents=True)
        (folder / tower / "model.onnx").write_bytes(GRAPH)
    (folder / "visual" / "preprocess_cfg.json").write_text("{}")
    (folder / "textual" / "tokenizer.json").write_text("{}")
    about = {"content": content(folder), **told}
    (folder / "hearth.json").write_text(json.dumps(about))
    return folder


def garble(path: Path) -> None:
    """Turn one bit in the middle of a file: what only its hash can tell."""
    garbled = bytearray(path.read_bytes())
    garbled[len(garbled) // 2] ^= 1
    path.write_bytes(garbled)


def test_an_export_that_is_garbled_counts_as_damaged_until_it_is_right_again(tmp_path: Path):
    folder = export(tmp_path / "exports" / "tiny", model_id="tiny")
    inventory = inventory_of(tmp_path)
    [files] = inventory.files()
    assert (files.kind, files.condition) == (FilesKind.EXPORT, Condition.WHOLE)
    assert inventory.verify(files).state == "right"

    garble(folder / "visual" / "model.onnx")
    assert inventory.files()[0].condition is Condition.WHOLE  # nobody has read it yet
    found = inventory.verify(files)
    assert (found.state, found.problems) == ("wrong", ["visual/model.onnx has a wrong sha256"])
    [damaged] = inventory.files()
    assert damaged.condition is Condition.DAMAGED and damaged.fault

    garble(folder / "visual" / "model.onnx")
    assert inventory.verify(damaged).state == "right"
    assert inventory.files()[0].condition is Condition.WHOLE


def test_a_copy_beside_a_download_is_taken_away_once_it_is_wrong(hub: HubServer, tmp_path: Path):
    hub.add_repository("org/name", {"visual/model.onnx": GRAPH})
    snapshot = HubStore(tmp_path, endpoint=hub.url).download("org/name", ["visual/model.onnx"])
    copy = export(made_of(snapshot, "free-batch"))
    inventory = inventory_of(tmp_path)
    [files] = inventory.files()
    assert files.copies == (copy,)
    assert inventory.verify(files).state == "right"
    garble(copy / "textual" / "model.onnx")
    found = inventory.verify(files)
    assert (found.state, found.problems) == ("wrong", [])
    assert found.copies == {copy: ["textual/model.onnx has a wrong sha256"]}
    assert not copy.exists() and inventory.files()[0].copies == ()


def test_what_a_name_means_is_removed_and_nothing_else(tmp_path: Path):
    exports = tmp_path / "exports"
    for name in ("tiny", "tiny@int8", "other"):
        export(exports / name, model_id=name.partition("@")[0])
    inventory = inventory_of(tmp_path)
    names = {files.name for files in matching(inventory.files(), "tiny")}
    assert names == {"tiny", "tiny@int8"}
    [variant] = matching(inventory.files(), "tiny@int8")
    assert inventory.remove(variant) == variant.size > 2 * len(GRAPH)
    assert sorted(path.name for path in exports.iterdir()) == ["other", "tiny"]
    with pytest.raises(ModelUnavailable, match="tiny@int8"):
        inventory.remove(variant)


def test_an_empty_data_folder_holds_nothing(tmp_path: Path):
    assert inventory_of(tmp_path).files() == []
    assert list(tmp_path.iterdir()) == []
