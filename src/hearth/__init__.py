"""hearth: the inference node for a home or office network, and its client."""

from typing import TYPE_CHECKING, Any

from hearth._version import __version__
from hearth.environment import leave_forks_alone

if TYPE_CHECKING:
    from hearth.client import Client, SyncClient

__all__ = ["Client", "SyncClient", "__version__"]

leave_forks_alone()  # here: whatever of ours imports gRPC comes by


def __getattr__(name: str) -> Any:
    # When it is asked for: a node has no need of the client.
    if name in {"Client", "SyncClient"}:
        import hearth.client

        return getattr(hearth.client, name)
    raise AttributeError(f"module 'hearth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
