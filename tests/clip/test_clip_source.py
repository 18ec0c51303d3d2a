"""Where a CLIP may come from: named files, folders, exports, and a hub."""

import asyncio
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

import clip_kit
from checkout import KITS
from clip_kit import ARCHITECTURE, NAME, TAG, TEXTS, cosine, decoded, pictures
from hearth.backends.registry import BACKENDS
from hearth.errors import BackendUnavailable, ModelUnavailable, SettingsError
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore

PHOTO = pictures()["photo.jpg"]
NEAR = 0.9999


async def vectors_of(model):
    image, texts = await asyncio.gather(model.embed_image(PHOTO), model.embed_texts(TEXTS))
    return image, texts


async def assert_is_tiny(model, module):
    """The model's vectors are those of the open_clip module."""
    image, texts = await vectors_of(model)
    [expected] = clip_kit.reference_image_vectors(module, [decoded(PHOTO)])
    assert cosine(image, expected) >= NEAR
    assert min(map(cosine, texts, clip_kit.reference_text_vectors(module))) >= NEAR


@pytest.fixture
def store(hub, tmp_path):
    return HubStore(tmp_path / "data", endpoint=hub.url)


def source(store, **settings):
    return clip_kit.source(store.folder.parent, hub=store, **settings)


def fetched(made):
    """The model, after a download that is really needed."""
    assert not made.is_local()
    with pytest.raises(ModelUnavailable, match="isn't downloaded"):
        made.load()
    made.download(no_progress)
    assert made.is_local()
    return made.load()


