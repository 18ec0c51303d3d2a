"""Where the graphs of faces come from, how they are told apart, and what lacks without one."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from face_kit import READER, Mark, detector, drawn, file, pack, recogniser
from hearth.cli.models.verify import problems_of
from hearth.cli.models.words import note_on
from hearth.errors import ModelUnavailable, SettingsError
from hearth.export.face_dynamic_batch import make_recognition_dynamic
from hearth.families.face.files import dynamic_copy, graph_in, role_of
from hearth.families.face.loader import FaceLoader
from hearth.families.face.model import FaceModel
from hearth.families.face.settings import FaceSettings
from hearth.families.inventory import inventory_of
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore
from hub_kit import HubServer

NAME = "immich-app/buffalo_l"
PICTURE = file(drawn((640, 480), [Mark(4, 4, 2), Mark(12, 7, 3)], noise=1), "BMP")


def source(data_dir: Path, hub: HubServer | None = None, **settings: Any) -> FaceLoader:
    store = HubStore(data_dir, endpoint=hub.url) if hub else HubStore(data_dir, offline=True)
    return FaceLoader(
        FaceSettings(**settings), store, reader=READER, make_dynamic=make_recognition_dynamic
    )


def vectors(model: FaceModel) -> Any:
    """What the model gives for the picture; closes it."""
    try:
        return np.array([found.vector for found in asyncio.run(model.recognise(PICTURE))])
    finally:
        model.close()


# --- folders --------------------------------------------------------------------------------


def test_a_folder_like_the_hubs_is_taken(tmp_path):
    folder = pack(tmp_path / "buffalo_m")
    made = source(tmp_path, model=str(folder))
    assert made.is_local()
    made.download(no_progress)
    model = made.load()
    assert model.model_id == "buffalo_m"
    assert vectors(model).shape == (2, 512)


@pytest.mark.parametrize("name", ["det_10g", "det_500m", "det_2.5g", "scrfd_10g_bnkps"])
def test_the_names_of_insightfaces_detectors_are_known(tmp_path, name):
    for other in ("1k3d68", "2d106det", "genderage", "w600k_r50"):
        (tmp_path / f"{other}.onnx").write_bytes(b"not looked into")
    detector(tmp_path / f"{name}.onnx")
    assert graph_in(tmp_path, "detection") == tmp_path / f"{name}.onnx"


@pytest.mark.parametrize("name", ["w600k_r50", "w600k_mbf", "glintr100"])
def test_the_names_of_insightfaces_recognisers_are_known(tmp_path, name):
    for other in ("1k3d68", "2d106det", "genderage", "det_10g"):
        (tmp_path / f"{other}.onnx").write_bytes(b"not looked into")
    recogniser(tmp_path / f"{name}.onnx")
    assert graph_in(tmp_path, "recognition") == tmp_path / f"{name}.onnx"


def test_graphs_whose_names_say_nothing_are_told_by_what_is_in_them(tmp_path):
    detector(tmp_path / "a.onnx")
    recogniser(tmp_path / "b.onnx")
    recogniser(tmp_path / "attributes.onnx", dim=3)
    assert graph_in(tmp_path, "detection").name == "a.onnx"
    assert graph_in(tmp_path, "recognition").name == "b.onnx"
    assert role_of(tmp_path / "attributes.onnx") is None
    assert vectors(source(tmp_path, model=str(tmp_path)).load()).shape == (2, 512)


@pytest.mark.parametrize("role", ["detection", "recognition"])
def test_a_folder_without_one_of_the_graphs_says_which(tmp_path, role):
    folder = pack(tmp_path / "half")
    shutil.rmtree(folder / role)
    made = source(tmp_path, model=str(folder))
    assert made.is_local()  # nothing to wait for
    with pytest.raises(ModelUnavailable, match=f"holds no graph for {role}: put {role}/model"):
        made.load()
    assert f"holds no graph for {role}" in made.describe().fault


def test_a_folder_that_cannot_be_used_is_told_before_the_start(tmp_path):
    lost = tmp_path / "lost"
    assert source(tmp_path, model=str(lost)).describe().fault == f"there is no folder {lost}"
    whole = pack(tmp_path / "whole")
    assert source(tmp_path, model=str(whole)).describe().fault == ""
    (whole / "detection/model.onnx").unlink()
    named = detector(tmp_path / "find.onnx")
    assert source(tmp_path, model=str(whole), detection=named).describe().fault == ""


def test_of_several_graphs_none_is_guessed(tmp_path):
    detector(tmp_path / "det_10g.onnx")
    detector(tmp_path / "det_500m.onnx")
    recogniser(tmp_path / "w600k_r50.onnx")
    with pytest.raises(ModelUnavailable, match=r"det_10g.onnx, det_500m.onnx: name one with face"):
        source(tmp_path, model=str(tmp_path)).load()
    chosen = tmp_path / "det_500m.onnx"
    assert vectors(source(tmp_path, model=str(tmp_path), detection=chosen).load()).shape[0] == 2


def test_files_that_are_named_one_by_one_need_no_model(tmp_path):
    folder = pack(tmp_path / "mine")
    detector(tmp_path / "find.onnx")
    both = {
        "detection": tmp_path / "find.onnx",
        "recognition": folder / "recognition" / "model.onnx",
    }
    made = source(tmp_path, **both)
    assert made.is_local()
    made.download(no_progress)
    model = made.load()
    assert model.model_id == "mine"
    assert vectors(model).shape[0] == 2
    both["recognition"] = recogniser(tmp_path / "w600k_r50.onnx")
    model = source(tmp_path, **both).load()
    assert model.model_id == "w600k_r50"
    model.close()
    with pytest.raises(ModelUnavailable, match="no such file"):
        source(tmp_path, **{**both, "detection": tmp_path / "gone.onnx"}).load()


@pytest.mark.parametrize("swapped", ["detection", "recognition"])
def test_a_graph_in_the_others_place_is_refused(tmp_path, swapped):
    folder = pack(tmp_path / "pack")
    other = {"detection": "recognition", "recognition": "detection"}[swapped]
    shutil.copy(folder / other / "model.onnx", folder / swapped / "model.onnx")
    with pytest.raises(ModelUnavailable, match=f"the {swapped} graph"):
        source(tmp_path, model=str(folder)).load()


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    folder = pack(tmp_path / "pack")
    (folder / "recognition" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelUnavailable, match="can't be loaded"):
        source(tmp_path, model=str(folder)).load()


@pytest.mark.parametrize("name", ["ViT-B-32:openai", "buffalo_xl", ""])
def test_a_model_that_cant_be_meant_is_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="buffalo_l, buffalo_m"):
        source(tmp_path, model=name)


# --- the hub --------------------------------------------------------------------------------


def published(hub: HubServer, folder: Path, name: str = NAME, **graphs: Any) -> Path:
    """Serve a pack, with what immich-app's repositories hold beside."""
    pack(folder, **graphs)
    (folder / "recognition" / "model.rknn").write_bytes(b"another engine's")
    (folder / "README.md").write_text("non-commercial research only")
    hub.add_repository(name, folder)
    return folder


