"""One node of a graph on the way of the batch, with what is known of its inputs."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hearth.export.batch_axis import BatchAxis, Shape


@dataclass(frozen=True)
class GraphStep:
    """A node, and what is known of it."""

    node: Any
    batch_axes: tuple[BatchAxis | None, ...]
    """Batch axis of each input; None: it is the same for every sample."""
    shapes: tuple[Shape, ...]
    """Shape of each input."""
    values: tuple[NDArray[Any] | None, ...]
    """Value of each input, where it is known."""
    out: Shape
    """Shape of the first output."""

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value, or the default."""
        from onnx import helper

        for attribute in self.node.attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    def axis(self, default: int, rank: int | None = None) -> int:
        """Return the attribute ``axis``, counted from the front."""
        value = int(self.attribute("axis", default))
        return value % (len(self.shapes[0]) if rank is None else rank)

    def numbers(self, index: int) -> list[int] | None:
        """Return a known input as a list; None where there is no such input, or it isn't known."""
        value = self.values[index] if index < len(self.values) else None
        return None if value is None else [int(number) for number in value.reshape(-1)]

    def axes(self) -> list[int] | None:
        """Return the attribute or second input ``axes``, counted from the front."""
        attribute = self.attribute("axes")
        axes = self.numbers(1) if attribute is None else list(attribute)
        return None if axes is None else [axis % len(self.shapes[0]) for axis in axes]
