"""A CLIP as files: the pair of graphs, and what lies around them.

visual/model.onnx     visual/preprocess_cfg.json
textual/model.onnx    textual/tokenizer.json    textual/tokenizer_config.json
config.json           open_clip's model config
hearth.json           written by our export: model id, logit scale, where it came from

An image graph takes normalised floats, (n, 3, height, width), as our exports and other people's
do, and gets the nodes that normalise put in front; or pixels, uint8 (n, height, width, 3), as
earlier exports of ours do. Graphs of other engines end as theirs do, and lie in the same places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hearth.backends import TensorSpec
from hearth.backends.onnx_pixels import PixelSession, taking_pixels
from hearth.backends.registry import require_backend
from hearth.errors import ModelUnavailable
from hearth.families.clip import tokenizer as tokenizers
from hearth.families.clip.parts import Parts
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.transform import ImageTransform
from hearth.hub.atomic import read_json
from hearth.hub.layout import ABOUT
from hearth.models.sessions import session_options

_LONGEST_NAME = 200
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-4, 1e4
"""Bounds of a scale of logits: trained models end up at 100, SigLIP's at 113."""

SPIN_US = 20
"""Microseconds that a tower's threads stay awake for each other: who waits alone has the answer
sooner, and two towers on two busy cores take 1.02 to 1.04 of the CPU (benchmarks/spinning.py)."""

IMAGE = Path("visual", "model.onnx")
TEXT = Path("textual", "model.onnx")


@dataclass(frozen=True)
class GraphFiles:
    """Paths of the two graphs; without ``text`` the model embeds pictures only."""

    image: Path
    text: Path | None
    name: str
    """The model's id where no ``hearth.json`` tells."""

    @classmethod
    def in_folder(cls, folder: Path, name: str, suffix: str = ".onnx") -> "GraphFiles":
        """Name the graphs of a folder in the layout above; other engines' end in ``suffix``."""
        image, text = ((folder / path).with_suffix(suffix) for path in (IMAGE, TEXT))
        # Where an ONNX text tower is missing, it is said when it is opened.
        return cls(image, text if suffix == ".onnx" or text.is_file() else None, name)

    @classmethod
    def of_paths(cls, image: Path, text: Path | None) -> "GraphFiles":
        """Find the graphs that a user names one by one."""
        in_layout = image.parent.name == IMAGE.parent.name and image.name == IMAGE.name
        folder = image.resolve().parent.parent
        return cls(image, text, folder.name if in_layout and folder.name else image.stem)

    def load(self, settings: ClipSettings) -> Parts:
        """Open the sessions and find what goes with them; raises SetupError."""
        about = self._read(ABOUT)
        backend = require_backend(settings.backend)
        options = replace(session_options(settings), spin_us=SPIN_US)
        graph = backend.open(self.image, options)
        transform = ImageTransform.from_config(self._preprocessing(graph.inputs))
        image = taking_pixels(
            graph,
            height=transform.height,
            width=transform.width,
            scale=transform.scale,
            offset=transform.offset,
        )
        parts = Parts(
            model_id=told_name(about) or self.name,
            image=image,
            transform=transform,
            files=(self.image,),
            logit_scale=_number(about.get("logit_scale"), least=_SMALLEST_SCALE),
            logit_bias=_number(about.get("logit_bias")),
            floats=image.floats if isinstance(image, PixelSession) else None,
        )
        if self.text is None:
            return parts
        tokenizer, files = self._tokenizer(self.text)
        try:
            text = backend.open(self.text, options)
        except BaseException:
            image.close()
            raise
        context = text.inputs[0].shape[-1] if text.inputs else None
        if isinstance(context, int):
            # The graph knows best how long its texts are.
            tokenizer.set_context(context)
        return parts.with_text(text, tokenizer, (self.text, *files))

    def _preprocessing(self, inputs: Sequence[TensorSpec]) -> Mapping[str, Any]:
        config = self._read("preprocess_cfg.json")
        if config:
            return config
        # CLIP's own, at the size that the graph takes.
        shape = inputs[0].shape if inputs else ()
        if len(shape) != 4:
            return {}
        height, width = shape[1:3] if shape[-1] == 3 else shape[2:]
        return {"size": [height, width]} if height and width else {}

    def _tokenizer(self, text: Path) -> tuple[tokenizers.JsonTokenizer, tuple[Path, ...]]:
        config = self._read("config.json")
        for folder in (text.parent, text.parent.parent):
            path = folder / "tokenizer.json"
            if path.is_file():
                return tokenizers.from_folder(folder, config), (path,)
        return tokenizers.clip_tokenizer(), ()

    def _read(self, name: str) -> Mapping[str, Any]:
        """Read a JSON file beside the image graph or one folder up; empty where there is none."""
        for folder in (self.image.parent, self.image.parent.parent):
            path = folder / name
            if path.is_file():
                return read_json(path)
        return {}


def told_name(about: Mapping[str, Any]) -> str | None:
    """Read the model id that a ``hearth.json`` tells, if it does; raises ModelUnavailable.

    It goes to clients, into logs and names of folders.
    """
    value = about.get("model_id")
    if value is None:
        return None
    if not (isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()):
        raise ModelUnavailable(f"{ABOUT}: its model_id is no name")
    return value


def _number(value: object, *, least: float = -_LARGEST_SCALE) -> float | None:
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= _LARGEST_SCALE
    ):
        raise ModelUnavailable(f"{ABOUT}: {repr(value)[:40]} is no number to scale with")
    return float(value)
