"""The user's own labels, from a text file or a JSON file."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hearth.errors import SettingsError
from hearth.families.clip.labels.sets.source import OWN, PROMPT, LabelSet

Entry = tuple[str, Sequence[str]]
"""A label and its prompts; none: the usual one."""


def own_labels(path: Path) -> LabelSet:
    """Read the labels of a file, at once.

    A text file has a label a line, with prompts behind bars if need be:
    ``heron | a photo of a heron | a grey heron at a pond``; lines that begin with ``#`` are
    comments. A JSON file (``.json``) is a list of labels, or an object from labels to a
    prompt or a list of prompts. Raises SettingsError where the file can't be read, holds
    no labels, or names one twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise SettingsError(f"the labels in {path} can't be read: {reason}") from error
    entries = _of_json(path, text) if path.suffix.lower() == ".json" else _of_lines(text)
    labels = [label for label, _ in entries]
    if not labels:
        raise SettingsError(f"{path} holds no labels")
    if "" in labels:
        raise SettingsError(f"{path}: label {labels.index('') + 1} is empty")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise SettingsError(f"{path} names the label {twice!r} more than once")
    texts = tuple(tuple(prompts) or (PROMPT.format(label),) for label, prompts in entries)
    return LabelSet(OWN, tuple(labels), texts, path.name)


def _of_lines(text: str) -> list[Entry]:
    entries: list[Entry] = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            label, *prompts = (part.strip() for part in line.split("|"))
            entries.append((label, [prompt for prompt in prompts if prompt]))
    return entries


def _of_json(path: Path, text: str) -> list[Entry]:
    try:
        # Pairs, not a dict: that would hide a label that is there twice.
        content = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the labels in {path} can't be read: {error}") from error
    pairs = content if isinstance(content, _Pairs) else _without_prompts(content)
    if pairs is None:
        raise SettingsError(f"{path} must be a list of labels, or an object from labels to prompts")
    return [(label.strip(), _prompts(path, label, prompts)) for label, prompts in pairs]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object."""


def _without_prompts(content: Any) -> Iterable[tuple[str, Any]] | None:
    if not isinstance(content, list) or not all(isinstance(label, str) for label in content):
        return None
    return [(label, []) for label in content]


def _prompts(path: Path, label: str, prompts: Any) -> list[str]:
    """List the prompts in a prompt or a list of them."""
    made = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(made, list) or not all(isinstance(one, str) and one.strip() for one in made):
        raise SettingsError(f"{path}: the prompts of {label!r} must be a text or a list of texts")
    return [prompt.strip() for prompt in made]
