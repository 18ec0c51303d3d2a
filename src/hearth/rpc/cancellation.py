"""Requests of one stream that a client may call off by their correlation ids."""

import asyncio
from collections.abc import Mapping

from hearth.errors import InvalidInput, RequestCancelled

CANCEL = "cancel"
"""Task of a request that calls another one of its stream off."""

TARGET = "target"
"""Key of its meta: the other's correlation id."""


class Cancellation:
    """Calls requests off; ``running`` are the asyncio tasks of the stream's requests by number."""

    def __init__(self, running: Mapping[int, "asyncio.Task[None]"]) -> None:
        self.answering: dict[int, str] = {}
        """Correlation ids of requests that aren't done, by number, in their order."""
        self._running = running
        self._called_off: set[int] = set()

    def call_off(self, target: str) -> bool:
        """Call off the eldest request of that correlation id that isn't done; False: there is none.

        Raises InvalidInput for no id at all.
        """
        if not target:
            raise InvalidInput(f"{TARGET} is empty: a request without a correlation id stays")
        for number, correlation_id in self.answering.items():
            if correlation_id == target and number not in self._called_off:
                self._called_off.add(number)
                self._running[number].cancel()
                return True
        return False

    def as_called_off(self, number: int, error: BaseException) -> BaseException:
        """Turn the cancellation of a request that was called off into the error for its client.

        To be asked once, in the request's own asyncio task, which goes on then; any other error
        stays as it is, and so does the end of the whole stream.
        """
        if number not in self._called_off or not isinstance(error, asyncio.CancelledError):
            return error
        self._called_off.discard(number)
        task = asyncio.current_task()
        if task is None or task.uncancel() > 0:
            return error
        return RequestCancelled("the client has called it off")

    def done(self, number: int) -> None:
        """Let a request be called off no longer: its last part is on its way."""
        self.answering.pop(number, None)
        self._called_off.discard(number)
