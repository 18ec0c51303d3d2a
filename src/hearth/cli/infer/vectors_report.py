"""Vectors of many inputs in one numpy file."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from rich.filesize import decimal

from hearth.cli.infer.inputs import InferInput, left_of
from hearth.cli.infer.report import Report, tell, tell_errors
from hearth.client import Answer, Embedding
from hearth.errors import SettingsError, SetupError
from hearth.files import atomic_file
from hearth.output_files import check_writable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUMPY = (".npz", ".npy")
"""Endings of numpy's files."""


class VectorsReport(Report):
    """A row for each input that has an answer, in their order; written at the end.

    ``.npz``: ``vectors`` (n, dimensions) float32, ``names`` (n), ``model_id`` and ``task``;
    ``.npy``: the vectors alone.
    """

    def __init__(self, inputs: Sequence[InferInput], out: Path, task: str, *, resume: bool) -> None:
        """Read an earlier run's file.

        Raises OSError, and SettingsError where that file is of something else.
        """
        check_writable(out)
        self._out, self._task = out, task
        self._names: list[str] = []
        self._vectors: NDArray[np.float32] | None = None
        self._model = ""
        self._is_saved = False
        if resume and out.exists():
            self._load()
        left = left_of(inputs, name_of, Counter(self._names))
        super().__init__(left)
        self.place, self.resumed = str(out), resume
        self.can_resume = out.suffix.lower() == ".npz"
        self.earlier = len(inputs) - len(left)
        self.model_id = self._model or None

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)
        if self.done > self.failed:
            self._save()
            self._is_saved = True
        if self.failed and exc_info[0] is None:
            what = f"{self.failed:,} of {self.total:,} failed: they are left out"
            if self.can_resume:
                advice = ", and the same command with --resume tries them again"
            else:
                advice = ": rows are missing, and nothing says whose; a .npz has the names as well"
            tell(f"{self.place}: {what}{advice}")

    def write(self, answer: Answer) -> None:
        source = self.inputs[answer.index]
        if answer.error is not None:
            tell_errors(source, answer.outcome)
            return
        try:
            value = _embedding(answer)
            if value is not None:
                self._keep(value.vector)
        except ValueError as error:
            self.failed += 1
            tell(f"{source.label}: {error}")
            return
        if value is None:
            kind = answer.schema or answer.mime or "several answers"
            raise SettingsError(
                f"--out {self.place}: {self._task} answers with {kind}, and no vectors: "
                "name a .jsonl"
            )
        self._names.append(name_of(source))
        self._model = self._model or value.model_id or answer.model_id

    def how_far(self) -> str:
        if self._is_saved:
            return f"{super().how_far()} ({self.place} has what is done)"
        return f"{self.earlier + self.done:,} of {self.total:,} done, and nothing written"

    def _keep(self, vector: "NDArray[np.float32]") -> None:
        """Add a vector; raises ValueError for one that isn't as the others are."""
        row, most = len(self._names), len(self._names) + len(self.inputs)
        if self._vectors is None or len(self._vectors) == row:
            _check_space(self._out, most * vector.nbytes)
            self._vectors = _with_room(self._vectors, most, len(vector))
        if vector.shape != self._vectors.shape[1:]:
            longest = self._vectors.shape[1]
            raise ValueError(f"{len(vector)} numbers came, where the others have {longest}")
        self._vectors[row] = vector

    def _save(self) -> None:
        import numpy as np

        assert self._vectors is not None
        vectors = self._vectors[: len(self._names)]
        with atomic_file(self._out, alone=True) as file:
            if self.can_resume:
                np.savez(
                    file,
                    vectors=vectors,
                    names=np.array(self._names),
                    model_id=np.array(self._model),
                    task=np.array(self._task),
                )
            else:
                np.save(file, vectors)

    def _load(self) -> None:
        """Read what an earlier run has written."""
        import numpy as np

        try:
            with np.load(self._out, allow_pickle=False) as file:
                vectors, names = file["vectors"], file["names"].tolist()
                self._model, task = str(file["model_id"]), str(file["task"])
        except (BadZipFile, ValueError, KeyError, IndexError, EOFError, TypeError):
            vectors, names, task = None, [], ""
        if vectors is None or vectors.ndim != 2 or len(vectors) != len(names):
            hint = "--resume can't go on with this file"
            raise SettingsError(f"--out {self._out}: not of `hearth infer`: {hint}")
        if task != self._task:
            hint = "name another file, or leave --resume out to replace it"
            raise SettingsError(f"--out {self._out}: it holds vectors of {task}; {hint}")
        self._names, self._vectors = names, vectors.astype(np.float32, copy=False)


def _embedding(answer: Answer) -> Embedding | None:
    """Return the answer's vector, None where it is none; raises ValueError where it is broken."""
    value = answer.value
    return value if isinstance(value, Embedding) else None


def name_of(source: InferInput) -> str:
    """Return what ``names`` has for an input: its file's name, or its text."""
    return source.text if source.text is not None else str(source.name)


def _check_space(path: Path, size: int) -> None:
    """Check that so many bytes fit; raises SetupError: better now than after hours."""
    free = shutil.disk_usage(path.resolve().parent).free
    if size > free:
        raise SetupError(
            f"{path}: the vectors take {decimal(size)}, and only {decimal(free)} are free there"
        )


def _with_room(
    before: "NDArray[np.float32] | None", rows: int, numbers: int
) -> "NDArray[np.float32]":
    """Make an array for all that is still to come, which begins with what is there."""
    import numpy as np

    if before is None:
        return np.empty((rows, numbers), np.float32)
    made = np.empty((rows, before.shape[1]), np.float32)
    made[: len(before)] = before
    return made
