"""`hearth models verify` and `remove`, and the list of what is here."""

import hashlib
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli_kit import HEARTH, Done, environment
from cli_kit import hearth_here as hearth
from hearth.files import fingerprint
from hearth.hub.hashes import content
from hearth.hub.store import HubStore
from hub_kit import HubServer

NO_MODELS = ("-s", "services=ocr")
EXPORTED = ("visual/model.onnx", "textual/model.onnx", "visual/preprocess_cfg.json")


@pytest.fixture
def data(hub: HubServer, tmp_path: Path) -> Path:
    """A data folder with two downloads, three exports and the label vectors of a model."""
    folder = tmp_path / "data"
    hub.add_repository("org/tiny", {"config.json": b"{}", "model.onnx": bytes(5_000)})
    hub.add_repository("datasets/org/names", {"embeddings/v.npy": bytes(7_000)})
    hub.add_repository("immich-app/ViT-B-32__openai", {"model.onnx": bytes(100)})
    store = HubStore(folder, endpoint=hub.url)
    store.download("org/tiny", ["*"])
    store.download("datasets/org/names", ["*"])
    for name, model in (
        ("tiny", "tiny"),
        ("tiny@int8", "tiny"),
        ("ViT-B-32__mine", "ViT-B-32:mine"),
    ):
        export(folder / "exports" / name, model)
    labels(folder / "clip/onnxrt/tiny", "tiny")
    return folder


def export(folder: Path, model: str) -> None:
    """What an export looks like from outside."""
    for name in (*EXPORTED, "textual/tokenizer.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{folder.name} {name}".encode() * 100)
    graphs = [folder / name for name in EXPORTED[:2]]
    name, _, precision = folder.name.partition("@")
    about = {
        "model_id": model,
        "reference": "org/tiny" if name == "tiny" else model,
        "precision": precision or "fp32",
        "files": fingerprint(graphs),
        "content": content(folder),
    }
    (folder / "hearth.json").write_text(json.dumps(about))


def rewrite_about(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "hearth.json").read_text()) | changes
    (folder / "hearth.json").write_text(json.dumps(about))


def labels(folder: Path, model: str) -> None:
    """What a node keeps of a label set, from outside."""
    folder.mkdir(parents=True)
    files = {}
    for what, name in (("vectors", "scenes.vectors.npy"), ("names", "scenes.names.npz")):
        content = name.encode() * 20
        (folder / name).write_bytes(content)
        files[what] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    about = {"model_id": model, "precision": "fp32"}
    meta = {"set": "scenes", "made_from": about, "files": files}
    (folder / "scenes.meta.json").write_text(json.dumps(meta))


def models(command: str, data: Path, *arguments: object, **options: object) -> Done:
    return hearth("models", command, *arguments, cwd=data.parent, **options)


def named(data: Path) -> set[tuple[str, str]]:
    """Kind and path of all that is listed."""
    return {(line["kind"], line["path"].removeprefix("data/")) for line in listed(data)}


def listed(data: Path) -> list[dict[str, Any]]:
    """All files that are listed."""
    lines = models("list", data, "--json", *NO_MODELS).lines
    return [line for line in lines if line["kind"] != "configured"]


EVERYTHING = {
    ("download", "hub/org--tiny"),
    ("download", "hub/datasets--org--names"),
    ("export", "exports/tiny"),
    ("export", "exports/tiny@int8"),
    ("export", "exports/ViT-B-32__mine"),
    ("label vectors", "clip/onnxrt/tiny"),
}


def test_everything_in_the_data_folder_is_listed(data: Path):
    (data / "exports/.tiny.4711").mkdir()
    (data / "exports/half/visual").mkdir(parents=True)
    by_path = {line["path"].removeprefix("data/"): line for line in listed(data)}
    assert {(line["kind"], path) for path, line in by_path.items()} == {
        *EVERYTHING, ("export", "exports/half")
    }  # fmt: skip
    tiny = by_path["hub/org--tiny"]
    assert (tiny["model"], tiny["state"], tiny["precision"]) == ("org/tiny", "whole", None)
    assert tiny["bytes"] >= 5_002
    assert by_path["hub/datasets--org--names"]["model"] == "datasets/org/names"
    assert by_path["exports/tiny"]["precision"] == "fp32"
    assert by_path["exports/tiny@int8"]["precision"] == "int8"
    assert by_path["exports/ViT-B-32__mine"]["model"] == "ViT-B-32:mine"
    assert by_path["exports/half"]["state"] == "partial"
    table = models("list", data, *NO_MODELS, COLUMNS="80").out
    assert "org/tiny" in table and "int8" in table and "whole" in table
    assert max(map(len, table.splitlines())) <= 80


def test_whole_files_are_verified(data: Path):
    done = models("verify", data)
    assert done.code == 0, done.out + done.err
    assert "✓ download org/tiny" in done.out and "✓ export tiny@int8" in done.out


