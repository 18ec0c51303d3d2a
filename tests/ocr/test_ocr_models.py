"""Text recognition models by name: what names mean, where files come from, and what is refused."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from checkout import ROOT
from hearth.errors import BackendUnavailable, ModelUnavailable, SettingsError
from hearth.families.inventory import inventory_of
from hearth.families.ocr.loader import OcrLoader
from hearth.families.ocr.recogniser_names import NAMES, alphabet_beside, named
from hearth.families.ocr.settings import OcrSettings
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore
from hearth.settings import load
from hub_kit import HubServer
from ocr_kit import READER, TEXT, drawn, png
from script_kit import ALPHABET, cyrillic_recogniser

NAME = "cyrillic_PP-OCRv5_mobile"
REPOSITORY = "PaddlePaddle/cyrillic_PP-OCRv5_mobile_rec_onnx"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser without an alphabet of its own."""
    target = tmp_path_factory.mktemp("graph") / "graph.onnx"
    return cyrillic_recogniser(target, metadata=False, steps=0)


def source(data_dir: Path, hub: HubServer | None = None, **settings: Any) -> OcrLoader:
    store = HubStore(data_dir, endpoint=hub.url) if hub else HubStore(data_dir, offline=True)
    return OcrLoader(OcrSettings(**settings), hub=store, reader=READER)


def scripts(made: OcrLoader) -> str:
    """What the loaded model says that it can write; closes it."""
    model = made.load()
    try:
        return model.metadata["scripts"]
    finally:
        model.close()


def inference_yml() -> str:
    """As PaddleX writes it."""
    content = {
        "Global": {"model_name": f"{NAME}_rec"},
        "PreProcess": {"transform_ops": [{"RecResizeImg": {"image_shape": [3, 48, 320]}}]},
        "PostProcess": {"name": "CTCLabelDecode", "character_dict": list(ALPHABET)},
    }
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def published(folder: Path, graph: Path) -> Path:
    """A folder as PaddlePaddle's repositories are."""
    folder.mkdir(parents=True)
    shutil.copy(graph, folder / "inference.onnx")
    (folder / "inference.yml").write_text(inference_yml(), "utf-8")
    (folder / "inference.json").write_text("{}")
    (folder / "README.md").write_text("a recogniser")
    return folder


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("PP-OCRv6_medium", "PaddlePaddle/PP-OCRv6_medium_rec_onnx"),
        ("PP-OCRv5_server_rec", "PaddlePaddle/PP-OCRv5_server_rec_onnx"),
        ("multi_PP-OCRv6_rec_tiny", "PaddlePaddle/PP-OCRv6_tiny_rec_onnx"),
        ("ch_PP-OCRv5_rec_mobile", "PaddlePaddle/PP-OCRv5_mobile_rec_onnx"),
        ("korean_PP-OCRv5_mobile", "PaddlePaddle/korean_PP-OCRv5_mobile_rec_onnx"),
        ("korean_PP-OCRv5_rec_mobile", "PaddlePaddle/korean_PP-OCRv5_mobile_rec_onnx"),
        ("ESLAV__PP-OCRv5_mobile", "PaddlePaddle/eslav_PP-OCRv5_mobile_rec_onnx"),
        ("someone/greek-ocr", "someone/greek-ocr"),
        ("someone/models/languages/greek", "someone/models"),
    ],
)
def test_models_go_by_the_names_that_the_field_has_for_them(name, repository):
    assert named(name).repository == repository


@pytest.mark.parametrize("name", ["PP-OCRv6_small", "PP-OCRv6-small", "multi_PP-OCRv6_rec_small"])
def test_the_packaged_model_goes_by_its_names_and_needs_no_download(name, tmp_path):
    made = source(tmp_path, recognition=(name,))
    assert made.is_local()
    assert made.describe().model == "PP-OCRv6-small"


def test_every_published_name_means_itself():
    assert [named(name).model_id for name in NAMES] == list(NAMES)


