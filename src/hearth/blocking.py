"""Blocking work beside the loop, on threads that a stopping node does not wait for.

``asyncio.to_thread`` won't do: its threads are joined at exit, and a download that
hangs would keep a stopped node alive.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
Inbox = SimpleQueue[Callable[[], None]]

MOST_IDLE = 8
"""Threads that wait for more work: to wake one costs a third of what a new one costs."""

_idle: list[Inbox] = []
# A child of fork() has the list, and none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


async def run_blocking(work: Callable[[], T]) -> T:
    """Run ``work`` on a daemon thread that has nothing else to do; its result, or what it raised.

    What isn't even an Exception (a panic in a native library) comes as a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(outcome: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if isinstance(error, StopIteration):
            done.set_exception(RuntimeError("StopIteration"))  # a future can't raise it
        elif error is not None:
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

    _on_a_thread(run)
    return await done


def _on_a_thread(run: Callable[[], None]) -> None:
    try:
        inbox = _idle.pop()
    except IndexError:
        inbox = SimpleQueue()
        threading.Thread(target=_live, args=(inbox,), name="blocking", daemon=True).start()
    inbox.put(run)


def _live(inbox: Inbox) -> None:
    """Work on one piece after the other, unless enough others wait for some."""
    while True:
        inbox.get()()
        if len(_idle) >= MOST_IDLE:
            return
        _idle.append(inbox)
