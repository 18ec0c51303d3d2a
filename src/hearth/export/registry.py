"""Registry of this room for a node: the makers of a dynamic batch, by family.

What rewrites graphs is imported where a download has come, not with every node.
"""

from collections.abc import Mapping
from typing import Any

from hearth.models.loader import DynamicBatchMaker


def _clip(*download: Any) -> None:
    from hearth.export.clip_dynamic_batch import make_dynamic_copy

    make_dynamic_copy(*download)


def _face(*download: Any) -> None:
    from hearth.export.face_dynamic_batch import make_recognition_dynamic

    make_recognition_dynamic(*download)


DYNAMIC_BATCH_MAKERS: Mapping[str, DynamicBatchMaker] = {"clip": _clip, "face": _face}
