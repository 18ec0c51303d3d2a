"""The models that the settings name: whether they are here, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hearth.errors import HearthError
from hearth.hub.model_files import ModelFiles

if TYPE_CHECKING:
    from hearth.models.availability import Availability
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
    """Reason why it can't be used; empty where it is here."""
    where: str
    """Place where it is, or would come from."""
    size: int | None
    """Bytes of the folders that it is in; None where nothing is here."""

    def to_json(self) -> dict[str, Any]:
        """Make a line of ``--json``."""
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


def configured(settings: "Settings", found: Sequence[ModelFiles]) -> Iterator[Configured]:
    """Tell of every service's model; ``found`` is what lies in the data folder."""
    for service in dict.fromkeys(settings.services):
        try:
            loader = loader_of(settings, service)
        except HearthError as error:
            own = settings.section_of(service)
            model, precision = getattr(own, "model", ""), getattr(own, "precision", "")
            yield Configured(service, model, precision, "unavailable", str(error), "", None)
            continue
        from hearth.models.availability import availability

        here = availability(loader, found)
        yield Configured(
            service,
            here.description.model,
            _precision(here),
            here.state,
            _why(here, service),
            _where(here.description),
            here.size,
        )


def loader_of(settings: "Settings", service: str) -> "ModelLoader":
    """Make the loader of a service's model; raises SetupError."""
    from hearth.cli.checks import INSTALL_SERVER, has_server
    from hearth.errors import SetupError

    if not has_server():
        raise SetupError(f"a node's packages aren't installed: {INSTALL_SERVER}")
    from hearth.wiring import loader_of

    return loader_of(settings, service)


def _why(here: "Availability", service: str) -> str:
    """Tell what keeps a model from being used, and what brings it."""
    if here.state in ("here", "unavailable"):
        return here.reason
    damage = f"{here.damage}: " if here.damage else ""
    if here.description.barred:
        return damage + here.description.barred
    otherwise = ", or export it again" if damage else ""
    return f"{damage}fetched at the next start, or by `hearth models pull {service}`{otherwise}"


def _precision(here: "Availability") -> str:
    """Tell the precision that is here; else the one that is asked for."""
    requested, precisions = here.description.precision, here.precisions
    if not precisions or requested != "auto":
        return requested
    return precisions[0] if len(precisions) == 1 else f"auto ({', '.join(precisions)})"


def _where(description: "ModelDescription") -> str:
    """Tell where a model's files are, or where those that aren't here come from."""
    folders = description.folders or filter(None, [description.origin])
    return ", ".join([*map(str, folders), *map(str, description.own)])
