"""All families: the one place that names them.

Settings, loaders, tasks, help and the lists of model files are made from it.
"""

from importlib import import_module
from typing import Any

from hearth.families.family import Family, ServiceDeclaration

_FOLDERS = (
    "clip",
    "ocr",
    "mediapipe",
    "face",
    "compose",
)

FAMILIES: tuple[Family, ...] = tuple(
    import_module(f"hearth.families.{folder}.family").FAMILY for folder in _FOLDERS
)
"""Families, in the order in which lists have them."""

SERVICES: dict[str, ServiceDeclaration[Any]] = {
    service.name: service for family in FAMILIES for service in family.services
}
"""Services of all families, by name."""

OPTIONAL_SERVICES = tuple(name for name, service in SERVICES.items() if service.is_optional)
"""Names of the services that a node can be told to serve."""
