"""A downloaded recogniser that takes one face at a time, as one that takes many.

The copy lies beside the download, proved by its numbers, and goes when the download goes.
"""

import logging
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.errors import HearthError, ModelUnavailable, one_line
from hearth.export.dynamic_batch import has_fixed_batch, make_batch_dynamic
from hearth.export.graph_proof import prove_dynamic_batch
from hearth.families.face import parameters as p
from hearth.families.face.files import dynamic_copy
from hearth.families.face.parameters import IN_LAYOUT, RECOGNITION
from hearth.files import fingerprint, write_atomic
from hearth.graphs.graph_io import require_onnx, save_graph
from hearth.hub.atomic import atomic_folder, write_json
from hearth.hub.hashes import content
from hearth.hub.layout import ABOUT
from hearth.hub.manifest import DYNAMIC_BATCH, impossible_mark, made_of
from hearth.hub.progress import Progress
from hearth.hub.store import HubStore

log = logging.getLogger(__name__)

_GRAPH = IN_LAYOUT[RECOGNITION]

_OPSET = 13
"""Version of the operators that ``make_batch_dynamic`` understands; insightface's graphs are of
version 11."""


def make_recognition_dynamic(
    repository: str, snapshot: Path, hub: HubStore, model_id: str, progress: Progress
) -> None:
    """Write ``dynamic_copy`` where the graph's own batch is fixed to one.

    Where it can't be made, nothing but a mark is written, and the log says why: the model
    works as before then, one face at a time. Blocking.
    """
    what = f"{model_id}: free batch axis"
    try:
        if (
            not has_fixed_batch(snapshot / _GRAPH)
            or impossible_mark(snapshot, DYNAMIC_BATCH).is_file()
        ):
            return
        with hub.making(repository, progress):
            if dynamic_copy(snapshot) is not None:
                return  # by another process, meanwhile
            progress(what, 0, 2)
            folder = made_of(snapshot, DYNAMIC_BATCH)
            shutil.rmtree(folder, ignore_errors=True)  # of other files, or damaged
            with atomic_folder(folder) as work:
                _write(snapshot, work, model_id)
            progress(what, 2, 2)
    except (HearthError, OSError) as error:
        log.warning("%s: no free batch axis, so one face at a time: %s", model_id, error)
        return
    log.info("%s: free batch axis of recognition, in %s", model_id, folder)


def _write(snapshot: Path, work: Path, model_id: str) -> None:
    source, target = snapshot / _GRAPH, work / _GRAPH
    need, free = 2 * source.stat().st_size, shutil.disk_usage(work).free
    if need > free:
        raise ModelUnavailable(f"{need / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")
    target.parent.mkdir()
    modern = work / "modern.onnx"
    try:
        _modernise(source, modern)
        make_batch_dynamic(modern, target, _samples())
        prove_dynamic_batch(source, target, _samples())
    except HearthError as error:
        write_atomic(impossible_mark(snapshot, DYNAMIC_BATCH), str(error).encode())
        raise
    modern.unlink()
    metadata = {
        "format": 1,
        "model_id": model_id,
        "free_batch": [RECOGNITION],
        "made_from": fingerprint([source]),
        "content": content(work),
        "versions": {name: version(name) for name in ("hearth", "onnx", "onnxruntime")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(work / ABOUT, metadata)


def _modernise(source: Path, target: Path) -> None:
    """Write the graph with operators of a version that can be followed; raises ModelUnavailable."""
    onnx = require_onnx()
    try:
        model = onnx.load_model(source)
        if _opset(model) < _OPSET:
            from onnx import version_converter

            model = version_converter.convert_version(model, _OPSET)
    except Exception as error:  # a file may hold anything
        raise ModelUnavailable(f"the graph can't be converted: {one_line(error)}") from error
    save_graph(model, target)


def _opset(model: Any) -> int:
    versions = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return int(max(versions, default=_OPSET))


def _samples() -> NDArray[np.float32]:
    """Make four pictures that are no faces, as the graph takes them."""
    shape = (4, 3, p.SIDE, p.SIDE)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
