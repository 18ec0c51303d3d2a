"""A downloaded pair of graphs that takes one sample at a time, as a pair that takes many."""

import logging
import shutil
from pathlib import Path

from hearth.errors import HearthError, ModelUnavailable
from hearth.export.clip_folder import write_about
from hearth.export.clip_proof import sample_inputs
from hearth.export.dynamic_batch import has_fixed_batch, make_batch_dynamic
from hearth.families.clip import exports
from hearth.families.clip.files import IMAGE, TEXT, told_name
from hearth.files import write_atomic
from hearth.hub import atomic
from hearth.hub.layout import ABOUT
from hearth.hub.manifest import DYNAMIC_BATCH, impossible_mark, made_of
from hearth.hub.progress import Progress
from hearth.hub.store import HubStore

log = logging.getLogger(__name__)


class _Impossible(ModelUnavailable):
    """Raised where neither graph can be rewritten."""


def make_dynamic_copy(
    repository: str, source: Path, hub: HubStore, model_id: str, progress: Progress
) -> None:
    """Write a copy of a download with a free batch axis beside it, where its own is fixed.

    ``source`` is the snapshot of ``repository`` that is in use. Both towers, or the one that
    can be freed and the other as it is. ``source`` is never changed; where nothing can be
    freed, nothing but a mark is written (``exports.is_impossible``), and the log says why: the
    model works as before then, one sample at a time. Blocking.
    """
    what = f"{model_id}: free batch axis"
    try:
        fixed = [tower for tower in exports.TOWERS if has_fixed_batch(source / tower)]
        if not fixed:
            return
        with hub.making(repository, progress):
            if exports.dynamic_copy(source) is not None:
                return  # by another process, meanwhile
            progress(what, 0, len(fixed) + 1)
            copy = made_of(source, DYNAMIC_BATCH)
            shutil.rmtree(copy, ignore_errors=True)  # of other files, or damaged
            try:
                with atomic.atomic_folder(copy) as work:
                    freed = _write(source, work, model_id, fixed, progress)
            except _Impossible as error:
                write_atomic(impossible_mark(source, DYNAMIC_BATCH), str(error).encode())
                raise
            impossible_mark(source, DYNAMIC_BATCH).unlink(missing_ok=True)
    except (HearthError, OSError) as error:
        log.warning("%s: no free batch axis, so one at a time: %s", model_id, error)
        return
    progress(what, len(fixed) + 1, len(fixed) + 1)
    log.info("%s: free batch axis of %s, in %s", model_id, " and ".join(freed), copy)


def _write(
    source: Path, work: Path, model_id: str, fixed: list[Path], progress: Progress
) -> list[str]:
    """Write the folder; the names of the towers that are free in it."""
    files = exports.model_files(source)
    _require_room(source, work, files)
    for name in files:
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(name) not in fixed and name != ABOUT:
            shutil.copyfile(source / name, target)
    images, texts = sample_inputs(source)
    samples = {IMAGE: images, TEXT: texts}
    freed, reasons = [], []
    for done, tower in enumerate(fixed, 1):
        try:
            make_batch_dynamic(source / tower, work / tower, samples[tower])
            freed.append(tower.parent.name)
        except HearthError as error:
            shutil.copyfile(source / tower, work / tower)
            reasons.append(f"{tower.parent.name}: {error}")
        progress(f"{model_id}: free batch axis", done, len(fixed) + 1)
    if not freed:
        raise _Impossible("; ".join(reasons))
    for reason in reasons:
        log.warning("%s: no free batch axis of %s", model_id, reason)
    about = atomic.about(source)
    made = {
        "model_id": told_name(about) or model_id,
        "precision": about.get("precision") or "fp32",
        "free_batch": freed,
        "made_from": exports.prints(source),
    }
    write_about(work, {**about, **made}, "onnx", "onnxruntime")
    return freed


def _require_room(source: Path, work: Path, files: tuple[str, ...]) -> None:
    need = sum((source / name).stat().st_size for name in files)
    free = shutil.disk_usage(work).free
    if need > free:
        raise ModelUnavailable(f"{need / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")
