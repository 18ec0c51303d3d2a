"""Text recognition models by name: those that are published, and how their files are called.

    inference.onnx          inference.yml       as PaddlePaddle publishes, one model a repository
    recognition/model.onnx  recognition/*.txt   as immich-app lays models out
    rec.onnx, NAME.onnx     *.txt, *.yml        others

A graph's alphabet stands in its metadata (``character``, a character on each line), or in a file
beside it: ``inference.yml``, or a text file with a character on each line.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hearth.errors import ModelUnavailable, SettingsError

PACKAGED = "PP-OCRv6_small"
"""The model that rapidocr's package carries: it needs no download."""

ORGANISATION = "PaddlePaddle"
"""Organisation that publishes PP-OCR's models as ONNX, in repositories named MODEL_rec_onnx."""

_SIZES = ("PP-OCRv6_tiny", PACKAGED, "PP-OCRv6_medium", "PP-OCRv5_mobile", "PP-OCRv5_server")
_LANGUAGES = (
    "arabic", "cyrillic", "devanagari", "el", "en", "eslav", "korean", "latin", "ta", "te", "th",
)  # fmt: skip

NAMES = (*_SIZES, *(f"{language}_PP-OCRv5_mobile" for language in _LANGUAGES))
"""Names that PaddlePaddle gives its models, without ``_rec``: by size, and by language or script.
"""

LAYOUTS = (
    ("inference.onnx", "inference.y*ml"),
    ("recognition/model.onnx", "recognition/*.txt", "recognition/*.yml"),
    ("rec.onnx", "*.txt", "*.yml"),
    ("model.onnx", "*.txt", "*.yml"),
)
"""Files of a repository, its graph first: the first layout whose graph is there is taken."""

_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)((?:/[\w.-]+)*)", re.ASCII)

_MOST_BYTES = 4 << 20
"""Bytes that a file with an alphabet may have; the longest there is has 150 kB."""


class RecognitionName(NamedTuple):
    """A recogniser as the setting ``ocr.recognition`` names it."""

    text: str
    """Name as the user wrote it."""
    model_id: str
    repository: str = ""
    """Repository of the hub; empty for a local path and for the packaged model."""
    inside: str = ""
    """Folder or ONNX file within the repository; empty: the top."""
    path: Path | None = None
    """Folder or ONNX file of the user's."""

    @property
    def is_packaged(self) -> bool:
        """Whether it is the model that rapidocr's package carries."""
        return not self.repository and self.path is None

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """Patterns of the files that may be meant, see ``LAYOUTS``."""
        if not self.inside.endswith(".onnx"):
            folder = f"{self.inside}/" if self.inside else ""
            return tuple(tuple(folder + name for name in layout) for layout in LAYOUTS)
        folder, slash, _ = self.inside.rpartition("/")
        return ((self.inside, f"{folder}{slash}*.txt", f"{folder}{slash}*.yml"),)


def named(text: str) -> RecognitionName:
    """Read a name: one of ``NAMES``, a repository of the hub, or a local file or folder.

    Names are understood as PaddlePaddle, rapidocr and Immich write them. Of a repository,
    ORG/NAME/FOLDER and ORG/NAME/FILE.onnx name a part. Raises SettingsError.
    """
    text = text.strip()
    path = Path(text).expanduser()
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or path.exists():
        return RecognitionName(text, _id_of(path), path=path)
    if (model := _known(text)) is not None:
        if model == PACKAGED:
            return RecognitionName(text, model)
        return RecognitionName(text, model, repository=f"{ORGANISATION}/{model}_rec_onnx")
    if (match := _REPOSITORY.fullmatch(text)) and ".." not in text:
        repository, inside = match.groups()
        name = (inside or repository).removesuffix(".onnx").rpartition("/")[2]
        return RecognitionName(text, _plain(name), repository, inside.strip("/"))
    like = difflib.get_close_matches(text, NAMES, n=1)
    meant = f"did you mean {like[0]}?" if like else f"there are {', '.join(NAMES)}"
    raise SettingsError(
        f"ocr.recognition: no model {text!r}; {meant} Or name a repository ORG/NAME of the hub, "
        "a local folder, or an .onnx file"
    )


