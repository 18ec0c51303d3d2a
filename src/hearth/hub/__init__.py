"""Where model files and data come from: local folders, and repositories of a hub."""

from hearth.environment import switch_off_telemetry
from hearth.hub.layout import ModelLayout
from hearth.hub.progress import Progress, no_progress
from hearth.hub.reference import ModelReference
from hearth.hub.store import HubStore

__all__ = ["HubStore", "ModelLayout", "ModelReference", "Progress", "no_progress"]

switch_off_telemetry()  # before anything in here imports huggingface_hub
