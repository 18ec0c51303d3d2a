"""The gRPC server: the contract's service, standard health and reflection on one port."""

import asyncio
from collections.abc import Mapping

from grpc import aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import SettingsError
from hearth.rpc import health
from hearth.rpc.descriptors import pool_of
from hearth.rpc.servicer import InferenceServicer
from hearth.rpc.stream import MIB

SERVICE = pb.DESCRIPTOR.services_by_name["Inference"].full_name

FOREVER = 2**31 - 1

CUT_OFF_SECONDS = 0.5
"""Seconds for the streams that are cut off to hear of it."""

MOST_NEW_STREAMS = 8192
"""Streams that wait to be taken up, which Python does a few thousand times a second."""


CONNECTION_SECONDS = 5 * 60
"""Seconds after which a client connects anew: some read capabilities once a connection."""


def options(
    largest_request: int, connection_seconds: float = CONNECTION_SECONDS
) -> list[tuple[str, int]]:
    """Give the channel arguments that clients of the field need; see the contract's section."""
    return [
        # grpc-go pings every 10 s; by default the server would call that abuse and
        # cut the connection.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # A message past this limit costs its whole stream: leave room to refuse one
        # that is too large by itself.
        ("grpc.max_receive_message_length", min(2 * largest_request + MIB, FOREVER)),
        ("grpc.max_send_message_length", -1),
        # An old connection takes no new streams; those that it has go on, however long.
        ("grpc.max_connection_age_ms", round(connection_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", FOREVER),
        # Past 1,000 new streams gRPC resets some at random, and clients see errors of many
        # kinds. Admission refuses them too, but with a status that says when to come back.
        # (No "grpc.max_concurrent_streams": clients would wait for those that end, but the
        # server counts them a little longer and resets the next ones, health checks as well.)
        ("grpc.server.max_pending_requests", MOST_NEW_STREAMS),
        ("grpc.server.max_pending_requests_hard_limit", MOST_NEW_STREAMS),
        # Two nodes on one port would each get some of the clients.
        ("grpc.so_reuseport", 0),
    ]


class Server:
    """A bound port and the services behind it."""

    def __init__(
        self,
        servicer: InferenceServicer,
        *,
        largest_request: int,
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        self._servicer = servicer
        self._server = aio.server(options=options(largest_request, connection_seconds))
        self._health = health.HealthServicer()
        pb_grpc.add_InferenceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server, pool_of(services))

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; give the port that was bound. Raises SettingsError where it is taken."""
        try:
            bound = self._server.add_insecure_port(f"{_bracketed(host)}:{port}")
        except RuntimeError:
            raise SettingsError(
                f"can't listen on {host}:{port}: another program does, or the address is not "
                "this machine's; choose another --port"
            ) from None
        await self._server.start()
        return bound

    async def report(self, serving: bool, services: Mapping[str, bool]) -> None:
        """Set what grpc.health.v1 says of the node and of each service."""
        for name, up in {"": serving, SERVICE: serving, **services}.items():
            await self._health.report(name, up)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give open ones ``grace`` seconds, then end them as UNAVAILABLE."""
        # gRPC alone would tell some of them CANCELLED.
        stopping = asyncio.create_task(self._server.stop(grace + CUT_OFF_SECONDS))
        await asyncio.wait([stopping], timeout=grace)
        self._servicer.cut_off()
        await stopping


def _bracketed(host: str) -> str:
    """Put an IPv6 address in brackets, as it stands before a port."""
    return f"[{host}]" if ":" in host else host