def test_every_file_that_is_wrong_is_told(data: Path):
    [model] = data.glob("hub/org--tiny/*/model.onnx")
    model.write_bytes(bytes(4_999) + b"x")
    graph = data / "exports/tiny@int8/visual/model.onnx"
    graph.write_bytes(graph.read_bytes().swapcase())
    mine = data / "exports/ViT-B-32__mine"
    (mine / "textual/model.onnx").unlink()
    rewrite_about(mine, checkpoint="my weights.pt")
    (data / "clip/onnxrt/tiny/scenes.vectors.npy").write_bytes(b"short")
    done = models("verify", data, "--json")
    verdicts = {line["path"].removeprefix("data/"): line for line in done.lines}
    assert done.code == 1
    wrong = {path for path, line in verdicts.items() if line["verdict"] == "wrong"}
    assert wrong == {
        "hub/org--tiny", "exports/tiny@int8", "exports/ViT-B-32__mine", "clip/onnxrt/tiny"
    }  # fmt: skip
    assert verdicts["hub/org--tiny"]["problems"] == ["model.onnx has a wrong sha256"]
    assert verdicts["exports/tiny@int8"]["problems"] == ["visual/model.onnx has a wrong sha256"]
    again = "run `hearth models export org/tiny --precision int8`"
    assert verdicts["exports/tiny@int8"]["note"] == f"to mend it, {again}"
    again = "run `hearth models export ViT-B-32:mine --checkpoint 'my weights.pt'`"
    assert verdicts["exports/ViT-B-32__mine"]["note"] == f"to mend it, {again}"
    assert verdicts["exports/tiny"]["verdict"] == "right"
    assert "hearth models pull org/tiny" in verdicts["hub/org--tiny"]["note"]
    # By name: only what is asked for.
    assert models("verify", data, "datasets/org/names").code == 0
    page = models("verify", data, "org/tiny")
    assert page.code == 1 and page.out.startswith("✗ download org/tiny\n  model.onnx has a wrong")
    assert "tiny@int8" not in page.out


def test_a_byte_in_the_middle_of_an_export_is_seen_and_all_its_files_are_read(data: Path):
    graph = data / "exports/tiny/visual/model.onnx"
    graph.write_bytes(bytes(2_000_000) + b"x" + bytes(2_000_000))
    tiny = data / "exports/tiny"
    rewrite_about(tiny, content=content(tiny), files=fingerprint([graph]))
    assert models("verify", data, "tiny@fp32").code == 0
    graph.write_bytes(bytes(2_000_000) + b"y" + bytes(2_000_000))
    (data / "exports/tiny/textual/tokenizer.json").write_bytes(b"{}")
    done = models("verify", data, "tiny@fp32", "--json")
    assert done.code == 1
    assert done.lines[0]["problems"] == [
        "textual/tokenizer.json has 2 bytes instead of 2700",
        "visual/model.onnx has a wrong sha256",
    ]


def test_an_export_that_is_wrong_is_marked_until_it_is_right_again(data: Path):
    graph = data / "exports/tiny/visual/model.onnx"
    whole = graph.read_bytes()
    large = bytes(2_000_000) + b"x" + bytes(2_000_000)
    graph.write_bytes(large)
    tiny = data / "exports/tiny"
    rewrite_about(tiny, content=content(tiny), files=fingerprint([graph]))
    graph.write_bytes(large.replace(b"x", b"y"))
    assert {row["state"] for row in listed(data)} == {"whole"}
    assert models("verify", data, "tiny@fp32").code == 1
    [row] = [row for row in listed(data) if row["path"].endswith("exports/tiny")]
    assert row["state"] == "damaged" and "verify` found it" in row["note"]
    assert models("verify", data, "tiny@fp32").code == 1
    graph.write_bytes(large)
    assert models("verify", data, "tiny@fp32").code == 0
    assert {row["state"] for row in listed(data)} == {"whole"}
    # What can be told without reading all of it is told by the list alone.
    graph.write_bytes(whole)
    [row] = [row for row in listed(data) if row["path"].endswith("exports/tiny")]
    assert row["state"] == "damaged" and f"has {len(whole)} bytes" in row["note"]


def test_names_in_files_that_are_no_names_are_listed_as_the_folder(data: Path):
    rewrite_about(data / "exports/tiny", model_id=["x"], reference={}, precision="\x1b[31m")
    [row] = [row for row in listed(data) if row["path"].endswith("exports/tiny")]
    assert (row["model"], row["precision"]) == ("tiny", "fp32")


def test_an_export_of_an_earlier_version_is_verified_by_its_fingerprints(data: Path):
    rewrite_about(data / "exports/tiny", content=None, reference=None)
    right = models("verify", data, "tiny@fp32", "--json").lines[0]
    assert (right["verdict"], right["note"]) == (
        "right", "by the size and both ends of each graph"
    )  # fmt: skip
    (data / "exports/tiny/visual/model.onnx").write_bytes(b"other")
    wrong = models("verify", data, "tiny@fp32", "--json").lines[0]
    assert wrong["problems"] == ["visual/model.onnx isn't the file that was made"]
    assert wrong["note"] == "to mend it, export the model again"


