"""`hearth models pull`: from the tests' hub, by real processes."""

import os
import pty
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import clip_kit
import graphs_kit
from cli_kit import HEARTH, Done, environment
from cli_kit import hearth_here as hearth
from hearth.hub.remote import CHUNK
from hearth.hub.store import HubStore
from hub_kit import HubServer, part_size, wait_until

DATA_SET = "datasets/org/names"
VECTORS = random.Random(3).randbytes(2_000_000)
FILES = {
    "embeddings/vectors.npy": VECTORS,
    "embeddings/names.json": b'["a", "b"]',
    "data/train-0.parquet": b"a terabyte, were it real",
}


def pull(hub: HubServer, folder: Path, *arguments: object) -> Done:
    where = ("-s", f"hub.endpoint={hub.url}", "--data-dir", "data")
    return hearth("models", "pull", *arguments, *where, cwd=folder, HF_HUB_OFFLINE="0")


def test_of_a_data_set_only_the_embeddings_are_fetched(hub: HubServer, tmp_path: Path):
    commit = hub.add_repository(DATA_SET, FILES)
    done = pull(hub, tmp_path, DATA_SET)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"{DATA_SET} is here",
        "  2.0 MB in data/hub/datasets--org--names",
    ]
    assert f"{DATA_SET}: 2.0 MB of 2.0 MB" in done.err and "MB/s" in done.err
    folder = tmp_path / "data/hub/datasets--org--names" / commit
    assert (folder / "embeddings/vectors.npy").read_bytes() == VECTORS
    assert not (folder / "data").exists()


def test_the_files_of_a_data_set_can_be_chosen(hub: HubServer, tmp_path: Path):
    commit = hub.add_repository(DATA_SET, FILES)
    done = pull(hub, tmp_path, DATA_SET, "--include", "data/*", "--include", "*.json")
    assert done.code == 0, done.err
    folder = tmp_path / "data/hub/datasets--org--names" / commit
    found = {path.name for path in folder.rglob("*") if path.is_file()}
    assert found == {"train-0.parquet", "names.json"}


def test_a_data_set_without_embeddings_asks_for_a_choice(hub: HubServer, tmp_path: Path):
    hub.add_repository(DATA_SET, {"data/train-0.parquet": b"rows"})
    done = pull(hub, tmp_path, DATA_SET)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"hearth: {DATA_SET} has no embeddings: ")
    assert "--include PATTERN" in done.err and "Traceback" not in done.err
    assert not hub.transfers(DATA_SET, "data/train-0.parquet")


def test_files_can_only_be_chosen_of_a_data_set(hub: HubServer, tmp_path: Path):
    done = pull(hub, tmp_path, "clip", "--include", "*")
    assert done.code == 2 and "--include is for data sets" in done.err
    assert hub.count() == 0