# --- the hub --------------------------------------------------------------------------------


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The tiny architecture and its tag, known to open_clip as if it were published."""
    open_clip = clip_kit.import_open_clip()
    path = tmp_path / f"{ARCHITECTURE}.json"
    path.write_text(json.dumps(clip_kit.TINY))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [path])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {ARCHITECTURE: clip_kit.TINY})

    def publish(hf_hub, **entry):
        entries = {ARCHITECTURE: {TAG: {"url": "", "hf_hub": hf_hub, **entry}}}
        monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", entries)

    publish("org/weights/")
    return publish


async def test_torch_loads_a_published_tag(hub, store, registered, tiny_folder, tiny_module):
    hub.add_repository("org/weights", tiny_folder)
    model = fetched(source(store, backend="torch", model=NAME))
    await assert_is_tiny(model, tiny_module)
    assert (model.model_id, model.runtime) == (NAME, "torch")
    model.close()
    # Only the weights were needed: the config is open_clip's own.
    assert not hub.transfers("org/weights", "open_clip_config.json")


async def test_a_tag_may_name_one_file_and_its_own_preprocessing(
    hub, store, registered, tiny_module
):
    import io

    import torch

    weights = io.BytesIO()
    torch.save(tiny_module.state_dict(), weights)
    hub.add_repository("org/weights", {"old.bin": weights.getvalue(), "readme": b"x"})
    registered("org/weights/old.bin", mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear",
               resize_mode="squash")  # fmt: skip
    model = fetched(source(store, backend="torch", model=NAME))
    assert model.transform.mean == (0.5, 0.5, 0.5)
    assert model.transform.resize_mode == "squash"
    model.close()


async def test_weights_trained_with_quick_gelu_run_with_it(
    hub, store, registered, tiny_folder, tiny_module
):
    hub.add_repository("org/weights", tiny_folder)
    registered("org/weights/", quick_gelu=True)
    model = fetched(source(store, backend="torch", model=NAME))
    quick = clip_kit.tiny_module(quick_gelu=True)
    assert cosine((await vectors_of(model))[0], reference(tiny_module)) < 0.99999
    await assert_is_tiny(model, quick)
    model.close()


def reference(module):
    return clip_kit.reference_image_vectors(module, [decoded(PHOTO)])[0]


async def test_a_tokenizer_of_its_own_is_fetched_with_the_weights(
    hub, store, registered, tiny_folder, tiny_export, monkeypatch
):
    config = json.loads(json.dumps(clip_kit.TINY))
    config["text_cfg"] |= {"hf_tokenizer_name": "org/words", "context_length": 77}
    open_clip = clip_kit.import_open_clip()
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {ARCHITECTURE: config})
    hub.add_repository("org/weights", tiny_folder)
    hub.add_repository("org/words", tiny_export / "textual")
    model = fetched(source(store, backend="torch", model=NAME))
    # Such tokenizers keep the case of letters.
    small, large = await model.embed_texts(["a cat", "A CAT"])
    assert cosine(small, large) < 0.9999
    model.close()


@pytest.mark.parametrize("name", ["org/tiny", "hf-hub:org/tiny"])
async def test_torch_loads_a_repository_of_open_clips(hub, store, tiny_folder, tiny_module, name):
    hub.add_repository("org/tiny", tiny_folder)
    model = fetched(source(store, backend="torch", model=name))
    await assert_is_tiny(model, tiny_module)
    assert model.model_id == "tiny"
    model.close()


async def test_onnx_loads_a_repository_of_graphs(hub, store, tiny_export, tiny_module):
    hub.add_repository("org/tiny", tiny_export)
    model = fetched(source(store, model="org/tiny"))
    await assert_is_tiny(model, tiny_module)
    assert (model.runtime, model.metadata["logit_scale"]) == ("onnxrt", "37.5")
    model.close()


async def test_onnx_finds_the_published_pair_of_a_tag(hub, store, tiny_export, tiny_module):
    hub.add_repository(f"immich-app/{ARCHITECTURE}__random-weights", tiny_export)
    model = fetched(source(store, model=NAME))
    await assert_is_tiny(model, tiny_module)
    model.close()


async def test_what_is_here_needs_no_network(hub, store, tiny_export, tiny_module):
    hub.add_repository("org/tiny", tiny_export)
    source(store, model="org/tiny").download(no_progress)
    hub.forget()
    offline = HubStore(store.folder.parent, endpoint=hub.url, offline=True)
    made = source(offline, model="org/tiny")
    assert made.is_local()
    model = made.load()
    await assert_is_tiny(model, tiny_module)
    model.close()
    assert hub.count() == 0


def test_an_interrupted_download_isnt_taken_for_a_model(hub, store, tiny_export):
    hub.add_repository("org/tiny", tiny_export)
    hub.cut("org/tiny", "visual/model.onnx", after=1000, times=99)
    made = source(store, model="org/tiny")
    with pytest.raises(ModelUnavailable):
        made.download(no_progress)
    assert not made.is_local()
    hub.mend()
    made.download(no_progress)
    assert made.is_local()


def test_onnx_tells_what_to_do_with_torchs_weights(hub, store, tiny_folder):
    hub.add_repository("org/tiny", tiny_folder)
    with pytest.raises(ModelUnavailable) as failure:
        source(store, model="org/tiny").download(no_progress)
    assert str(failure.value) == (
        "org/tiny holds open_clip weights, and no ONNX graphs: "
        "run `hearth models export org/tiny` once, or set clip.backend to torch"
    )


def test_where_torch_is_missing_it_is_said_what_to_install(hub, store, tiny_folder, monkeypatch):
    monkeypatch.setattr(BACKENDS["torch"], "packages", ("no_such_torch",))
    hub.add_repository("org/tiny", tiny_folder)
    with pytest.raises(ModelUnavailable, match=r"needs torch: .*pip install '\.\[torch\]'"):
        source(store, model="org/tiny").download(no_progress)


def test_torch_tells_what_to_do_with_graphs(hub, store, tiny_export):
    hub.add_repository("org/tiny", tiny_export)
    with pytest.raises(ModelUnavailable, match="set the backend to onnxrt"):
        source(store, backend="torch", model="org/tiny").download(no_progress)


def test_a_tag_without_graphs_on_the_hub_can_be_exported(store):
    with pytest.raises(ModelUnavailable, match=f"hearth models export {NAME}"):
        source(store, model=NAME).download(no_progress)


def test_torch_names_the_tags_that_there_are(store, registered):
    made = source(store, backend="torch", model=f"{ARCHITECTURE}:other")
    with pytest.raises(ModelUnavailable, match=f"its tags are {TAG}"):
        made.is_local()


def test_a_repository_with_neither_says_what_is_missing(hub, store):
    hub.add_repository("org/other", {"README.md": b"hello"})
    for backend in ("onnxrt", "torch"):
        with pytest.raises(ModelUnavailable, match="is missing"):
            source(store, backend=backend, model="org/other").download(no_progress)


# --- folders and exports --------------------------------------------------------------------


async def test_an_export_in_the_data_folder_is_found_by_the_models_name(
    tmp_path, tiny_export, tiny_module
):
    made = clip_kit.source(tmp_path, model="ViT-Tiny:mine")
    assert not made.is_local()
    clip_kit.place_export(tiny_export, tmp_path, "ViT-Tiny:mine")
    assert made.is_local()
    model = made.load()
    await assert_is_tiny(model, tiny_module)
    model.close()


@pytest.mark.parametrize(
    ("backend", "missing", "reason"),
    [
        ("onnxrt", "visual/model.onnx", "visual/model.onnx is missing"),
        ("onnxrt", "textual/tokenizer.json", "textual/tokenizer.json is missing"),
        ("torch", "open_clip_config.json", "open_clip_config.json is missing"),
        ("torch", "open_clip_model.safetensors", "open_clip_model.safetensors or"),
    ],
)
def test_a_folder_that_isnt_whole_says_what_is_missing(
    tmp_path, tiny_export, tiny_folder, backend, missing, reason
):
    folder = tmp_path / "model"
    shutil.copytree(tiny_export if backend == "onnxrt" else tiny_folder, folder)
    (folder / missing).unlink()
    made = clip_kit.source(tmp_path, backend=backend, model=str(folder))
    assert made.is_local()
    with pytest.raises(ModelUnavailable, match=reason):
        made.load()


def test_a_folder_for_the_other_engine_says_what_to_do(tmp_path, tiny_export, tiny_folder):
    with pytest.raises(ModelUnavailable, match="hearth models export"):
        clip_kit.source(tmp_path, model=str(tiny_folder)).load()
    with pytest.raises(ModelUnavailable, match="set the backend to onnxrt"):
        clip_kit.source(tmp_path, backend="torch", model=str(tiny_export)).load()


def test_a_folder_that_isnt_there_is_named(tmp_path):
    made = clip_kit.source(tmp_path, model=str(tmp_path / "nowhere"))
    with pytest.raises(ModelUnavailable, match="nowhere"):
        made.load()


@pytest.mark.parametrize("damaged", ["textual/model.onnx", "visual/model.onnx"])
def test_a_broken_graph_is_one_clear_line(tmp_path, tiny_export, damaged):
    shutil.copytree(tiny_export, tmp_path / "model")
    (tmp_path / "model" / damaged).write_bytes(b"broken")
    with pytest.raises(ModelUnavailable, match=damaged) as failure:
        clip_kit.source(tmp_path, model=str(tmp_path / "model")).load()
    assert "\n" not in str(failure.value)


def test_broken_weights_are_one_clear_line(tmp_path, tiny_folder):
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "open_clip_model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelUnavailable, match="open_clip can't load") as failure:
        clip_kit.source(tmp_path, backend="torch", model=str(tmp_path / "model")).load()
    assert "\n" not in str(failure.value)


# --- files named one by one -----------------------------------------------------------------


async def test_graphs_in_the_known_layout_bring_what_lies_around_them(
    tmp_path, tiny_export, tiny_module
):
    with clip_kit.loaded(
        tmp_path,
        onnx_image=tiny_export / "visual/model.onnx",
        onnx_text=tiny_export / "textual/model.onnx",
    ) as model:
        await assert_is_tiny(model, tiny_module)
        assert model.model_id == "tiny"
        assert model.metadata["logit_scale"] == "37.5"


async def test_bare_graphs_run_with_clips_own_transform_and_tokenizer(
    tmp_path, tiny_export, tiny_module
):
    shutil.copyfile(tiny_export / "visual/model.onnx", tmp_path / "my-image.onnx")
    shutil.copyfile(tiny_export / "textual/model.onnx", tmp_path / "my-text.onnx")
    with clip_kit.loaded(
        tmp_path, onnx_image=tmp_path / "my-image.onnx", onnx_text=tmp_path / "my-text.onnx"
    ) as model:
        await assert_is_tiny(model, tiny_module)
        assert model.model_id == "my-image"
        assert model.metadata["image_size"] == "32x32"
        assert model.metadata["logit_scale"] == "100"


async def test_an_image_graph_alone_embeds_pictures(tmp_path, tiny_export, tiny_module):
    with clip_kit.loaded(tmp_path, onnx_image=tiny_export / "visual/model.onnx") as model:
        vector = await model.embed_image(PHOTO)
        assert cosine(vector, reference(tiny_module)) >= NEAR
        assert model.text_missing()


def test_a_text_graph_alone_is_refused(tmp_path, tiny_export):
    with pytest.raises(SettingsError, match="onnx_image"):
        clip_kit.source(tmp_path, onnx_text=tiny_export / "textual/model.onnx")


@pytest.fixture
def published_pair(tmp_path, tiny_export):
    """Graphs as they are published on the hub: a batch of one, and no word of ours."""
    folder = tmp_path / "pair"
    shutil.copytree(tiny_export, folder)
    (folder / "hearth.json").unlink()
    for tower in ("visual", "textual"):
        path = folder / tower / "model.onnx"
        graph = onnx.load(path)
        for value in (*graph.graph.input, *graph.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        onnx.save(graph, path)
    return folder


async def test_graphs_of_one_picture_work_and_say_so(tmp_path, published_pair, tiny_module):
    with clip_kit.loaded(tmp_path, model=str(published_pair)) as model:
        assert model.queues[0].max_batch == 1
        assert [queue.max_batch for queue in model.queues] == [1, 1]
        await assert_is_tiny(model, tiny_module)
        vectors = await asyncio.gather(*(model.embed_image(PHOTO) for _ in range(5)))
        assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


# --- settings -------------------------------------------------------------------------------


def test_a_model_that_cant_be_meant_is_refused_at_once(tmp_path):
    with pytest.raises(SettingsError, match="ViT-B-32"):
        clip_kit.source(tmp_path, model="ViT-B-32")


def test_rknn_is_refused_before_anything_is_fetched(tmp_path):
    made = clip_kit.source(tmp_path, backend="rknn")
    with pytest.raises(BackendUnavailable, match="rknn"):
        made.is_local()


@pytest.mark.parametrize("backend", ["onnxrt", "torch"])
def test_a_required_device_that_isnt_there_is_an_error(tmp_path, tiny_export, tiny_folder, backend):
    folder = tiny_export if backend == "onnxrt" else tiny_folder
    made = clip_kit.source(
        tmp_path, backend=backend, model=str(folder), device="cuda:99", require_device=True
    )
    with pytest.raises(BackendUnavailable):
        made.load()


async def test_the_largest_batch_can_be_set(tmp_path, tiny_export):
    with clip_kit.loaded(tmp_path, model=str(tiny_export), max_batch_size=3) as model:
        assert model.queues[0].max_batch == 3


WITHOUT_TORCH = """
import asyncio, sys
from pathlib import Path
import clip_kit
data, folder, picture = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])

async def main():
    with clip_kit.loaded(data, model=folder) as model:
        await model.embed_image(picture.read_bytes())
        await model.embed_text("a cat")
        model.load_artifacts()

asyncio.run(main())
heavy = {"torch", "torchvision", "open_clip", "transformers", "onnx", "huggingface_hub", "cv2"}
loaded = heavy & set(sys.modules)
assert not loaded, loaded
"""


def test_an_onnx_model_runs_without_torch_being_imported(tmp_path, tiny_export):
    (tmp_path / "photo.jpg").write_bytes(PHOTO)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, tmp_path, tiny_export, tmp_path / "photo.jpg"],
        check=True,
        env={"PYTHONPATH": str(KITS)},
    )
