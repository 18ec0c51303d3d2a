"""The model files of all families in one data folder.

Needs no more than a client's packages: whoever lists files needs no node's.
"""

from pathlib import Path

from hearth.families.clip.labels.making.label_files import verify_folder
from hearth.families.mediapipe.files import FOLDER
from hearth.families.mediapipe.wheel import WheelModels
from hearth.hub.inventory import ModelInventory
from hearth.settings import Settings


def inventory_of(data_dir: Path) -> ModelInventory:
    """Make the inventory of a data folder, with what no hub and no export brought there."""
    defaults = Settings()
    return ModelInventory(
        data_dir,
        packaged=[WheelModels(data_dir / FOLDER)],
        label_services=filter(defaults.of_model, Settings.model_fields),
        verify_labels=verify_folder,
    )
