"""Payloads that take a lot of memory are decoded one at a time, and in nobody's way."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hearth.batching import Exclusive
from hearth.media import Decoder, HeavyPayload

AnyDecoder = TypeVar("AnyDecoder", bound=Decoder)
Payload = TypeVar("Payload")
Item = TypeVar("Item")


def exclusive_when_heavy(
    prepare: Callable[[AnyDecoder, Payload], Item], decoder: AnyDecoder
) -> Callable[[Payload], Item]:
    """Make ``prepare`` one for a batch queue, whose threads leave heavy payloads to the one for
    these.

    It is begun anew there. All that it decodes, it decodes with its first argument.
    """
    alone = partial(prepare, decoder)

    def light(payload: Payload) -> Item:
        try:
            return prepare(decoder.light, payload)
        except HeavyPayload:
            raise Exclusive(alone) from None

    return light
