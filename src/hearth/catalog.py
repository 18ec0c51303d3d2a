"""Neutral descriptions of what a node offers: services, models, tasks, options, schemas.

The declarations of tasks are made of these classes, and every door and every list (the
contract's capabilities, the README's tables, help, ``known.py``) is made from them.
Plain data: it imports nothing of hearth, knows no protocol, and a client may use it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = "application/json"
RAW = "application/octet-stream"
TEXT = "text/plain"

OptionKind = Literal["int", "float", "flag", "choice", "text", "list"]
FieldKind = Literal[
    "text",  # words for people
    "name",  # an identifier, such as a model's
    "number",
    "count",  # a whole number
    "score",  # 0 to 1: how sure the model is
    "flag",
    "vector",  # a list of numbers: an embedding
    "box",  # left, top, right, bottom
    "corners",  # four points from the top left, clockwise
    "points",  # a list, or a mapping by name, of points (x, y) or (x, y, z)
    "landmarks",  # points in one flat list: x, y, x, y, …
    "numbers",  # a list or mapping of numbers about the thing: angles, visibilities
    "runs",  # lengths of runs of a mask, row by row, beginning with background
    "gaze",  # an object: direction, yaw_degrees, pitch_degrees
    "item",  # an object of ``fields``; null where there is none
    "items",  # a list of objects of ``fields``
]
"""Kind of a field's content; whoever shows answers has one way for each."""
Figure = Literal["", "face", "eye", "hand", "pose"]


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """Description of an option of a task: its names, its kind and its bounds (both included)."""

    name: str
    kind: OptionKind
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    """Largest value; of a list: the number of entries."""
    choices: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Describe kind, default and bounds in one line, as capabilities list an option."""
        words: list[str] = [self.kind]
        if self.default not in (None, ""):
            words.append(f"default {self.default}")
        if self.least is not None:
            words.append(f"at least {in_full(self.least)}")
        if self.most is not None:
            words.append(f"at most {in_full(self.most)}")
        if self.choices:
            words.append("one of " + " ".join(choice for choice in self.choices if choice))
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """Description of a field of an answer's JSON."""

    name: str
    kind: FieldKind
    summary: str = ""
    fields: "tuple[FieldInfo, ...]" = ()
    """Fields of each object, of the kinds ``item`` and ``items``."""
    figure: Figure = ""
    """Figure that the object's points make up, whose lines a viewer can draw; empty: none is known.
    """
    optional: bool = False
    """True of a field that is left out where an option or the picture says so."""


@dataclass(frozen=True, slots=True)
class SchemaInfo:
    """Description of an answer's JSON: its name, its fields, and what to say of an empty one."""

    name: str
    """Name on the wire, such as ``labels_v1``."""
    summary: str = ""
    fields: tuple[FieldInfo, ...] = ()
    nothing: str = "nothing"
    """Name for people of an answer without items: ``no text``."""
    value: str = ""
    """Class of ``hearth.client`` that the answer is read as; empty: JSON as it is."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """Description of a task, as it is declared or as a node offers it."""

    name: str
    inputs: tuple[str, ...]
    """Mimes that are taken."""
    outputs: tuple[str, ...]
    """Mimes that are given."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Bounds of a request, and options in words, by name: as the contract lists them."""
    aliases: tuple[str, ...] = ()
    service: str = ""
    summary: str = ""
    schema: SchemaInfo | None = None
    """Schema of the JSON among the answers; None: none of its own, or not known."""
    options: tuple[OptionInfo, ...] = ()
    missing: str = ""
    """Reason why it can't be done yet; empty: it can."""
    preprocess_id: str = ""
    """Preparation under which pictures are taken as tensors; empty: they aren't."""
    batches_tensors: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The task's name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def takes_text(self) -> bool:
        """True of a task that is done to texts, and not to images."""
        return bool(self.inputs) and all(mime.startswith("text/") for mime in self.inputs)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Description of a loaded model, and of what really runs it."""

    id: str
    """Name that clients compare; empty of a service without a model of its own."""
    runtime: str
    """Engine: ``onnxrt``, ``torch``, …"""
    device: str
    precisions: tuple[str, ...]
    max_concurrency: int
    """Requests that may wait for it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further facts about it, its batches and measured times among them."""


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """Description of a service of a node, ready or not."""

    name: str
    state: str
    """``absent``, ``downloading``, ``loading``, ``ready`` or ``failed``."""
    reason: str = ""
    """Reason why it is not ready, or not wholly."""
    model: ModelInfo | None = None
    """Model that answers now; None until one is ready."""
    tasks: tuple[TaskInfo, ...] = ()
    """Tasks of the model, with those that can't be done yet."""


def in_full(bound: float) -> str:
    """Write a bound as people do: 86400000, and not 8.64e+07."""
    return f"{bound:.15g}"
