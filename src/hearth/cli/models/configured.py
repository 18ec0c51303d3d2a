"""The models that the settings name: whether they are here, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hearth.cli.models.inventory import Item
from hearth.errors import HearthError

if TYPE_CHECKING:
    from hearth.models.loader import ModelDescription, ModelLoader
    from hearth.settings import Settings


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
        try:
            loader = loader_of(settings, service)
        except HearthError as error:
            own = settings.of_model(service) or getattr(settings, service, None)
            model, precision = getattr(own, "model", ""), getattr(own, "precision", "")
            yield Configured(service, model, precision, "unavailable", str(error), "", None)
            continue
        from hearth.models.loader import describe

        about = describe(loader)
        places = places_of(about, found)
        state, why = _state(loader, about, places)
        size = sum(item.size for item in places) if places else None
        yield Configured(
            service, about.model, _precision(about, places), state, why, _where(about), size
        )


def loader_of(settings: "Settings", service: str) -> "ModelLoader":
    """Make the loader of a service's model; raises SetupError."""
    from hearth.cli.checks import INSTALL_SERVER, has_server
    from hearth.errors import SetupError

    if not has_server():
        raise SetupError(f"a node's packages aren't installed: {INSTALL_SERVER}")
    from hearth.wiring import loader_of

    return loader_of(settings, service)


def places_of(about: "ModelDescription", found: Sequence[Item]) -> list[Item]:
    """The folders of the data folder that a model is in, the one that is taken first."""
    by_path = {item.path: item for item in found}
    return [by_path[folder] for folder in about.folders if folder in by_path]


def _state(loader: "ModelLoader", about: "ModelDescription", places: list[Item]) -> tuple[str, str]:
    from hearth.models.loader import is_local

    # A loader takes local paths as they are; its model says what is wrong with them when loaded.
    if about.fault:
        return "unavailable", about.fault
    try:
        if is_local(loader):
            return "here", ""
    except HearthError as error:
        return "unavailable", str(error)
    unfinished = next((item.state for item in places if item.state != "whole"), "not here")
    fault = next((f"{item.fault}: " for item in places if item.fault), "")
    if about.barred:
        return unfinished, fault + about.barred
    otherwise = ", or export it again" if fault else ""
    why = f"fetched at the next start, or by `hearth models pull {loader.service}`{otherwise}"
    return unfinished, fault + why


def _precision(about: "ModelDescription", places: list[Item]) -> str:
    """As it is here; else as it is asked for."""
    here = [item.precision for item in places if item.precision and item.state != "damaged"]
    if here and about.precision == "auto":
        return here[0] if len(here) == 1 else f"auto ({', '.join(here)})"
    return about.precision


def _where(about: "ModelDescription") -> str:
    """Where its files are; where those that aren't here come from."""
    places = [*map(str, about.folders or filter(None, [about.origin])), *map(str, about.own)]
    return ", ".join(places)