def test_a_copy_beside_a_download_is_listed_verified_and_removed_with_it(data: Path):
    [snapshot] = data.glob("hub/org--tiny/*/")
    copy = snapshot.with_name(f"{snapshot.name}-free-batch")
    export(copy, "tiny")
    [row] = [row for row in listed(data) if row["model"] == "org/tiny"]
    assert row["note"] == "copy with a free batch axis"
    assert row["bytes"] == sum(f.stat().st_size for f in snapshot.parent.rglob("*") if f.is_file())
    assert "free batch axis" in " ".join(models("list", data, COLUMNS="120").out.split())
    assert models("verify", data, "org/tiny").code == 0
    # Nobody is to run what is wrong: it is made anew of the download.
    (copy / "visual/model.onnx").write_bytes(b"other")
    done = models("verify", data, "org/tiny", "--json")
    assert done.code == 1
    assert done.lines[0]["problems"] == [
        "copy with a free batch axis: visual/model.onnx has 5 bytes instead of 6900"
    ]
    assert "`hearth models pull org/tiny` makes it" in done.lines[0]["note"]
    assert not copy.exists() and snapshot.exists()
    assert models("verify", data, "org/tiny").code == 0
    export(copy, "tiny")
    assert models("remove", data, "org/tiny", "--yes").code == 0
    assert not snapshot.parent.exists()


def test_an_export_without_fingerprints_is_not_called_right(data: Path):
    (data / "exports/tiny/hearth.json").write_text('{"model_id": "tiny"}')
    [plain, variant] = [
        line for line in models("verify", data, "tiny", "--json").lines if line["kind"] == "export"
    ]
    assert (plain["verdict"], variant["verdict"]) == ("unchecked", "right")
    assert "nothing to check by" in plain["note"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("org/tiny", {("download", "hub/org--tiny")}),
        ("datasets/org/names", {("download", "hub/datasets--org--names")}),
        ("tiny@int8", {("export", "exports/tiny@int8")}),
        ("tiny@fp32", {("export", "exports/tiny")}),
        (
            "tiny",
            {
                ("export", "exports/tiny"),
                ("export", "exports/tiny@int8"),
                ("label vectors", "clip/onnxrt/tiny"),
            },
        ),
        ("ViT-B-32:mine", {("export", "exports/ViT-B-32__mine")}),
        ("ViT-B-32__mine", {("export", "exports/ViT-B-32__mine")}),
    ],
)
def test_what_is_named_is_removed_and_nothing_else(
    data: Path, name: str, gone: set[tuple[str, str]]
):
    paths = [data / path for _, path in gone]
    held = sum(f.stat().st_size for path in paths for f in path.rglob("*") if f.is_file())
    done = models("remove", data, name, "--yes")
    assert done.code == 0, done.err
    assert done.out.startswith(
        f"removed {len(gone)} of {len(gone)}, {-(-held // 1000)} kB are free"
    )
    assert named(data) == EVERYTHING - gone
    assert not any(path.exists() for path in paths)
    hidden = [path.name for path in data.glob("exports/.*")]
    assert hidden == []


def test_a_model_of_open_clip_goes_with_the_download_that_pull_brought(hub: HubServer, data: Path):
    HubStore(data, endpoint=hub.url).download("immich-app/ViT-B-32__openai", ["*"])
    assert models("remove", data, "ViT-B-32:openai", "--yes").code == 0
    assert named(data) == EVERYTHING


def test_a_name_that_is_unknown_removes_nothing_at_all(data: Path, tmp_path: Path):
    (tmp_path / "precious").mkdir()
    for name in ("nobody", "../precious", "data", "tiny@fp16", "..", str(tmp_path), "*"):
        done = models("remove", data, "tiny", name, "--yes")
        assert done.code == 1, name
        assert f"nothing here is called {name}; here are: datasets/org/names, " in done.err
    assert named(data) == EVERYTHING
    assert (tmp_path / "precious").exists()


def test_links_are_removed_and_not_what_they_lead_to(data: Path, tmp_path: Path):
    place = tmp_path / "elsewhere"
    (data / "exports/tiny").rename(place)
    (data / "exports/tiny").symlink_to(place)
    assert models("remove", data, "tiny@fp32", "--yes").code == 0
    assert not (data / "exports/tiny").is_symlink()
    assert (place / "visual/model.onnx").exists()


def test_without_a_terminal_nothing_is_removed_unless_told(data: Path):
    done = models("remove", data, "tiny")
    assert done.code == 2 and "--yes" in done.err
    assert named(data) == EVERYTHING


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_on_a_terminal_it_asks_first(data: Path, answer: bytes, code: int):
    control, terminal = pty.openpty()
    os.write(control, answer)
    done = subprocess.run(
        [*HEARTH, "models", "remove", "tiny@int8"],
        stdin=terminal,
        capture_output=True,
        cwd=data.parent,
        env=environment(),
        timeout=30,
        check=False,
    )
    os.close(terminal)
    os.close(control)
    assert done.returncode == code, done.stderr
    assert b"exports/tiny@int8" in done.stderr and b"Remove?" in done.stderr
    assert (data / "exports/tiny@int8").exists() == bool(code)
