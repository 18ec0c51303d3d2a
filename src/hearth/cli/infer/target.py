"""From what a user writes after ``--out`` to where answers go."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hearth.cli.console import output
from hearth.cli.infer.file_reports import FolderReport, JsonReport, PictureReport, RawReport
from hearth.cli.infer.inputs import STDIN, InferInput
from hearth.cli.infer.parts_report import JsonPartsReport, TextPartsReport
from hearth.cli.infer.report import Report, TableReport
from hearth.cli.infer.resume import RunIdentity
from hearth.cli.infer.vectors_report import NUMPY, VectorsReport
from hearth.errors import SettingsError
from hearth.output_files import WRITABLE_PICTURES, refuse_overwriting


class AnswerTarget(NamedTuple):
    """Form of answers, and the place where they go."""

    out: str | None = None
    raw: bool = False
    json: bool = False
    resume: bool = False
    stream: bool = False
    """Whether parts are wanted as they come."""

    @property
    def ending(self) -> str:
        """Ending of the file, in lower case."""
        return Path(self.out or "").suffix.lower()

    @property
    def wants_vectors(self) -> bool:
        """Whether it is a numpy file."""
        return self.ending in NUMPY

    @property
    def is_plain(self) -> bool:
        """Whether answers are to be printed, and nothing is said of how."""
        return self == AnswerTarget()

    def check(self) -> None:
        """Check it; raises SettingsError for what can't be meant, whatever the inputs are."""
        if self.json and self.ending in (*WRITABLE_PICTURES, *NUMPY):
            what = "vectors" if self.wants_vectors else "picture"
            raise SettingsError(f"--out {self.out}: lines of JSON are no {what}; name a .jsonl")
        if self.raw and self.wants_vectors:
            raise SettingsError(f"--out {self.out}: --raw writes bytes, and no file of numpy's")
        if self.stream and (self.raw or self.out is not None):
            raise SettingsError("--stream prints parts as they come: leave --out and --raw out")
        if not self.resume:
            return
        if self.out is None:
            raise SettingsError("--resume goes with --out: name the file to go on with")
        if self.raw or self.ending in (*WRITABLE_PICTURES, ".npy"):
            raise SettingsError(f"--out {self.out}: --resume is for lines of JSON and for .npz")


def report_for(target: AnswerTarget, inputs: Sequence[InferInput], work: RunIdentity) -> Report:
    """Make the report; raises SettingsError for what can't be meant, OSError for files."""
    if target.out is not None:
        return _to_file(Path(target.out), target, inputs, work)
    if target.stream:
        as_text = output().is_terminal and not target.json
        return TextPartsReport(inputs) if as_text else JsonPartsReport(inputs, None)
    if target.json:
        return JsonReport(inputs, None)
    return RawReport(inputs, None) if target.raw else TableReport(inputs)


def _to_file(
    path: Path, target: AnswerTarget, inputs: Sequence[InferInput], work: RunIdentity
) -> Report:
    origins = [Path(source.file) for source in inputs if source.file and source.file != STDIN]
    if target.raw and (str(target.out).endswith("/") or path.is_dir()):
        refuse_overwriting(path, [origin.parent for origin in origins])
        return FolderReport(inputs, path)
    refuse_overwriting(path, origins)
    if target.ending in WRITABLE_PICTURES:
        if len(inputs) > 1:
            hint = f"--raw --out {path.stem}/ takes each in a file of its own"
            raise SettingsError(f"--out {path}: one picture, for {len(inputs):,} inputs; {hint}")
        return PictureReport(inputs, path)
    if target.wants_vectors:
        return VectorsReport(inputs, path, work.task, resume=target.resume)
    if target.raw:
        return RawReport(inputs, path)
    return JsonReport(inputs, path, work if target.resume else None)
