"""Token ids are those of open_clip's own tokenizer."""

import html
import json
import unicodedata
from pathlib import Path

import ftfy
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import normalizers

import family_kit
from clip_kit import TEXTS
from hearth.errors import ModelUnavailable
from hearth.export.clip_tokenizer import write_tokenizer
from hearth.families.clip import tokenizer as tokenizers
from hearth.families.clip.openclip import import_open_clip

MINE = tokenizers.clip_tokenizer()
THEIRS = import_open_clip().SimpleTokenizer(context_length=77)
get_clean_fn = import_open_clip().tokenizer.get_clean_fn

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
    assert tokenizers.clean(text, how) == get_clean_fn(how)(text)


@pytest.fixture
def folder(tmp_path):
    MINE.library.save(str(tmp_path / "tokenizer.json"))
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


# --- tokenizer.json of an export, for other programs -----------------------------------------

AS_PEOPLE_WRITE = (
    "A Photo  of a CAT",
    "École d'ÉTÉ, Cafe\u0301, Żółw, ΟΔΟΣ ΣΑΣ, ЁЖ, İstanbul",
    "it’s “quoted” – ﬁne， Ａｂｃ",
    "AT&amp;T &lt;b&gt; caf&eacute; &amp;eacute; &#233; &#xE9; it&#39;s&nbsp;&hellip; &#146;",
    "🐱 CAT 👩‍🚀 ☕",
    "  tabs\tand\r\nlines\u2003\x1f",
    "\x1b[31mred\x1b[0m \x07\ufeff",
    "<START_OF_TEXT> a <end_of_text>",
)
MENDED_BY_FTFY = "broken utf8: Ã© â€œ"
RARE_ENTITY = "&lt;start&gt; &#233; &#x1F600; &amp;amp;amp;"


def exported(folder: Path, tokenizer: tokenizers.JsonTokenizer, settings: dict) -> Library:
    """What another program reads of an export."""
    write_tokenizer(tokenizer, settings, folder)
    return Library.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def alone(tiny_export):
    return Library.from_file(str(tiny_export / "textual" / "tokenizer.json"))


@pytest.fixture(scope="module")
def nodes(tiny_export):
    """What a node reads of the same export."""
    return tokenizers.from_folder(tiny_export / "textual", {})


@pytest.mark.parametrize(
    "text",
    sorted({*TEXTS, *MORE_TEXTS, *AS_PEOPLE_WRITE} - {MENDED_BY_FTFY, RARE_ENTITY}),
    ids=lambda text: ascii(text[:20]),
)
def test_an_exports_tokenizer_gives_open_clips_ids_to_any_program(alone, nodes, text):
    expected = THEIRS([text])[0].tolist()
    assert alone.encode(text).ids == expected
    assert nodes([text])[0].tolist() == expected


@given(st.text("abcdefghijklmnopqrstuvwxyz ABCÉ'.,-019éü’“ &;#lt39amp", max_size=200))
@settings(max_examples=200, deadline=None)
def test_an_exports_tokenizer_gives_them_for_what_looks_like_text(alone, text):
    # Of entities not all can be expressed, and nothing of mojibake: É“ may be ɓ.
    assume("&" not in text or html.unescape(html.unescape(text)) == text)
    assume(ftfy.fix_encoding(text) == text)
    assert alone.encode(text).ids == THEIRS([text])[0].tolist()


@pytest.mark.parametrize("text", [MENDED_BY_FTFY, RARE_ENTITY])
def test_a_node_cleans_an_exports_texts_once_and_by_itself(nodes, text):
    assert nodes([text]).tolist() == THEIRS([text]).tolist()
    layers = "< &amp;amp;amp;eacute; &amp;amp;#38;amp;lt;"
    assert nodes([layers]).tolist() == THEIRS([layers]).tolist()


@pytest.mark.parametrize("how", ["canonicalize", "whitespace"])
def test_a_models_own_normaliser_comes_after_the_cleaning(tmp_path, how):
    source = family_kit.letters()
    source.normalizer = normalizers.Sequence([normalizers.StripAccents(), normalizers.NFD()])
    source.save(str(tmp_path / "tokenizer.json"))
    config = {"text_cfg": {"context_length": 64, "hf_tokenizer_name": "org/letters",
                           "tokenizer_kwargs": {"clean": how}}}  # fmt: skip
    own = tokenizers.from_folder(tmp_path, config)
    folder = tmp_path / "export"
    folder.mkdir()
    library = exported(folder, own, {"pad_token": "<pad>"})
    node = tokenizers.from_folder(folder, config)
    for text in AS_PEOPLE_WRITE:
        ids = source.encode(get_clean_fn(how)(text)).ids[:64]
        if len(ids) == 64:
            ids[-1] = source.token_to_id("<eos>")
        expected = ids + [0] * (64 - len(ids))
        assert library.encode(text).ids == expected
        assert node([text])[0].tolist() == expected


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_broken_tokenizer_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        tokenizers.from_folder(tmp_path, {})
