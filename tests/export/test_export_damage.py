"""Damaged exports, copies and variants: left for what is whole, and told; nothing is lost."""

import json
import logging
import os
import shutil

import pytest

import clip_kit
from graphs_kit import about
from hearth.errors import ModelUnavailable
from hearth.export.clip_dynamic_batch import make_dynamic_copy
from hearth.export.clip_folder import ExportOptions
from hearth.export.clip_variant import export_variant
from hearth.families.clip.exports import dynamic_copy, is_impossible
from hearth.families.clip.origins import OnnxModel, export_folder
from hearth.families.clip.settings import ClipSettings
from hearth.hub import atomic, integrity
from hearth.hub.layout import files_in
from hearth.hub.progress import no_progress
from hearth.hub.reference import parse
from hearth.hub.store import HubStore
from hub_kit import HubServer

NAME = "org/tiny"
GRAPH = "visual/model.onnx"


@pytest.fixture(scope="module")
def downloaded(tiny_export, tmp_path_factory):
    """A data folder with a download of the tiny model; not to be written to."""
    folder = tmp_path_factory.mktemp("downloaded")
    with HubServer() as hub:
        hub.add_repository(NAME, tiny_export)
        HubStore(folder, endpoint=hub.url).download(NAME, files_in(tiny_export))
    return folder


@pytest.fixture
def data(downloaded, tiny_export, tmp_path):
    """A data folder with a download of the tiny model, and an export of it."""
    shutil.copytree(downloaded, tmp_path, dirs_exist_ok=True)
    clip_kit.place_export(tiny_export, tmp_path, NAME)
    return tmp_path


def model_of(data, name=NAME, **settings):
    wanted = ClipSettings(**settings)
    reference = parse(name)
    hub = HubStore(data, offline=True)
    export = export_folder(data, reference)
    return OnnxModel(reference, hub, export, wanted, make_dynamic=make_dynamic_copy), wanted


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def load(model, wanted):
    parts = model.load(wanted)
    parts.close()
    return parts


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (cut, GRAPH),
        (zero, GRAPH),
        (cut, "textual/tokenizer.json"),
        (zero, "textual/tokenizer.json"),
        (cut, "hearth.json"),
        (zero, "hearth.json"),
        (cut, "config.json"),
    ],
)
def test_a_damaged_export_is_left_for_the_download_with_a_word(data, harm, name, caplog):
    export = data / "exports/tiny"
    model, wanted = model_of(data)
    assert model.graphs() == export
    harm(export / name)
    assert model.graphs().parent == data / "hub/org--tiny"
    assert load(model, wanted).files[0].is_relative_to(data / "hub")
    [line] = [record.getMessage() for record in caplog.records]
    assert f"{export} is damaged ({name}" in line and "hearth models export org/tiny" in line


def test_a_damaged_export_alone_says_which_command_makes_it_anew(tiny_export, tmp_path):
    export = clip_kit.place_export(tiny_export, tmp_path, NAME)
    cut(export / GRAPH)
    model, wanted = model_of(tmp_path)
    assert not model.is_local()
    again = (
        r"exports/tiny is damaged \(visual/model\.onnx has .*run `hearth models export org/tiny`"
    )
    for call in (lambda: model.load(wanted), lambda: model.download(no_progress)):
        with pytest.raises(ModelUnavailable, match=again):
            call()


def test_a_damaged_variant_is_left_for_fp32(data, tiny_variant):
    folder = clip_kit.place_export(tiny_variant("int8"), data, NAME)
    model, wanted = model_of(data)
    assert load(model, wanted).files[0].is_relative_to(folder)
    zero(folder / "textual/model.onnx")
    assert load(model, wanted).files[0].is_relative_to(data / "exports/tiny")
    by_name, wanted = model_of(data, precision="int8")
    assert not by_name.is_local()
    with pytest.raises(ModelUnavailable, match=r"is damaged .*export org/tiny --precision int8"):
        by_name.load(wanted)


def test_what_verify_found_wrong_isnt_taken_until_it_is_made_anew(data, tiny_export):
    export = data / "exports/tiny"
    model, _ = model_of(data)
    integrity.mark(export, ["visual/model.onnx has a wrong sha256"])
    assert model.graphs() != export
    with pytest.raises(ModelUnavailable, match="verify` found it damaged"):
        load(*model_of(data, str(export)))
    with atomic.atomic_folder(export) as work:
        shutil.copytree(tiny_export, work, dirs_exist_ok=True)
        atomic.write_json(work / "hearth.json", {**about(work), "reference": NAME})
    assert model.graphs() == export


