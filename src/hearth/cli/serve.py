"""``hearth serve``: run a node."""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hearth.errors import SettingsError, SetupError, how_to_install
from hearth.known import SETTINGS, TASKS


def _meaning(setting: str, of: str = "") -> str:
    """Describe a flag by its setting: as a sentence, or as the values of something."""
    text = SETTINGS[setting].removesuffix("; taken anew on SIGHUP").partition("; unset")[0]
    return f"{of}: {text}." if of else f"{text[0].upper()}{text[1:]}."


def serve(  # noqa: PLR0917
    host: Annotated[str | None, typer.Option(help=_meaning("host"))] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help=_meaning("port"))] = None,
    data_dir: Annotated[Path | None, typer.Option(help=_meaning("data_dir"))] = None,
    services: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            "--services",
            help=f"What to serve, instead of the default: {', '.join(TASKS)}; with commas "
            "between. May be repeated.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help=_meaning("clip.backend", "clip's engine"))
    ] = None,
    model: Annotated[str | None, typer.Option(help=_meaning("clip.model", "clip's model"))] = None,
    device: Annotated[
        str | None, typer.Option(help=_meaning("clip.device", "clip's device"))
    ] = None,
    require_device: Annotated[
        bool, typer.Option("--require-device", help=_meaning("clip.require_device", "clip"))
    ] = False,
    name: Annotated[str | None, typer.Option(help="The node's name on the network.")] = None,
    no_mdns: Annotated[bool, typer.Option("--no-mdns", help="Don't announce the node.")] = False,
    advertise_ip: Annotated[str | None, typer.Option(help=_meaning("mdns.advertise_ip"))] = None,
    metrics_port: Annotated[int | None, typer.Option(help=_meaning("metrics_port"))] = None,
    log_level: Annotated[
        str | None, typer.Option(help=_meaning("log_level", "What is logged"))
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help=_meaning("log_format", "How it is logged"))
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A settings file; else ./hearth.toml.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="NAME=VALUE", help="Any other setting. May be repeated."
        ),
    ] = None,
) -> int:
    """Run a node until Ctrl-C or SIGTERM; SIGHUP has it read its settings anew."""
    from hearth.cli.progress import ProgressView
    from hearth.cpu import CURE, missing_features
    from hearth.logs import configure
    from hearth.settings import Settings, load

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "services": ",".join(services) if services else None,
        "clip.backend": backend,
        "clip.model": model,
        "clip.device": device,
        "clip.require_device": True if require_device else None,
        "mdns.name": name,
        "mdns.enabled": False if no_mdns else None,
        "mdns.advertise_ip": advertise_ip,
        "metrics_port": metrics_port,
        "log_level": log_level,
        "log_format": log_format,
    }
    warnings: list[str] = []
    flags |= assignments(others or [])

    def read(warn: Callable[[str], None]) -> Settings:
        return load(flags, config=config, warn=warn)

    settings = read(warnings.append)
    missing = missing_features()
    if missing.required:
        raise SetupError(f"{missing.sentence}; {CURE}")
    try:
        from hearth.process import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "hearth":
            raise
        raise SetupError(
            f"a node needs more than the client ({error.name} is missing): "
            f"{how_to_install('server')}"
        ) from None
    configure(settings.log_level, settings.log_format)
    log = logging.getLogger(__name__)
    for warning in warnings:
        log.warning("%s", warning)
    # A line among those of the log, in the log's own format.
    with ProgressView(say=log.info) as bar:
        code = run(settings, progress=bar.progress, read_anew=partial(read, log.warning))
    logging.shutdown()
    sys.stdout.flush()
    # Not by the usual way: see `hearth.process.serve`.
    os._exit(code)


def assignments(texts: list[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` texts as a mapping; raises SettingsError."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"--set {text}: write it as NAME=VALUE, like clip.backend=torch")
        pairs[name.strip()] = value.strip()
    return pairs
