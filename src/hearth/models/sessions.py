"""Sessions of a service: what its settings ask for, and where they really run."""

from typing import Protocol

from hearth.backends import Session, SessionOptions


class DeviceSettings(Protocol):
    """Settings of a service that name what its sessions run on."""

    @property
    def device(self) -> str:
        """Device: auto, cpu, cuda, cuda:N or mps."""
        ...

    @property
    def ort_providers(self) -> tuple[str, ...] | None:
        """Execution providers of ONNX Runtime to take instead."""
        ...

    @property
    def require_device(self) -> bool:
        """Whether to fail rather than take the CPU."""
        ...


def session_options(settings: DeviceSettings) -> SessionOptions:
    """Make the options of sessions on the device that a service's settings name."""
    return SessionOptions(
        device=settings.device,
        providers=settings.ort_providers or (),
        require_device=settings.require_device,
    )


def fallback_of(*sessions: Session | None) -> str:
    """Say why sessions don't run where they were asked to; empty where they do."""
    reasons = (session.fallback for session in sessions if session is not None)
    return "; ".join(dict.fromkeys(filter(None, reasons)))
