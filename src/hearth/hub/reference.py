"""References to models: everything that a user may write where one is asked for."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hearth.errors import SettingsError

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(f"{_NAME}/{_NAME}")
_ARCHITECTURE = re.compile(f"{_NAME}(/{_NAME})*")
_TAG = re.compile(_NAME)
# OpenAI's own spelling of architectures, ViT-B/32, which looks like ORG/NAME.
_BARE = re.compile(r"ViT-[A-Za-z]+/\d+(@\d+px)?")

ONNX_ORGANISATION = "immich-app"
"""Organisation that publishes open_clip's models as pairs of ONNX files, in repositories named
ARCH__TAG."""


KNOWN: Mapping[str, str] = {
    "siglip2-base-patch16-224": "ViT-B-16-SigLIP2:webli",
    # open_clip calls it by the 378 pixels that are left of 384 in whole patches of 14.
    "siglip2-so400m-patch14-384": "ViT-SO400M-14-SigLIP2-378:webli",
}
"""Models that clients know by a name of their own: it is the model id then."""


@dataclass(frozen=True)
class ModelReference:
    """A model as a setting names it.

    Of ``folder``, ``repository``, and ``architecture`` with ``tag``, those of the kind are set.
    """

    kind: Literal["folder", "repository", "open_clip"]
    text: str
    """Text that the user wrote."""
    folder: Path | None = None
    repository: str | None = None
    architecture: str | None = None
    """Name in open_clip's spelling: ``ViT-B-32``."""
    tag: str | None = None

    @property
    def model_id(self) -> str:
        """Name that clients see: a known name or ARCH:TAG as written, or the folder's NAME."""
        if self.folder is not None:
            return self.folder.expanduser().resolve().name or "model"
        if self.repository is not None:
            return self.repository.split("/")[1]
        return self.text

    @property
    def full_name(self) -> str:
        """Name that tells the model from all others: ORG/NAME, ARCH:TAG, or a folder's whole path.

        However it was written; a known name stays as it is. ``parse`` understands it.
        """
        if self.folder is not None:
            return str(self.folder.expanduser().resolve())
        if self.repository is not None:
            return self.repository
        return self.text if self.text in KNOWN else f"{self.architecture}:{self.tag}"

    @property
    def folder_name(self) -> str:
        """Model id as the name of a folder: only A-Z a-z 0-9 . _ -, no . or - in front."""
        plain = self.model_id.replace(":", "__").replace("/", "-")
        name = re.sub(r"[^A-Za-z0-9._-]", "-", plain).lstrip(".-")[:100]
        if name == plain:
            return name
        # Names that differ only in what was replaced mustn't share a folder.
        digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"{name}-{digest}" if name else digest

    def onnx_repositories(self) -> tuple[str, ...]:
        """List repositories that may hold the model as ONNX, the likeliest first.

        Both spellings of a tag are in use: laion2b_e16, but laion2b-s34b-b79k.
        """
        if self.repository is not None:
            return (self.repository,)
        if self.architecture is None or self.tag is None:
            return ()
        tags = dict.fromkeys((self.tag, self.tag.replace("_", "-")))
        return tuple(f"{ONNX_ORGANISATION}/{self.architecture}__{tag}" for tag in tags)


def parse(text: str) -> ModelReference:
    """Read the name of a model in a setting; raises SettingsError.

    Understood are a local folder (one that exists, or starts with ``/``, ``./``, ``../`` or
    ``~``), a name out of ``KNOWN``, a repository ``ORG/NAME`` of the hub (also
    ``hf-hub:ORG/NAME``), and open_clip's ``ARCH:TAG`` (also ``ARCH__TAG``).
    """
    text = text.strip()
    if text.startswith("hf-hub:"):
        return _repository(text, text.removeprefix("hf-hub:"))
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or _is_folder(text):
        return ModelReference("folder", text, folder=Path(text).expanduser())
    if text in KNOWN:
        return replace(parse(KNOWN[text]), text=text)
    if ":" in text:
        return _open_clip(text, *text.split(":", 1))
    if "/" in text and not _BARE.fullmatch(text):
        return _repository(text, text)
    if "__" in text:
        return _open_clip(text, *text.split("__", 1))
    if _ARCHITECTURE.fullmatch(text):
        raise SettingsError(
            f"{text} names an architecture but no weights: write {text}:TAG "
            f"(as in ViT-B-32:openai), ORG/NAME of the hub, or ./{text} for a local folder"
        )
    raise _unclear(text)


def _repository(text: str, name: str) -> ModelReference:
    if not _REPOSITORY.fullmatch(name):
        raise _unclear(text)
    return ModelReference("repository", text, repository=name)


def _open_clip(text: str, architecture: str, tag: str) -> ModelReference:
    if not _ARCHITECTURE.fullmatch(architecture) or not _TAG.fullmatch(tag):
        raise _unclear(text)
    return ModelReference("open_clip", text, architecture=architecture.replace("/", "-"), tag=tag)


def _is_folder(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_dir()
    except (OSError, ValueError):
        return False


def _unclear(text: str) -> SettingsError:
    return SettingsError(
        f"{text!r} names no model: write ARCH:TAG (as in ViT-B-32:openai), "
        "ORG/NAME of the hub, or a local folder"
    )
