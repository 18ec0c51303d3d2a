"""The model files of all families in one data folder.

Needs no more than a client's packages: whoever lists files needs no node's.
"""

from pathlib import Path

from hearth.families.registry import FAMILIES
from hearth.hub.inventory import ModelInventory


def inventory_of(data_dir: Path) -> ModelInventory:
    """Make the inventory of a data folder, with what no hub and no export brought there."""
    return ModelInventory(
        data_dir,
        packaged=[files for family in FAMILIES for files in family.packaged_files(data_dir)],
        labels={
            service.name: family.verify_labels
            for family in FAMILIES
            if family.verify_labels is not None
            for service in family.services
        },
    )