def test_a_killed_pull_is_gone_on_with(hub: HubServer, tmp_path: Path):
    hub.add_repository(DATA_SET, FILES)
    pause = hub.pause(DATA_SET, "embeddings/vectors.npy", after=5 * CHUNK)
    where = ("-s", f"hub.endpoint={hub.url}", "--data-dir", str(tmp_path / "data"))
    with subprocess.Popen(
        [*HEARTH, "models", "pull", DATA_SET, *where],
        env=environment(HF_HUB_OFFLINE="0"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert pause.reached.wait(20)
            wait_until(lambda: part_size(tmp_path / "data") >= CHUNK)
        finally:
            process.kill()
    listed = hearth("models", "list", "--json", "-s", "services=ocr", cwd=tmp_path).lines
    assert [(row["model"], row["state"]) for row in listed[1:]] == [(DATA_SET, "partial")]
    hub.mend()
    hub.forget()
    assert pull(hub, tmp_path, DATA_SET).code == 0
    [transfer] = hub.transfers(DATA_SET, "embeddings/vectors.npy")
    assert transfer.start > 0
    # A third time there is nothing to do, and the hub isn't asked.
    hub.forget()
    assert pull(hub, tmp_path, DATA_SET).out.startswith(f"{DATA_SET} is here")
    assert hub.count() == 0


def test_what_fails_is_told_and_the_others_are_fetched(hub: HubServer, tmp_path: Path):
    hub.add_repository(DATA_SET, FILES)
    hub.corrupt("datasets/org/bad", "embeddings/v.npy")
    hub.add_repository("datasets/org/bad", {"embeddings/v.npy": b"1234"})
    done = pull(
        hub, tmp_path, "datasets/org/bad", "datasets/org/lost", "org/no model", "./folder",
        DATA_SET, "nobody",
    )  # fmt: skip
    assert done.code == 1
    assert done.out.splitlines()[0] == f"{DATA_SET} is here"
    assert "came damaged" in done.err and "can't fetch datasets/org/lost" in done.err
    assert "'org/no model' names no model" in done.err and "nobody" in done.err
    assert "./folder: there is no folder folder" in done.err
    assert "Traceback" not in done.err


def test_a_terminal_shows_bytes_and_their_rate(hub: HubServer, tmp_path: Path):
    hub.add_repository(DATA_SET, FILES)
    where = ("-s", f"hub.endpoint={hub.url}", "--data-dir", str(tmp_path / "data"))
    control, terminal = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(control, 4096):
                seen.extend(chunk)
        except OSError:
            return  # the other side has closed

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    done = subprocess.run(
        [*HEARTH, "models", "pull", DATA_SET, *where],
        env=environment(HF_HUB_OFFLINE="0", TERM="xterm", COLUMNS="120"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=30,
        check=False,
    )
    os.close(terminal)
    reader.join(10)
    os.close(control)
    assert done.returncode == 0
    assert DATA_SET.encode() in seen and b"2.0/2.0 MB" in seen and b"/s" in seen
    assert done.stdout.startswith(DATA_SET.encode())


@pytest.fixture
def clip(hub: HubServer, tiny_export: Path) -> str:
    hub.add_repository("immich-app/tiny", tiny_export)
    hub.add_repository("immich-app/ViT-B-32__openai", tiny_export)
    return "immich-app/tiny"


def test_a_service_is_fetched_with_the_model_that_is_set(hub: HubServer, tmp_path: Path, clip: str):
    settings = ("-s", f"clip.model={clip}", "-s", "services=clip,ocr")
    done = pull(hub, tmp_path, *settings)
    assert done.code == 0, done.err
    first, place, last = done.out.splitlines()
    assert first == "clip (immich-app/tiny) is here" and last == "ocr (PP-OCRv6-small) is here"
    assert place.endswith(" in data/hub/immich-app--tiny")
    rows = hearth("models", "list", "--json", *settings, cwd=tmp_path).lines
    assert [(row["kind"], row["state"]) for row in rows] == [
        ("configured", "here"), ("configured", "here"), ("download", "whole")
    ]  # fmt: skip
    assert rows[0]["bytes"] == rows[2]["bytes"] > 10_000
    assert rows[0]["where"] == "data/hub/immich-app--tiny"


def test_a_model_is_fetched_by_its_name(hub: HubServer, tmp_path: Path, clip: str):
    # Files that the settings name for the service clip say nothing about another model.
    image = ("-s", "clip.onnx_image=missing.onnx")
    done = pull(hub, tmp_path, *image, "ViT-B-32:openai", clip)
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line.endswith("is here")] == [
        "ViT-B-32:openai is here",
        "immich-app/tiny is here",
    ]
    folders = {path.name for path in (tmp_path / "data/hub").iterdir()}
    assert {"immich-app--ViT-B-32__openai", "immich-app--tiny"} <= folders


def test_what_verify_found_wrong_is_fetched_anew_alone(hub: HubServer, tmp_path: Path, clip: str):
    assert pull(hub, tmp_path, clip).code == 0
    [graph] = (tmp_path / "data/hub").rglob("visual/model.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = hearth("models", "verify", cwd=tmp_path)
    assert found.code == 1 and "visual/model.onnx has a wrong sha256" in found.out
    settings = ("-s", f"clip.model={clip}", "-s", "services=clip")
    listed = hearth("models", "list", "--json", *settings, cwd=tmp_path).lines
    states = {row["kind"]: row["state"] for row in listed}
    assert states == {"configured": "damaged", "download": "damaged"}
    hub.forget()
    assert pull(hub, tmp_path, clip).code == 0
    assert graph.read_bytes() == whole
    assert [request.path.split("/", 5)[-1] for request in hub.requests if request.sent] == [
        "visual/model.onnx"
    ]
    assert hearth("models", "verify", cwd=tmp_path).code == 0


def test_a_repository_that_no_service_can_use_is_mended_as_well(hub: HubServer, tmp_path: Path):
    hub.add_repository("org/weights", {"weights.bin": VECTORS, "more.bin": b"never asked for"})
    store = HubStore(tmp_path / "data", endpoint=hub.url)
    weights = store.download("org/weights", ["weights.bin"]) / "weights.bin"
    weights.write_bytes(VECTORS[::-1])
    found = hearth("models", "verify", cwd=tmp_path)
    assert found.code == 1 and "`hearth models pull org/weights`" in found.out
    done = pull(hub, tmp_path, "org/weights")
    assert done.code == 0, done.err
    assert weights.read_bytes() == VECTORS
    assert not hub.transfers("org/weights", "more.bin")


def test_a_download_behind_an_export_is_mended_when_it_is_named(
    hub: HubServer, tmp_path: Path, tiny_export: Path, clip: str
):
    settings = ("-s", f"clip.model={clip}")
    assert pull(hub, tmp_path, *settings, clip).code == 0
    [graph] = (tmp_path / "data/hub").rglob("visual/model.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    export = clip_kit.place_export(tiny_export, tmp_path / "data", clip)
    assert hearth("models", "verify", clip, cwd=tmp_path).code == 1
    assert pull(hub, tmp_path, *settings, "clip").code == 0
    assert graph.read_bytes() != whole
    done = pull(hub, tmp_path, *settings, clip)
    assert done.code == 0, done.err
    assert graph.read_bytes() == whole
    assert f" in {export.relative_to(tmp_path)}" in done.out


def test_what_is_removed_is_fetched_anew_even_where_a_variant_is_left(
    hub: HubServer, tmp_path: Path, clip: str
):
    settings = ("-s", f"clip.model={clip}")
    assert pull(hub, tmp_path, clip).code == 0
    made = hearth("models", "export", clip, "--precision", "int8", cwd=tmp_path)
    assert made.code == 0, made.err
    assert hearth("models", "remove", clip, "--yes", cwd=tmp_path).code == 0
    hub.add_repository(clip, {"nothing": b"x"})
    # The node runs with what is left; the files themselves must come from the hub.
    assert pull(hub, tmp_path, *settings, "clip").code == 0
    done = pull(hub, tmp_path, *settings, clip)
    assert done.code == 1 and "visual/model.onnx is missing" in done.err


def test_the_weights_of_a_service_that_cannot_run_them_say_what_can_be_done(
    hub: HubServer, tmp_path: Path, tiny_folder: Path
):
    hub.add_repository("imageomics/bioclip-2", tiny_folder)
    done = pull(hub, tmp_path, "bioclip")
    assert done.code == 1
    assert done.err.splitlines()[-1].endswith(
        "imageomics/bioclip-2 holds open_clip weights, and no ONNX graphs: "
        "run `hearth models export imageomics/bioclip-2` once, or set bioclip.backend to torch"
    )


def test_a_damaged_copy_with_a_free_batch_axis_is_made_anew_by_a_pull(
    hub: HubServer, tmp_path: Path, tiny_export: Path, tiny_module: Any
):
    pair = graphs_kit.write_published(tiny_export, tiny_module, tmp_path / "published")
    hub.add_repository("org/pair", pair)
    assert pull(hub, tmp_path, "org/pair").code == 0
    [graph] = tmp_path.glob("data/hub/org--pair/*-free-batch/visual/model.onnx")
    made = graph.read_bytes()
    assert hearth("models", "verify", cwd=tmp_path).code == 0
    graph.write_bytes(made[:-1])
    done = hearth("models", "verify", cwd=tmp_path)
    assert done.code == 1 and "`hearth models pull org/pair`" in done.out
    hub.forget()
    assert pull(hub, tmp_path, "org/pair").code == 0
    assert graph.read_bytes() == made
    assert hub.count() == 0
    assert hearth("models", "verify", cwd=tmp_path).code == 0


def test_a_folder_without_a_model_is_not_called_here(hub: HubServer, tmp_path: Path):
    done = pull(hub, tmp_path, "..", ".", str(tmp_path))
    assert done.code == 1 and done.out == ""
    assert done.err.count("holds no onnx model: visual/model.onnx is missing") == 3


def test_a_slip_in_a_name_is_answered_with_the_name_that_is_like_it(hub: HubServer, tmp_path: Path):
    done = pull(hub, tmp_path, "bioclp", "siglip2-base-patch16-22")
    assert done.code == 1
    assert "did you mean bioclip?" in done.err
    assert "did you mean siglip2-base-patch16-224?" in done.err
    export = hearth("models", "export", "siglp", cwd=tmp_path)
    assert export.code == 2 and "did you mean siglip?" in export.err


def test_a_name_that_means_nothing_is_answered_with_the_services(hub: HubServer, tmp_path: Path):
    done = pull(hub, tmp_path, "nonsense", "mediapipe-0.10.21", "Face", "media")
    lines = done.err.splitlines()
    assert (done.code, len(lines)) == (1, 4)
    assert lines[0].endswith("the services are clip, bioclip, siglip, ocr, mediapipe, face")
    means = [line.rpartition("did you mean ")[2] for line in lines[1:]]
    assert means == ["mediapipe?", "face?", "mediapipe?"]


def test_a_data_set_that_is_named_as_a_model_is_told(hub: HubServer, tmp_path: Path):
    done = pull(hub, tmp_path, "imageomics/TreeOfLife-200M", "datasets/org/lost")
    first, second = done.err.splitlines()
    assert first.endswith("(a data set? write datasets/imageomics/TreeOfLife-200M)")
    assert "a data set?" not in second


def test_a_service_of_which_the_export_is_damaged_gets_its_download(
    hub: HubServer, tmp_path: Path, tiny_export: Path, clip: str
):
    settings = ("-s", f"clip.model={clip}")
    export = clip_kit.place_export(tiny_export, tmp_path / "data", clip)
    (export / "visual/model.onnx").write_bytes(b"short")
    row = hearth("models", "list", "--json", *settings, cwd=tmp_path).lines[0]
    assert row["state"] == "damaged" and "has 5 bytes" in row["why"]
    done = pull(hub, tmp_path, *settings, "clip")
    assert done.code == 0, done.err
    assert " in data/hub/immich-app--tiny" in done.out
    assert "in data/exports/tiny is damaged: visual/model.onnx has 5 bytes" in done.out
    row = hearth("models", "list", "--json", *settings, cwd=tmp_path).lines[0]
    assert row["state"] == "here"


def test_a_services_name_exports_its_own_model(tmp_path: Path, tiny_export: Path):
    export = clip_kit.place_export(tiny_export, tmp_path / "data", "org/tiny")
    (tmp_path / "hearth.toml").write_text('[siglip]\nmodel = "org/tiny"\n')
    done = hearth("models", "export", "siglip", "--precision", "int8", cwd=tmp_path)
    assert done.code == 0, done.err
    assert export.with_name("tiny@int8").is_dir()
    assert done.out.splitlines()[-1] == "a node takes it by itself on a CPU (precision auto)"
