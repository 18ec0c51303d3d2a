"""Blocking work beside the loop, on threads that a stopping node does not wait for.

``asyncio.to_thread`` won't do: its threads are joined at exit, and a download that
hangs would keep a stopped node alive.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """Run ``work`` on a daemon thread of its own; its result, or what it raised.

    What isn't even an Exception (a panic in a native library) comes as a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(outcome: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(outcome)  # type: ignore[arg-type]

    def run() -> None:
        outcome, failure = None, None
        try:
            outcome = work()
        except Exception as error:
            failure = error
        except BaseException as error:
            failure = RuntimeError(f"{type(error).__name__}: {error}")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, outcome, failure)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await done
