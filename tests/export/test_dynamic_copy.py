"""A free batch axis after a download: in a copy beside it, which goes when it goes."""

import errno
import json
import logging
import shutil
import sys

import onnx
import pytest

import clip_kit
from clip_kit import TEXTS, cosine, decoded, pictures
from graphs_kit import about
from hearth.export.clip_dynamic_batch import make_dynamic_copy
from hearth.export.clip_folder import ExportOptions
from hearth.export.clip_variant import export_variant
from hearth.families.clip import exports
from hearth.families.clip.origins import OnnxModel, export_folder
from hearth.hub import atomic
from hearth.hub.layout import files_in
from hearth.hub.progress import no_progress
from hearth.hub.reference import parse
from hearth.hub.store import HubStore

PHOTO = pictures()["photo.jpg"]


@pytest.fixture
def published(hub, tiny_published, tmp_path):
    """A hub with the tiny model as immich-app publishes models; the folder it serves."""
    folder = shutil.copytree(tiny_published, tmp_path / "published")
    hub.add_repository("org/pair", folder)
    return folder


def copy_of(data, repository="org/pair"):
    """Where the copy of a download is: beside its snapshot."""
    [found] = [
        stored for stored in HubStore(data).repositories() if stored.repository == repository
    ]
    return found.folder / f"{found.commit}-free-batch"


def pulled(hub, data, name="org/pair"):
    store = HubStore(data, endpoint=hub.url)
    reference = parse(name)
    export = export_folder(data, reference)
    model = OnnxModel(reference, store, export, make_dynamic=make_dynamic_copy)
    steps = []
    model.download(lambda *step: steps.append(step))
    return model, steps


