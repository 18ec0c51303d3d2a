"""`hearth models` and `hearth doctor`."""

import os
import socket
from pathlib import Path

import clip_kit
from cli_kit import hearth_here as hearth
from hearth.cli.checks import services
from hearth.cli.models.configured import configured
from hearth.settings import load
from hub_kit import HubServer


def test_models_that_are_configured_and_files_that_are_here_are_listed(
    tmp_path: Path, tiny_export: Path
):
    exports = tmp_path / "data" / "exports"
    exports.mkdir(parents=True)
    (exports / "tiny").symlink_to(tiny_export)
    toml = 'services = ["clip", "ocr"]\n[clip]\nmodel = "ViT-B-32:openai"\n'
    (tmp_path / "hearth.toml").write_text(toml)
    rows = hearth("models", "list", "--json", cwd=tmp_path, HF_HUB_OFFLINE="0").lines
    clip, ocr, export = rows
    assert (clip["service"], clip["model"]) == ("clip", "ViT-B-32:openai")
    assert (clip["state"], clip["bytes"]) == ("not here", None)
    assert "hearth models pull clip" in clip["why"]
    assert clip["where"] == "immich-app/ViT-B-32__openai"
    assert (ocr["service"], ocr["state"]) == ("ocr", "here")
    assert (export["kind"], export["model"]) == ("export", "tiny")
    assert export["bytes"] == sum(f.stat().st_size for f in tiny_export.rglob("*") if f.is_file())
    table = hearth("models", "list", cwd=tmp_path, COLUMNS="80").out
    assert "ViT-B-32:openai" in table and " MB " in table
    assert max(map(len, table.splitlines())) <= 80


def test_settings_can_be_tried_without_a_file(tmp_path: Path, tiny_export: Path):
    export = clip_kit.place_export(tiny_export, tmp_path / "data", "org/tiny")
    (tmp_path / "data/exports/tiny@int8").symlink_to(export)

    def row(*settings: str) -> dict:
        flags = [part for setting in ("services=clip", *settings) for part in ("--set", setting)]
        return hearth("models", "list", "--json", *flags, cwd=tmp_path).lines[0]

    here = row("clip.model=org/tiny")
    plain = row("clip.model=org/tiny", "clip.precision=fp32")
    other = row("clip.model=org/other", "hub.offline=true")
    wrong = row("clip.model=nonsense")
    lost = row("clip.model=./lost")
    assert (here["state"], here["precision"]) == ("here", "auto (fp32, int8)")
    assert (plain["precision"], plain["where"]) == ("fp32", "data/exports/tiny")
    assert (other["state"], other["where"]) == ("not here", "org/other")
    assert "hub.offline" in other["why"]
    assert wrong["state"] == "unavailable" and "nonsense" in wrong["why"]
    assert (lost["state"], lost["why"]) == ("unavailable", "there is no folder lost")
    unknown = hearth("models", "list", "--set", "clip.modle=x", cwd=tmp_path)
    assert unknown.code == 2 and "clip.modle" in unknown.err


def test_a_model_is_exported_with_its_cosine_and_can_be_served_from_there(
    tmp_path: Path, tiny_folder: Path
):
    out = tmp_path / "onnx"
    done = hearth("models", "export", tiny_folder, "--out", out, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "images 1.000000, texts 1.000000" in done.out
    assert "writing the image graph" in done.err
    assert done.out.splitlines()[-1] == (
        f"use it: set clip.model, bioclip.model or siglip.model to {out}"
    )
    settings = ("-s", "services=clip,ocr", "-s", f"clip.model={out}", "-s", "port=0")
    check = hearth("doctor", "--json", *settings, cwd=tmp_path)
    assert {line["name"]: line for line in check.lines}["clip"]["state"] == "ok"
    assert check.code == 0


def test_a_name_that_cannot_be_exported_is_one_line(tmp_path: Path):
    done = hearth("models", "export", "ViT-B-32", "--data-dir", tmp_path)
    assert done.code == 2 and "ViT-B-32:openai" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def checks(*arguments: object, **options: object) -> tuple[int, dict[str, dict]]:
    done = hearth("doctor", "--json", *arguments, **options)
    return done.code, {line["name"]: line for line in done.lines}


def test_the_doctor_finds_nothing_wrong_where_nothing_is(tmp_path: Path):
    code, found = checks("--set", "services=ocr", "--set", "port=0", cwd=tmp_path)
    assert code == 0
    assert found["ocr"]["state"] == found["onnxrt"]["state"] == found["data"]["state"] == "ok"
    assert "CPU" in found["onnxrt"]["what"] and str(tmp_path) in found["data"]["what"]
    assert found["mdns"]["state"] != "bad"


def test_the_doctor_says_that_a_model_is_out_of_reach(tmp_path: Path):
    page = hearth("doctor", "--set", "port=0", cwd=tmp_path, COLUMNS="80")
    assert page.code == 1 and "✗ clip" in page.out and "✓ ocr" in page.out
    assert "HF_HUB_OFFLINE" in page.out and "→ " in page.out
    assert max(map(len, page.out.splitlines())) <= 80


def test_a_service_without_a_model_and_a_file_that_is_missing_are_told(tmp_path: Path):
    given = {"services": "compose,face", "face.detection": "lost.onnx", "data_dir": tmp_path}
    settings = load(given, environment={}, config=Path(os.devnull))
    compose, face = configured(settings, [])
    assert (compose.state, compose.model, face.state) == ("here", "", "unavailable")
    assert face.why == "no such file: lost.onnx"
    assert [str(check.state) for check in services(settings)] == ["ok", "bad"]


def test_the_doctor_asks_the_hub_whether_it_has_the_model(
    tmp_path: Path, hub: HubServer, tiny_export: Path
):
    hub.add_repository("immich-app/tiny", tiny_export)
    settings = ("--json", "-s", "port=0", "-s", f"hub.endpoint={hub.url}", "-s")
    known, lost = (
        hearth("doctor", *settings, f"clip.model={name}", cwd=tmp_path, HF_HUB_OFFLINE="0")
        for name in ("immich-app/tiny", "immich-app/lost")
    )
    [has], [lacks] = (
        [line for line in answer.lines if line.get("name") == "clip"] for answer in (known, lost)
    )
    assert (known.code, has["state"]) == (0, "note")
    assert "will be downloaded" in has["what"]
    assert (lost.code, lacks["state"]) == (1, "bad")


def test_the_doctor_sees_all_that_is_wrong_at_once(tmp_path: Path):
    place = tmp_path / "data"
    place.write_text("not a folder")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = (f"port={taken.getsockname()[1]}", "host=127.0.0.1", "clip.backend=rknn",
                 "services=clip,ocr")  # fmt: skip
        settings = [argument for setting in wrong for argument in ("--set", setting)]
        code, found = checks("--data-dir", place, *settings, cwd=tmp_path)
    assert code == 1
    assert {name for name, check in found.items() if check["state"] == "bad"} == {
        "clip", "data", "port", "rknn"
    }  # fmt: skip
    assert "already in use" in found["port"]["what"] and found["port"]["cure"]
