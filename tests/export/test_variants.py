"""The same model in another precision: made of what is here, proved, and taken where it fits."""

import errno
import json
import logging
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest

import clip_kit
import graphs_kit
from backend_kit import open_onnx
from clip_kit import TEXTS, cosine, decoded, pictures
from graphs_kit import about, contents
from hearth.backends import SessionOptions
from hearth.backends._onnx_providers import Providers
from hearth.backends.onnx import OnnxBackend
from hearth.errors import BackendUnavailable, ModelUnavailable, SettingsError
from hearth.export import clip_variant as converting
from hearth.export import precision as graphs_precision
from hearth.export.clip_folder import ExportOptions
from hearth.export.clip_variant import export_variant
from hearth.export.precision import convert
from hearth.families.clip import exports
from hearth.families.clip.origins import OnnxModel, export_folder
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.weights import OpenClipModel
from hearth.hub.layout import ModelLayout, files_in, layouts
from hearth.hub.progress import no_progress
from hearth.hub.reference import parse
from hearth.hub.store import HubStore

PHOTO = pictures()["photo.jpg"]
NAME = "ViT-Tiny:mine"


@pytest.fixture
def data(tmp_path, tiny_export):
    """A data folder with the tiny model's export in fp32, under the name ``ViT-Tiny:mine``."""
    clip_kit.place_export(tiny_export, tmp_path, NAME)
    return tmp_path


def variant(data, precision="int8", name=NAME, **more):
    return export_variant(name, precision, ExportOptions(data_dir=data, offline=True, **more))


@pytest.fixture
def have(data, tiny_variant):
    """Puts a variant into the data folder, as one that was made there; returns its folder."""

    def put(precision="int8", name=NAME):
        return clip_kit.place_export(tiny_variant(precision), data, name)

    return put


def model_of(data, name=NAME, **settings):
    wanted = ClipSettings(**settings)
    reference = parse(name)
    hub = HubStore(data, offline=True)
    return OnnxModel(reference, hub, export_folder(data, reference), wanted), wanted


def loaded_precision(data, name=NAME, **settings):
    """What the weights of the loaded model are made of."""
    model, wanted = model_of(data, name, **settings)
    parts = model.load(wanted)
    precision = parts.image.precision
    parts.close()
    return precision


def rewrite_about(folder, **changes):
    (folder / "hearth.json").write_text(json.dumps({**about(folder), **changes}))


# --- made -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "fp16"])
async def test_a_variant_is_the_same_model_and_says_how_near_it_is(
    data, tiny_module, precision, caplog
):
    source = data / "exports" / "ViT-Tiny__mine"
    before = contents(source)
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = variant(data, precision, progress=lambda *step: steps.append(step))
    assert report.folder == data / "exports" / f"ViT-Tiny__mine@{precision}"
    assert ModelLayout.ONNX in layouts(files_in(report.folder))
    assert contents(source) == before
    told = about(report.folder)
    assert told["model_id"] == report.model_id == "tiny"
    assert told["precision"] == precision
    assert told["logit_scale"] == pytest.approx(37.5)
    assert told["forced"] is False
    assert told["made_from"] == exports.prints(source)
    assert told["files"] == exports.prints(report.folder)
    assert told["versions"].keys() == {"hearth", "onnx", "onnxruntime"}
    assert (told["image_cosine"], told["text_cosine"]) == (report.image_cosine, report.text_cosine)
    assert 0.99 <= min(report.image_cosine, report.text_cosine) < 1.0
    assert steps[0][1:] == (1, 4)
    assert steps[-1] == ("done", 4, 4)
    assert report.megabytes[1] < report.megabytes[0]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    with clip_kit.loaded(data, model=str(report.folder)) as model:
        assert model.model_id == "tiny"
        [expected] = clip_kit.reference_image_vectors(tiny_module, [decoded(PHOTO)])
        assert cosine(await model.embed_image(PHOTO), expected) > 0.995
        texts = await model.embed_texts(TEXTS)
        assert min(map(cosine, texts, clip_kit.reference_text_vectors(tiny_module))) > 0.99