async def test_a_downloaded_pair_of_one_sample_gets_a_free_batch_axis(
    hub, published, tiny_module, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    data = tmp_path / "data"
    _, steps = pulled(hub, data)
    folder = copy_of(data)
    told = about(folder)
    assert told["model_id"] == "pair"
    assert told["free_batch"] == ["visual", "textual"]
    assert told["files"] == exports.prints(folder)
    [snapshot] = {path.parent for path in (data / "hub/org--pair").glob("*/visual")} - {folder}
    assert told["made_from"] == exports.prints(snapshot)
    assert not (data / "exports").exists()
    assert ("pair: free batch axis", 3, 3) in steps
    assert "pair: free batch axis of visual and textual" in caplog.text
    # The hub's own files are as they came.
    for tower in ("visual", "textual"):
        mine, theirs = snapshot / tower / "model.onnx", published / tower / "model.onnx"
        assert mine.read_bytes() == theirs.read_bytes()
    with clip_kit.loaded(data, model="org/pair") as model:
        assert [queue.max_batch for queue in model.queues] == [8, 8]
        [expected] = clip_kit.reference_image_vectors(tiny_module, [decoded(PHOTO)])
        assert cosine(await model.embed_image(PHOTO), expected) > 0.9999
        texts = await model.embed_texts(TEXTS)
        assert min(map(cosine, texts, clip_kit.reference_text_vectors(tiny_module))) > 0.9999


def test_what_cant_be_freed_is_told_and_works_as_before(hub, published, tmp_path, caplog):
    for tower, after in (("visual", "embedding"), ("textual", "embedding")):
        path = published / tower / "model.onnx"
        graph = onnx.load(path)
        last = graph.graph.node[-1]
        last.output[0] = "before"
        # A product over the samples: of one it is itself.
        graph.graph.node.append(
            onnx.helper.make_node("ReduceProd", ["before"], [after], axes=[0], keepdims=1)
        )
        onnx.save(graph, path)
    hub.add_repository("org/odd", published)
    model, _ = pulled(hub, tmp_path / "data", "org/odd")
    assert "odd: no free batch axis" in caplog.text
    assert "ReduceProd" in caplog.text
    assert not copy_of(tmp_path / "data", "org/odd").exists()
    assert model.is_local()
    with clip_kit.loaded(tmp_path / "data", model="org/odd") as loaded:
        assert [queue.max_batch for queue in loaded.queues] == [1, 1]


def test_one_tower_may_be_freed_alone(hub, published, tmp_path, caplog):
    path = published / "textual" / "model.onnx"
    graph = onnx.load(path)
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.append(
        onnx.helper.make_node("ReduceProd", ["before"], ["embedding"], axes=[0], keepdims=1)
    )
    onnx.save(graph, path)
    hub.add_repository("org/half", published)
    data = tmp_path / "data"
    pulled(hub, data, "org/half")
    assert about(copy_of(data, "org/half"))["free_batch"] == ["visual"]
    assert "half: no free batch axis of textual" in caplog.text
    with clip_kit.loaded(data, model="org/half") as model:
        assert [queue.max_batch for queue in model.queues] == [8, 1]


def test_a_free_batch_axis_is_left_alone(hub, tiny_export, tmp_path):
    hub.add_repository("org/free", tiny_export)
    _, steps = pulled(hub, tmp_path / "data", "org/free")
    assert not copy_of(tmp_path / "data", "org/free").exists()
    assert not [step for step in steps if "free batch" in step[0]]


def test_without_onnx_a_pair_of_one_sample_works_as_before(
    hub, published, tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    model, _ = pulled(hub, tmp_path / "data")
    assert "onnx can't be imported" in caplog.text
    assert model.is_local()
    assert not copy_of(tmp_path / "data").exists()


def test_a_full_disk_leaves_the_download_as_it_is(hub, published, tmp_path, monkeypatch, caplog):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    data = tmp_path / "data"
    store = HubStore(data, endpoint=hub.url)
    store.download("org/pair", files_in(published))
    monkeypatch.setattr(atomic.os, "fsync", fill)
    model, _ = pulled(hub, data)
    assert "the disk is full" in caplog.text
    assert not copy_of(data).exists()
    assert len(list((data / "hub/org--pair").iterdir())) == 2
    assert model.is_local()


def test_the_freed_copy_is_what_a_variant_is_made_of(hub, published, tmp_path):
    data = tmp_path / "data"
    model, _ = pulled(hub, data)
    report = export_variant("org/pair", "int8", ExportOptions(data_dir=data, offline=True))
    assert report.source == copy_of(data) == model.graphs()
    with clip_kit.loaded(data, model="org/pair") as loaded:
        assert "int8" in loaded.precisions


def test_the_copy_counts_only_beside_its_own_download(hub, published, tmp_path):
    data = tmp_path / "data"
    model, _ = pulled(hub, data)
    store, copy = HubStore(data, endpoint=hub.url), copy_of(data)
    [graph] = set((data / "hub/org--pair").glob("*/visual/model.onnx")) - set(copy.rglob("*"))
    whole = graph.read_bytes()
    # Another organisation's model of the same name is another model.
    hub.add_repository("other/pair", published)
    other, _ = pulled(hub, data, "other/pair")
    assert other.graphs() == copy_of(data, "other/pair") != copy
    # The download must be whole.
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert store.verify("org/pair") == ["visual/model.onnx has a wrong sha256"]
    assert model.graphs() is None and not model.is_local()
    model.download(no_progress)
    assert graph.read_bytes() == whole
    assert model.graphs() == copy
    # And the copy must be of these files.
    (copy / "hearth.json").write_text(json.dumps({**about(copy), "made_from": {}}))
    assert model.graphs() == graph.parent.parent
    model.download(no_progress)
    assert model.graphs() == copy


def test_the_copy_goes_with_the_download_and_a_new_commit_gets_its_own(hub, published, tmp_path):
    data = tmp_path / "data"
    pulled(hub, data)
    store, first = HubStore(data, endpoint=hub.url), copy_of(data)
    [found] = store.repositories()
    assert found.made == (first,)
    assert found.size == sum(f.stat().st_size for f in found.folder.rglob("*") if f.is_file())
    assert store.verify("org/pair") == []
    assert store.remove("org/pair") == found.size
    assert list((data / "hub").glob("[!.]*")) == []
    (published / "config.json").write_text("{}")
    hub.add_repository("org/pair", published)
    model, _ = pulled(hub, data)
    assert model.graphs() == copy_of(data) != first


def test_an_export_goes_before_the_copy(hub, published, tiny_export, tmp_path):
    model, _ = pulled(hub, tmp_path)
    export = clip_kit.place_export(tiny_export, tmp_path, "other/pair")
    assert model.graphs() == copy_of(tmp_path)
    shutil.rmtree(export)
    assert clip_kit.place_export(tiny_export, tmp_path, "org/pair") == model.graphs()
