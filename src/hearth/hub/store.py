"""Model files of the hub on the local disk.

    data/hub/ORG--NAME/main.json         what the hub lists, and what of it is verified
    data/hub/ORG--NAME/COMMIT/…          the files
    data/hub/ORG--NAME/COMMIT-WHAT/…     what was made of them here (``HubStore.making``)
    data/hub/ORG--NAME/.partial/HASH     what an interrupted download left, to be resumed
    data/hub/.locks/ORG--NAME            held while one process downloads, or removes
    data/hub/datasets--ORG--NAME/…       a data set, named datasets/ORG/NAME

Once a file of a commit is here, the store stays at that commit: files that go together
come from one state of the repository, and a restart never changes a model. To take a
newer state, remove the repository (``HubStore.remove``, `hearth models remove`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from hearth.errors import ModelUnavailable
from hearth.hub import maintenance, repository_names
from hearth.hub import manifest as manifests
from hearth.hub.download import DISK_FULL, Download
from hearth.hub.maintenance import Condition, Stored
from hearth.hub.manifest import Manifest
from hearth.hub.progress import Progress, no_progress
from hearth.hub.remote import Remote, RepositoryMissing
from hearth.hub.repository_lock import repository_lock

__all__ = ["BARRED", "HubStore", "RepositoryMissing"]

BARRED = "hub.offline or HF_HUB_OFFLINE forbids fetching it"
"""Reason why a store that is offline fetches nothing."""

_TRUE = {"1", "on", "yes", "true"}


class HubStore:
    """Finds, downloads, checks and removes repositories; every method blocks and is thread-safe.

    Repositories are models, ``ORG/NAME``, and data sets, ``datasets/ORG/NAME``. Every method
    that takes a name raises SettingsError for what is none.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        endpoint: str | None = None,
        offline: bool = False,
        timeout: float = 10,
    ) -> None:
        """``endpoint``: the hub's address, or HF_ENDPOINT's, or the public hub's.

        ``offline``, or HF_HUB_OFFLINE, forbids the network altogether. ``timeout`` is the
        longest silence in seconds before the hub counts as out of reach. A token is taken
        from HF_TOKEN. Raises SettingsError for an endpoint that is no address.
        """
        self.folder = data_dir / "hub"
        self.offline = offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE
        self._remote = Remote(endpoint, timeout)

    def files(self, repository: str, revision: str = "main") -> list[str]:
        """List the paths in a repository, sorted.

        From the local manifest where files of it are here, else from the hub. Raises
        ModelUnavailable where the hub is out of reach or has no such repository.
        """
        manifest = self._pinned(repository, revision)
        if manifest is not None:
            return sorted(manifest.listing.files)
        self._require_online(repository)
        return sorted(self._remote.listing(repository, revision).files)

    def choose(self, repositories: Iterable[str]) -> str:
        """Choose the first repository that is here, or else the first that the hub has.

        Raises ModelUnavailable; RepositoryMissing where the hub has none of them.
        """
        candidates = list(repositories)
        for repository in candidates:
            if self._pinned(repository, "main") is not None:
                return repository
        for repository in candidates:
            try:
                self.files(repository)
            except RepositoryMissing:
                continue
            return repository
        raise RepositoryMissing(f"the hub has none of {', '.join(candidates)}")

    def find(self, repository: str, patterns: Iterable[str], revision: str = "main") -> Path | None:
        """Find the folder with the files that the patterns choose, all verified; else None.

        Never touches the network, never writes, and reads no more than sizes.
        """
        manifest = self._pinned(repository, revision)
        if manifest is None:
            return None
        try:
            requested = manifest.listing.select(patterns)
        except ModelUnavailable:
            return None
        return manifest.snapshot if all(map(manifest.has, requested)) else None

    def download(
        self,
        repository: str,
        patterns: Iterable[str],
        progress: Progress = no_progress,
        revision: str = "main",
    ) -> Path:
        """Fetch what is missing of the files that the patterns choose; the folder with them.

        ``progress`` gets the repository's name, the bytes here and the bytes in all. Bytes
        that an earlier try left are not fetched again. A file counts only once its size
        and hash are those that the hub lists. Processes that want the same repository
        take turns. See ``Listing.select`` for the patterns. Raises ModelUnavailable.
        """
        patterns = list(patterns)
        local = self.find(repository, patterns, revision)
        if local is not None:
            return local
        self._require_online(repository)
        # Waiting is also the moment at which the caller can stop us.
        waits = f"{repository}: another process downloads it"
        try:
            with self._locked(repository, lambda: progress(waits, 0, None)):
                manifest = self._pinned(repository, revision) or self._look_up(repository, revision)
                requested = manifest.listing.select(patterns)
                Download(self._remote, manifest, progress).complete(requested)
                return manifest.snapshot
        except OSError as error:
            raise self._disk_error(repository, error) from error

    @contextmanager
    def making(self, repository: str, progress: Progress = no_progress) -> Iterator[None]:
        """Hold a repository while files are made of its files: nobody downloads or removes it then.

        They belong in ``made_of(snapshot, what)``, and go when the repository goes.
        Raises ModelUnavailable where the disk refuses, or nothing of it is here any more.
        """
        waits = f"{repository}: another process works on it"
        with ExitStack() as stack:
            try:
                stack.enter_context(self._locked(repository, lambda: progress(waits, 0, None)))
            except OSError as error:
                raise self._disk_error(repository, error) from error
            self._manifests(repository)
            yield

    def repositories(self) -> list[Stored]:
        """List what is here, by name: also what was interrupted. Reads no more than sizes."""
        return maintenance.stored(self.folder)

    def condition(self, repository: str) -> Condition | None:
        """Tell how the files of a repository are, going by sizes; None where nothing is here."""
        folder = self.folder_of(repository)
        return maintenance.describe(repository, folder).condition if folder.is_dir() else None

    def verify(self, repository: str, progress: Progress = no_progress) -> list[str]:
        """Find what is wrong with the files that count as whole, a line for each.

        Reads every byte and compares the hashes that the hub listed. What is wrong counts no
        longer: ``find`` misses it, and the next download, or ``mend``, fetches it anew.
        ``progress`` gets the bytes read. Raises ModelUnavailable where nothing is here.
        """
        problems = []
        for manifest in self._manifests(repository):
            faults = maintenance.check(manifest, progress)
            problems += [f"{path} {fault}" for path, fault in sorted(faults.items())]
            if not faults and not manifest.damaged:
                continue
            try:
                with self._locked(repository, lambda: self._is_busy(repository)):
                    # What it says now: another process may have gone on meanwhile.
                    now = manifests.load(manifest.folder, manifest.revision)
                    if now is not None and now.listing.commit == manifest.listing.commit:
                        maintenance.settle(now, faults)
            except OSError as error:
                raise self._disk_error(repository, error) from error
        return problems

    def mend(self, repository: str, progress: Progress = no_progress) -> None:
        """Fetch what was whole once and isn't any more, if anything; raises ModelUnavailable.

        That is what ``verify`` found wrong, and what is missing or not of its size.
        """
        for manifest in self._manifests(repository):
            if lost := manifest.lost():
                self.download(repository, lost, progress, manifest.revision)

    def remove(self, repository: str) -> int:
        """Remove all that is here of a repository; the bytes that are free now.

        A process that uses the files keeps those that it has open. Raises ModelUnavailable
        where nothing is here, where another process downloads it, or where the disk refuses.
        """
        folder = self.folder_of(repository)
        try:
            # No lock, and no folder for it, where there is nothing to remove.
            if folder.is_dir():
                with self._locked(repository, lambda: self._is_busy(repository)):
                    if folder.is_dir():
                        return maintenance.remove(folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ModelUnavailable(f"can't remove {repository} from {folder}: {reason}") from error
        raise self._not_here(repository)

    def _manifests(self, repository: str) -> list[Manifest]:
        folder = self.folder_of(repository)
        if not folder.is_dir():
            raise self._not_here(repository)
        return manifests.manifests_in(folder)

    def _not_here(self, repository: str) -> ModelUnavailable:
        return ModelUnavailable(f"{repository} isn't in {self.folder}")

    def _is_busy(self, repository: str) -> NoReturn:
        raise ModelUnavailable(
            f"{repository} is in use by a download of another process: try again after it"
        )

    def _pinned(self, repository: str, revision: str) -> Manifest | None:
        """Read the manifest, where a file ties us to its commit."""
        manifest = manifests.load(self.folder_of(repository), revision)
        return manifest if manifest is not None and manifest.begun else None

    def _look_up(self, repository: str, revision: str) -> Manifest:
        listing = self._remote.listing(repository, revision)
        return Manifest(self.folder_of(repository), revision, listing)

    def _require_online(self, repository: str) -> None:
        if self.offline:
            raise ModelUnavailable(
                f"{repository} isn't in {self.folder}, and the hub may not be asked "
                "(hub.offline or HF_HUB_OFFLINE)"
            )

    def _disk_error(self, repository: str, error: OSError) -> ModelUnavailable:
        if error.errno in DISK_FULL:
            return ModelUnavailable(f"no room for {repository}: the disk of {self.folder} is full")
        return ModelUnavailable(f"can't keep {repository} in {self.folder}: {error.strerror}")

    @contextmanager
    def _locked(self, repository: str, others_first: Callable[[], None]) -> Iterator[None]:
        """Hold the repository's lock, over all processes of this data folder."""
        with repository_lock(
            self.folder / ".locks" / repository_names.folder_name(repository), others_first
        ):
            maintenance.sweep(self.folder_of(repository))
            yield

    def folder_of(self, repository: str) -> Path:
        """Name the folder where a repository's files are, or would be."""
        return self.folder / repository_names.folder_name(repository)
