"""Pixels for ONNX models that take normalised floats.

A few nodes in front of the model cast, normalise and transpose. They are a graph of their
own, so the model's file is left as it is, whatever its size and wherever its weights are; what
comes out of them stays on the device.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hearth.backends._denormals import flush_denormals
from hearth.backends._onnx_providers import CPU, CUDA, FRONT, ON_CPU, Choice
from hearth.backends.onnx import OnnxSession
from hearth.backends.session import Array, Session, SessionOptions, TensorSpec

_CHANNELS = 3


def taking_pixels(
    model: Session, *, height: int, width: int, scale: Sequence[float], offset: Sequence[float]
) -> Session:
    """Make a model take uint8 (n, height, width, 3), where that can be done.

    Of each channel it gets pixels · scale + offset. A model whose input isn't float32
    (n, 3, height, width), or of free sizes, comes back as it is.
    """
    if not isinstance(model, OnnxSession) or len(model.inputs) != 1:
        return model
    if not _takes_floats(model.inputs[0], height, width):
        return model
    return PixelSession(model, height, width, np.array([scale, offset], np.float32))


def _takes_floats(spec: TensorSpec, height: int, width: int) -> bool:
    """Tell whether it is float32 (n, 3, height, width), any of them free."""
    if spec.dtype != np.float32 or len(spec.shape) != 4 or spec.shape[-1] == _CHANNELS:
        return False
    sizes = zip(spec.shape[1:], (_CHANNELS, height, width), strict=True)
    return all(size in (None, wanted) for size, wanted in sizes)


class PixelSession:
    """An image model behind the nodes; satisfies ``Session``, and owns the model.

    ``factors`` are float32 (2, 3): the scale and the offset of each channel.
    """

    runtime = OnnxSession.runtime

    def __init__(self, model: OnnxSession, height: int, width: int, factors: Array) -> None:
        self._model = model
        self._factors = {"scale": factors[0], "offset": factors[1]}
        place = model.placed if model.provider == CUDA else ON_CPU
        places = (place,) if place == ON_CPU else (place, ON_CPU)
        self._front = OnnxSession(FRONT, Choice(places), SessionOptions(threads=model.threads))
        self._image = (self._front.output_names[0], *_place(self._front))
        self._taken = model.inputs[0].name
        shape = (model.inputs[0].shape[0], height, width, _CHANNELS)
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("pixels", shape, np.dtype(np.uint8)),)
        self.outputs = model.outputs
        self.device = model.device
        self.provider = model.provider
        self.fallback = model.fallback
        self.precision = model.precision
        self.threads = model.threads
        self.batch_sizes = model.batch_sizes
        self.metadata = model.metadata

    @property
    def floats(self) -> OnnxSession:
        """The model itself, for floats that are normalised already."""
        return self._model

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; every output by its name. Raises ModelFailed, OutOfMemory."""
        model, front = self._model.engine, self._front.engine
        try:
            with flush_denormals():
                before = front.io_binding()
                for name, array in {**feeds, **self._factors}.items():
                    before.bind_cpu_input(name, array)
                before.bind_output(*self._image)
                front.run_with_iobinding(before)
                [image] = before.get_outputs()
                binding = model.io_binding()
                binding.bind_ortvalue_input(self._taken, image)
                for name in self._model.output_names:
                    binding.bind_output(name)
                model.run_with_iobinding(binding)
                arrays = binding.copy_outputs_to_cpu()
        except Exception as error:
            raise self._model.failure(error) from error
        return dict(zip(self._model.output_names, arrays, strict=True))

    def close(self) -> None:
        """Free both graphs."""
        self._front.close()
        self._model.close()


def _place(session: OnnxSession) -> tuple[str, int]:
    """Tell where a session's outputs may stay, as ONNX Runtime names it."""
    if session.provider == CPU:
        return "cpu", 0
    kind, _, number = session.device.partition(":")
    return kind, int(number or 0)
