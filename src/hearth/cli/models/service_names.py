"""Search for the service that has a model that a user names."""

from hearth.families.clip.settings import ClipSettings
from hearth.settings import Settings


def service_names(settings: Settings) -> list[str]:
    """List the names of all services that there are, whether they run or not."""
    return list(dict.fromkeys((*settings.sections, *settings.services)))


def clip_settings(settings: Settings, service: str) -> ClipSettings | None:
    """Find the settings of a service of CLIP's family; None for one whose model can't be chosen."""
    section = settings.section_of(service)
    return section if isinstance(section, ClipSettings) else None


def service_with(settings: Settings, model: str) -> str | None:
    """Find the configured service that has this model, or one that CLIP can't stand in for."""
    for service in settings.services:
        own = clip_settings(settings, service)
        if own is not None and own.model == model and own.onnx_image is None:
            return service
    others = (name for name in service_names(settings) if clip_settings(settings, name) is None)
    named = (name for name in others if _model_of(settings, name) == model)
    return next(named, None)


def _model_of(settings: Settings, service: str) -> str:
    return getattr(getattr(settings, service, None), "model", "")


def settings_for(settings: Settings, model: str) -> tuple[Settings, str]:
    """Make settings by which a service has this model; they and the service's name.

    It is the one that is configured with it; else clip, without the files that the settings
    name for its own model.
    """
    changes: dict[str, object] = {}
    service = service_with(settings, model)
    if service is None:
        service = "clip"
        changes = {"model": model, "onnx_image": None, "onnx_text": None, "labels": None}
    own = clip_settings(settings, service)
    if own is not None and own.precision == "auto":
        changes["precision"] = "fp32"  # no variant stands in for the files themselves
    section = getattr(settings, service).model_copy(update=changes)
    return settings.model_copy(update={service: section}), service
