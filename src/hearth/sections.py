"""Base classes and types of settings' sections.

Those of services stand in their families' folders, which are read without their engines: this
module imports nothing that only a node has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, JsonValue
from pydantic_core import PydanticCustomError


def _split(value: object) -> object:
    """Read ``"a, b"`` as a list, so that lists can come from the environment."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Texts; one text has commas between."""
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]
"""Files or folders; one text has commas between."""


RELOADABLE: dict[str, JsonValue] = {"reload": True}
"""Mark, as a field's ``json_schema_extra``, of a setting that a running node takes anew."""


class Section(BaseModel):
    """Section of settings: each field has a default and a description, which help shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_engine(name: str) -> str:
    from hearth.backends.registry import BACKENDS  # only where somebody names one

    if name not in BACKENDS:
        raise PydanticCustomError("engine", f"no such engine: choose from {', '.join(BACKENDS)}")
    return name


Engine = Annotated[str, AfterValidator(_known_engine)]
"""Name of an engine (``backends/registry.py``); any other is refused."""


class ServiceSettings(Section):
    """Settings of a service; the section has the service's name."""

    def filled(self, sections: Mapping[str, "ServiceSettings"]) -> "ServiceSettings":
        """Fill what is unset from the sections of other services, where it depends on them."""
        return self