def test_names_that_rapidocr_lists_are_understood():
    """Those of its newest two families for recognition; its own list is the reference."""
    import rapidocr

    listed = yaml.safe_load(
        Path(rapidocr.__file__).with_name("default_models.yaml").read_text("utf-8")
    )
    for family in ("PP-OCRv5", "PP-OCRv6"):
        for name in listed["onnxruntime"][family]["rec"]:
            model = named(name)
            assert model.is_packaged or model.repository.startswith("PaddlePaddle/"), name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cyrilic_PP-OCRv5_mobile", "did you mean cyrillic_PP-OCRv5_mobile?"),
        ("russian", "there are PP-OCRv6_tiny, "),
        ("a/../b", "no model"),
    ],
)
def test_a_name_that_cant_be_meant_is_refused_with_what_there_is(name, says, tmp_path):
    with pytest.raises(SettingsError, match=r"ocr\.recognition: no model") as refused:
        source(tmp_path, recognition=(name,))
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_several_names_come_from_one_setting():
    settings = load({"ocr.recognition": f"PP-OCRv6_small, {NAME}"}, environment={})
    assert settings.ocr.recognition == ("PP-OCRv6_small", NAME)
    with pytest.raises(SettingsError, match="recognition"):
        load({"ocr.recognition": ""}, environment={})


# --- local files ----------------------------------------------------------------------------


def test_a_folder_as_it_is_published_is_taken(graph, tmp_path):
    folder = published(tmp_path / f"{NAME}_rec_onnx", graph)
    made = source(tmp_path, recognition=("PP-OCRv6_small", str(folder)))
    assert made.is_local()
    assert made.describe().model == f"PP-OCRv6-small+{NAME}"
    assert scripts(made) == "Latin, Han, Hiragana, Katakana, Cyrillic"


def test_a_file_with_its_alphabet_inside_or_beside_is_taken(graph, tmp_path):
    inside = cyrillic_recogniser(tmp_path / "inside" / "own.onnx", steps=0)
    assert scripts(source(tmp_path, recognition=(str(inside),))) == "Cyrillic"
    beside = tmp_path / "beside" / "rec.onnx"
    beside.parent.mkdir()
    shutil.copy(graph, beside)
    (beside.parent / "LICENSE.txt").write_text("free")
    (beside.parent / "dict.txt").write_text("\r\n".join(ALPHABET) + "\r\n", "utf-8")
    assert scripts(source(tmp_path, recognition=(str(beside.parent),))) == "Cyrillic"


def test_signs_that_look_like_numbers_or_breaks_stay_signs(tmp_path):
    signs = ["1", "~", "null", "\u2028", "\x85", "'", "#", "yes", " "]
    content = {"PostProcess": {"character_dict": signs}}
    (tmp_path / "inference.yml").write_text(yaml.safe_dump(content), "utf-8")
    beside = alphabet_beside(tmp_path / "inference.onnx")
    assert beside is not None and beside.split("\n") == signs


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "inference.yml").unlink(), "no list of characters"),
        (lambda folder: (folder / "inference.onnx").unlink(), "holds none"),
        (lambda folder: (folder / "inference.onnx").write_bytes(b"x"), "can't be read"),
        (lambda folder: (folder / "inference.yml").write_text("Global: {}"), "character_dict"),
        (lambda folder: (folder / "inference.yml").write_bytes(b"\xff\xfe\xfa"), "isn't UTF-8"),
        (
            lambda folder: (folder / "inference.yml").write_text(
                yaml.safe_dump({"PostProcess": {"character_dict": list("abc")}})
            ),
            "the list is another model's",
        ),
    ],
)
def test_a_folder_that_cant_be_used_says_why(spoil, says, graph, tmp_path):
    folder = published(tmp_path / "spoilt", graph)
    spoil(folder)
    made = source(tmp_path, recognition=("PP-OCRv6_small", str(folder)))
    assert made.is_local()  # nothing to wait for
    with pytest.raises(ModelUnavailable, match=says) as refused:
        made.load()
    assert "spoilt" in str(refused.value) and "\n" not in str(refused.value)


def test_a_graph_that_reads_no_lines_is_refused(tmp_path):
    import rapidocr

    other = Path(rapidocr.__file__).parent / "models" / "PP-OCRv6_det_small.onnx"
    made = source(tmp_path, recognition=(str(shutil.copy(other, tmp_path / "other.onnx")),))
    with pytest.raises(ModelUnavailable, match=r"list of characters|isn't a text recognition"):
        made.load()


