"""What making an export goes by, whatever it is made of."""

from dataclasses import dataclass
from pathlib import Path

from hearth.hub.atomic import require_free
from hearth.hub.progress import Progress, no_progress
from hearth.hub.reference import ModelReference
from hearth.hub.store import HubStore
from hearth.models.clip.exports.folders import require_own
from hearth.models.clip.exports.variants import variant_folder
from hearth.models.clip.origins import export_folder


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Where files come from, and where they go."""

    data_dir: Path
    checkpoint: Path | None = None
    """A local file of weights; the name is one of open_clip's architectures then."""
    target: Path | None = None
    """The folder to write; None: where a node with this ``data_dir`` finds it by name."""
    endpoint: str | None = None
    """The hub's address, as in HubStore."""
    offline: bool = False
    """Whether the hub may not be asked."""
    force: bool = False
    """Keep the files even if they differ from the original."""
    progress: Progress = no_progress

    def hub(self) -> HubStore:
        """The store of what is downloaded."""
        return HubStore(self.data_dir, endpoint=self.endpoint, offline=self.offline)

    def folder(self, reference: ModelReference, precision: str = "fp32") -> Path:
        """Where the model's export goes; raises ModelUnavailable where it would harm others."""
        folder = self.target
        if folder is None:
            folder = export_folder(self.data_dir, reference)
            if precision != "fp32":
                folder = variant_folder(folder, precision)
            require_own(folder, reference.full_name)
        require_free(folder)
        return folder