@pytest.mark.parametrize("name", [NAME, "buffalo_l"])
def test_what_is_needed_of_the_hub_is_fetched_and_nothing_else(hub, tmp_path, name):
    published(hub, tmp_path / "served")
    made = source(tmp_path, hub, model=name)
    assert not made.is_local()
    made.download(no_progress)
    fetched = {path.name for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert "model.onnx" in fetched and not {"model.rknn", "README.md"} & fetched
    offline = source(tmp_path, model=name)
    assert offline.is_local()
    model = offline.load()
    assert model.model_id == "buffalo_l"
    assert vectors(model).shape == (2, 512)


def test_with_a_file_of_ones_own_only_the_other_is_fetched(hub, tmp_path):
    published(hub, tmp_path / "served")
    own = recogniser(tmp_path / "w600k_mbf.onnx", seed=5)
    made = source(tmp_path, hub, recognition=own)
    made.download(no_progress)
    assert [path.parent.name for path in (tmp_path / "hub").rglob("*.onnx")] == ["detection"]
    assert made.is_local()
    model = made.load()
    assert model.model_id == "w600k_mbf"
    model.close()


def test_a_repository_without_one_of_the_graphs_says_which(hub, tmp_path):
    folder = pack(tmp_path / "served")
    shutil.rmtree(folder / "recognition")
    hub.add_repository(NAME, folder)
    with pytest.raises(ModelUnavailable, match=r"has no recognition/model\.onnx"):
        source(tmp_path, hub).download(no_progress)


def test_a_hub_that_may_not_be_asked_is_the_reason(tmp_path):
    made = source(tmp_path)
    assert not made.is_local()
    with pytest.raises(ModelUnavailable, match="may not be asked"):
        made.download(no_progress)
    with pytest.raises(ModelUnavailable, match="isn't downloaded"):
        made.load()


# --- a batch axis for downloads that have none ----------------------------------------------


@pytest.mark.parametrize("graph", [{"opset": 11}, {"opset": 17}, {"opset": 17, "baked": True}])
def test_a_recogniser_of_one_face_at_a_time_gets_a_batch_axis(hub, tmp_path, graph):
    folder = published(hub, tmp_path / "served", recognition={"batch": 1, **graph})
    made = source(tmp_path, hub)
    made.download(no_progress)
    model = made.load()
    assert model.queues[2].max_batch > 1
    alone = source(tmp_path, model=str(folder)).load()
    assert alone.queues[2].max_batch == 1
    assert np.abs(vectors(model) - vectors(alone)).max() < 1e-6


def test_the_copy_is_checked_and_named_with_the_download(hub, tmp_path):
    published(hub, tmp_path / "served", recognition={"batch": 1, "opset": 11})
    made = source(tmp_path, hub)
    made.download(no_progress)
    inventory = inventory_of(tmp_path)
    [download] = inventory.files()
    assert download.model == NAME and note_on(download) == "copy with a free batch axis"
    check = inventory.verify
    assert check(download).state == "right"
    [copy] = download.copies
    graph = copy / "recognition" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    snapshot = next(path for path in copy.parent.iterdir() if copy.name.startswith(f"{path.name}-"))
    assert dynamic_copy(snapshot) is None  # by its size
    model = made.load()
    assert model.queues[2].max_batch == 1
    model.close()
    verdict = check(download)
    assert verdict.state == "wrong" and "free batch axis" in problems_of(verdict)[0]
    assert not copy.exists()
    made.download(no_progress)
    assert dynamic_copy(snapshot) == graph


def test_a_graph_that_cant_be_freed_works_as_it_is_and_isnt_tried_again(hub, tmp_path, caplog):
    folder = pack(tmp_path / "served", recognition={"batch": 1})
    path = folder / "recognition" / "model.onnx"
    model = onnx.load(path)
    # Mixes what it is given: rows of several faces would be one face's.
    [gemm] = [node for node in model.graph.node if node.op_type == "Gemm"]
    mixing = onnx.helper.make_node("CumSum", [gemm.output[0], "axis"], ["mixed"], name="mixing")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.int64), "axis"))
    model.graph.node.append(mixing)
    model.graph.output[0].name = "mixed"
    onnx.save(model, path)
    hub.add_repository(NAME, folder)
    made = source(tmp_path, hub)
    made.download(no_progress)
    assert "no free batch axis, so one face at a time" in caplog.text
    loaded = made.load()
    assert loaded.queues[2].max_batch == 1
    assert vectors(loaded).shape == (2, 512)
    caplog.clear()
    made.download(no_progress)
    assert not caplog.text
    [snapshot] = [
        found for found in (tmp_path / "hub").rglob("*") if (found / "detection").is_dir()
    ]
    assert [p.name for p in snapshot.parent.iterdir() if p.is_dir()] == [snapshot.name]


def test_a_graph_with_a_batch_axis_gets_no_copy(hub, tmp_path):
    published(hub, tmp_path / "served")
    store = HubStore(tmp_path, endpoint=hub.url)
    snapshot = store.download(NAME, ["detection/model.onnx", "recognition/model.onnx"])
    make_recognition_dynamic(NAME, snapshot, store, "buffalo_l", no_progress)
    assert dynamic_copy(snapshot) is None
