"""Videos for tests: a task on frames that stands still until it is told, and who films.

film = Film()
async with filming(film) as (streams, camera):
    await camera.send(shot(0), shot(1))
    await film.until_began(0)
    film.let_go()
    told = await camera.rest()
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from batch_kit import until
from hearth.batching import RequestContext
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import ModelFailed
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.mediapipe.tasks.frames import Past, Seen, frame_task
from hearth.media import Picture
from hearth.rpc.stream import StreamSource
from hearth.serving.stream_state import StreamStates
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request
from node_kit import stub_of
from vision_kit import Answer, each_answer, frame, mime_of, vision_node

BLACK = np.zeros((2, 2, 3), np.uint8)


class Film:
    """A task on frames whose model is the test: each frame stands still until it is let go."""

    def __init__(self) -> None:
        self.began: list[tuple[str, int]] = []
        self.together = 0
        self.most_together = 0
        self.cancelled: list[int] = []
        self.interactive: set[int] = set()
        self.fails: set[int] = set()
        self._open: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._all_open = False
        self.task = frame_task(
            "film",
            "a test's own",
            follow=self._follow,
            describe=lambda found, _, __: found,
        )

    def let_go(self, *numbers: int) -> None:
        """These frames, and from now on all where none is named."""
        self._all_open = self._all_open or not numbers
        for number in numbers or list(self._open):
            self._open[number].set()

    async def until_began(self, number: int) -> None:
        await until(lambda: number in [at for _, at in self.began])

    async def _follow(
        self, _: Any, seen: Frame, past: Past, call: Call
    ) -> tuple[dict[str, Any], list[int]]:
        number = call.options["frame_number"]
        self.began.append((call.options["stream_id"], number))
        if call.context.interactive:
            self.interactive.add(number)
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            if not self._all_open:
                await self._open[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.together -= 1
        if number in self.fails:
            raise ModelFailed("the film tears")
        if past.moment is None:
            return {"followed": None}, []
        numbers = [*(past.before or ()), number]
        return {"followed": numbers, "moment": past.moment}, numbers


def shot(number: int, stream: str = "cam", **meta: object) -> pb.InferRequest:
    """A black frame for the film."""
    return frame(BLACK, "film", f"{stream}/{number}", stream_id=stream, frame_number=number, **meta)


class Camera:
    """One stream of one client, which may go on sending while answers come."""

    def __init__(self, stub: Any) -> None:
        self._call = stub.Infer()
        self._answers = each_answer(aiter(self._call))

    async def send(self, *requests: pb.InferRequest) -> None:
        for request in requests:
            await self._call.write(request)

    async def next(self) -> Answer:
        """The answer that comes next."""
        async with asyncio.timeout(20):
            return await anext(self._answers)

    async def rest(self) -> list[Answer]:
        """Send no more; what is still answered."""
        await self._call.done_writing()
        async with asyncio.timeout(20):
            return [answer async for answer in self._answers]

    def cancel(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def filming(film: Film, cameras: int = 1) -> AsyncIterator[Any]:
    """A node with the film, and so many clients; the state of the node's streams comes first."""
    async with vision_node(film.task, *MEDIAPIPE_TASKS) as node:
        stubs = [stub_of(node) for _ in range(cameras)]
        open_stubs = [await stub.__aenter__() for stub in stubs]
        try:
            yield (node.service.router.streams, *(Camera(stub) for stub in open_stubs))
        finally:
            film.let_go()
            for stub in stubs:
                await stub.__aexit__(None, None, None)


class Caller:
    """Asks the film's task by itself, so that single frames can be cancelled."""

    def __init__(self, film: Film, model: Any) -> None:
        self._film, self._model, self._source = film, model, StreamSource()
        self._streams = StreamStates()

    def ask(self, number: int, **meta: str) -> "asyncio.Task[Seen]":
        task = self._film.task
        meta = {"stream_id": "cam", "frame_number": str(number), **meta}
        request = Request("film", BLACK.tobytes(), meta=meta, source=self._source)
        options = read_all(task.options, meta)
        call = Call(request, options, RequestContext(), streams=self._streams)
        picture = Picture(request.payload, mime_of(BLACK))
        return asyncio.ensure_future(task.call(self._model, picture, call))


def numbers_of(told: list[Answer]) -> list[int]:
    return [answer.json["frame_number"] for answer in told]
