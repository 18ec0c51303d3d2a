"""One settings object for flags, environment and ``hearth.toml``.

What is given first wins: command-line flags, the environment, the file, the defaults.
Environment names are ``HEARTH_`` and the setting's path with ``__`` for the dots
(``HEARTH_CLIP__BACKEND``); the seed's own names are understood as well (``environment.py``).
"""

import difflib
import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hearth.discovery.settings import MdnsSettings
from hearth.environment import (
    CLIENT_NAMES,
    PREFIX,
    SEED_NAMES,
    is_service_link,
    setting_name,
    unknown_names_warning,
)
from hearth.errors import SettingsError
from hearth.families.registry import OPTIONAL_SERVICES, SERVICES
from hearth.sections import RELOADABLE, Names, Section, ServiceSettings

CONFIG_FILE = "hearth.toml"

ON_RELOAD = "; taken anew on SIGHUP"
"""Ends the meaning of a setting that a running node takes anew."""

log = logging.getLogger(__name__)


class HubSettings(Section):
    """Settings of where model files come from."""

    endpoint: str | None = Field(None, description="the hub's address; unset: HF_ENDPOINT's")
    offline: bool = Field(False, description="never touch the network")
    retry_seconds: NonNegativeFloat = Field(
        300, description="wait before a failed download is tried again"
    )


M = TypeVar("M", bound=BaseModel)


def _with_sections(model: type[M]) -> type[M]:
    """Add a section for each service that a family declares."""
    sections: dict[str, Any] = {
        name: (SERVICES[name].settings, SERVICES[name].settings()) for name in OPTIONAL_SERVICES
    }
    name, module, doc = model.__name__, model.__module__, model.__doc__
    return create_model(name, __base__=model, __module__=module, __doc__=doc, **sections)


@_with_sections
class Settings(BaseSettings):
    """Settings of a node; each service has a section of its name beside."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    host: str = Field("0.0.0.0", description="the address to listen on")
    port: int = Field(50051, ge=0, le=65535, description="the port to listen on; 0: any free one")
    data_dir: Path = Field(Path("data"), description="where models, caches and identity are kept")
    services: Names = Field(
        ("clip", "ocr", "mediapipe"),
        min_length=1,
        description=f"what to serve, with commas between: {', '.join(OPTIONAL_SERVICES)}",
    )
    batch_size: PositiveInt | None = Field(
        None, description="the largest batch of any model; unset: what measuring shows to pay"
    )
    max_delay_ms: NonNegativeFloat = Field(
        10, description="the longest that a batch waits for more requests, in ms; 0: never"
    )
    queue_capacity: PositiveInt = Field(
        1024,
        description="requests in flight at once, of all clients; clients share half of it evenly",
        json_schema_extra=RELOADABLE,
    )
    cache_entries: NonNegativeInt = Field(
        4096,
        description="vectors and lines of text kept for payloads that come again; 0: none",
        json_schema_extra=RELOADABLE,
    )
    decode_threads: PositiveInt | None = Field(
        None, description="threads that decode images; unset: one a core"
    )
    max_payload_mb: PositiveInt = Field(64, description="the largest request, in MiB", le=1024)
    max_held_mb: PositiveInt = Field(
        512,
        description="payloads that the node holds at once, of all clients together, in MiB",
        json_schema_extra=RELOADABLE,
    )
    max_image_pixels: PositiveInt = Field(
        178_956_970, description="the largest image, in pixels (Pillow's own limit)"
    )
    grace_seconds: NonNegativeFloat = Field(
        10,
        description="how long a stop waits for requests in flight, in seconds",
        json_schema_extra=RELOADABLE,
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="serve Prometheus metrics on this port; 0: any free one"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error", json_schema_extra=RELOADABLE
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text or json", json_schema_extra=RELOADABLE
    )

    mdns: MdnsSettings = MdnsSettings()
    hub: HubSettings = HubSettings()

    @property
    def sections(self) -> dict[str, ServiceSettings]:
        """Sections of all services as they are given, by name."""
        return {name: getattr(self, name) for name in OPTIONAL_SERVICES}

    def section_of(self, service: str) -> ServiceSettings | None:
        """Return the section of a service, what is unset filled from others; None: it has none."""
        sections = self.sections
        return sections[service].filled(sections) if service in sections else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` merges the sources itself, so that the seed's names and the error
        # messages can say where a value came from.
        return (init_settings,)


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
    warn: Callable[[str], None] = log.warning,
) -> Settings:
    """Load the settings of this process.

    ``flags`` maps paths (``clip.backend``) to values; None values are not given.
    ``config`` names a TOML file that must exist; without it ``hearth.toml`` of the
    working directory is read where there is one. ``warn`` gets one line where variables
    of the environment have our prefix and mean nothing: they may be somebody else's.
    Raises SettingsError, one line.
    """
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    environment = os.environ if environment is None else environment
    layers = [
        _from_file(config),
        _from_environment(environment, warn),
        ((path, value, "the command line") for path, value in (flags or {}).items()),
    ]
    for layer in layers:
        for path, value, origin in layer:
            if value is not None:
                _put(merged, path, value)
                origins[path] = origin
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None


def describe() -> Iterator[tuple[str, str, str, str]]:
    """List rows of (path, environment names, default, meaning), for the README and the help."""
    seed = {path: name for name, path in SEED_NAMES.items()}
    for path, field in all_fields():
        names = setting_name(path)
        if path in seed:
            names = f"{names}, {seed[path]}"
        meaning = field.description or ""
        yield path, names, _show(field.default), meaning + ON_RELOAD * is_reloadable(field)


def is_reloadable(field: FieldInfo) -> bool:
    """Tell whether a running node takes a setting anew on SIGHUP; others need a restart."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("reload"))


