"""The rules of the house: imports go down, and nothing heavy comes along unasked."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hearth
from hearth.families.registry import FAMILIES, SERVICES
from hearth.families.tasks import TASKS
from hearth.settings import Settings

ROOT = Path(hearth.__file__).parent

BASE = {
    "_version",
    "catalog",
    "cpu",
    "environment",
    "errors",
    "files",
    "iso_media",
    "known",
    "machine",
    "blocking",
    "plan",
}
MAY_IMPORT = {
    "_version": set(),
    "hearth": {"_version", "environment", "client"},
    "catalog": set(),
    "cpu": set(),
    "environment": set(),
    "errors": set(),
    "files": set(),
    "iso_media": {"errors"},
    "known": {"catalog"},
    "machine": set(),
    "blocking": set(),
    "plan": {"errors"},
    "contract": set(),
    "sections": {*BASE, "backends"},
    "settings": {*BASE, "sections", "families", "discovery"},
    "logs": BASE,
    "batching": {"errors"},
    "backends": {"environment", "errors"},
    "graphs": {"errors"},
    "hub": BASE,
    "media": BASE,
    "discovery": {*BASE, "sections"},
    "models": {*BASE, "batching", "backends", "graphs", "hub", "media"},
    # Offline work: a node only reads what it has written. `wiring` hands it the step that frees a
    # download's batch axis; beside that, only `hearth models export` comes here.
    "export": {*BASE, "backends", "graphs", "hub", "models", "families"},
    "serving": {*BASE, "tasks", "models", "batching", "hub", "media"},
    "families": {
        *BASE,
        "sections",
        "batching",
        "backends",
        "graphs",
        "hub",
        "media",
        "models",
        "tasks",
    },
    "tasks": {*BASE, "models", "batching", "backends", "media"},
    "rpc": {*BASE, "contract", "serving", "tasks", "models", "batching"},
    "metrics": {*BASE, "batching", "models", "serving"},
    "wiring": {
        *BASE,
        "models",
        "families",
        "export",
        "media",
        "hub",
        "discovery",
        "settings",
        "batching",
    },
    "reload": {"settings"},
    # A node's signals.
    "process": {*BASE, "hub", "logs", "node", "settings"},
    "node": {
        "reload",
        *BASE,
        "wiring",
        "families",
        "rpc",
        "serving",
        "tasks",
        "models",
        "hub",
        "settings",
        "metrics",
    },
    "client": {*BASE, "contract", "discovery"},
    "output_files": {"errors"},
    "watch": {*BASE, "client", "media", "models", "families", "output_files"},
}
ABOVE_ALL = {"cli", "__main__"}


def imports_of(path: Path) -> Iterator[str]:
    """The rooms of hearth that a module imports from, lazily or not."""
    for part in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(part, ast.ImportFrom) and part.module and not part.level:
            names = [part.module] + [f"{part.module}.{alias.name}" for alias in part.names]
        elif isinstance(part, ast.Import):
            names = [alias.name for alias in part.names]
        for name in names:
            if name == "hearth":
                continue
            if name.startswith("hearth."):
                room = name.split(".")[1]
                yield room if (ROOT / room).is_dir() or (ROOT / f"{room}.py").exists() else "hearth"


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "_pb2" not in path.name)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    relative = path.relative_to(ROOT)
    room = relative.parts[0].removesuffix(".py").replace("__init__", "hearth")
    if room in ABOVE_ALL:
        return
    assert set(imports_of(path)) - {room} <= MAY_IMPORT[room]


def families_of(path: Path) -> set[str]:
    """The families whose folders a module imports from, lazily or not."""
    folders = {each.name for each in (ROOT / "families").iterdir() if each.is_dir()}
    imported = re.findall(r"hearth\.families(?:\.| import )(\w+)", path.read_text())
    return folders.intersection(imported)


def test_no_family_imports_another():
    for path in (ROOT / "families").rglob("*/*.py"):
        family = path.relative_to(ROOT / "families").parts[0]
        assert families_of(path) <= {family}, path


def test_every_family_is_registered_and_its_services_are_its_own():
    folders = {path.parent.name for path in (ROOT / "families").glob("*/family.py")}
    assert sorted(family.name for family in FAMILIES) == sorted(folders)
    services = [service for family in FAMILIES for service in family.services]
    assert len(services) == len(SERVICES)
    own = {service.name: service.settings for service in services if service.is_optional}
    assert own == {name: type(section) for name, section in Settings().sections.items()}
    assert {task.service for task in TASKS} <= set(SERVICES)
    names = [name for task in TASKS for name in task.names]
    assert sorted(names) == sorted(set(names))


def loaded_by(code: str) -> set[str]:
    return {name.split(".")[0] for name in modules_loaded_by(code)}


def modules_loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


HEAVY = {
    "ai_edge_litert",
    "torch",
    "torchvision",
    "open_clip",
    "onnxruntime",
    "cv2",
    "huggingface_hub",
    "rapidocr",
}


@pytest.mark.parametrize("module", ["hearth.node", "hearth.cli.main", "hearth.client"])
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    assert not HEAVY & loaded_by(f"import {module}")


def test_the_client_imports_nothing_of_the_server():
    loaded = loaded_by("import hearth.client.connection")
    # grpc imports grpc_health and grpc_reflection itself, where they are installed.
    assert not {"numpy", "PIL", "uvloop"} & loaded


def test_what_every_task_is_made_of_brings_no_family_along():
    loaded = modules_loaded_by("from hearth.tasks import images, options, parse, render")
    assert "hearth.tasks.render" in loaded
    assert not [name for name in loaded if name.startswith("hearth.families")]


def test_settings_name_every_family_and_bring_no_model_along():
    loaded = modules_loaded_by("import hearth.settings")
    assert "hearth.families.registry" in loaded
    rooms = {name.split(".")[1] for name in loaded if name.startswith("hearth.")}
    assert rooms <= MAY_IMPORT["settings"] - {"backends", "known"} | {"settings"}
    assert not HEAVY.union({"numpy", "PIL", "grpc", "zeroconf"}) & {
        name.split(".")[0] for name in loaded
    }