def test_the_weights_are_what_the_name_says(tiny_variant):
    for precision, kind in (("int8", onnx.TensorProto.INT8), ("fp16", onnx.TensorProto.FLOAT16)):
        graph = onnx.load(tiny_variant(precision) / "visual" / "model.onnx").graph
        assert kind in {tensor.data_type for tensor in graph.initializer}
        # From outside it is the same graph.
        [taken], [given] = graph.input, graph.output
        for value in (taken, given):
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_quantising_needs_no_torch(data):
    code = (
        "import sys; from pathlib import Path\n"
        "from hearth.export.clip_variant import export_variant\n"
        "from hearth.export.clip_folder import ExportOptions\n"
        f"options = ExportOptions(data_dir=Path({str(data)!r}), offline=True)\n"
        f"export_variant({NAME!r}, 'int8', options)\n"
        "print({'torch', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_where_no_graphs_are_here_they_are_exported_first(tiny_folder, tmp_path):
    report = variant(tmp_path, name=str(tiny_folder))
    assert report.source == tmp_path / "exports" / "tiny"
    assert report.folder == tmp_path / "exports" / "tiny@int8"
    assert about(report.source)["precision"] == "fp32"


def test_a_local_folder_of_graphs_is_a_source_too(tiny_export, tmp_path):
    before = contents(tiny_export)
    report = variant(tmp_path, name=str(tiny_export))
    assert (report.source, report.folder) == (tiny_export, tmp_path / "exports" / "tiny@int8")
    assert contents(tiny_export) == before


def test_graphs_of_one_sample_can_be_quantised(tiny_published, tmp_path):
    report = variant(tmp_path, name=str(tiny_published))
    assert min(report.image_cosine, report.text_cosine) > 0.99
    assert about(report.folder)["model_id"] == "tiny"


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_weights_too_many_for_one_file_stay_outside(tmp_path, tiny_export, precision, monkeypatch):
    source = tmp_path / "model" / "model.onnx"
    source.parent.mkdir()
    shutil.copyfile(tiny_export / "visual" / "model.onnx", source)
    graphs_kit.put_weights_outside(source)
    before = contents(source.parent)
    monkeypatch.setattr(graphs_precision, "_LARGE", 1000)
    target = tmp_path / precision / "model.onnx"
    target.parent.mkdir()
    convert(source, target, precision)
    assert contents(source.parent) == before
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
    ]
    samples = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    [expected], [found] = (open_onnx(path, device="cpu").run({"image": samples}).values()
                           for path in (source, target))  # fmt: skip
    assert min(map(cosine, found, expected)) > 0.995


@pytest.fixture
def spoilt(monkeypatch):
    """Graphs that come out with other weights than they went in."""

    def spoil(source, target, precision):
        convert(source, target, precision)
        model = onnx.load(target)
        for weights in model.graph.initializer:
            if not weights.name.endswith("visual.conv1.weight"):
                continue
            noise = np.random.default_rng(0).normal(size=list(weights.dims)).astype(np.float32)
            weights.raw_data = noise.tobytes()
            onnx.save(model, target)

    monkeypatch.setattr(converting, "convert", spoil)


def test_a_variant_that_differs_is_refused_and_leaves_nothing(data, spoilt):
    with pytest.raises(ModelUnavailable, match=r"int8 differs from fp32: cosine -?0\.\d+ for im"):
        variant(data)
    assert [path.name for path in (data / "exports").iterdir()] == ["ViT-Tiny__mine"]


def test_what_is_kept_by_force_is_only_taken_by_name(data, spoilt):
    report = variant(data, force=True)
    assert report.image_cosine < 0.99
    assert about(report.folder)["forced"] is True
    assert loaded_precision(data) == "fp32"
    assert loaded_precision(data, precision="int8") == "int8"


def test_a_variant_of_a_variant_is_refused(data, have):
    with pytest.raises(ModelUnavailable, match="is int8 already"):
        variant(data, "fp16", name=str(have()))


