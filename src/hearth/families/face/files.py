"""Where the two graphs are: in a folder, by their names or else by what is in them.

detection/model.onnx                 recognition/model.onnx          as immich-app publishes
det_10g.onnx, scrfd_500m_kps.onnx    w600k_r50.onnx, glintr100.onnx  as insightface's packs
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hearth.backends import Session
from hearth.backends.onnx_pixels import taking_pixels
from hearth.backends.registry import open_session
from hearth.errors import ModelUnavailable
from hearth.families.face import parameters as p
from hearth.families.face.parameters import DETECTION, IN_LAYOUT, RECOGNITION
from hearth.families.face.settings import FaceSettings
from hearth.files import fingerprint
from hearth.graphs.graph_io import load_graph
from hearth.hub.atomic import about
from hearth.hub.manifest import DYNAMIC_BATCH, made_of
from hearth.models.sessions import session_options

_NAMES: Mapping[str, re.Pattern[str]] = {
    DETECTION: re.compile(r"(det_|scrfd|retinaface).*", re.IGNORECASE),
    RECOGNITION: re.compile(r"(w600k_|glintr|ms1mv|arcface).*", re.IGNORECASE),
}
"""Names by which the graphs of insightface's packs are called."""

_MOST_LOOKED_INTO = 20
"""Graphs of a folder that are opened to see what they are."""


class Graphs(NamedTuple):
    """The two graphs of a model."""

    detection: Path
    recognition: Path


def dynamic_copy(snapshot: Path) -> Path | None:
    """Find the copy of a download's recogniser with a free batch axis; None where there is none."""
    folder, graph = made_of(snapshot, DYNAMIC_BATCH), IN_LAYOUT[RECOGNITION]
    told, path = about(folder), folder / graph
    if told.get("made_from") != fingerprint([snapshot / graph]) or not path.is_file():
        return None
    known = told.get("content")
    size = known.get(graph, {}).get("size") if isinstance(known, dict) else None
    return path if path.stat().st_size == size else None


def graph_in(folder: Path, role: str) -> Path:
    """Find the graph of a role, ``detection`` or ``recognition``, in a folder of the user's.

    Raises ModelUnavailable where there is none, or more than one to choose from.
    """
    if not folder.is_dir():
        raise ModelUnavailable(f"there is no folder {folder}")
    if (path := folder / IN_LAYOUT[role]).is_file():
        return path
    graphs = sorted(folder.glob("*.onnx"))
    matches = [path for path in graphs if _NAMES[role].fullmatch(path.stem)]
    if not matches:
        unnamed = [path for path in graphs if not _has_known_name(path)]
        matches = [path for path in unnamed[:_MOST_LOOKED_INTO] if role_of(path) == role]
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        raise ModelUnavailable(
            f"{folder} holds several graphs for {role}, {names}: name one with face.{role}"
        )
    if not matches:
        usual = "det_10g.onnx" if role == DETECTION else "w600k_r50.onnx"
        raise ModelUnavailable(
            f"{folder} holds no graph for {role}: put {IN_LAYOUT[role]} or {usual} there, or name "
            f"a file with face.{role}"
        )
    return matches[0]


def role_of(path: Path) -> str | None:
    """Tell a graph's role by its inputs and outputs; None where it has neither.

    Raises ModelUnavailable for a file that can't be read.
    """
    graph = load_graph(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [_shape(value) for value in graph.input if value.name not in weights]
    outputs = [_shape(value) for value in graph.output]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][1] != 3:
        return None
    if len(outputs) == 1:
        is_face = inputs[0][2:] == [p.SIDE, p.SIDE] and outputs[0][-1:] == [p.DIM]
        return RECOGNITION if is_face else None
    # SCRFD gives each of scores, boxes and keypoints for three levels or five.
    return DETECTION if len(outputs) in (6, 9, 10, 15) else None


def open_detection(path: Path, settings: FaceSettings) -> Session:
    """Open the detector's graph as one that takes pixels, where it is one; raises SetupError."""
    graph = open_session(path, session_options(settings))
    shape = graph.inputs[0].shape if graph.inputs else ()
    height, width = shape[2:] if len(shape) == 4 else (None, None)
    return taking_pixels(
        graph,
        height=height or p.INPUT_SIDE,
        width=width or p.INPUT_SIDE,
        **_normalising(p.DETECTION_MEAN, p.DETECTION_SCALE),
    )


def open_recognition(path: Path, settings: FaceSettings) -> Session:
    """Open the recogniser's graph as one that takes pixels, where it is one; raises SetupError."""
    return taking_pixels(
        open_session(path, session_options(settings)),
        height=p.SIDE,
        width=p.SIDE,
        **_normalising(p.RECOGNITION_MEAN, p.RECOGNITION_SCALE),
    )


def _normalising(mean: float, scale: float) -> dict[str, Sequence[float]]:
    """Write (pixel - mean) / scale as a factor and an offset for each channel."""
    return {"scale": (1 / scale,) * 3, "offset": (-mean / scale,) * 3}


def _has_known_name(path: Path) -> bool:
    return any(names.fullmatch(path.stem) for names in _NAMES.values())


def _shape(value: Any) -> list[int]:
    """Read the sizes of a graph's input or output; 0 where one is free."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