def layout_in(name: RecognitionName, files: Sequence[str]) -> tuple[str, ...]:
    """Find the layout of a repository that holds these files; raises ModelUnavailable for none."""
    found = next((layout for layout in name.layouts if layout[0] in files), None)
    if found is None:
        graphs = [path for path in files if path.endswith(".onnx")]
        looked_for = " or ".join(layout[0] for layout in name.layouts)
        others = f"; name one of its graphs, as {name.repository}/{graphs[0]}" if graphs else ""
        raise ModelUnavailable(f"{name.repository} has no {looked_for}{others}")
    return found


def recogniser_in(path: Path) -> Path:
    """Find the recognition graph in a folder, or at a path; raises ModelUnavailable."""
    if path.suffix == ".onnx" and not path.is_dir():
        if not path.is_file():
            raise ModelUnavailable(f"no such file: {path} (ocr.recognition)")
        return path
    if path.is_file():
        raise ModelUnavailable(f"{path} is no .onnx file (ocr.recognition)")
    if not path.is_dir():
        raise ModelUnavailable(f"there is no folder {path} (ocr.recognition)")
    for graph, *_ in LAYOUTS:
        if (path / graph).is_file():
            return path / graph
    graphs = sorted(path.glob("*.onnx"))
    readers = [graph for graph in graphs if "rec" in graph.stem.lower()] or graphs
    if len(readers) != 1:
        holds = f"several, {', '.join(graph.name for graph in readers)}" if readers else "none"
        raise ModelUnavailable(
            f"{path} should hold one recognition graph (inference.onnx, rec.onnx), and holds "
            f"{holds}: name a file with ocr.recognition"
        )
    return readers[0]


def alphabet_beside(graph: Path) -> str | None:
    """Read the alphabet in a file beside a graph, a character on each line; None where there is
    none.

    Of several text files, the one whose name has ``dict`` or ``keys`` in it. Raises
    ModelUnavailable for a file that is none, or too large to be one.
    """
    for path in (graph.with_suffix(".yml"), graph.with_name("inference.yml")):
        if path.is_file():
            return "\n".join(_listed(path))
    texts = sorted(path for path in graph.parent.glob("*.txt") if not _is_notice(path))
    named = [path for path in texts if re.search(r"dict|keys|char", path.stem.lower())] or texts
    if (own := graph.with_suffix(".txt")) in texts:
        named = [own]
    if len(named) > 1:
        names = ", ".join(path.name for path in named)
        raise ModelUnavailable(f"which is the alphabet of {graph.name}: {names}? Leave one there")
    return _text_of(named[0]).replace("\r\n", "\n").removesuffix("\n") if named else None


def _known(text: str) -> str | None:
    """Find the name out of NAMES that is meant: en_PP-OCRv5_rec_mobile, EN__PP-OCRv5_mobile, …"""
    parts = re.split(r"_+", text.lower().replace("-small", "_small"))
    for spare in ("rec", "onnx", "infer", "ch", "multi"):
        if spare in parts:
            parts.remove(spare)
    return next((name for name in NAMES if name.lower() == "_".join(parts)), None)


def _id_of(path: Path) -> str:
    resolved = path.resolve()
    if resolved.suffix != ".onnx":
        return _plain(resolved.name)
    is_plain = resolved.stem in ("inference", "model", "rec")
    return _plain(resolved.parent.name if is_plain else resolved.stem)


def _plain(name: str) -> str:
    """Shorten a repository's or file's name by what only says that it is a recogniser."""
    return re.sub(r"(_onnx|_infer|_rec)+$", "", name) or "model"


def _is_notice(path: Path) -> bool:
    return bool(re.match(r"readme|licen[cs]e|notice|requirements", path.stem.lower()))


def _listed(path: Path) -> list[str]:
    """Read ``PostProcess.character_dict`` of PaddleX's inference.yml."""
    import yaml

    # All scalars as they are written: 1 and ~ are characters, not numbers and null.
    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        listed = yaml.load(_text_of(path), loader)["PostProcess"]["character_dict"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{path} lists no PostProcess.character_dict") from error
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise ModelUnavailable(f"PostProcess.character_dict of {path} is no list of characters")
    return listed


def _text_of(path: Path) -> str:
    if path.stat().st_size > _MOST_BYTES:
        raise ModelUnavailable(f"{path} is too large for an alphabet")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelUnavailable(f"{path} isn't UTF-8") from error
