"""From texts to token ids.

A tokenizer here is a callable: texts in, int64 ids (texts, context) out, padded and
cut to the context. What open_clip's tokenizers do to a text before they split it is
done here as well (open_clip 3.3, ``tokenizer.py``).
"""

import gzip
import html
import importlib.util
import json
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.errors import ModelUnavailable, how_to_install, one_line

Tokens = NDArray[np.int64]
Tokenizer = Callable[[Sequence[str]], Tokens]

CONTEXT = 77
"""Tokens in a text of CLIP's own models."""

OWN_NORMALIZER = "own_normalizer"
"""Key in ``tokenizer_config.json`` of an export: the JSON of the tokenizer's normaliser without the
cleaning that ``tokenizer.json`` holds for other programs. Absent where it holds none."""

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_START, _END = "<start_of_text>", "<end_of_text>"
_MERGES = 49152 - 256 - 2
"""Number of the vocabulary file's merges that CLIP uses; open_clip's SimpleTokenizer."""

# What CLIP takes for one word; open_clip's SimpleTokenizer.
_WORDS = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"""


def clean(text: str, how: str = "lower") -> str:
    """Clean a text as open_clip's tokenizers do: ``lower``, ``whitespace`` or ``canonicalize``."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    if how == "canonicalize":
        # As SigLIP was trained: no case and no punctuation.
        text = text.replace("_", " ").translate(_NO_PUNCTUATION).lower()
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class JsonTokenizer:
    """A tokenizer of the ``tokenizers`` library, as open_clip would use it.

    ``pad_id`` fills texts shorter than ``context``; ``how`` names the cleaning;
    ``dropped`` is an id that open_clip replaces by 0 (``strip_sep_token``).
    """

    def __init__(
        self, tokenizer: Any, *, context: int, pad_id: int, how: str, dropped: int | None = None
    ) -> None:
        self.library = tokenizer
        self.library.no_padding()
        self.pad_id = pad_id
        self.how = how
        self._dropped = dropped
        self.set_context(context)
        clean("")  # imports what it needs now, so that the first text doesn't wait for it

    def set_context(self, context: int) -> None:
        """Set the number of tokens a text is padded or cut to."""
        self.context = context
        self.library.enable_truncation(max_length=context)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Return the ids, int64 (texts, context)."""
        tokens = np.full((len(texts), self.context), self.pad_id, np.int64)
        for row, text in zip(tokens, texts, strict=True):
            ids = self.library.encode(clean(text, self.how)).ids
            row[: len(ids)] = ids
        if self._dropped is not None:
            tokens[tokens == self._dropped] = 0
        return tokens


def from_folder(folder: Path, model_config: Mapping[str, Any]) -> JsonTokenizer:
    """Read the tokenizer of a folder with a ``tokenizer.json``.

    ``model_config`` is open_clip's model config (its ``text_cfg`` counts). Raises
    ModelUnavailable where the files aren't there or aren't right.
    """
    import tokenizers

    path = folder / "tokenizer.json"
    text = model_config.get("text_cfg") or {}
    options = text.get("tokenizer_kwargs") or {}
    if text.get("tokenizer_mode"):
        raise ModelUnavailable(f"{path}: tokenizer_mode {text['tokenizer_mode']} isn't known here")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        settings = tokenizer_settings(folder)
        if OWN_NORMALIZER in settings:
            tokenizer.normalizer = _normalizer(settings[OWN_NORMALIZER])
    except Exception as error:  # the library raises bare Exceptions
        raise ModelUnavailable(f"{path} can't be used: {one_line(error)}") from None
    # A language model's tokenizer keeps the case unless the config says otherwise;
    # CLIP's own doesn't.
    default = "whitespace" if text.get("hf_tokenizer_name") else "lower"
    pad_id = _id(tokenizer, settings.get("pad_token"))
    if pad_id is None:
        pad_id = (tokenizer.padding or {}).get("pad_id", 0)
    return JsonTokenizer(
        tokenizer,
        context=int(text.get("context_length") or CONTEXT),
        pad_id=pad_id,
        how=options.get("clean") or default,
        dropped=_id(tokenizer, settings.get("sep_token"))
        if options.get("strip_sep_token")
        else None,
    )


def clip_tokenizer(context: int = CONTEXT) -> JsonTokenizer:
    """Make CLIP's own tokenizer from the vocabulary file of an installed open_clip.

    The file is found without importing the package, and so without torch. Raises
    ModelUnavailable where open_clip isn't installed.
    """
    spec = importlib.util.find_spec("open_clip")
    path = Path(spec.origin).parent / _VOCABULARY if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ModelUnavailable(
            "there is no tokenizer.json beside the text model; "
            f"put one there, or, for CLIP's own, {how_to_install('torch')}"
        )
    return JsonTokenizer(byte_pair_tokenizer(path), context=context, pad_id=0, how="lower")


def byte_pair_tokenizer(vocabulary: Path) -> Any:
    """Make CLIP's byte-pair tokenizer as an object of the ``tokenizers`` library.

    ``vocabulary`` is CLIP's ``bpe_simple_vocab_16e6.txt.gz``. Its ids are those of
    open_clip's SimpleTokenizer for every text that is cleaned as ``lower``, except that
    the names of the two special tokens count anywhere in a text.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
    merges = [(left, right) for left, right in map(str.split, lines[1 : _MERGES + 1])]
    letters = _byte_letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    pieces += [left + right for left, right in merges]
    ids = {piece: number for number, piece in enumerate([*pieces, _START, _END])}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ids, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix=""
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=True) for name in (_START, _END)]
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(name, ids[name]) for name in (_START, _END)]
    )
    return tokenizer


def _byte_letters() -> list[str]:
    """Choose a visible letter for each byte, in the order of CLIP's vocabulary.

    Bytes that are visible in Latin-1 stand for themselves and come first; the others
    get the letters from U+0100 on (GPT-2's ``bytes_to_unicode``).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in visible] + [chr(0x100 + n) for n in range(256 - len(visible))]


def tokenizer_settings(folder: Path) -> Mapping[str, Any]:
    """Read the content of a folder's ``tokenizer_config.json``; raises OSError and ValueError."""
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _normalizer(content: object) -> Any:
    """Make a normaliser of its JSON, which the library only reads as a part of a tokenizer's."""
    from tokenizers import Tokenizer, models

    empty = json.loads(Tokenizer(models.BPE()).to_str())
    return Tokenizer.from_str(json.dumps({**empty, "normalizer": content})).normalizer


def _id(tokenizer: Any, token: object) -> int | None:
    """Find the id of a special token as ``tokenizer_config.json`` writes it."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return tokenizer.token_to_id(token) if isinstance(token, str) else None
