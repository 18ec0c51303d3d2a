"""The four calls of ``home_native.v1.Inference``."""

import time
from collections.abc import AsyncIterator, Callable, Mapping

import grpc
from google.protobuf.empty_pb2 import Empty

from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.rpc import capabilities
from hearth.rpc.stream import InferStream
from hearth.rpc.timeouts import STREAM_TIMEOUTS, StreamTimeouts
from hearth.serving.description import describe_services
from hearth.serving.service import InferenceService

ANSWER_SECONDS = 0.5
"""Seconds of a client's deadline that are left for capabilities to reach it."""


class InferenceServicer(pb_grpc.InferenceServicer):
    """Answers from the service; never behind their queues, but for Infer.

    ``about`` is asked what the capabilities tell of the node itself, beside its load.
    """

    def __init__(
        self,
        service: InferenceService,
        *,
        largest_request: int,
        version: str,
        timeouts: StreamTimeouts = STREAM_TIMEOUTS,
        about: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._service = service
        self._largest_request = largest_request
        self._version = version
        self._timeouts = timeouts
        self._about = about
        self._streams: set[InferStream] = set()

    def cut_off(self) -> None:
        """End every stream that is still open as UNAVAILABLE: the node stops."""
        for stream in self._streams:
            stream.cut_off()

    async def Infer(  # type: ignore[override]  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.InferRequest],
        context: "grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse]",
    ) -> None:
        """Answer many requests, each with one or many messages; see ``rpc.stream``."""
        stream = InferStream(
            self._service,
            context,
            largest_request=self._largest_request,
            timeouts=self._timeouts,
        )
        self._streams.add(stream)
        try:
            status = await stream.run()
        finally:
            self._streams.remove(stream)
            del stream  # an end may take as long as the client likes
        if status is not None:
            # Here, and not among the requests: the error that it raises stays in a cycle
            # with its frames, and with all that these hold, until the collector comes by.
            trailers = tuple(status.meta.items())
            await context.abort(grpc.StatusCode[status.code.grpc], status.message, trailers)

    async def GetCapabilities(  # noqa: N802
        self, request: Empty, context: "grpc.aio.ServicerContext[Empty, pb.Capability]"
    ) -> pb.Capability:
        """Give all services merged into one."""
        return capabilities.merged(await self._capabilities(context), node=self._of_node())

    async def StreamCapabilities(  # noqa: N802
        self, request: Empty, context: "grpc.aio.ServicerContext[Empty, pb.Capability]"
    ) -> AsyncIterator[pb.Capability]:
        """Give a message for each service; each says of the node what is true of all of them."""
        for capability in await self._capabilities(context):
            capability.extra.update(self._of_node())
            yield capability

    async def Health(  # noqa: N802
        self, request: Empty, context: "grpc.aio.ServicerContext[Empty, Empty]"
    ) -> Empty:
        """Answer as long as the process lives."""
        return Empty()

    def _of_node(self) -> dict[str, str]:
        held = self._service.admission.statistics()
        return {"version": self._version, **self._about(), **capabilities.load(held)}

    async def _capabilities(
        self, context: "grpc.aio.ServicerContext[Empty, pb.Capability]"
    ) -> list[pb.Capability]:
        # Some clients read capabilities once a connection: better late than half, but in time.
        left = context.time_remaining()
        until = None if left is None else time.monotonic() + left - ANSWER_SECONDS
        router = self._service.router
        await router.readiness.wait_for_startup(until)
        described = describe_services(router, largest_request=self._largest_request)
        services = [capabilities.capability(service) for service in described]
        if not router.readiness.is_startup_done and not any(map(_has_model, services)):
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "models are loading; ask again in a second"
            )
        return services


def _has_model(service: pb.Capability) -> bool:
    """Tell whether a model is ready there: ``compose`` has none, and is nothing by itself."""
    return bool(service.runtime)
