"""``hearth models pull``: fetch what the node needs, or models and data sets by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from hearth.cli.options import Config, DataDir, Others, settings_of
from hearth.errors import HearthError, ModelUnavailable, SettingsError

if TYPE_CHECKING:
    from hearth.hub.model_files import ModelFiles
    from hearth.hub.progress import Progress
    from hearth.hub.store import HubStore
    from hearth.models.loader import ModelLoader
    from hearth.settings import Settings

EMBEDDINGS = "embeddings/*"
"""Files that are fetched of a data set unless some are chosen: the rest may be terabytes."""


@dataclass(frozen=True)
class _Wish:
    name: str
    fetch: "Callable[[Progress], object]"
    loader: "ModelLoader | None" = None
    """Loader that tells where the files are afterwards; None for what no service uses."""


def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Services (clip, mediapipe), models (ARCH:TAG, ORG/NAME) or data sets "
            "(datasets/ORG/NAME); without any, all that the configured services need."
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help=f"Files of a data set, instead of {EMBEDDINGS}. May be repeated.",
        ),
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    others: Others = None,
) -> int:
    """Fetch models; what an interrupted download left is gone on with.

    The exit code is 1 where any of it can't be had; the others are fetched all the same.
    """
    from hearth.cli.checks import INSTALL_SERVER, has_server
    from hearth.cli.console import complain
    from hearth.cli.exit_codes import FAILURE, OK
    from hearth.cli.progress import TRANSFER, ProgressView
    from hearth.errors import SetupError
    from hearth.hub.repository_names import is_data_set, is_repository
    from hearth.hub.store import RepositoryMissing
    from hearth.models.loader import describe

    settings = settings_of(config, data_dir, others)
    if include and not any(map(is_data_set, names or [])):
        raise SettingsError("--include is for data sets: name one, as datasets/ORG/NAME")
    if not has_server():
        raise SetupError(f"fetching models needs a node's packages: {INSTALL_SERVER}")
    failed = 0
    for name in dict.fromkeys(names or settings.services):
        try:
            with ProgressView(of_bytes=TRANSFER) as view:
                wish = _wish(settings, name, tuple(include or ()))
                if wish.loader is not None and (fault := describe(wish.loader).fault):
                    raise ModelUnavailable(fault)
                wish.fetch(view.progress)
        except HearthError as error:
            text = str(error)
            if isinstance(error, RepositoryMissing) and is_repository(name):
                text += "" if is_data_set(name) else f" (a data set? write datasets/{name})"
            complain(text if name in text else f"{name}: {text}")
            failed += 1
        else:
            _say_where(settings, wish, view.seen)
    return FAILURE if failed else OK


def _wish(settings: "Settings", name: str, include: tuple[str, ...]) -> _Wish:
    from hearth.cli.models.configured import loader_of
    from hearth.cli.models.did_you_mean import require_meant
    from hearth.cli.models.service_names import service_names, service_with, settings_for
    from hearth.hub.maintenance import Condition
    from hearth.hub.repository_names import is_data_set, is_repository
    from hearth.hub.store import HubStore
    from hearth.models.loader import download_all

    hub = HubStore(settings.data_dir, endpoint=settings.hub.endpoint, offline=settings.hub.offline)
    if is_data_set(name):
        return _Wish(name, lambda progress: _data_set(hub, name, include, progress))
    if name in service_names(settings):
        loader = loader_of(settings, name)
        return _Wish(name, partial(download_all, loader), loader)
    require_meant(settings, name)
    is_damaged = is_repository(name) and hub.condition(name) is Condition.DAMAGED
    if is_damaged and service_with(settings, name) is None:
        # Whoever fetched it knew what for: the same files again, and no others.
        return _Wish(name, lambda progress: hub.mend(name, progress))
    settings, service = settings_for(settings, name)
    loader = loader_of(settings, service)

    def fetch(progress: "Progress") -> None:
        if is_damaged:  # even where a node would take an export instead
            hub.mend(name, progress)
        download_all(loader, progress)

    return _Wish(name, fetch, loader)


def _data_set(hub: "HubStore", name: str, include: tuple[str, ...], progress: "Progress") -> None:
    if hub.condition(name) is not None:
        hub.mend(name, progress)
    if not include and not any(path.startswith("embeddings/") for path in hub.files(name)):
        raise ModelUnavailable(
            f"{name} has no embeddings: say which of its files you want, with --include PATTERN"
        )
    hub.download(name, include or (EMBEDDINGS,), progress)


def _say_where(settings: "Settings", wish: _Wish, seen: "Iterable[str]") -> None:
    from hearth.cli.console import output
    from hearth.families.inventory import inventory_of
    from hearth.hub.model_files import FilesKind
    from hearth.models.availability import files_of
    from hearth.models.loader import describe

    inventory = inventory_of(settings.data_dir).files()
    about = None if wish.loader is None else describe(wish.loader)
    places = [] if about is None else files_of(about, inventory)
    brought = {*seen, wish.name}
    places += [
        files
        for files in inventory
        if files.kind is FilesKind.DOWNLOAD and files.model in brought and files not in places
    ]
    same = about is None or about.model == wish.name
    what = wish.name if same or about is None else f"{wish.name} ({about.model})"
    lines = [f"{what} is here", *map(_place, places)]
    output().print("\n".join(lines), markup=False, soft_wrap=True)


def _place(files: "ModelFiles") -> str:
    from hearth.cli.console import in_words

    fault = f" is {files.condition}: {files.fault}" if files.fault else ""
    return f"  {in_words(files.size)} in {files.path}{fault}"
