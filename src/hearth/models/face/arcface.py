"""ArcFace: from aligned faces to the vectors that tell them apart."""

from collections.abc import Sequence

import numpy as np

from hearth.backends import Session
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.media.raw import Pixels
from hearth.models.face import parameters as p
from hearth.models.face.faces import Vector
from hearth.models.labels.vectors import directed, unit
from hearth.models.rows import BatchBuilder


class Recogniser:
    """Aligned faces to unit vectors.

    ``session`` takes pixels, uint8 (n, 112, 112, 3), and gives one output, (n, 512). Raises
    ModelUnavailable for any other session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stacker = BatchBuilder()
        _require(session)
        self._input, self._output = session.inputs[0].name, session.outputs[0].name

    def __call__(self, faces: Sequence[Pixels]) -> list[Vector | ModelFailed]:
        """The vector of each, float32 (512,) and read-only.

        A ModelFailed where its numbers aren't finite, or all zero: they have no direction.
        """
        # A graph of a fixed batch gets it filled up.
        sizes = self._session.batch_sizes.fixed
        size = next((size for size in sizes if size >= len(faces)), len(faces))
        batch, places = self._stacker.stack(faces, size)
        vectors = np.asarray(self._session.run({self._input: batch})[self._output], np.float32)
        if vectors.shape != (size, p.DIM):
            raise ModelFailed(f"the recognition model gave {vectors.shape}, not {p.DIM} for each")
        vectors = vectors[list(places)]
        right = directed(vectors)
        made = unit(np.where(right[:, None], vectors, 0))
        failure = "the recognition model gave numbers that make no vector"
        return [
            _kept(vector) if good else ModelFailed(failure)
            for vector, good in zip(made, right, strict=True)
        ]


def _require(session: Session) -> None:
    """See that a session is a recogniser; raises ModelUnavailable."""
    shapes = [spec.shape[1:] for spec in session.inputs]
    if shapes != [(p.SIDE, p.SIDE, 3)] or not session.inputs[0].is_pixels:
        taken = ", ".join(f"{spec.dtype} {spec.shape}" for spec in session.inputs)
        raise ModelUnavailable(f"the recognition graph takes {taken}, not float32 (n, 3, 112, 112)")
    dims = [spec.shape[-1] if spec.shape else None for spec in session.outputs]
    if len(dims) != 1 or dims[0] not in (p.DIM, None):
        raise ModelUnavailable(
            f"the recognition graph gives {dims} numbers for a face; ArcFace gives {p.DIM}"
        )


def _kept(vector: Vector) -> Vector:
    """A vector that several may share, and that doesn't keep its batch in memory."""
    alone = vector.copy()
    alone.setflags(write=False)
    return alone