def test_a_broken_graph_is_one_clear_line(data):
    (data / "exports" / "ViT-Tiny__mine" / "visual" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(ModelUnavailable, match=r"visual/model\.onnx") as failure:
        variant(data)
    assert "\n" not in str(failure.value)


def test_a_full_disk_is_told_and_an_earlier_variant_stays(data, have, monkeypatch):
    before = contents(have())

    def fill(source, target, precision):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(converting, "convert", fill)
    with pytest.raises(ModelUnavailable, match="the disk is full"):
        variant(data)
    assert contents(data / "exports" / "ViT-Tiny__mine@int8") == before
    assert len(list((data / "exports").iterdir())) == 2


def test_without_onnx_it_is_said_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendUnavailable, match=r"\[server\]"):
        variant(data)


# --- taken ----------------------------------------------------------------------------------


def test_auto_takes_int8_on_a_cpu(data, have):
    assert loaded_precision(data) == "fp32"
    have("fp16")
    assert loaded_precision(data) == "fp32"
    variant(data, "int8")
    assert loaded_precision(data) == "int8"
    assert loaded_precision(data, precision="fp32") == "fp32"
    assert loaded_precision(data, precision="fp16") == "fp16"


@pytest.mark.parametrize(
    "changes",
    [
        {"forced": True},
        {"image_cosine": 0.98},
        {"text_cosine": None},
        {"text_cosine": "much"},
        {"made_from": {}},
    ],
)
def test_auto_leaves_what_isnt_proved(data, have, changes):
    rewrite_about(have(), **changes)
    assert loaded_precision(data) == "fp32"


def test_a_variant_that_isnt_whole_is_left(data, have):
    (have() / "textual" / "model.onnx").unlink()
    assert loaded_precision(data) == "fp32"
    with pytest.raises(ModelUnavailable, match="isn't here in int8"):
        loaded_precision(data, precision="int8")


def test_a_variant_needs_no_fp32_beside_it(data, have):
    have()
    shutil.rmtree(data / "exports" / "ViT-Tiny__mine")
    for precision in ("auto", "int8"):
        model, _ = model_of(data, precision=precision)
        assert model.is_local()
        assert loaded_precision(data, precision=precision) == "int8"
    model, wanted = model_of(data, precision="fp32")
    assert not model.is_local()
    with pytest.raises(ModelUnavailable, match="isn't downloaded"):
        model.load(wanted)


def test_a_variant_of_other_graphs_is_stale(data, have):
    have()
    # The same graph with other weights, as a model that was trained on has.
    image = data / "exports" / "ViT-Tiny__mine" / "visual" / "model.onnx"
    graph = onnx.load(image)
    weights = next(each for each in graph.graph.initializer if each.name.endswith("conv1.weight"))
    weights.raw_data = (onnx.numpy_helper.to_array(weights) * 0.5).tobytes()
    onnx.save(graph, image)
    rewrite_about(image.parents[1], files=exports.prints(image.parents[1]), content=None)
    assert loaded_precision(data) == "fp32"
    with pytest.raises(ModelUnavailable, match=f"export {NAME} --precision int8"):
        loaded_precision(data, precision="int8")


def test_a_precision_that_isnt_here_says_how_to_make_it(data):
    model, wanted = model_of(data, precision="fp16")
    assert not model.is_local()
    for call in (lambda: model.download(no_progress), lambda: model.load(wanted)):
        with pytest.raises(ModelUnavailable, match=f"hearth models export {NAME} --precision fp16"):
            call()


