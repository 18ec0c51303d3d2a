"""Exports are proved against torch, and appear whole or not at all."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import clip_kit
import graphs_kit
from backend_kit import open_onnx
from clip_kit import ARCHITECTURE, TEXTS, cosine, decoded, pictures
from hearth.errors import ModelUnavailable, SettingsError
from hearth.export import clip_graphs
from hearth.export.clip_folder import ExportOptions
from hearth.files import fingerprint
from hearth.hub import atomic
from hearth.hub.hashes import content
from hearth.hub.layout import ModelLayout, files_in, layouts
from hearth.hub.progress import no_progress

PHOTO = pictures()["photo.jpg"]


def export_model(name, **options):
    return clip_graphs.export_model(name, ExportOptions(**options))


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_export_has_the_known_layout_and_says_where_it_comes_from(tiny_export):
    assert ModelLayout.ONNX in layouts(files_in(tiny_export))
    about = json.loads((tiny_export / "hearth.json").read_text())
    assert about["model_id"] == "tiny"
    assert about["logit_scale"] == pytest.approx(37.5)
    assert about["logit_bias"] is None
    assert min(about["image_cosine"], about["text_cosine"]) > 0.99999
    assert about["source"] == "open_clip_model.safetensors"
    assert about["image_input"] == "float32 RGB (batch, 3, height, width), normalised"
    assert about["precision"] == "fp32"
    assert Path(about["reference"]).name == "tiny" and Path(about["reference"]).is_absolute()
    assert about["content"] == content(tiny_export)
    graphs = [tiny_export / "visual/model.onnx", tiny_export / "textual/model.onnx"]
    assert about["files"].items() >= fingerprint(graphs).items()
    assert about["versions"].keys() == {"hearth", "open-clip-torch", "torch", "onnx"}


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_batch_is_free_and_vectors_have_length_one(tiny_export, batch):
    session = open_onnx(tiny_export / "visual" / "model.onnx")
    images = np.random.default_rng(0).normal(size=(batch, 3, 32, 32)).astype(np.float32)
    [vectors] = session.run({"image": images}).values()
    assert vectors.shape == (batch, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_graphs_are_valid_for_other_programs(tiny_export):
    takes = [("visual", "image", [0, 3, 32, 32]), ("textual", "text", [0, 77])]
    for tower, name, shape in takes:
        model = onnx.load(tiny_export / tower / "model.onnx")
        onnx.checker.check_model(model, full_check=True)
        [taken], [given] = model.graph.input, model.graph.output
        assert (taken.name, given.name) == (name, "embedding")
        assert [dim.dim_value for dim in taken.type.tensor_type.shape.dim] == shape
        assert taken.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.fixture
def exported(tmp_path):
    """Makes a tiny model with changes, exports it, and loads what came out."""

    def make(name="tiny", *, progress=no_progress, **changes):
        module = clip_kit.tiny_module(**changes)
        folder = clip_kit.write_open_clip(tmp_path / name, module, **changes)
        options = {"data_dir": tmp_path / "data", "offline": True, "progress": progress}
        return module, export_model(str(folder), **options)

    return make


@pytest.fixture
def quick(monkeypatch, tiny_export):
    """An exporter that needn't write the tiny model's graphs again: it has those it wrote.

    For what happens around them; what comes out is compared with torch as ever.
    """
    towers = {"image": "visual", "text": "textual"}

    def write(path, module, name, encode, sample):
        shutil.copyfile(tiny_export / towers[name] / "model.onnx", path)

    monkeypatch.setattr(clip_graphs, "_write_graph", write)


@pytest.mark.parametrize(
    "changes",
    [
        {"custom_text": True, "init_logit_bias": -10},
        {
            "quick_gelu": True,
            "vision_cfg": {**clip_kit.TINY["vision_cfg"], "image_size": [32, 48]},
            "text_cfg": {**clip_kit.TINY["text_cfg"], "context_length": 32},
        },
        {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}},
    ],
    ids=["custom-text-with-bias", "quick-gelu-not-square-short-context", "resnet"],
)
async def test_models_of_every_build_come_out_right(exported, tmp_path, changes):
    module, report = exported(**changes)
    assert min(report.image_cosine, report.text_cosine) > 0.99999
    with clip_kit.loaded(tmp_path, model=str(report.folder)) as model:
        vector = await model.embed_image(PHOTO)
        [expected] = clip_kit.reference_image_vectors(module, [decoded(PHOTO)])
        assert cosine(vector, expected) > 0.9999
        about = json.loads((report.folder / "hearth.json").read_text())
        assert about["logit_bias"] == changes.get("init_logit_bias")
        assert (await model.embed_texts(TEXTS)).shape == (len(TEXTS), 16)


async def test_the_report_tells_what_was_made_and_a_node_finds_it_by_its_name(
    exported, tmp_path, monkeypatch, quick
):
    steps = []
    module, report = exported(progress=lambda *step: steps.append(step))
    assert report.folder == tmp_path / "data" / "exports" / "tiny"
    assert (report.model_id, report.dim, report.image_size) == ("tiny", 16, (32, 32))
    assert (report.context, report.logit_scale) == (77, pytest.approx(37.5))
    assert steps[0] == ("loading the model", 0, 5)
    assert steps[-1] == ("done", 5, 5)
    monkeypatch.chdir(tmp_path)
    with clip_kit.loaded(tmp_path / "data", model="./tiny") as model:
        assert model.runtime == "onnxrt"
        [expected] = clip_kit.reference_image_vectors(module, [decoded(PHOTO)])
        vector = await model.embed_image(PHOTO)
        assert cosine(vector, expected) > 0.9999


async def test_a_local_checkpoint_of_a_known_architecture_can_be_exported(
    tmp_path, tiny_module, monkeypatch, quick
):
    import torch

    open_clip = clip_kit.import_open_clip()
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {ARCHITECTURE: clip_kit.TINY})
    torch.save({"state_dict": tiny_module.state_dict()}, tmp_path / "epoch_5.pt")
    report = export_model(
        ARCHITECTURE, checkpoint=tmp_path / "epoch_5.pt", data_dir=tmp_path / "data"
    )
    about = json.loads((report.folder / "hearth.json").read_text())
    assert about["reference"] == f"{ARCHITECTURE}:epoch_5"
    assert about["checkpoint"] == str(tmp_path / "epoch_5.pt")
    name = f"{ARCHITECTURE}:epoch_5"
    assert report.model_id == name
    with clip_kit.loaded(tmp_path / "data", model=name) as model:
        assert model.model_id == name
        assert model.metadata["logit_scale"] == "37.5"


async def test_a_models_own_tokenizer_comes_along(tmp_path, tiny_module, tiny_export, quick):
    text = {**clip_kit.TINY["text_cfg"], "hf_tokenizer_name": "org/words"}
    folder = clip_kit.write_open_clip(tmp_path / "words", tiny_module, text_cfg=text)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_export / "textual" / name, folder / name)
    report = export_model(str(folder), data_dir=tmp_path, offline=True)
    with clip_kit.loaded(tmp_path, model=str(report.folder)) as model:
        small, large = await model.embed_texts(["a cat", "A CAT"])
        assert cosine(small, large) < 0.9999


async def test_an_earlier_export_that_takes_pixels_is_still_read(
    tiny_module, tiny_export, tmp_path
):
    folder = tmp_path / "earlier"
    shutil.copytree(tiny_export, folder)
    graphs_kit.write_pixels_graph(tiny_module, folder / "visual" / "model.onnx")
    with clip_kit.loaded(tmp_path, model=str(folder)) as model:
        [expected] = clip_kit.reference_image_vectors(tiny_module, [decoded(PHOTO)])
        assert cosine(await model.embed_image(PHOTO), expected) > 0.9999


# --- what goes wrong ------------------------------------------------------------------------


@pytest.fixture
def spoilt(monkeypatch, quick):
    """An exporter whose image graph has other weights than the model."""
    write = clip_graphs._write_graph

    def spoil(path, module, name, encode, sample):
        write(path, module, name, encode, sample)
        if name == clip_graphs.IMAGE_INPUT:
            model = onnx.load(path)
            weights = next(w for w in model.graph.initializer if w.name.endswith("conv1.weight"))
            noise = np.random.default_rng(0).normal(size=list(weights.dims)).astype(np.float32)
            weights.raw_data = noise.tobytes()
            onnx.save(model, path)

    monkeypatch.setattr(clip_graphs, "_write_graph", spoil)


def test_an_export_that_differs_from_torch_is_refused_and_leaves_nothing(
    tiny_folder, tmp_path, spoilt
):
    with pytest.raises(ModelUnavailable, match=r"differs from torch: cosine -?0\.\d+ for images"):
        export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert files_of(tmp_path / "exports") == []


def test_the_refused_can_be_kept_by_force(tiny_folder, tmp_path, spoilt):
    report = export_model(str(tiny_folder), data_dir=tmp_path, offline=True, force=True)
    assert report.image_cosine < 0.999 < report.text_cosine
    assert json.loads((report.folder / "hearth.json").read_text())["image_cosine"] < 0.999


def test_a_refused_export_leaves_an_earlier_one_alone(tiny_folder, tiny_export, tmp_path, spoilt):
    target = tmp_path / "exports" / "tiny"
    shutil.copytree(tiny_export, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(ModelUnavailable):
        export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert before == {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


def test_an_earlier_export_is_replaced_whole(tiny_folder, tiny_export, tmp_path, quick):
    target = tmp_path / "exports" / "tiny"
    shutil.copytree(tiny_export, target)
    (target / "left-over").write_text("x")
    export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert files_of(target) == files_of(tiny_export)
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


def test_a_folder_with_something_else_in_it_is_left_alone(tiny_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(PHOTO)
    with pytest.raises(ModelUnavailable, match="something else"):
        export_model(str(tiny_folder), data_dir=tmp_path, target=tmp_path / "photos", offline=True)
    assert files_of(tmp_path / "photos") == ["cat.jpg"]


def test_what_a_killed_export_left_is_taken_away_by_a_later_one(tiny_folder, tmp_path, quick):
    exports = tmp_path / "exports"
    old, new = exports / ".tiny.12-34", exports / f".tiny.{os.getppid()}-78"
    for folder in (old, new):
        (folder / "visual").mkdir(parents=True)
        (folder / "visual" / "model.onnx").write_bytes(b"half of it")
    os.utime(old, (0, 0))
    export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert sorted(path.name for path in exports.iterdir()) == [new.name, "tiny"]


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    tiny_folder, tmp_path, monkeypatch, quick
):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fill)
    with pytest.raises(ModelUnavailable, match="the disk is full"):
        export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert files_of(tmp_path / "exports") == []


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"nothing\.pt"):
        export_model("ViT-B-32", checkpoint=tmp_path / "nothing.pt", data_dir=tmp_path)


def test_a_checkpoint_of_another_architecture_is_one_clear_line(tmp_path, tiny_folder):
    weights = tiny_folder / "open_clip_model.safetensors"
    with pytest.raises(ModelUnavailable, match="open_clip can't load") as failure:
        export_model("ViT-S-32-alt", checkpoint=weights, data_dir=tmp_path)
    assert "\n" not in str(failure.value)


def test_an_unknown_architecture_is_named(tmp_path, tiny_folder):
    weights = tiny_folder / "open_clip_model.safetensors"
    with pytest.raises(ModelUnavailable, match="no architecture Nothing"):
        export_model("Nothing", checkpoint=weights, data_dir=tmp_path)


def test_a_name_that_cant_be_meant_is_refused(tmp_path):
    with pytest.raises(SettingsError):
        export_model("ViT-B-32", data_dir=tmp_path, offline=True)


def test_an_onnx_folder_has_nothing_to_export(tmp_path, tiny_export):
    with pytest.raises(ModelUnavailable, match="no open_clip weights"):
        export_model(str(tiny_export), data_dir=tmp_path, offline=True)


def test_another_models_export_of_the_same_name_is_left_alone(
    tiny_folder, tiny_export, tmp_path, quick
):
    folder = clip_kit.place_export(tiny_export, tmp_path, "org/tiny")
    with pytest.raises(ModelUnavailable, match=r"holds org/tiny: .*remove tiny@fp32`"):
        export_model(str(tiny_folder), data_dir=tmp_path, offline=True)
    assert json.loads((folder / "hearth.json").read_text())["reference"] == "org/tiny"
    report = export_model(
        str(tiny_folder), data_dir=tmp_path, target=tmp_path / "mine", offline=True
    )
    assert report.folder == tmp_path / "mine"