def test_a_lost_folder_is_told_before_the_start(tmp_path):
    lost = tmp_path / "lost"
    fault = source(tmp_path, recognition=(str(lost),)).describe().fault
    assert fault == f"there is no folder {lost} (ocr.recognition)"


# --- the hub --------------------------------------------------------------------------------


def test_a_model_of_the_hub_is_fetched_once_and_read_offline(hub, graph, tmp_path):
    hub.add_repository(REPOSITORY, published(tmp_path / "served", graph))
    names = ("PP-OCRv6_small", NAME)
    made = source(tmp_path, hub, recognition=names)
    assert not made.is_local()
    assert made.resolve() == REPOSITORY
    made.download(no_progress)
    fetched = {path.name for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert "inference.onnx" in fetched and not {"README.md", "inference.json"} & fetched
    offline = source(tmp_path, recognition=names)
    assert offline.is_local()
    assert offline.describe().folders and offline.describe().barred == ""
    assert scripts(offline).endswith("Cyrillic")


def test_what_was_fetched_is_listed_checked_and_fetched_anew(hub, graph, tmp_path):
    hub.add_repository(REPOSITORY, published(tmp_path / "served", graph))
    made = source(tmp_path, hub, recognition=(NAME,))
    made.download(no_progress)
    inventory = inventory_of(tmp_path)
    [download] = inventory.files()
    assert (download.model, download.condition) == (REPOSITORY, "whole")
    check = inventory.verify
    assert check(download).state == "right"
    kept = next((tmp_path / "hub").rglob("inference.onnx"))
    spoilt = bytearray(kept.read_bytes())
    spoilt[100] ^= 1
    kept.write_bytes(spoilt)
    assert check(download).state == "wrong"
    assert not made.is_local()
    made.download(no_progress)
    assert made.is_local() and kept.read_bytes() == graph.read_bytes()


def test_a_part_of_a_repository_can_be_named(hub, graph, tmp_path):
    folder = tmp_path / "served" / "languages" / "russian"
    folder.mkdir(parents=True)
    shutil.copy(graph, folder / "rec.onnx")
    (folder / "dict.txt").write_text("\n".join(ALPHABET), "utf-8")
    (tmp_path / "served" / "other.onnx").write_bytes(b"another's")
    hub.add_repository("someone/models", tmp_path / "served")
    for name in ("someone/models/languages/russian", "someone/models/languages/russian/rec.onnx"):
        made = source(tmp_path, hub, recognition=(name,))
        made.download(no_progress)
        assert scripts(made) == "Cyrillic"
    assert not list((tmp_path / "hub").rglob("other.onnx"))


def test_a_repository_without_a_recogniser_says_what_it_has(hub, tmp_path):
    hub.add_repository("someone/other", {"deep/unet.onnx": b"x"})
    made = source(tmp_path, hub, recognition=("someone/other",))
    with pytest.raises(ModelUnavailable, match=r"has no inference\.onnx or .*deep/unet\.onnx"):
        made.resolve()


def test_a_hub_that_may_not_be_asked_is_the_reason(tmp_path):
    made = source(tmp_path, recognition=(NAME,))
    assert not made.is_local()
    assert "forbids" in made.describe().barred
    with pytest.raises(ModelUnavailable, match="may not be asked"):
        made.download(no_progress)
    with pytest.raises(ModelUnavailable, match="isn't downloaded"):
        made.load()


# --- the device -----------------------------------------------------------------------------


def test_a_device_that_isnt_there_is_refused_where_it_is_required(tmp_path):
    with pytest.raises(BackendUnavailable):
        source(tmp_path, device="cuda", require_device=True).load()
    with pytest.raises(BackendUnavailable):
        source(tmp_path, ort_providers=("NoSuch",)).load()


def test_an_execution_provider_can_be_named(tmp_path):
    model = source(tmp_path, ort_providers=("CPU",)).load()
    try:
        assert (model.device, model.metadata["provider"]) == ("cpu", "CPUExecutionProvider")
        assert [line.text for line in asyncio.run(model.read(png(drawn())))] == list(TEXT)
    finally:
        model.close()


def test_the_script_classifier_is_whole():
    path = ROOT / "src" / "hearth" / "assets" / "scripts.onnx"
    onnx.checker.check_model(onnx.load(path))
