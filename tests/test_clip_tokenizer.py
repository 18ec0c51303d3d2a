"""Token ids are those of open_clip's own tokenizer."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_kit import TEXTS
from hearth.errors import ModelUnavailable
from hearth.models.clip import tokenizer as tokenizers
from hearth.models.clip.openclip import import_open_clip

MINE = tokenizers.clip_tokenizer()
THEIRS = import_open_clip().SimpleTokenizer(context_length=77)

MORE_TEXTS = (
    "it's they're we've I'm you'll he'd IT'S",
    "1234567 3.14 ½ ² Ⅷ",
    "tabs\tand\u00a0no-break\u2003spaces\u200bzero",
    "ſ ß İ ǅ ﬁ Ａｂｃ",
    "Ⱥⱥ ΑΒΓ абв עברית العربية हिन्दी",
    "!!! ... --- ,,, <>()[]{}",
    "under_score CamelCase snake-case",
    "&lt;start&gt; &#233; &#x1F600; &amp;amp;amp;",
    "broken utf8: Ã© â€œ",
    "a<start_of_text>b <end_of_text>",
    "\x00\x07\x1f control \x7f\x85",
    "🏳️‍🌈👨‍👩‍👧‍👦🇩🇪",
)


@pytest.mark.parametrize("text", [*TEXTS, *MORE_TEXTS], ids=lambda text: ascii(text[:20]))
def test_ids_are_open_clips(text):
    assert MINE([text]).tolist() == THEIRS([text]).tolist()


def assigned(text: str) -> bool:
    # Libraries differ in how new their Unicode is; letters that this Python doesn't
    # know yet may be words to one of them and signs to the other. So may those that come of
    # what looks like broken UTF-8, once it is mended.
    letters = text + tokenizers.clean(text)
    return not any(unicodedata.category(letter) in ("Cn", "Cs", "Co") for letter in letters)


@given(st.text(max_size=60).filter(assigned))
@settings(max_examples=300, deadline=None)
def test_ids_are_open_clips_for_any_text(text):
    assert MINE([text]).tolist() == THEIRS([text]).tolist()


@given(st.text("abcdefghijklmnopqrstuvwxyz ABC'.,-019éü’", max_size=200))
@settings(max_examples=200, deadline=None)
def test_ids_are_open_clips_for_what_looks_like_text(text):
    assert MINE([text]).tolist() == THEIRS([text]).tolist()


def test_ids_come_in_rows_of_the_context():
    ids = MINE(["a", "b " * 200])
    assert ids.shape == (2, 77)
    assert ids.dtype == np.int64
    assert ids[0, 3:].max() == 0
    assert ids[1, -1] == 49407


@pytest.mark.parametrize("how", ["lower", "whitespace", "canonicalize"])
@given(text=st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_texts_are_cleaned_as_open_clip_cleans_them(how, text):
    import_open_clip()
    from open_clip.tokenizer import get_clean_fn

    assert tokenizers.clean(text, how) == get_clean_fn(how)(text)


@pytest.fixture
def folder(tmp_path):
    MINE._tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_folders_tokenizer_cuts_and_fills_as_its_configs_say(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "!"}}))
    tokenizer = tokenizers.from_folder(folder, {"text_cfg": {"context_length": 7}})
    ids = tokenizer(["a cat", "one two three four five six seven"])
    assert ids.shape == (2, 7)
    assert ids[0, 4:].tolist() == [0, 0, 0]
    assert ids[1, -1] == 49407


def test_a_language_models_tokenizer_keeps_the_case(folder):
    clip = tokenizers.from_folder(folder, {})
    other = tokenizers.from_folder(folder, {"text_cfg": {"hf_tokenizer_name": "org/name"}})
    assert clip(["A"]).tolist() == clip(["a"]).tolist()
    assert other(["A"]).tolist() != other(["a"]).tolist()


def test_a_dropped_separator_becomes_zero(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"sep_token": "<end_of_text>"}))
    text = {"tokenizer_kwargs": {"strip_sep_token": True}}
    assert 49407 not in tokenizers.from_folder(folder, {"text_cfg": text})(["a cat"])


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_broken_tokenizer_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        tokenizers.from_folder(tmp_path, {})
