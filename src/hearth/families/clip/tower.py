"""One half of a CLIP: a session from pixels or tokens to unit vectors, and its queue."""

from collections.abc import Sequence
from typing import Any

from hearth.backends import Array, Session
from hearth.batching import BatchQueue, Limit
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.models.rows import BatchRow
from hearth.models.vectors import Vector, VectorRunner

Item = BatchRow | Array
"""Item in a queue: a picture or the tokens of a text."""

_COLOURS = 3


class Tower:
    """A session with one input and, among its outputs, the embedding.

    ``what`` is ``image`` or ``text``. ``floats`` is the same tower for pictures that are
    normalised already, where ``session`` takes pixels: items of both kinds may share a
    queue. Raises ModelUnavailable for any other session.
    """

    def __init__(self, session: Session, what: str, floats: Session | None = None) -> None:
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise ModelUnavailable(f"the {what} graph must have one input; this one takes {names}")
        self.session = session
        self._what = what
        self._input = session.inputs[0]
        self.dtype = self._input.dtype
        """Dtype of the input."""
        self.takes_pixels = self._input.is_pixels
        """Whether pictures go in as they are, uint8 (n, height, width, 3), not normalised."""
        # Exporters add hidden states; what counts is called an embedding, or is a matrix.
        self._output = min(
            session.outputs, key=lambda spec: ("embed" not in spec.name, len(spec.shape) != 2)
        )
        self._runner = VectorRunner(session, what=what, output=self._output.name)
        self._floats = None if floats is None else Tower(floats, what)
        if what == "image" and not (self.takes_pixels or self.dtype.kind == "f"):
            raise ModelUnavailable(
                f"the image graph takes {self.shown} of {self.dtype}: neither floats nor "
                "pixels, uint8 (n, height, width, 3)"
            )

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the input, with the batch."""
        return self._input.shape

    @property
    def shown(self) -> str:
        """The input's shape for people."""
        return "×".join("n" if size is None else str(size) for size in self.shape)

    @property
    def dim(self) -> int | None:
        """The length of a vector, where the graph tells."""
        return self._output.shape[-1] if self._output.shape else None

    @property
    def prepared(self) -> "Tower | None":
        """The tower that takes pictures as floats, (3, height, width) each, if there is one."""
        return self._floats if self.takes_pixels else self

    @property
    def channels_last(self) -> bool:
        """Whether pictures go in as (n, height, width, 3); otherwise (n, 3, height, width)."""
        return len(self.shape) == 4 and self.shape[-1] == _COLOURS != self.shape[1]

    def picture_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Give the shape of one picture of that size as it goes in, without the batch."""
        return (height, width, _COLOURS) if self.channels_last else (_COLOURS, height, width)

    def takes(self, shape: Sequence[int]) -> bool:
        """Tell whether an item of this shape goes in; a picture's is (3, height, width) always."""
        own_shape = self.shape[1:]
        if self.channels_last:
            own_shape = (own_shape[-1], *own_shape[:-1])
        return len(shape) == len(own_shape) and all(
            expected in (None, size) for size, expected in zip(shape, own_shape, strict=True)
        )

    def queue(
        self, service: str, max_batch: int, capacity: Limit, **options: Any
    ) -> BatchQueue[Item, Vector]:
        """Make a new batch queue, from items to unit vectors, that owns the session from now on.

        ``options`` are BatchQueue's. Vectors are read-only: several requests may share one.
        """
        sizes = self.session.batch_sizes
        return BatchQueue(
            self.run,
            name=f"{service}-{self._what}",
            max_batch=sizes.limit(max_batch),
            capacity=capacity,
            sizes=sizes.fixed,
            **options,
        )

    def run(self, items: Sequence[Item]) -> Sequence[Vector | ModelFailed]:
        """Return the unit vector of each item, or why there is none; raises ModelFailed.

        Pixels and floats may come together: each kind is a batch of its own.
        """
        if self._floats is None:
            return self._runner.run_rows(items)
        arrays = [item.array if isinstance(item, BatchRow) else item for item in items]
        kinds = [array.dtype == self.dtype for array in arrays]
        if all(kinds):
            return self._runner.run_rows(items)
        mine = [item for item, is_mine in zip(items, kinds, strict=True) if is_mine]
        others = [item for item, is_mine in zip(items, kinds, strict=True) if not is_mine]
        own, theirs = iter(self._runner.run_rows(mine)), iter(self._floats.run(others))
        return [next(own if is_mine else theirs) for is_mine in kinds]
