"""A node as a process of its own: its loop, and the signals that it hears."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from hearth.blocking import run_blocking
from hearth.errors import SettingsError
from hearth.hub.progress import Progress, no_progress
from hearth.logs import configure
from hearth.node import InferenceNode
from hearth.settings import Settings

log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    progress: Progress = no_progress,
    read_anew: Callable[[], Settings] | None = None,
) -> int:
    """Run a node until SIGTERM or SIGINT, and give the exit code. A second one ends it at once.

    At SIGHUP the node takes over what may change of the settings that ``read_anew`` reads; one
    that ran in a terminal stops when that is closed, which is told by SIGHUP as well.

    Native code may still run afterwards, a model that was loading for one: leave the
    process by ``os._exit``, or it may crash when libraries are torn down under it.
    """
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: the standard loop does
        loop_factory = None
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(settings, progress, read_anew))


async def _serve(
    settings: Settings, progress: Progress, read_anew: Callable[[], Settings] | None
) -> int:
    stopping, hangup = asyncio.Event(), asyncio.Event()
    has_terminal = _has_terminal()

    def stop(signum: int) -> None:
        if stopping.is_set():
            log.warning("stopped at once")
            os._exit(128 + signum)
        log.info("stopping: requests in flight are answered first")
        stopping.set()

    def hang_up() -> None:
        if read_anew is None or (has_terminal and not _has_terminal()):
            stop(signal.SIGHUP)
        else:
            hangup.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signum)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    async with InferenceNode(settings, progress=progress) as node:
        reloading = None
        if read_anew is not None:
            reloading = asyncio.create_task(_reload_at(hangup, node, read_anew))
        await stopping.wait()
        if reloading is not None:
            reloading.cancel()
    return 0


async def _reload_at(
    hangup: asyncio.Event, node: InferenceNode, read_anew: Callable[[], Settings]
) -> None:
    """Take settings over each time that ``hangup`` is set, one time after the other."""
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            change = await node.reload(await run_blocking(read_anew))
        except SettingsError as error:
            log.error("the settings stay as they are: %s", error)
            continue
        configure(change.settings.log_level, change.settings.log_format)
        for path in change.need_restart:
            log.warning("%s has changed: that needs a restart", path)
        log.info("settings taken anew: %s", ", ".join(change.applied) or "nothing has changed")


def _has_terminal() -> bool:
    """Tell whether the process has a controlling terminal, which is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
