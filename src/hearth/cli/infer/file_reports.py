"""Outcomes of ``hearth infer`` for programs: lines of JSON or plain bytes, to stdout or files."""

import mimetypes
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hearth.cli.console import warn
from hearth.cli.infer.inputs import STDIN, InferInput
from hearth.cli.infer.report import Report, options_as_json, tell, tell_errors
from hearth.cli.infer.resume import EarlierRun, RunIdentity, look_up
from hearth.client import Answer, Outcome
from hearth.client.messages import outcome_as_json
from hearth.output_files import OutputFile, check_folder


class _FileReport(Report):
    """Report to a file or to stdout."""

    def __init__(
        self, inputs: Sequence[InferInput], out: Path | None, *, add: bool = False
    ) -> None:
        """Open the file; raises OSError, and SetupError where another run is writing there."""
        super().__init__(inputs)
        self.place = str(out or "")
        self._file = OutputFile(out, add=add) if out is not None else None

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)
        if self._file is not None:
            self._file.close()

    def write(self, answer: Answer) -> None:
        content = self.form(answer)
        if self._file is not None:
            self._file.write(content)
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    @abstractmethod
    def form(self, answer: Answer) -> bytes:
        """Return the bytes that are written for one answer."""


class JsonReport(_FileReport):
    """One line of JSON for each input: in their order to stdout, as they come to a file."""

    def __init__(
        self, inputs: Sequence[InferInput], out: Path | None, earlier_of: RunIdentity | None = None
    ) -> None:
        """Open the file; ``earlier_of``: add to the lines of an earlier run that did the same work.

        Raises SettingsError where there are others, SetupError where another run is writing
        there, and OSError.
        """
        super().__init__(inputs, out, add=earlier_of is not None)
        # In a file what has come isn't to wait for what hasn't: a kill would take it along.
        self.ordered = out is None
        self.can_resume = out is not None and out.is_file()
        self._earlier: EarlierRun | None = None
        if earlier_of is not None and out is not None:
            try:
                self._go_on(look_up(out, earlier_of, inputs))
            except BaseException:
                self.__exit__(*sys.exc_info())
                raise

    def _go_on(self, earlier: EarlierRun) -> None:
        self._earlier, total = earlier, len(self.inputs)
        self.inputs = earlier.left(self.inputs)
        self.resumed, self.model_id = True, earlier.model_id
        self.earlier = total - len(self.inputs)

    def begin(self) -> None:
        if self._earlier is not None and self._earlier.prune() and self._file is not None:
            self._file.reopen()
        super().begin()

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)
        if self.place and self.failed and exc_info[0] is None:
            tell(
                f"{self.place}: {self.failed:,} of {self.total:,} failed: their lines say why, "
                "and the same command with --resume tries them again"
            )

    def form(self, answer: Answer) -> bytes:
        import orjson

        return orjson.dumps(self.line(answer), option=orjson.OPT_APPEND_NEWLINE)

    def line(self, answer: Answer) -> dict[str, Any]:
        """Return what a line tells: the input, what was asked, and what became of it."""
        source, outcome = self.inputs[answer.index], answer.outcome
        options = options_as_json(outcome.job.meta)
        return {
            "file": source.name,
            **({} if source.text is None else {"text": source.text}),
            "task": outcome.job.task,
            **({"options": options} if options else {}),
            **outcome_as_json(outcome),
        }


class RawReport(_FileReport):
    """The bytes as the node sent them; errors go to stderr."""

    def form(self, answer: Answer) -> bytes:
        tell_errors(self.inputs[answer.index], answer.outcome)
        bodies = [each.body for each in _answers(answer.outcome).values()]
        if self._file is None and sys.stdout.isatty():
            return b"".join(map(self._for_terminal, bodies))
        return b"".join(bodies)

    def _for_terminal(self, body: bytes) -> bytes:
        if b"\0" not in body:
            return body
        self._fail(f"{len(body):,} bytes that are no text: write them to a file with --out")
        return b""

    def _fail(self, message: str) -> None:
        """Count an answer that came, but can't go where it is to go."""
        self.failed += 1
        tell(message)


class PictureReport(RawReport):
    """The one answer, if it is a picture."""

    def form(self, answer: Answer) -> bytes:
        tell_errors(self.inputs[answer.index], answer.outcome)
        answers = list(_answers(answer.outcome).values())
        if len(answers) > 1:
            self._fail(f"{self.place}: several answers came; --raw --out FOLDER/ takes them all")
        elif answers and not answers[0].mime.startswith("image/"):
            self._fail(f"{self.place}: not written, the answer is no picture: {answers[0].mime}")
        elif answers:
            self._compare(answers[0].mime)
            return answers[0].body
        return b""

    def _compare(self, mime: str) -> None:
        """Warn where the file's ending promises another kind of picture."""
        if mimetypes.guess_type(self.place)[0] != mime.partition(";")[0].strip():
            warn(f"{self.place}: the answer is {mime}, whatever the name says")


class FolderReport(RawReport):
    """A file for each answer, named as its input."""

    def __init__(self, inputs: Sequence[InferInput], folder: Path) -> None:
        super().__init__(inputs, None)
        check_folder(folder)
        self.place = f"{folder}/"
        self._folder = folder
        self._used: set[str] = set()

    def write(self, answer: Answer) -> None:
        tell_errors(self.inputs[answer.index], answer.outcome)
        stem = _stem(self.inputs[answer.index], answer.index)
        for entry, each in _answers(answer.outcome).items():
            self._folder.mkdir(parents=True, exist_ok=True)
            name = self._free(f"{stem}.{_safe(entry)}" if entry else stem, _ending(each.mime))
            self._put(self._folder / name, each.body)

    def _put(self, path: Path, body: bytes) -> None:
        """Write a whole file; raises OSError, and leaves no half of one then."""
        try:
            path.write_bytes(body)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _free(self, stem: str, ending: str) -> str:
        """Return a name that no other input's answer has."""
        name, number = f"{stem}{ending}", 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}{ending}"
        self._used.add(name)
        return name


def _answers(outcome: Outcome) -> dict[str, Outcome]:
    """Return what came, by the entries' ids; by "" where nothing was composed."""
    every = dict(outcome.parts) or {"": outcome}
    return {entry: each for entry, each in every.items() if each.error is None}


def _stem(source: InferInput, index: int) -> str:
    if source.text is not None:
        return f"text-{index + 1}"
    return "stdin" if source.file == STDIN else Path(str(source.file)).stem


def _safe(entry: str) -> str:
    """Make a part of a file's name from an id that a client chose."""
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in entry)


def _ending(mime: str) -> str:
    return mimetypes.guess_extension(mime.partition(";")[0].strip()) or ".bin"