def test_a_folder_that_the_user_names_is_what_is_taken(data, tiny_export):
    folder = str(data / "exports" / "ViT-Tiny__mine")
    int8 = str(variant(data, name=folder).folder)
    assert loaded_precision(data, name=folder) == "fp32"
    assert loaded_precision(data, name=folder, precision="int8") == "int8"
    assert loaded_precision(data, name=int8) == "int8"
    assert loaded_precision(data, name=int8, precision="int8") == "int8"
    with pytest.raises(ModelUnavailable, match="is int8"):
        loaded_precision(data, name=int8, precision="fp32")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_torch_knows_fp32_alone(tiny_folder, tmp_path, precision):
    wanted = ClipSettings(backend="torch", precision=precision)
    model = OpenClipModel(parse(str(tiny_folder)), HubStore(tmp_path, offline=True))
    with pytest.raises(SettingsError, match=f"for {precision}"):
        model.load(wanted)


def test_the_provider_that_would_be_asked_is_known_without_a_session():
    def provider(**options: object) -> str:
        return OnnxBackend().place(SessionOptions(**options)).provider

    assert provider(device="cpu") == "CPUExecutionProvider"
    assert provider(providers=("cpu",)) == "CPUExecutionProvider"
    assert provider() in Providers().listed()
    with pytest.raises(BackendUnavailable):
        provider(providers=("nothing",))
    with pytest.raises(BackendUnavailable):
        provider(device="toaster")


# --- whose they are -------------------------------------------------------------------------


def test_a_stale_variant_is_left_with_a_word_on_how_to_make_it_anew(data, have, caplog):
    folder = have()
    rewrite_about(folder, made_from={})
    assert loaded_precision(data) == "fp32"
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(folder) in told
    assert f"run `hearth models export {NAME} --precision int8`" in told


def test_an_export_serves_only_the_model_that_it_was_made_of(tiny_export, tmp_path):
    clip_kit.place_export(tiny_export, tmp_path, "imageomics/x")
    for name in ("imageomics/x", "hf-hub:imageomics/x"):
        assert model_of(tmp_path, name)[0].graphs() == tmp_path / "exports" / "x"
    model, wanted = model_of(tmp_path, "other/x")
    assert not model.is_local()
    with pytest.raises(ModelUnavailable, match=r"exports/x is of imageomics/x"):
        model.load(wanted)
    # What an earlier version made doesn't tell.
    told = about(tmp_path / "exports" / "x")
    del told["reference"]
    (tmp_path / "exports" / "x" / "hearth.json").write_text(json.dumps(told))
    assert model.is_local()


def test_a_variant_is_of_one_model_even_without_its_graphs(
    tiny_export, tiny_variant, tmp_path, caplog
):
    made = clip_kit.place_export(tiny_variant("int8"), tmp_path, "imageomics/x")
    assert loaded_precision(tmp_path, "imageomics/x") == "int8"
    assert not model_of(tmp_path, "other/x")[0].is_local()
    with pytest.raises(ModelUnavailable, match="made of other files"):
        model_of(tmp_path, "other/x", precision="int8")[0].is_local()
    # Beside graphs of another organisation it isn't stale: it is none of theirs.
    clip_kit.place_export(tiny_export, tmp_path, "other/x")
    rewrite_about(made, made_from={})
    assert loaded_precision(tmp_path, "other/x") == "fp32"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_export_never_takes_the_place_of_another_models(tiny_export, tiny_variant, tmp_path):
    folder = clip_kit.place_export(tiny_export, tmp_path, "imageomics/x")
    clip_kit.place_export(tiny_variant("int8"), tmp_path, "imageomics/x")
    before = contents(tmp_path / "exports")
    shutil.copytree(tiny_export, tmp_path / "elsewhere" / "x")
    with pytest.raises(ModelUnavailable, match=r"x@int8 holds imageomics/x: .*remove x@int8`"):
        variant(tmp_path, name=str(tmp_path / "elsewhere" / "x"))
    assert contents(tmp_path / "exports") == before
    assert about(folder)["reference"] == "imageomics/x"


def test_files_named_one_by_one_have_no_other_precision(tiny_export, tmp_path):
    image = tiny_export / "visual" / "model.onnx"
    made = clip_kit.source(tmp_path, onnx_image=image, precision="int8")
    with pytest.raises(SettingsError, match="precision = auto"):
        made.load()
