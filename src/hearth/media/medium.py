"""Media that a request may carry: how each is sent, how it is decoded, and what that costs.

A task is of the medium whose mimes it takes. Its payload is decoded where the model's form of it is
known: in the threads that prepare items for the batch queues, by a ``Decoder`` that the model got.
What several requests look at is a ``Decodable``, and decoded once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self


class HeavyPayload(Exception):
    """A payload takes hundreds of megabytes to decode, and that wasn't allowed for."""


class Decoder(Protocol):
    """Decoder of one medium, within the node's limits; any number of threads may share it."""

    @property
    def light(self) -> Self:
        """Decoder for those who must not wait: it raises HeavyPayload, as soon as a payload's
        head shows what the rest will cost."""


class Decodable(Protocol):
    """Payload that is decoded once for each form that is asked for, however many look at it."""

    @property
    def payload(self) -> bytes:
        """Payload as it was sent."""

    def is_ready(self, form: Any = ...) -> bool:
        """Tell whether it can be had in this form in no time."""

    def decode(self, decoder: Any, form: Any = ...) -> Any:
        """Decode it, or give what was decoded before; blocking. Raises InvalidInput, Overloaded,
        and HeavyPayload where the decoder is ``light``."""


@dataclass(frozen=True)
class Medium:
    """Declaration of one medium."""

    name: str
    mimes: tuple[str, ...]
    """Mimes of all payloads that are read, some of them only with a further package."""
    is_read: Callable[[str], bool]
    """Function that tells whether payloads of a mime can be read with what is installed."""
    import_decoders: Callable[[], None]
    """Imports packages that decode, which takes milliseconds that a loop hasn't."""
    most_decoded: int
    """Payloads that a queue holds decoded, from their decoding until their answers; the others
    wait as they were sent."""
