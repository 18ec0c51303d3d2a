"""The folder of an export: where it goes, what it may replace, what it tells of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hearth._version import __version__
from hearth.errors import ModelUnavailable
from hearth.families.clip.exports import belongs, prints
from hearth.families.clip.origins import export_folder
from hearth.families.clip.variants import variant_folder
from hearth.hub.atomic import about, require_free, write_json
from hearth.hub.hashes import content
from hearth.hub.layout import ABOUT
from hearth.hub.progress import Progress, no_progress
from hearth.hub.reference import ModelReference
from hearth.hub.store import HubStore


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export: where files come from, and where they go."""

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
        """Make the store of what is downloaded."""
        return HubStore(self.data_dir, endpoint=self.endpoint, offline=self.offline)

    def folder(self, reference: ModelReference, precision: str = "fp32") -> Path:
        """Choose where the export goes; raises ModelUnavailable where it would harm others."""
        folder = self.target
        if folder is None:
            folder = export_folder(self.data_dir, reference)
            if precision != "fp32":
                folder = variant_folder(folder, precision)
            _require_own(folder, reference.full_name)
        require_free(folder)
        return folder


def _require_own(folder: Path, name: str) -> None:
    """Refuse to replace another model's export; raises ModelUnavailable."""
    if folder.is_dir() and not belongs(folder, name):
        name_of_it = folder.name if "@" in folder.name else f"{folder.name}@fp32"
        raise ModelUnavailable(
            f"{folder} holds {about(folder)['reference']}: remove it with `hearth models remove "
            f"{name_of_it}`, or choose another folder with --out"
        )


def write_about(work: Path, metadata: Mapping[str, Any], *packages: str) -> None:
    """Write ``hearth.json`` into a finished folder, with what every export says.

    ``packages`` are those whose versions its files depend on.
    """
    write_json(
        work / ABOUT,
        {
            "format": 1,
            **metadata,
            "files": prints(work),
            "content": content(work),
            "versions": {"hearth": __version__, **{name: version(name) for name in packages}},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
