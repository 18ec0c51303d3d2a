"""What users write for a model, and what it is taken for."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.errors import SettingsError
from hearth.hub.reference import ModelReference, parse


@pytest.mark.parametrize(
    ("text", "architecture", "tag", "folder_name"),
    [
        (
            "ViT-B-32:laion2b_s34b_b79k",
            "ViT-B-32",
            "laion2b_s34b_b79k",
            "ViT-B-32__laion2b_s34b_b79k",
        ),
        ("ViT-B-32__openai", "ViT-B-32", "openai", "ViT-B-32__openai"),
        ("  RN50:cc12m ", "RN50", "cc12m", "RN50__cc12m"),
    ],
)
def test_open_clips_notation(text: str, architecture: str, tag: str, folder_name: str) -> None:
    reference = parse(text)
    assert (reference.kind, reference.architecture, reference.tag) == (
        "open_clip",
        architecture,
        tag,
    )
    assert reference.model_id == text.strip()
    assert reference.folder_name == folder_name


def test_onnx_repositories_are_looked_for_in_both_spellings() -> None:
    assert parse("ViT-B-32:laion2b_s34b_b79k").onnx_repositories() == (
        "immich-app/ViT-B-32__laion2b_s34b_b79k",
        "immich-app/ViT-B-32__laion2b-s34b-b79k",
    )
    assert parse("ViT-B/32:openai").onnx_repositories() == ("immich-app/ViT-B-32__openai",)
    assert parse("org/name").onnx_repositories() == ("org/name",)
    assert parse("./folder").onnx_repositories() == ()


@pytest.mark.parametrize(
    ("text", "repository", "model_id"),
    [
        (
            "immich-app/ViT-B-32__laion2b-s34b-b79k",
            "immich-app/ViT-B-32__laion2b-s34b-b79k",
            "ViT-B-32__laion2b-s34b-b79k",
        ),
        ("hf-hub:imageomics/bioclip", "imageomics/bioclip", "bioclip"),
    ],
)
def test_a_repository_of_the_hub(text: str, repository: str, model_id: str) -> None:
    reference = parse(text)
    assert (reference.kind, reference.repository) == ("repository", repository)
    assert reference.model_id == reference.folder_name == model_id


@pytest.mark.parametrize("text", ["/models/mine", "./mine", "../mine", "~/mine"])
def test_a_path_is_a_folder_whether_it_exists_or_not(text: str) -> None:
    reference = parse(text)
    assert (reference.kind, reference.model_id) == ("folder", "mine")
    assert reference.folder == Path(text).expanduser()


def test_a_folder_that_exists_comes_before_a_repository_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("models/mine").kind == "repository"
    (tmp_path / "models" / "mine").mkdir(parents=True)
    reference = parse("models/mine")
    assert (reference.kind, reference.model_id) == ("folder", "mine")


@pytest.mark.parametrize("text", ["ViT-B-32", "ViT-B/32", "RN50", "ViT-L/14@336px"])
def test_an_architecture_without_weights_says_how_to_name_them(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write (.*:TAG|ARCH:TAG)"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["", "a b", "org/name/more", "hf-hub:name", ":tag", "ViT-B-32:", "a:b:c", "org/../x"]
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(min_size=1))
def test_a_folder_name_is_always_safe(name: str) -> None:
    reference = ModelReference("open_clip", name, architecture="a", tag="b")
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", reference.folder_name)


def test_folder_names_that_would_clash_are_told_apart() -> None:
    names = [f"/models/{name}" for name in ("é", "è", "model é", ".model", "model")]
    assert len({parse(name).folder_name for name in names}) == len(names)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name", "org/name"),
        ("hf-hub:org/name", "org/name"),
        ("ViT-B-32:openai", "ViT-B-32:openai"),
        ("ViT-B/32:openai", "ViT-B-32:openai"),
        ("ViT-B-32__openai", "ViT-B-32:openai"),
        ("siglip2-base-patch16-224", "siglip2-base-patch16-224"),
    ],
)
def test_a_full_name_tells_a_model_from_all_others_however_it_is_written(text, name):
    assert parse(text).full_name == name
    # An export that says so is made again into the same folder.
    assert parse(name).folder_name == parse(text).folder_name


def test_the_full_name_of_a_folder_is_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("./mine").full_name == str(tmp_path / "mine")
    assert parse("../other").full_name == str(tmp_path.parent / "other")
