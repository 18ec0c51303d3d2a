"""Several interpreters of one TFLite model, for the rows of a batch."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from hearth.backends._litert_tensors import check_feeds
from hearth.backends.litert_session import LiteRtSession, read_model
from hearth.backends.session import Array, BatchSizes, TensorSpec
from hearth.errors import HearthError, ModelFailed, ModelUnavailable, OutOfMemory

log = logging.getLogger(__name__)

_Feeds = Mapping[str, Array]


class LiteRtPool:
    """A TFLite file whose rows run side by side; satisfies ``Session``.

    A CPU gains nothing from larger inputs, only from more cores, so every row runs as a
    batch of one, on up to ``width`` interpreters of one thread each. One of them runs on the
    caller's thread; each further one has a thread of its own, and both are made when there
    is first a row for it. Outputs are put together row by row, so any model with a first
    axis of 1 can be run this way: of n rows a detector gives (n, anchors, …).

    Raises BackendUnavailable where ai_edge_litert can't be imported, ModelUnavailable where
    the file can't be loaded or isn't made for rows.
    """

    runtime = LiteRtSession.runtime
    device = LiteRtSession.device
    fallback = ""

    def __init__(self, path: Path, *, width: int, content: bytes | None = None) -> None:
        content = read_model(path) if content is None else content

        def open_session() -> LiteRtSession:
            return LiteRtSession(path, batched=False, content=content)

        self._first = first = open_session()
        rows = {spec.shape[:1] for spec in (*first.inputs, *first.outputs)}
        if not rows <= {(1,), (None,)}:
            raise ModelUnavailable(f"{path} isn't made for one row at a time")
        self.inputs = tuple(map(_of_rows, first.inputs))
        self.outputs = tuple(map(_of_rows, first.outputs))
        self.precision = first.precision
        self.provider = first.provider
        self.threads: int | None = width
        self.batch_sizes = BatchSizes()
        self.metadata: Mapping[str, str] = {}
        self._open = open_session
        self._name = path.stem
        self._width = width
        self._helpers: list[_Helper] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def interpreters(self) -> int:
        """Number of interpreters by now."""
        return 0 if self._closed else 1 + len(self._helpers)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run every row; each output by its name, with the rows in order.

        Where rows fail the first one's error is raised, after all have ended. Raises
        ModelFailed, OutOfMemory.
        """
        with self._lock:
            if self._closed:
                raise ModelFailed("the session is closed")
            count = check_feeds(feeds, self.inputs)
            if count == 1:
                return self._first.run(feeds)
            rows = _Rows(feeds, count)
            for helper in self._helped(count):
                helper.help_with(rows)
            rows.work(self._first)
            results = rows.results()
        try:
            return {
                spec.name: np.concatenate([result[spec.name] for result in results])
                for spec in self.outputs
            }
        except MemoryError as error:
            raise OutOfMemory(f"LiteRT: no memory for the answers of {count} rows") from error

    def close(self) -> None:
        """Free all interpreters and end their threads; waits for a run to end."""
        with self._lock:
            self._closed = True
            for helper in self._helpers:
                helper.close()
            self._first.close()
            self._helpers = []

    def _helped(self, rows: int) -> Sequence["_Helper"]:
        """Choose the helpers that there are rows for, beside the caller."""
        wanted = min(rows, self._width) - 1
        while len(self._helpers) < wanted:
            number = len(self._helpers) + 1
            self._helpers.append(_Helper(self._open, f"litert-{self._name}-{number}"))
        return self._helpers[:wanted]


class _Rows:
    """The rows of one run, handed out one by one to whoever is free."""

    def __init__(self, feeds: _Feeds, count: int) -> None:
        self._feeds = feeds
        self._answers: list[dict[str, Array] | BaseException | None] = [None] * count
        self._next = 0
        self._left = count
        self._lock = threading.Lock()
        self._all_ended = threading.Event()

    def work(self, session: LiteRtSession) -> None:
        """Run rows until none is left."""
        while (row := self._take()) is not None:
            answer: dict[str, Array] | BaseException
            try:
                answer = session.run(
                    {name: array[row : row + 1] for name, array in self._feeds.items()}
                )
            except BaseException as error:  # the caller's to raise
                answer = error
            self._put(row, answer)

    def results(self) -> list[dict[str, Array]]:
        """Return all rows' answers; waits for those that others run. Raises the first error."""
        self._all_ended.wait()
        results = []
        for answer in self._answers:
            assert answer is not None  # every row has ended
            if isinstance(answer, BaseException):
                raise answer
            results.append(answer)
        return results

    def _take(self) -> int | None:
        with self._lock:
            if self._next == len(self._answers):
                return None
            self._next += 1
            return self._next - 1

    def _put(self, row: int, answer: dict[str, Array] | BaseException) -> None:
        with self._lock:
            self._answers[row] = answer
            self._left -= 1
            if not self._left:
                self._all_ended.set()


class _Helper:
    """One more interpreter, on a thread of its own."""

    def __init__(self, open_session: Callable[[], LiteRtSession], name: str) -> None:
        self._open = open_session
        self._jobs: SimpleQueue[_Rows | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def help_with(self, rows: _Rows) -> None:
        """Run rows, as soon as the interpreter is free, until none is left."""
        self._jobs.put(rows)

    def close(self) -> None:
        """End the thread; waits for that."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        session = self._opened()
        while (rows := self._jobs.get()) is not None:
            if session is not None:
                rows.work(session)
            del rows  # and its arrays, while there is nothing to do
        if session is not None:
            session.close()

    def _opened(self) -> LiteRtSession | None:
        """Open the interpreter; None where there is no room: the others run the rows."""
        try:
            return self._open()
        except (HearthError, MemoryError) as error:
            log.warning("%s: goes without this interpreter: %s", self._thread.name, error)
            return None


def _of_rows(spec: TensorSpec) -> TensorSpec:
    return spec._replace(shape=(None, *spec.shape[1:]))
