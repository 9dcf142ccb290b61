"""Every format is read exactly, damage is named with its place, nothing is lost in silence."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.vectors import WordVectors
from polyseme.vectors.fasttext import NGrams
from polyseme.vectors.text_files import parse_block


def shared_data() -> Path:
    return Path(os.environ.get("POLYSEME_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture
def words() -> list[str]:
    return [
        "the",
        ".",
        ". . .",
        "at name@domain.com",
        "caf\u00e9",
        "a\u00a0b",
        "x\u0085y",
        "日本",
        "1/2",
    ]


@pytest.fixture
def matrix(words: list[str]) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, (len(words), 7)).astype(np.float32)


def as_text(words, matrix, *, header=False, end="\n") -> bytes:
    lines = [f"{len(words)} {matrix.shape[1]}"] if header else []
    lines += [
        " ".join([w, *(repr(float(x)) for x in row)]) for w, row in zip(words, matrix, strict=True)
    ]
    return "".join(line + end for line in lines).encode()


def as_word2vec_binary(words, matrix, *, newline: bool) -> bytes:
    end = b"\n" if newline else b""
    rows = [w.encode() + b" " + row.tobytes() + end for w, row in zip(words, matrix, strict=True)]
    return f"{len(words)} {matrix.shape[1]}\n".encode() + b"".join(rows)


def write(folder: Path, content: bytes, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def zipped(content: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


# Numbers


def slow_numbers(tokens: list[str]) -> np.ndarray:
    return np.array([float(token) for token in tokens]).astype(np.float32)


plain = st.from_regex(r"\A-?[0-9]{0,9}\.[0-9]{1,17}\Z", fullmatch=True)
whole = st.from_regex(r"\A[-+]?[0-9]{1,12}\Z", fullmatch=True)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
tokens = st.one_of(
    plain,
    whole,
    floats.map(repr),
    floats.map(lambda x: f"{x:.5g}"),
    floats.map(lambda x: f"{x:.6f}"),
    st.sampled_from(
        ["0", "-0", "-0.0", ".5", "-.5", "5.", "1e-05", "+0.25", "0.12345678", "9.999999999999999"]
    ),
)


@settings(max_examples=300)
@given(
    st.integers(1, 6).flatmap(
        lambda d: st.lists(st.lists(tokens, min_size=d, max_size=d), min_size=1, max_size=30)
    )
)
def test_every_number_is_what_float_gives_to_the_last_bit(rows):
    block = "".join(f"w{i} {' '.join(row)}\n" for i, row in enumerate(rows)).encode()
    words, vectors = parse_block(block, len(rows[0]), Path("x"), 1)
    assert words == [f"w{i}" for i in range(len(rows))]
    expected = np.stack([slow_numbers(row) for row in rows])
    assert vectors.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "digits", ["{:.5g}", "{:.6f}", "{:.9g}", "{:.17g}", "{:.2f}", "{:.3e}", "{:.0f}"]
)
def test_many_numbers_of_one_form_are_what_float_gives_to_the_last_bit(digits):
    numbers = np.random.default_rng(5).normal(0, [[0.01], [0.4], [30], [1e6]], (4, 1500)).T
    rows = [[digits.format(x) for x in row] for row in numbers.tolist()]
    block = "".join(f"w {' '.join(row)}\n" for row in rows).encode()
    _, vectors = parse_block(block, 4, Path("x"), 1)
    assert vectors.tobytes() == np.stack([slow_numbers(row) for row in rows]).tobytes()


@pytest.mark.parametrize(
    "token", ["1_0", "0x1", "1,5", "--1", "1.2.3", "abc", "", "1e", "٣", "1.5\t2", "0.1\x00"]
)
def test_what_is_no_number_is_an_error_with_its_line(token):
    block = f"a 0.1 0.2 0.3\nb 0.1 {token} 0.2\n".encode()
    with pytest.raises(ValueError, match=r"x\.txt, line 12"):
        parse_block(block, 3, Path("x.txt"), 11)


# Formats


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_text_keeps_words_with_spaces_and_unusual_characters(tmp_path, words, matrix, header, end):
    path = write(tmp_path, as_text(words, matrix, header=header, end=end))
    loaded = WordVectors.load(path)
    assert loaded.words == words
    assert np.array_equal(loaded.vectors, matrix)


@pytest.mark.parametrize(
    "cut", ["no line feed at the end", "empty lines at the end", "byte order mark"]
)
def test_text_with_harmless_oddities_is_read_whole(tmp_path, words, matrix, cut):
    content = as_text(words, matrix)
    content = {
        "no line feed at the end": content[:-1],
        "empty lines at the end": content + b"\n\r\n\n",
        "byte order mark": b"\xef\xbb\xbf" + content,
    }[cut]
    loaded = WordVectors.load(write(tmp_path, content))
    assert loaded.words == words
    assert np.array_equal(loaded.vectors, matrix)


def test_text_longer_than_a_block_is_read_whole(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(4000, 20)).astype(np.float32)
    words = [f"w{i}" if i % 7 else f"two words{i}x" for i in range(4000)]
    for header in (False, True):
        loaded = WordVectors.load(write(tmp_path, as_text(words, matrix, header=header)))
        assert loaded.words == words
        assert np.array_equal(loaded.vectors, matrix)


def test_vectors_of_one_number_are_told_from_a_header(tmp_path):
    assert WordVectors.load(write(tmp_path, b"a 0.5\nb 0.25\n")).words == ["a", "b"]
    assert WordVectors.load(write(tmp_path, b"2 1\na 0.5\nb 0.25\n")).words == ["a", "b"]
    assert WordVectors.load(write(tmp_path, b"7 2\nb 0.25\n")).words == ["7", "b"]


@pytest.mark.parametrize("name", ["vectors.bin", "vectors.txt"])
@pytest.mark.parametrize("newline", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_word2vec_binary_is_recognised_by_content(tmp_path, matrix, name, newline, packed):
    names = ["the", ".", "café", "a\u00a0b", "x\u0085y", "日本", "1/2", "two\nlines", "</s>"]
    content = as_word2vec_binary(names, matrix, newline=newline)
    loaded = WordVectors.load(write(tmp_path, gzip.compress(content) if packed else content, name))
    assert loaded.words == names
    assert np.array_equal(loaded.vectors, matrix)


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, lambda content: zipped(content, "a/glove.txt")],
)
@pytest.mark.parametrize("header", [False, True])
def test_packed_text_is_recognised_whatever_its_name(tmp_path, words, matrix, pack, header):
    loaded = WordVectors.load(write(tmp_path, pack(as_text(words, matrix, header=header))))
    assert loaded.words == words
    assert np.array_equal(loaded.vectors, matrix)


def test_the_real_glove_sample_is_read_as_float_reads_it():
    path = shared_data() / "vectors" / "glove50_4k.txt"
    if not path.exists():
        pytest.skip("the shared GloVe sample is not here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its header announces one word less.
        loaded = WordVectors.load(path, cache=False)
    lines = path.read_text("utf-8").split("\n")[1:]
    fields = [line.split(" ") for line in lines if line]
    assert loaded.words == [field[0] for field in fields]
    assert np.array_equal(loaded.vectors, np.stack([slow_numbers(field[1:]) for field in fields]))
    assert "google" in [word for word, _ in loaded.most_similar("apple")]


# Damage


def lines(*numbers: int) -> bytes:
    return b"".join(b"w%d%s\n" % (i, b" 0.5" * n) for i, n in enumerate(numbers))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(3, 3, 2, 3), r"line 3: 2 numbers instead of 3"),
        (lines(3, 3, 4, 3), r"line 3: more than 3 numbers"),
        (lines(3, 2), r"line 2: 2 numbers instead of 3"),
        (lines(3, 3, 3)[:-6], r"line 3: 2 numbers instead of 3"),
        (b"3 3\n" + lines(3, 3, 2), r"line 4: 2 numbers instead of 3"),
        (b"3 4\n" + lines(3, 3, 3), r"line 2: 3 numbers instead of 4"),
        (b"3 2\n" + lines(3, 3, 3), r"line 2: more than 2 numbers"),
        (lines(3) + b"\n" + lines(3), r"line 2: 0 numbers"),
        (b"5 3\n" + lines(3, 3, 3), r"line 4: the file ends after 3 words, its header announces 5"),
        (b"a 0.5 nan\nb 1 2\n", r"line 1: nan among the numbers"),
        (b"a 0.5 1\nb 1 -Infinity\n", r"line 2: -Infinity among the numbers"),
        (b"a 0.5 1\nb 1 1e39\n", r"line 2: 1e39 is too large for float32"),
        (b"a 0.5 1\nb 1 x\n", r"line 2: "),
        (b"a 0.5 1\nb\xff 1 2\n", r"line 2: b'b\\xff' is not UTF-8"),
        (
            b"a 0.5 1\nb 1 2\na 3 4\n",
            r"line 3: 'a' comes again with another vector \(the first is at line 1\)",
        ),
        (
            b"2 2\na 0.5 1\na 1 2\n",
            r"line 3: 'a' comes again with another vector \(the first is at line 2\)",
        ),
        (b"", r"empty"),
        (b"\n\n", r"not word vectors"),
        (b"Once upon a time\nthere was a file\n", r"not word vectors in a known format"),
        (b"0 3\n", r"holds no word vectors"),
        (b"3 0\na\n", r"line 1: the header announces vectors of 0 numbers"),
        (pickle.dumps({"a": [1.0]}), r"pickle, which can run code"),
        (zipped(b"a 1 2\n", "one.txt", "two.txt"), r"2 files \(one.txt, two.txt\)"),
        (gzip.compress(lines(3) * 50)[:-20], r"damaged or cut short"),
        (bz2.compress(lines(3) * 50)[:-20], r"damaged or cut short"),
        (lzma.compress(lines(3) * 50)[:-20], r"damaged or cut short"),
        (
            struct.pack("<i", 793712314) + b"\x0c\0\0\0" + b"\0" * 30,
            r"cut short within its dictionary",
        ),
        (struct.pack("<Q", 900) + b'{"a": {}', r"cut short within its safetensors header"),
    ],
)
def test_damage_is_an_error_that_names_file_and_place(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        WordVectors.load(path)
    assert str(path) in str(caught.value)


def test_the_line_in_an_error_is_right_far_into_a_file(tmp_path):
    content = lines(*[30] * 5000)
    where = content.index(b"w4321 ")
    path = write(tmp_path, content[:where] + content[where:].replace(b"0.5", b"nan", 1))
    with pytest.raises(ValueError, match="line 4322: nan"):
        WordVectors.load(path)


@pytest.mark.parametrize("newline", [False, True])
def test_damaged_word2vec_binary_is_an_error(tmp_path, matrix, newline):
    names = [f"w{i}" for i in range(len(matrix))]
    content = as_word2vec_binary(names, matrix, newline=newline)
    with pytest.raises(ValueError, match="cut short within word 9 of 9"):
        WordVectors.load(write(tmp_path, content[:-5]))
    with pytest.raises(ValueError, match="ends after 9 words, its header announces 12"):
        WordVectors.load(write(tmp_path, content.replace(b"9 7", b"12 7", 1)))
    with pytest.warns(UserWarning, match="announces 5; all 9 are read"):
        loaded = WordVectors.load(write(tmp_path, content.replace(b"9 7", b"5 7", 1)))
    assert np.array_equal(loaded.vectors, matrix)
    matrix[4, 2] = np.nan
    with pytest.raises(ValueError, match="nan or inf in the vector of 'w4'"):
        WordVectors.load(write(tmp_path, as_word2vec_binary(names, matrix, newline=newline)))
    with pytest.raises(ValueError, match=r"word 1: b'\\xff1' is not UTF-8"):
        WordVectors.load(write(tmp_path, content.replace(b"w0", b"\xff1", 1)))


def test_what_loses_nothing_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="line 4: .*announces 2; all 3 are read"):
        assert len(WordVectors.load(write(tmp_path, b"2 3\n" + lines(3, 3, 3)))) == 3
    with pytest.warns(UserWarning, match="line 3: 'a' comes again with the same vector"):
        loaded = WordVectors.load(write(tmp_path, b"a 1 2\nb 3 4\na 1.0 2\nc 5 6\n"))
    assert loaded.words == ["a", "b", "c"]
    assert loaded.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        WordVectors.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"not a Model2Vec folder"):
        WordVectors.load(tmp_path)


# Cache


@pytest.fixture
def cached(tmp_path, monkeypatch) -> tuple[Path, Path]:
    monkeypatch.setenv("POLYSEME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("polyseme.vectors.word_vectors._CACHED_FROM", 1)
    return write(tmp_path, "a 0.5 1\nb c 2 3\nx\u0085\r 4 5\n".encode()), tmp_path / "cache"


def test_the_second_load_maps_the_cache_and_equals_the_first(cached, monkeypatch):
    path, _ = cached
    first = WordVectors.load(path)
    monkeypatch.setattr(
        "polyseme.vectors.word_vectors.read", lambda path: pytest.fail("the file was read again")
    )
    second = WordVectors.load(path)
    assert second.words == first.words == ["a", "b c", "x\u0085\r"]
    assert np.array_equal(second.vectors, first.vectors)
    assert not second.vectors.flags.owndata


def test_a_changed_file_is_read_again_and_its_old_cache_removed(cached):
    path, cache = cached
    WordVectors.load(path)
    path.write_bytes(b"a 0.5 9\n")
    assert WordVectors.load(path)["a"].tolist() == [0.5, 9]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".npy", ".words"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-3], lambda content: b"", lambda content: b"\xff" * 300]
)
def test_a_broken_cache_is_read_past_and_mended(cached, caplog, suffix, damage):
    path, cache = cached
    expected = WordVectors.load(path).vectors
    (entry,) = cache.glob(f"*{suffix}")
    entry.write_bytes(damage(entry.read_bytes()))
    assert np.array_equal(WordVectors.load(path).vectors, expected)
    assert "can't be used" in caplog.text
    caplog.clear()
    assert np.array_equal(WordVectors.load(path).vectors, expected)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_is_no_failure(cached, monkeypatch, caplog):
    path, cache = cached
    cache.write_bytes(b"a file where the folder should be")
    assert WordVectors.load(path)["a"].tolist() == [0.5, 1]
    assert "could not be cached" in caplog.text


def test_no_cache_is_written_if_not_wanted_or_not_worth_it(cached, monkeypatch):
    path, cache = cached
    WordVectors.load(path, cache=False)
    monkeypatch.setattr("polyseme.vectors.word_vectors._CACHED_FROM", 10_000_000)
    WordVectors.load(path)
    assert not cache.exists()


# fastText .bin: an independent writer and the plainest reading of its source


def slow_ngrams(word: str, shortest: int, longest: int, bucket: int) -> list[int]:
    if word == "</s>":
        return []
    marked, found = f"<{word}>", []
    for start in range(len(marked)):
        for n in range(max(shortest, 1), longest + 1):
            gram = marked[start : start + n]
            if len(gram) < n or (n == 1 and start in (0, len(marked) - 1)):
                continue
            hashed = 2166136261
            for byte in gram.encode():
                signed = byte - 256 if byte > 127 else byte
                hashed = (hashed ^ (signed & 0xFFFFFFFF)) * 16777619 & 0xFFFFFFFF
            found.append(hashed % bucket)
    return found


def as_fasttext(
    words, table, *, shortest, longest, bucket, model=1, labels=(), quantised=False, version=12
) -> bytes:
    args = struct.pack(
        "<12i", table.shape[1], 5, 5, 5, 5, 1, 1, model, bucket, shortest, longest, 100
    )
    parts = [struct.pack("<2i", 793712314, version), args, struct.pack("<d", 1e-4)]
    parts.append(struct.pack("<3i2q", len(words) + len(labels), len(words), len(labels), 99, -1))
    for i, word in enumerate([*words, *labels]):
        parts.append(word.encode() + b"\0" + struct.pack("<qb", 1000 - i, int(i >= len(words))))
    parts += [
        struct.pack("<?2q", quantised, *table.shape),
        table.astype("<f4").tobytes(),
        b"output matrix",
    ]
    return b"".join(parts)


FASTTEXT_WORDS = ["</s>", "the", "apple", "Zürich", "日本語", "a", "<", "😀"]


@pytest.mark.parametrize(("shortest", "longest"), [(3, 6), (1, 3), (2, 2), (0, 0)])
def test_fasttext_vectors_are_the_mean_of_word_and_ngram_rows(tmp_path, shortest, longest):
    bucket = 50
    n_grams = bucket if longest else 0
    table = (
        np.random.default_rng(1).normal(size=(len(FASTTEXT_WORDS) + n_grams, 5)).astype(np.float32)
    )
    content = as_fasttext(
        FASTTEXT_WORDS,
        table,
        shortest=shortest,
        longest=longest,
        bucket=bucket,
        labels=["__label__x"],
    )
    loaded = WordVectors.load(write(tmp_path, content))
    assert loaded.words == FASTTEXT_WORDS
    assert loaded.counts is not None
    assert loaded.counts.tolist() == [1000 - i for i in range(len(FASTTEXT_WORDS))]
    assert np.array_equal(loaded.table, table)

    def expected_rows(word: str) -> list[int]:
        own = [FASTTEXT_WORDS.index(word)] if word in FASTTEXT_WORDS else []
        return own + [len(FASTTEXT_WORDS) + h for h in slow_ngrams(word, shortest, longest, bucket)]

    for word in [*FASTTEXT_WORDS, "unheard", "naïveté", "b", "語"]:
        rows = expected_rows(word)
        assert list(loaded.rows(word)) == rows
        assert (word in loaded) == bool(rows)
        if rows:
            np.testing.assert_allclose(
                loaded[word], table[rows].astype(float).mean(axis=0), atol=1e-6
            )
    assert loaded.rows("Apple") == loaded.rows("apple")
    expected = np.stack(
        [table[expected_rows(word)].astype(float).mean(axis=0) for word in FASTTEXT_WORDS]
    )
    np.testing.assert_allclose(loaded.vectors, expected, atol=1e-6)
    np.testing.assert_allclose(loaded["apple"], expected[2], atol=1e-6)
    if longest:
        assert loaded.most_similar("apples", topn=1)[0][0] in FASTTEXT_WORDS
    loaded.save(tmp_path / "saved.safetensors")
    saved = WordVectors.load(tmp_path / "saved.safetensors")
    assert saved.rows("unheard") == loaded.rows("unheard")
    assert np.array_equal(saved.vectors, loaded.vectors)
    assert np.array_equal(saved.counts, loaded.counts)


@settings(max_examples=100)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=6),
    st.integers(0, 4),
    st.integers(0, 6),
)
def test_ngram_rows_equal_the_plain_reading_of_fasttext(words, shortest, longest):
    rows, counts = NGrams(7, 1000, shortest, longest).rows(words)
    expected = [[7 + h for h in slow_ngrams(word, shortest, longest, 1000)] for word in words]
    assert counts.tolist() == [len(one) for one in expected]
    assert rows.tolist() == [h for one in expected for h in one]


def test_fasttext_models_that_cannot_be_read_say_why(tmp_path):
    table = np.zeros((18, 3), np.float32)
    given = {"words": FASTTEXT_WORDS, "table": table, "shortest": 3, "longest": 6, "bucket": 10}
    good = as_fasttext(**given)
    assert len(WordVectors.load(write(tmp_path, good))) == len(FASTTEXT_WORDS)
    for content, message in (
        (as_fasttext(**given, quantised=True), r"quantised fastText model"),
        (as_fasttext(**given, version=13), r"version 13; versions 11 and 12"),
        (good[:-40], r"cut short within its matrix of 18 x 3"),
        (good[:130], r"cut short within its dictionary"),
        (as_fasttext(**{**given, "bucket": 11}), r"18 vectors for 8 words and 11 n-grams"),
        (gzip.compress(good), r"unpack the file first"),
    ):
        with pytest.raises(ValueError, match=message):
            WordVectors.load(write(tmp_path, content))
    table[0] = np.inf
    damaged = WordVectors.load(write(tmp_path, as_fasttext(**given)))
    with pytest.raises(ValueError, match="nan or inf in what makes '</s>'"):
        damaged["</s>"]
    with pytest.raises(ValueError, match="nan or inf in what makes '</s>'"):
        damaged.vectors  # noqa: B018


# safetensors and Model2Vec


def test_saved_vectors_come_back_with_any_word(tmp_path, matrix):
    words = ["", "line\nfeed", "tab\t", " ", "日本", "a", "b", "c\x00", "d"]
    WordVectors(words, matrix).save(tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors").rename(tmp_path / "v.bin")
    loaded = WordVectors.load(tmp_path / "v.bin")
    assert loaded.words == words
    assert np.array_equal(loaded.vectors, matrix)
    assert list(tmp_path.iterdir()) == [tmp_path / "v.bin"]
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        loaded.save(tmp_path / "v.txt")


def test_safetensors_of_others_or_damaged_say_what_would_do(tmp_path, matrix):
    from safetensors.numpy import save_file

    save_file({"embedding": matrix}, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match=r"without a vocabulary \(it holds 'embedding'\)"):
        WordVectors.load(tmp_path / "v.safetensors")
    WordVectors(list("abcdefghi"), matrix).save(tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    with pytest.raises(ValueError, match="cut short within its tensor"):
        WordVectors.load(write(tmp_path, content[:-1]))


def test_half_precision_safetensors_are_widened(tmp_path, matrix):
    from safetensors.numpy import load_file, save_file

    WordVectors(list("abcdefghi"), matrix).save(tmp_path / "w.safetensors")
    tensors = load_file(tmp_path / "w.safetensors")
    save_file({**tensors, "vectors": matrix.astype(np.float16)}, tmp_path / "h.safetensors")
    loaded = WordVectors.load(tmp_path / "h.safetensors")
    assert loaded.vectors.dtype == np.float32
    assert np.array_equal(loaded.vectors, matrix.astype(np.float16))


def word_piece_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = ["[PAD]", "[UNK]", "apple", "s", "##s", "king", "un", "##known", "the"]
    tokenizer = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    return tokenizer, vocabulary


MODEL2VEC_WORDS = ["apple", "Apples", "unknown", "kings", "xyz", "the", "[UNK]", "apple king"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("shared_rows", [False, True])
def test_a_model2vec_folder_gives_the_vectors_that_model2vec_gives(tmp_path, dtype, shared_rows):
    model2vec = pytest.importorskip("model2vec", reason="model2vec is not installed")
    tokenizer, vocabulary = word_piece_tokenizer()
    random = np.random.default_rng(2)
    n = 4 if shared_rows else len(vocabulary)
    vectors = (random.normal(size=(n, 6)) * 20).astype(dtype)
    mapping = random.integers(0, n, len(vocabulary)) if shared_rows else None
    weights = random.random(len(vocabulary)).astype(np.float32) if shared_rows else None
    theirs = model2vec.StaticModel(
        vectors, tokenizer, weights=weights, token_mapping=mapping, normalize=False
    )
    theirs.save_pretrained(tmp_path / "model")
    ours = WordVectors.load(tmp_path / "model")
    assert ours.words == vocabulary
    assert ours.tokenizer is not None
    assert len(ours.table) == len(vocabulary)
    for word in MODEL2VEC_WORDS:
        tokens = theirs.encode_as_sequence(word)
        rows = ours.rows(word)
        assert len(rows) == len(tokens)
        if rows:
            np.testing.assert_allclose(ours.table[list(rows)], tokens.astype(np.float32), rtol=1e-3)
            np.testing.assert_allclose(
                ours[word], tokens.astype(float).mean(axis=0), rtol=1e-2, atol=1e-3
            )
    assert ours.rows("xyz") == ()
    assert "xyz" not in ours
    ours.save(tmp_path / "saved.safetensors")
    saved = WordVectors.load(tmp_path / "saved.safetensors")
    assert saved.rows("unknown") == ours.rows("unknown") == (6, 7)


def test_a_model2vec_folder_that_does_not_fit_its_tokenizer_is_an_error(tmp_path):
    from safetensors.numpy import save_file

    tokenizer, vocabulary = word_piece_tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({}))
    save_file({"embeddings": np.zeros((3, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"3 vectors for {len(vocabulary)} tokens"):
        WordVectors.load(tmp_path)
    save_file({"other": np.zeros((3, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no matrix 'embeddings', but 'other'"):
        WordVectors.load(tmp_path)


# The class


@pytest.mark.parametrize(
    ("words", "vectors", "error", "message"),
    [
        ("abc", [[1], [2], [3]], TypeError, "sequence of strings"),
        (["a", 3], [[1], [2]], TypeError, "sequence of strings"),
        (["a"], [["x"]], TypeError, "real numbers"),
        (["a"], [[1j]], TypeError, "real numbers"),
        (["a", "b"], [[1, 2]], ValueError, "1 vectors for 2 words"),
        (["a"], [1, 2], ValueError, r"not the shape \(2,\)"),
        ([], np.zeros((0, 3)), ValueError, r"not the shape \(0, 3\)"),
        (["a", "b", "a"], [[1], [2], [3]], ValueError, "'a' stands at 0 and at 2"),
        (["a", "b"], [[1, 2], [3, np.nan]], ValueError, r"vector of 'b' \(row 1\)"),
        (["a", "b"], [[1e39, 2], [3, 4]], ValueError, r"vector of 'a' \(row 0\)"),
    ],
)
def test_the_constructor_refuses_what_cannot_be_right(words, vectors, error, message):
    with pytest.raises(error, match=message):
        WordVectors(words, vectors)


def test_it_answers_like_keyed_vectors():
    vectors = WordVectors(
        ["king", "queen", "Apple_Inc", "zero"], [[1, 0.9], [1, 1], [-1, 0.1], [0, 0]]
    )
    assert list(vectors) == ["king", "queen", "Apple_Inc", "zero"]
    assert vectors.dim == 2
    assert vectors[["queen", "king"]].tolist() == [
        vectors["queen"].tolist(),
        vectors["king"].tolist(),
    ]
    assert vectors[[]].shape == (0, 2)
    assert vectors.get("nobody") is None
    assert vectors.get("nobody", 3) == 3
    assert vectors.get("king").tolist() == vectors["king"].tolist()
    assert vectors.index("queen") == 1
    assert "nobody" not in vectors
    assert 3 not in vectors
    assert vectors.similarity("king", "zero") == 0
    assert vectors.similarity("king", [2, 1.8]) == pytest.approx(1)
    vectors["king"][:] = 7
    assert vectors["king"].tolist() == pytest.approx([1, 0.9])
    with pytest.raises(ValueError, match="read-only"):
        vectors.vectors[0] = 1


@pytest.mark.parametrize("ask", ["__getitem__", "index", "most_similar"])
def test_an_unknown_word_is_a_key_error_with_near_spellings(ask):
    vectors = WordVectors(["Paris", "New_York"], [[1, 2], [3, 4]])
    with pytest.raises(KeyError, match="'paris' is not among the 2 words; near spellings: 'Paris'"):
        getattr(vectors, ask)("paris")
    with pytest.raises(KeyError, match="near spellings: 'New_York'"):
        getattr(vectors, ask)("New York")


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_most_similar_equals_the_slow_obvious_ranking(n, dim, seed, topn):
    random = np.random.default_rng(seed)
    matrix = random.integers(-2, 3, (n, dim)).astype(float)
    words = [f"w{i}" for i in range(n)]
    positive, negative = random.choice(n, 2)
    units = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-30)
    query = units[positive] - units[negative] + matrix[0]
    norm = np.linalg.norm(query)
    expected = units @ (query / norm if norm > 1e-6 else 0 * query)
    got = WordVectors(words, matrix).most_similar(
        [words[positive], matrix[0]], negative=words[negative], topn=topn
    )
    left = [i for i in range(n) if i not in (positive, negative)]
    assert len(got) == min(topn, len(left))
    assert {word for word, _ in got} <= {words[i] for i in left}
    if norm > 1e-6:
        values = [cosine for _, cosine in got]
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(values, np.sort(expected[left])[::-1][: len(got)], atol=1e-5)
        np.testing.assert_allclose(
            values, [expected[words.index(word)] for word, _ in got], atol=1e-5
        )
    assert not np.isnan([cosine for _, cosine in got]).any()


def test_words_of_equal_cosine_keep_the_vocabularys_order():
    vectors = WordVectors([*"abcdefg"], [[0, 1], [1, 0], [1, 0], [1, 0], [1, 0], [2, 0], [-1, 0]])
    assert [word for word, _ in vectors.most_similar(np.array([1.0, 0]), topn=3)] == ["b", "c", "d"]
    assert [word for word, _ in vectors.most_similar("c", topn=9)] == [*"bdefag"]


def test_questions_without_an_answer_are_errors():
    vectors = WordVectors(["a", "b"], [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="positive"):
        vectors.most_similar([])
    with pytest.raises(ValueError, match="topn: 0"):
        vectors.most_similar("a", topn=0)
    with pytest.raises(ValueError, match=r"shape \(2,\) is needed, not \(3,\)"):
        vectors.most_similar(np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        vectors.most_similar(np.array([1, np.nan]))
    with pytest.raises(TypeError, match="list of words"):
        vectors[[1, 2]]  # type: ignore[list-item]


def test_vectors_survive_pickling_by_the_user(matrix):
    vectors = WordVectors(list("abcdefghi"), matrix)
    again = pickle.loads(pickle.dumps(vectors))
    assert again.words == vectors.words
    assert np.array_equal(again["c"], vectors["c"])
