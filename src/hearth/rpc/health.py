"""``grpc.health.v1``: grpcio's servicer, and ``List``, which it lacks."""

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse, HealthListRequest, HealthListResponse

SERVICE_NAME: str = health.SERVICE_NAME

Context = grpc.aio.ServicerContext[HealthListRequest, HealthListResponse]


class HealthServicer(health.aio.HealthServicer):  # type: ignore[name-defined, misc]
    """Says of the node (``""``) and of each service whether it serves."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses: dict[str, HealthCheckResponse] = {}

    async def report(self, name: str, serving: bool) -> None:
        """Set the status of a service; whoever watches it is told."""
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        self._statuses[name] = HealthCheckResponse(status=status)
        await self.set(name, status)

    async def List(self, request: HealthListRequest, context: Context) -> HealthListResponse:  # noqa: N802
        """Give all statuses by service."""
        return HealthListResponse(statuses=self._statuses)