def all_fields(
    model: type[BaseModel] = Settings, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting's path and field."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            yield from all_fields(section, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _show(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ", ".join(default) if isinstance(default, tuple) else str(default)


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"{parent} is a section: give it settings, not a value")
        tree = branch
    tree[leaf] = value


def _from_file(config: Path | None) -> Iterator[tuple[str, Any, str]]:
    path = config or Path(CONFIG_FILE)
    if config is None and not path.is_file():
        return
    try:
        tree = tomllib.loads(
            path.read_text(encoding="utf-8-sig")
        )  # editors of Windows write a mark
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise SettingsError(f"{path} isn't valid TOML: {error}") from None
    yield from ((key, value, str(path)) for key, value in _leaves(tree))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _from_environment(
    environment: Mapping[str, str], warn: Callable[[str], None]
) -> Iterator[tuple[str, Any, str]]:
    own = {name: value for name, value in environment.items() if not is_service_link(name, value)}
    for name, path in SEED_NAMES.items():
        if own.get(name):
            yield path, own[name], name
    known = {setting_name(path): path for path, _ in all_fields()}
    unknown = []
    for name, value in own.items():
        if not name.startswith(PREFIX) or name in CLIENT_NAMES:
            continue
        if name.upper() not in known:
            unknown.append(name)
        elif value:  # Compose's ${NAME:-} leaves empty ones: these aren't set
            yield known[name.upper()], value, name
    if unknown:
        warn(unknown_names_warning(unknown, (*known, *CLIENT_NAMES)))


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    path = ".".join(part for part in location if not part.isdigit())
    origin = next((where for at, where in origins.items() if at.startswith(path)), "")
    source = f" (from {origin})" if origin else ""
    if first["type"] == "extra_forbidden":
        like = difflib.get_close_matches(path, [name for name, _ in all_fields()], n=1)
        meant = f"; did you mean {like[0]}? The" if like else "; the"
        return f"unknown setting {path}{source}{meant} README lists them all"
    return f"{path} = {first['input']!r}{source}: {first['msg'][0].lower()}{first['msg'][1:]}"
