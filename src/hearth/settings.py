"""One settings object for flags, environment and ``hearth.toml``.

What is given first wins: command-line flags, the environment, the file, the defaults.
Environment names are ``HEARTH_`` and the setting's path with ``__`` for the dots
(``HEARTH_CLIP__BACKEND``); the seed's own names are understood as well (``environment.py``).
"""

import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hearth.environment import (
    CLIENT_NAMES,
    PREFIX,
    SEED_NAMES,
    is_service_link,
    setting_name,
    unknown_names_warning,
)
from hearth.errors import SettingsError
from hearth.known import TASKS

CONFIG_FILE = "hearth.toml"

SERVICES = tuple(service for service in TASKS if service != "compose")
"""Names of the services that a node can be told to serve; every node composes."""

log = logging.getLogger(__name__)


def _split(value: object) -> object:
    """``"a, b"`` as a list, so that lists can come from the environment."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_engine(name: str) -> str:
    from hearth.backends.registry import BACKENDS  # only where somebody names one

    if name not in BACKENDS:
        raise PydanticCustomError("engine", f"no such engine: choose from {', '.join(BACKENDS)}")
    return name


Engine = Annotated[str, AfterValidator(_known_engine)]
Precision = Literal["auto", "fp32", "fp16", "int8"]
Templates = Literal["auto", "single", "simple", "openai"]


class ServiceSettings(_Section):
    """Of a service: its section has its name."""


class ClipSettings(ServiceSettings):
    """The service ``clip``."""

    backend: Engine = Field(
        "onnxrt", description="onnxrt or torch (rknn is understood, and not in this version yet)"
    )
    model: str = Field(
        "ViT-B-32:laion2b_s34b_b79k",
        description="ARCH:TAG of open_clip, a hub repository ORG/NAME, or a local folder",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    max_batch_size: PositiveInt | None = Field(
        None, description="the largest batch; unset: batch_size"
    )
    precision: Precision = Field(
        "auto",
        description="fp32, fp16 or int8 of an export (onnxrt); auto: on a CPU int8, on a GPU fp16, "
        "where `hearth models export --precision` has made and checked it, else fp32",
    )
    onnx_image: Path | None = Field(None, description="an ONNX file of the image tower")
    onnx_text: Path | None = Field(None, description="an ONNX file of the text tower")
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    rknn_model: Path | None = Field(None, description="an RKNN file (backend rknn)")
    rknn_target: str = Field("rk3588", description="the board of the RKNN file")
    labels: Path | None = Field(
        None, description="a text or JSON file of labels to classify with, instead of ImageNet's"
    )
    templates: Templates = Field(
        "auto",
        description="prompts for a class name: single (1), open_clip's simple (7) or openai (80); "
        "auto: simple where open_clip is installed, else single",
    )


class _ClipLike(ServiceSettings):
    """Another service of CLIP's family: what isn't set here is as in ``clip``."""

    backend: Engine | None = Field(None, description="unset: clip.backend")
    model: str
    device: str | None = Field(None, description="unset: clip.device")
    require_device: bool | None = Field(None, description="unset: clip.require_device")
    max_batch_size: PositiveInt | None = Field(None, description="unset: clip.max_batch_size")
    precision: Precision = Field("auto", description="as clip.precision")
    onnx_image: Path | None = Field(None, description="an ONNX file of the image tower")
    onnx_text: Path | None = Field(None, description="an ONNX file of the text tower")
    ort_providers: Names | None = Field(None, description="unset: clip.ort_providers")
    rknn_model: Path | None = Field(None, description="an RKNN file (backend rknn)")
    rknn_target: str | None = Field(None, description="unset: clip.rknn_target")

    def over(self, clip: ClipSettings) -> ClipSettings:
        """These settings, and CLIP's for all that is unset; but never CLIP's own files."""
        files = {"onnx_image": None, "onnx_text": None, "rknn_model": None, "labels": None}
        known = ClipSettings.model_fields
        mine = {name: value for name, value in self if name in known and value is not None}
        return clip.model_copy(update={**files, **mine})


class BioclipSettings(_ClipLike):
    """The service ``bioclip``."""

    model: str = Field(
        "imageomics/bioclip-2", description="as clip.model; of BioCLIP's family for its labels"
    )
    labels: Path | None = Field(
        None, description="a text or JSON file of labels, instead of the species of label_data"
    )
    label_data: str = Field(
        "imageomics/TreeOfLife-200M",
        description="the hub's data set with the names of species and their text vectors",
    )
    label_vectors: Literal["float32", "float16"] = Field(
        "float32", description="how label vectors are kept; float16 takes half, and more time"
    )


class SiglipSettings(_ClipLike):
    """The service ``siglip``."""

    model: str = Field(
        "siglip2-base-patch16-224",
        description="siglip2-base-patch16-224, siglip2-so400m-patch14-384, or as clip.model",
    )


class OcrSettings(ServiceSettings):
    """The service ``ocr``."""

    recognition: Names = Field(
        ("PP-OCRv6_small",),
        min_length=1,
        description="models that read lines, with commas between: PP-OCRv6_small (rapidocr's "
        "package has it), other models of PP-OCR by name, ONNX repositories ORG/NAME of the hub, "
        "local folders or .onnx files; each line is read by the first that can write its script",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto",
        description="of reading lines; int8: in 8 bits, and where a letter is doubtful in float32 "
        "too; auto: int8 on a CPU where a trial at the start proves it right and faster, else fp32",
    )
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    threads: PositiveInt | None = Field(None, description="threads of a session; unset: all cores")


class MediapipeSettings(ServiceSettings):
    """The service ``mediapipe``."""

    load: Literal["first_use", "ready"] = Field(
        "first_use",
        description="first_use opens a model when a request needs it first; ready opens and "
        "tries all of them at the start",
    )
    interpreters: PositiveInt | None = Field(
        None,
        description="interpreters of a model, so many rows run at once; "
        "unset: one a core, at most 4",
    )
    wheel: Path | None = Field(
        None,
        description="a wheel of mediapipe 0.10.21 to take the models from; unset: fetched with pip",
    )
    bundles: Paths = Field(
        (),
        description=".task bundles or .tflite files of MediaPipe's to use instead, with commas "
        "between; .task files in the data folder's mediapipe folder are used as well",
    )


class FaceSettings(ServiceSettings):
    """The service ``face``."""

    model: str = Field(
        "immich-app/buffalo_l", description="an ONNX repository of the hub, or a local folder"
    )
    detection: Path | None = Field(None, description="an ONNX file of SCRFD, instead of model's")
    recognition: Path | None = Field(
        None, description="an ONNX file of ArcFace, instead of model's"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    min_confidence: float = Field(
        0.5, ge=0, le=1, description="faces of less are left out, where a request doesn't say"
    )


class MdnsSettings(_Section):
    """How the node is found."""

    enabled: bool = Field(True, description="announce the node by mDNS")
    advertise_ip: str | None = Field(
        None, description="the one IPv4 address to announce; unset: the default route's"
    )
    type: str = Field("_homenative-node._tcp.local.", description="the first service type")
    name: str | None = Field(None, description="the instance name; unset: from host and uuid")
    uuid: str | None = Field(None, description="unset: made once and kept in the data folder")
    status: str | None = Field(None, description="a fixed TXT status; unset: the node's own")
    version: str | None = Field(None, description="the TXT version; unset: hearth's own")


class HubSettings(_Section):
    """Where model files come from."""

    endpoint: str | None = Field(None, description="the hub's address; unset: HF_ENDPOINT's")
    offline: bool = Field(False, description="never touch the network")
    retry_seconds: NonNegativeFloat = Field(
        300, description="wait before a failed download is tried again"
    )


class Settings(BaseSettings):
    """Everything that a node can be told."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    host: str = Field("0.0.0.0", description="the address to listen on")
    port: int = Field(50051, ge=0, le=65535, description="the port to listen on; 0: any free one")
    data_dir: Path = Field(Path("data"), description="where models, caches and identity are kept")
    services: Names = Field(
        ("clip", "ocr", "mediapipe"),
        min_length=1,
        description=f"what to serve, with commas between: {', '.join(SERVICES)}",
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
    )
    cache_entries: NonNegativeInt = Field(
        4096, description="vectors and lines of text kept for payloads that come again; 0: none"
    )
    decode_threads: PositiveInt | None = Field(
        None, description="threads that decode images; unset: one a core"
    )
    max_payload_mb: PositiveInt = Field(64, description="the largest request, in MiB", le=1024)
    max_held_mb: PositiveInt = Field(
        512, description="payloads that the node holds at once, of all clients together, in MiB"
    )
    max_image_pixels: PositiveInt = Field(
        178_956_970, description="the largest image, in pixels (Pillow's own limit)"
    )
    grace_seconds: NonNegativeFloat = Field(
        10, description="how long a stop waits for requests in flight"
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="serve Prometheus metrics on this port; 0: any free one"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error"
    )
    log_format: Literal["text", "json"] = Field("text", description="text or json")

    clip: ClipSettings = ClipSettings()
    bioclip: BioclipSettings = BioclipSettings()
    siglip: SiglipSettings = SiglipSettings()
    ocr: OcrSettings = OcrSettings()
    mediapipe: MediapipeSettings = MediapipeSettings()
    face: FaceSettings = FaceSettings()
    mdns: MdnsSettings = MdnsSettings()
    hub: HubSettings = HubSettings()

    def of_model(self, service: str) -> ClipSettings | None:
        """The settings of a model of CLIP's family, with CLIP's for all that is unset.

        None for a service whose model can't be chosen.
        """
        if service == "clip":
            return self.clip
        section = getattr(self, service, None)
        return section.over(self.clip) if isinstance(section, _ClipLike) else None

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
    """The settings of this process.

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
    """Rows of (path, environment names, default, meaning), for the README and the help."""
    seed = {path: name for name, path in SEED_NAMES.items()}
    for path, field in _fields(Settings):
        names = setting_name(path)
        if path in seed:
            names = f"{names}, {seed[path]}"
        yield path, names, _show(field.default), field.description or ""


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield from _fields(section, f"{prefix}{name}.")
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
    known = {setting_name(path): path for path, _ in _fields(Settings)}
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
    given = f" (from {origin})" if origin else ""
    if first["type"] == "extra_forbidden":
        return f"unknown setting {path}{given}; the README lists them all"
    return f"{path} = {first['input']!r}{given}: {first['msg'][0].lower()}{first['msg'][1:]}"
