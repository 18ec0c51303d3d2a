"""Parts of a loaded CLIP, whichever engine it came from."""

from dataclasses import dataclass, replace
from pathlib import Path

from hearth.backends import Session
from hearth.families.clip.tokenizer import Tokenizer
from hearth.families.clip.transform import ImageTransform


@dataclass(frozen=True)
class Parts:
    """Sessions, and what belongs to them.

    ``image`` and ``text`` have one input each: pictures, uint8 (n, height, width, 3) or
    normalised floats (n, 3, height, width), and token ids (n, context). Without ``text``
    and its ``tokenizer`` a model embeds pictures only.
    """

    model_id: str
    image: Session
    transform: ImageTransform
    files: tuple[Path, ...]
    """The files that the model's vectors depend on."""
    logit_scale: float | None = None
    """The factor itself, not its logarithm; None where the files don't tell."""
    logit_bias: float | None = None
    floats: Session | None = None
    """The image tower for pictures that are normalised already, where ``image`` takes pixels:
    over the same weights, run by the same owner, and closed with ``image``."""
    text: Session | None = None
    tokenizer: Tokenizer | None = None

    def with_text(self, text: Session, tokenizer: Tokenizer, files: tuple[Path, ...]) -> "Parts":
        """Return these parts with a text tower."""
        return replace(self, text=text, tokenizer=tokenizer, files=(*self.files, *files))

    def close(self) -> None:
        """Free the sessions."""
        for session in (self.image, self.floats, self.text):
            if session is not None:
                session.close()
