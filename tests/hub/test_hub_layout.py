"""Which files of a repository or a folder make up a model."""

from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable
from hearth.hub.layout import ModelLayout, files_in, layouts, select

ONNX = [
    "config.json",
    "textual/model.onnx",
    "textual/tokenizer.json",
    "visual/model.onnx",
    "visual/preprocess_cfg.json",
]
OPEN_CLIP = ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"]


def test_an_onnx_model_comes_without_its_variants_for_other_engines() -> None:
    variants = [
        ".gitattributes",
        "README.md",
        "textual/fp16/model.armnn",
        "textual/model.armnn",
        "textual/rknpu/rk3588/model.rknn",
        "visual/model.armnn",
        "visual/model_fp16.onnx",
        "visual/model_fp16.onnx_data",
        "visual/rknpu/rk3588/model.rknn",
    ]
    tokenizer = ["textual/tokenizer_config.json", "textual/merges.txt", "textual/vocab.json"]
    files = [*ONNX, *variants, *tokenizer]
    assert layouts(files) == (ModelLayout.ONNX,)
    assert select(ModelLayout.ONNX, files, "org/name") == tuple(sorted([*ONNX, *tokenizer]))


def test_the_data_that_a_large_graph_keeps_beside_it_comes_along() -> None:
    data = ["visual/onnx__MatMul_7239", "visual/visual.conv1.weight", "textual/model.onnx.data"]
    assert set(data) <= set(select(ModelLayout.ONNX, [*ONNX, *data], "org/name"))


def test_open_clips_weights_come_once_in_the_safe_format() -> None:
    files = [*OPEN_CLIP, "open_clip_pytorch_model.bin", "pytorch_model.bin", "README.md"]
    assert layouts(files) == (ModelLayout.OPEN_CLIP,)
    assert select(ModelLayout.OPEN_CLIP, files, "org/name") == tuple(OPEN_CLIP)


def test_open_clips_weights_may_be_a_pickle_where_there_is_nothing_else() -> None:
    files = ["open_clip_config.json", "open_clip_pytorch_model.bin"]
    assert select(ModelLayout.OPEN_CLIP, files, "org/name") == tuple(files)


def test_a_folder_may_hold_both() -> None:
    assert layouts([*ONNX, *OPEN_CLIP]) == (ModelLayout.ONNX, ModelLayout.OPEN_CLIP)


def test_the_first_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "visual").mkdir()
    (tmp_path / "visual" / "model.onnx").touch()
    (tmp_path / "visual" / "preprocess_cfg.json").touch()
    files = files_in(tmp_path)
    assert files == ["visual/model.onnx", "visual/preprocess_cfg.json"]
    assert layouts(files) == ()
    with pytest.raises(ModelUnavailable, match=r"holds no onnx model: textual/model.onnx is"):
        select(ModelLayout.ONNX, files, tmp_path)
    with pytest.raises(ModelUnavailable, match=r"open_clip_config.json is missing"):
        select(ModelLayout.OPEN_CLIP, files, tmp_path)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="there is no folder"):
        files_in(tmp_path / "missing")
