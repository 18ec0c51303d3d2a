"""Logging of a node: standard library, for people or as JSON lines."""

import logging
import sys


def configure(level: str, style: str) -> None:
    """Log to stderr at ``level``; ``style`` is ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        from pythonjsonlogger.json import JsonFormatter

        handler.setFormatter(
            JsonFormatter(
                ["asctime", "levelname", "name", "message"],
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpx2", "filelock", "huggingface_hub", "PIL", "zeroconf"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
