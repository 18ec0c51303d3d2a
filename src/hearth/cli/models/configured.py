"""The models that the settings name: whether they are here, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hearth.cli.models.inventory import Item, Kind
from hearth.errors import HearthError

if TYPE_CHECKING:
    from hearth.hub.reference import ModelReference
    from hearth.models.manager import ModelSource
    from hearth.settings import ClipSettings, Settings


@dataclass(frozen=True)
class Configured:
    """The model of one service."""

    service: str
    model: str
    precision: str
    state: str
    """``here``, ``partial``, ``damaged``, ``not here`` or ``unavailable``."""
    why: str
    """What keeps it from being used; empty where it is here."""
    where: str
    """Where it is, or would come from."""
    size: int | None
    """Bytes of the folders that it is in; None where nothing is here."""

    def to_json(self) -> dict[str, Any]:
        """As a line of ``--json``."""
        return {
            "kind": "configured",
            "service": self.service,
            "model": self.model,
            "precision": self.precision or None,
            "state": self.state,
            "why": self.why or None,
            "where": self.where or None,
            "bytes": self.size,
        }


def configured(settings: "Settings", found: Sequence[Item]) -> Iterator[Configured]:
    """Every service's model; ``found`` is what lies in the data folder."""
    for service in dict.fromkeys(settings.services):
        own = settings.of_model(service)
        if own is None:
            places = places_of_service(settings, service, found)
            model, precision, where = _about(settings, service, places)
        else:
            places = places_of(own, found)
            model, precision, where = own.model, _precision(own, places), _where(own, places)
        state, why = _state(settings, service, own, places)
        size = sum(item.size for item in places) if places else None
        yield Configured(service, model, precision, state, why, where, size)


def source_of(settings: "Settings", service: str) -> "ModelSource":
    """Where a service's model comes from; raises SetupError."""
    from hearth.cli.checks import INSTALL_SERVER, has_server
    from hearth.errors import SetupError

    if not has_server():
        raise SetupError(f"a node's packages aren't installed: {INSTALL_SERVER}")
    from hearth.wiring import sources_of

    (source,) = sources_of(settings.model_copy(update={"services": (service,)}))
    return source


def places_of_service(settings: "Settings", service: str, found: Sequence[Item]) -> list[Item]:
    """The folders of the data folder that a service's models are in, of those beside CLIP's."""
    if service == "mediapipe":
        return [item for item in found if item.kind is Kind.PACKAGED]
    if service == "face":
        wanted = settings.face.model
        return [item for item in found if (item.kind, item.model) == (Kind.DOWNLOAD, wanted)]
    return []


def places_of(own: "ClipSettings", found: Sequence[Item]) -> list[Item]:
    """The folders of the data folder that hold a model, the one that is taken first."""
    reference = _reference(own)
    if reference is None or reference.folder is not None:
        return []
    if own.backend == "torch":
        wanted = [item for item in found if item.model == reference.repository]
        return [item for item in wanted if item.kind is Kind.DOWNLOAD]
    exports = [
        item
        for item in found
        if item.kind is Kind.EXPORT
        and item.base == reference.folder_name
        and item.reference in ("", reference.full_name)
        and own.precision in ("auto", item.precision)
    ]
    if any(item.state == "whole" for item in exports):
        return exports
    repositories = reference.onnx_repositories()
    downloads = [
        item for item in found if item.kind is Kind.DOWNLOAD and item.model in repositories
    ]
    return [*downloads, *exports]


def missing_path(own: "ClipSettings | None") -> str:
    """What is wrong with the folder or files that the settings name; empty: nothing."""
    if own is None:
        return ""
    if own.backend == "onnxrt" and own.onnx_image is not None:
        files = [path for path in (own.onnx_image, own.onnx_text) if path is not None]
        return next((f"no such file: {path}" for path in files if not path.is_file()), "")
    reference = _reference(own)
    folder = None if reference is None else reference.folder
    if own is None or folder is None:
        return ""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    from hearth.hub.layout import Layout, lacking

    layout, other = Layout.ONNX, Layout.OPEN_CLIP
    if own.backend == "torch":
        layout, other = other, layout
    missing = lacking(layout, folder)
    if missing is None or lacking(other, folder) is None:
        return ""  # its model says what to do with files for the other engine
    return f"{folder} holds no {layout} model: {missing} is missing"


def _state(
    settings: "Settings", service: str, own: "ClipSettings | None", places: list[Item]
) -> tuple[str, str]:
    # A source takes local paths as they are; its model says what is wrong with them when loaded.
    if missing := missing_path(own):
        return "unavailable", missing
    try:
        if source_of(settings, service).is_local():
            return "here", ""
    except HearthError as error:
        return "unavailable", str(error)
    # The package of a model that comes with one is all that could be missing.
    unfinished = next((item.state for item in places if item.state != "whole"), "not here")
    from hearth.hub.store import HubStore

    fault = next((f"{item.fault}: " for item in places if item.fault), "")
    has_wheel = service == "mediapipe" and settings.mediapipe.wheel is not None
    if not has_wheel and HubStore(settings.data_dir, offline=settings.hub.offline).offline:
        return unfinished, f"{fault}hub.offline or HF_HUB_OFFLINE forbids fetching it"
    otherwise = ", or export it again" if fault else ""
    why = f"fetched at the next start, or by `hearth models pull {service}`{otherwise}"
    return unfinished, fault + why


def _about(settings: "Settings", service: str, places: Sequence[Item]) -> tuple[str, str, str]:
    """The model of a service beside CLIP's, its precision, and where it is or comes from."""
    here = [str(item.path) for item in places]
    if service == "mediapipe":
        from hearth.models.mediapipe.bundle import bundles_in
        from hearth.models.mediapipe.files import FOLDER, MODEL_ID, VERSION

        own = settings.mediapipe
        bundles = [*own.bundles, *bundles_in(settings.data_dir / FOLDER)]
        wheel = f"a wheel of mediapipe {VERSION}, fetched with pip"
        places_of_all = [*(here or [str(own.wheel or wheel)]), *map(str, bundles)]
        return MODEL_ID, "fp32", ", ".join(places_of_all)
    if service == "face":
        files = filter(None, (settings.face.detection, settings.face.recognition))
        where = ", ".join([*here, *map(str, files)])
        return settings.face.model, "fp32", where or settings.face.model
    return "built in", "fp32", "rapidocr's package" if service == "ocr" else ""


def _precision(own: "ClipSettings", places: list[Item]) -> str:
    """As it is here; else as it is asked for."""
    here = [item.precision for item in places if item.precision and item.state != "damaged"]
    if here and own.precision == "auto":
        return here[0] if len(here) == 1 else f"auto ({', '.join(here)})"
    return "fp32" if own.backend == "torch" else own.precision


def _where(own: "ClipSettings", places: list[Item]) -> str:
    if own.backend == "onnxrt" and own.onnx_image is not None:
        return str(own.onnx_image)
    if places:
        return ", ".join(str(item.path) for item in places)
    reference = _reference(own)
    if reference is None:
        return ""
    if reference.folder is not None:
        return str(reference.folder)
    if own.backend == "torch":
        # open_clip knows the repository of ARCH:TAG; asking it would import torch.
        return reference.repository or "open_clip's weights on the hub"
    return " or ".join(reference.onnx_repositories())


def _reference(own: "ClipSettings") -> "ModelReference | None":
    from hearth.hub.reference import parse

    if own.backend == "onnxrt" and own.onnx_image is not None:
        return None
    try:
        return parse(own.model)
    except HearthError:
        return None
