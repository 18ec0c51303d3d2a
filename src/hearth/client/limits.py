"""Times and sizes by which a client judges its nodes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Times, in seconds, and sizes by which a client judges its nodes and bounds itself."""

    search_seconds: float = 3.0
    """Time for which the LAN is searched before a task counts as one that no node can do."""
    refresh_seconds: float = 10.0
    """Time after which a node is asked again what it can do: models come and fail without a word
    on mDNS."""
    capabilities_seconds: float = 3.0
    """Time for an answer to that question: the contract's limit, however busy the node is."""
    stall_seconds: float = 2.0
    """Silence, with requests open, after which a node is asked whether it lives."""
    hang_seconds: float = 30.0
    """Silence after which requests are taken from a node that does say that it lives."""
    latency_max_age: float = 30.0
    """Time after which a measured latency says little: one answer that took long, of a model that
    had to warm up, must not keep work from a node for ever."""
    max_payload_bytes: int = 128 << 20
    """Bytes of payloads that were read and have no answer yet; one may be larger."""


DEFAULT_LIMITS = ClientLimits()
