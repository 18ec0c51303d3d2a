"""Outcomes of ``hearth infer`` for programs: lines of JSON or plain bytes, to stdout or files."""

import mimetypes
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hearth.cli.console import notes
from hearth.cli.inputs import STDIN, Input
from hearth.cli.outfile import PICTURES, LateFile, check_folder, spare
from hearth.cli.report import Report, parts_of, told
from hearth.client import Answer, Outcome
from hearth.errors import SettingsError


def written(inputs: Sequence[Input], out: str | None, *, raw: bool, json: bool) -> Report:
    """The report that is asked for.

    Raises SettingsError for what can't be meant, OSError for what can't be written.
    """
    if out is None:
        return RawReport(inputs, None) if raw else JsonReport(inputs, None)
    path = Path(out)
    origins = [Path(source.file) for source in inputs if source.file not in (None, STDIN)]
    if raw and (out.endswith("/") or path.is_dir()):
        spare(path, [origin.parent for origin in origins])
        return FolderReport(inputs, path)
    spare(path, origins)
    is_picture = path.suffix.lower() in PICTURES
    if is_picture and json:
        raise SettingsError(f"--out {out}: lines of JSON are no picture; name a .jsonl")
    if is_picture and len(inputs) > 1:
        hint = f"--raw --out {path.stem}/ takes each in a file of its own"
        raise SettingsError(f"--out {out}: one picture, for {len(inputs)} inputs; {hint}")
    if is_picture:
        return PictureReport(inputs, path)
    return RawReport(inputs, path) if raw else JsonReport(inputs, path)


class _OrderedReport(Report):
    """In the order of the inputs, to a file or to stdout."""

    def __init__(self, inputs: Sequence[Input], out: Path | None) -> None:
        """Raises OSError."""
        super().__init__(inputs)
        self._file = LateFile(out) if out is not None else None
        self._early: dict[int, bytes] = {}
        self._next = 0

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)
        if self._file is not None:
            self._file.close()

    def write(self, answer: Answer) -> None:
        self._early[answer.index] = self.form(answer)
        while self._next in self._early:
            self._put(self._early.pop(self._next))
            self._next += 1

    @abstractmethod
    def form(self, answer: Answer) -> bytes:
        """The bytes that are written for one answer."""

    def _put(self, content: bytes) -> None:
        if self._file is not None:
            self._file.write(content)
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def _console(self) -> Console:
        return notes()


class JsonReport(_OrderedReport):
    """One line of JSON for each input."""

    def form(self, answer: Answer) -> bytes:
        import orjson

        source, outcome = self.inputs[answer.index], answer.outcome
        line = {
            "file": source.file,
            **({} if source.text is None else {"text": source.text}),
            "task": outcome.job.task,
            **told(outcome),
            **({"entries": parts} if (parts := parts_of(outcome)) else {}),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class RawReport(_OrderedReport):
    """The bytes as the node sent them; errors go to stderr."""

    def form(self, answer: Answer) -> bytes:
        self._tell_errors(answer)
        bodies = [each.body for each in _answers(answer.outcome).values()]
        if self._file is None and sys.stdout.isatty():
            return b"".join(map(self._for_terminal, bodies))
        return b"".join(bodies)

    def _for_terminal(self, body: bytes) -> bytes:
        if b"\0" not in body:
            return body
        self._fail(f"{len(body):,} bytes that are no text: write them to a file with --out")
        return b""

    def _tell_errors(self, answer: Answer) -> None:
        label, outcome = self.inputs[answer.index].label, answer.outcome
        if outcome.error is not None:
            self._tell(f"{label}: {outcome.error}")
        for entry, part in outcome.parts.items():
            if part.error is not None:
                self._tell(f"{label}: {entry}: {part.error}")

    def _fail(self, message: str) -> None:
        """An answer came, but can't go where it is to go."""
        self.failed += 1
        self._tell(message)

    def _tell(self, message: str) -> None:
        notes().print(Text(message, style="red"), soft_wrap=True)


class PictureReport(RawReport):
    """The one answer, if it is a picture."""

    def __init__(self, inputs: Sequence[Input], out: Path) -> None:
        super().__init__(inputs, out)
        self._out = out

    def form(self, answer: Answer) -> bytes:
        self._tell_errors(answer)
        answers = list(_answers(answer.outcome).values())
        if len(answers) > 1:
            self._fail(f"{self._out}: several answers came; --raw --out FOLDER/ takes them all")
        elif answers and not answers[0].mime.startswith("image/"):
            self._fail(f"{self._out}: not written, the answer is no picture: {answers[0].mime}")
        elif answers:
            self._compare(answers[0].mime)
            return answers[0].body
        return b""

    def _compare(self, mime: str) -> None:
        """Say so where the file's ending promises another kind of picture."""
        if mimetypes.guess_type(self._out.name)[0] != mime.partition(";")[0].strip():
            line = f"{self._out}: the answer is {mime}, whatever the name says"
            notes().print(Text(line, style="yellow"), soft_wrap=True)


class FolderReport(RawReport):
    """A file for each answer, named as its input."""

    def __init__(self, inputs: Sequence[Input], folder: Path) -> None:
        super().__init__(inputs, None)
        check_folder(folder)
        self._folder = folder
        self._used: set[str] = set()

    def write(self, answer: Answer) -> None:
        self._tell_errors(answer)
        stem = _stem(self.inputs[answer.index], answer.index)
        for entry, each in _answers(answer.outcome).items():
            self._folder.mkdir(parents=True, exist_ok=True)
            name = self._free(f"{stem}.{_safe(entry)}" if entry else stem, _ending(each.mime))
            (self._folder / name).write_bytes(each.body)

    def _free(self, stem: str, ending: str) -> str:
        """A name that no other input's answer has."""
        name, number = f"{stem}{ending}", 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}{ending}"
        self._used.add(name)
        return name


def _answers(outcome: Outcome) -> dict[str, Outcome]:
    """What came, by the entries' ids; by "" where nothing was composed."""
    every = dict(outcome.parts) or {"": outcome}
    return {entry: each for entry, each in every.items() if each.error is None}


def _stem(source: Input, index: int) -> str:
    if source.text is not None:
        return f"text-{index + 1}"
    return "stdin" if source.file == STDIN else Path(str(source.file)).stem


def _safe(entry: str) -> str:
    """An id that a client chose, as a part of a file's name."""
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in entry)


def _ending(mime: str) -> str:
    return mimetypes.guess_extension(mime.partition(";")[0].strip()) or ".bin"