@pytest.mark.parametrize("cosine", [True, 1e9, 1.001, float("nan"), float("inf")])
def test_a_cosine_that_nobody_measured_proves_nothing(data, tiny_variant, cosine):
    folder = clip_kit.place_export(tiny_variant("int8"), data, NAME)
    told = {**about(folder), "image_cosine": cosine}
    (folder / "hearth.json").write_text(json.dumps(told))
    assert load(*model_of(data)).files[0].is_relative_to(data / "exports/tiny")


ODD_NAMES = [["tiny"], {"a": 1}, 7, "", "\ud800", "x" * 70_000, "a\nb", "\x1b[31m"]


@pytest.mark.parametrize("value", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_a_model_id_that_is_no_name_is_one_line(data, value):
    folder = data / "exports/tiny"
    (folder / "hearth.json").write_text(json.dumps({**about(folder), "model_id": value}))
    options = ExportOptions(data_dir=data, offline=True)
    for call in (lambda: load(*model_of(data)), lambda: export_variant(NAME, "int8", options)):
        with pytest.raises(ModelUnavailable, match="model_id is no name") as failure:
            call()
        assert "\n" not in str(failure.value) and len(str(failure.value)) < 300
    assert [path.name for path in (data / "exports").iterdir()] == ["tiny"]


@pytest.mark.parametrize("value", [1e39, -5, 0, True, "37\n5", [1], float("nan")])
def test_a_scale_that_is_none_is_one_line(data, value):
    folder = data / "exports/tiny"
    (folder / "hearth.json").write_text(json.dumps({**about(folder), "logit_scale": value}))
    with pytest.raises(ModelUnavailable, match="no number to scale with") as failure:
        load(*model_of(data))
    assert "\n" not in str(failure.value)


# --- killed in the middle -------------------------------------------------------------------


def test_an_export_that_was_moved_away_is_put_back_before_anything_is_swept(data):
    export = data / "exports/tiny"
    old = export.with_name(".tiny.old-4194305-1")  # beyond all process ids
    for look in (
        model_of(data)[0].graphs,
        lambda: integrity.sweep(export),
        lambda: integrity.restore_all(export.parent),
        # Another export, whose name is the beginning of this one's.
        lambda: integrity.sweep(export.with_name("t")),
    ):
        export.replace(old)
        os.utime(old, (0, 0))
        look()
        assert (export / GRAPH).is_file() and not old.exists()
    # What isn't whole, and what is here already, doesn't come back.
    shutil.copytree(export, old)
    integrity.sweep(export)
    assert [path.name for path in export.parent.iterdir()] == ["tiny"]


def test_work_of_a_process_that_is_gone_is_swept_at_once_and_others_stay(data):
    exports = data / "exports"
    dead, live = exports / ".tiny.4194305-1", exports / f".tiny.{os.getppid()}-1"
    for folder in (dead, live):
        folder.mkdir()
    integrity.sweep(exports / "tiny")
    assert not dead.exists() and live.exists()


@pytest.fixture
def pair(hub, tiny_published, tmp_path):
    """A download of a pair of one sample, killed before its free copy was made."""
    hub.add_repository("org/pair", tiny_published)
    store = HubStore(tmp_path / "data", endpoint=hub.url)
    return store.download("org/pair", files_in(tiny_published))


def test_a_download_without_its_copy_says_how_to_get_it(pair, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    left = pair.with_name(f".{pair.name}-free-batch.4194305-1")
    left.mkdir()
    model, wanted = model_of(tmp_path / "data", "org/pair")
    assert model.is_local()
    load(model, wanted)
    words = "pair runs in batches of 1: `hearth models pull org/pair` makes a free batch axis"
    assert [record.getMessage() for record in caplog.records].count(words) == 1
    caplog.clear()
    model.download(no_progress)
    assert dynamic_copy(pair) is not None and not left.exists()
    load(model, wanted)
    assert words not in caplog.text


def test_what_cant_be_freed_isnt_asked_for_again(pair, tmp_path, caplog, monkeypatch):
    def refuse(*_):
        raise ModelUnavailable("no way")

    monkeypatch.setattr("hearth.export.clip_dynamic_batch.make_batch_dynamic", refuse)
    model, wanted = model_of(tmp_path / "data", "org/pair")
    model.download(no_progress)
    assert "no way" in caplog.text and is_impossible(pair)
    caplog.clear()
    load(model, wanted)
    assert not caplog.records


def test_a_damaged_free_copy_is_left_and_made_anew_by_a_pull(pair, tmp_path):
    model, wanted = model_of(tmp_path / "data", "org/pair")
    model.download(no_progress)
    copy = dynamic_copy(pair)
    for harm, name in ((cut, GRAPH), (zero, "hearth.json")):
        harm(copy / name)
        assert model.graphs() == pair
        load(model, wanted)
        model.download(no_progress)
        assert model.graphs() == copy
