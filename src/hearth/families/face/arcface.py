"""ArcFace: from aligned faces to the vectors that tell them apart."""

from collections.abc import Sequence

from hearth.backends import Session
from hearth.errors import ModelFailed, ModelUnavailable
from hearth.families.face import parameters as p
from hearth.families.face.faces import Vector
from hearth.media.raw import Pixels
from hearth.models.vectors import VectorRunner


class FaceRecogniser:
    """Aligned faces to unit vectors.

    ``session`` takes pixels, uint8 (n, 112, 112, 3), and gives one output, (n, 512). Raises
    ModelUnavailable for any other session.
    """

    def __init__(self, session: Session) -> None:
        _require(session)
        self._runner = VectorRunner(
            session,
            what="recognition",
            output=session.outputs[0].name,
            dim=p.DIM,
            directed=True,
        )

    def __call__(self, faces: Sequence[Pixels]) -> list[Vector | ModelFailed]:
        """Return the vector of each, float32 (512,) and read-only.

        A ModelFailed where its numbers aren't finite, or all zero: they have no direction.
        """
        return self._runner.run_rows(faces)


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
