"""LiteRT, the engine of TFLite models, as a backend."""

from pathlib import Path

from hearth.backends.backend import Backend, Device, Placement, require_precision
from hearth.backends.litert_pool import LiteRtPool
from hearth.backends.litert_session import LiteRtSession, import_interpreter
from hearth.backends.session import DEFAULTS, Session, SessionOptions
from hearth.errors import BackendUnavailable, how_to_install


class LiteRtBackend(Backend):
    """LiteRT, on the CPU."""

    name = LiteRtSession.runtime
    title = "LiteRT"
    packages = ("ai_edge_litert",)
    install = how_to_install("litert")
    suffixes = (".tflite",)

    def version(self) -> str:
        """Return LiteRT's version; raises BackendUnavailable."""
        import_interpreter()
        import ai_edge_litert

        return str(ai_edge_litert.__version__)

    def devices(self) -> tuple[Device, ...]:
        """List the CPU; raises BackendUnavailable."""
        import_interpreter()
        return (Device("cpu", "cpu (XNNPACK)"),)

    def place(self, options: SessionOptions) -> Placement:
        """Say that it is the CPU; raises BackendUnavailable where another device is required."""
        fallback = ""
        if options.device not in ("auto", "cpu"):
            fallback = f"LiteRT has no device {options.device}: using the CPU"
            if options.require_device:
                raise BackendUnavailable(f"LiteRT has no device {options.device}")
        return Placement("cpu", "XNNPACK", fallback)

    def open(self, path: Path, options: SessionOptions = DEFAULTS) -> Session:
        """Open a TFLite file: a ``LiteRtPool`` with ``parallel_rows``, else a ``LiteRtSession``.

        Raises BackendUnavailable where ai_edge_litert can't be imported, ModelUnavailable where
        the file can't be loaded.
        """
        session: LiteRtPool | LiteRtSession
        if options.parallel_rows is not None:
            session = LiteRtPool(path, width=options.parallel_rows, content=options.content)
        else:
            session = LiteRtSession(path, threads=options.threads or 1, content=options.content)
        require_precision(session, path, options)
        session.fallback = self.place(options).fallback
        return session
