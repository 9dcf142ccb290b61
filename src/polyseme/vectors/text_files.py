"""Word vectors written as text: a line has a word, then its numbers (GloVe, word2vec, fastText).

In goes a stream of bytes, out come the words and a (n_words, dim) float32 matrix. Reading numbers
is where the time goes (120 million of them in 400,000 x 300), so `parse_block` reads all numbers
of some lines at once: eight digits sit in one 64-bit integer and are added up pairwise (the "SWAR"
method of D. Lemire's fast_float), and one division by a power of ten gives the float64 that
`float()` gives, as mantissa and power are exact (W. Clinger, "How to read floating point numbers
accurately", 1990). Numbers of another form (exponents, 16 digits and more) go through `float()`.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# Blocks whose temporary arrays stay in the processor's cache.
BLOCK = 256 * 1024
# As many numbers of a rarer form are read one by one sooner than together.
FEW = 64
LONGEST_LINE = 1 << 24
SAMPLE_LINES = 64
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
NOT_FINITE = re.compile(rb"[-+]?(nan|inf|infinity)", re.IGNORECASE)
HEADER = re.compile(rb"(\d+)[ \t]+(\d+)[ \t]*\r?\n")

_U64 = np.uint64
_SIGNS = np.array([1.0, -1.0])
_POWERS = 10.0 ** np.arange(17)
# Index k keeps the last k of eight characters; the characters lie in memory order, so those are
# the highest bytes.
_KEEP = np.array([0] + [(2**64 - 1) ^ (2 ** (64 - 8 * k) - 1) for k in range(1, 9)], _U64)
_ZEROS = _U64(0x3030303030303030)
_ABOVE_NINE = _U64(0x7676767676767676)
_HIGH_BITS = _U64(0x8080808080808080)
_PAIRS = _U64(0x000000FF000000FF)


def _eight_digits(
    characters: NDArray[np.uint64], length: Ints
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The integers that the last `length` of eight characters spell, and whether all are digits."""
    x = (characters ^ _ZEROS) & _KEEP.take(length, mode="clip")
    good = ((x + _ABOVE_NINE | x) & _HIGH_BITS) == 0
    x = x * _U64(10) + (x >> _U64(8))
    low = (x & _PAIRS) * _U64(100 + (1000000 << 32))
    high = ((x >> _U64(16)) & _PAIRS) * _U64(1 + (10000 << 32))
    return (low + high) >> _U64(32), good


def _parse_numbers(data: Bytes, start: Ints, end: Ints) -> tuple[Float32, Ints]:
    """Read numbers from text.

    Args:
        data: the text, with eight bytes of anything before it, so that every number has eight
            characters before its end.
        start: (n,) where each number begins, counted from the text's beginning.
        end: (n,) one past each number's last character.

    Returns:
        (n,) the numbers, and the places among them that hold something else and are still to be
        read.
    """
    text = data[8:]
    ending = np.ndarray((data.size - 7,), "<u8", data, strides=(1,))
    negative = text.take(start) == ord("-")
    start = start + negative
    # Nearly all numbers of real files are one digit, a point and up to eight digits.
    first = text.take(start) - np.uint8(ord("0"))
    after = end - start - 2
    places = np.minimum(after, 8)
    digits, good = _eight_digits(ending[end], places)
    good &= (
        (first <= 9)
        & (text.take(start + 1, mode="clip") == ord("."))
        & (after == places)
        & (after >= 0)
    )
    scale = _POWERS.take(places, mode="clip")
    values = (first * scale + digits) / scale
    rest = np.flatnonzero(~good)
    if rest.size > FEW:
        values[rest], read = _parse_wide(text, ending, start[rest], end[rest])
        rest = rest[~read]
    return (values * _SIGNS.take(negative)).astype(np.float32), rest


def _parse_wide(
    text: Bytes, ending: NDArray[np.uint64], start: Ints, end: Ints
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Unsigned numbers of up to 8 digits, a point or none, up to 16 digits; and which are that."""
    points = np.append(np.flatnonzero(text == ord(".")), text.size)
    point = np.minimum(points[np.searchsorted(points, start)], end)
    before, after = point - start, np.maximum(end - point - 1, 0)
    whole, good = _eight_digits(ending[point], before)
    low, low_good = _eight_digits(ending[end], np.minimum(after, 8))
    high, high_good = _eight_digits(ending[np.maximum(end - 8, 0)], np.maximum(after - 8, 0))
    mantissa = (whole * 10.0 ** np.minimum(after, 16)) + (high * 1e8 + low)
    good &= (
        low_good & high_good & (before >= 0) & (before <= 8) & (after <= 16) & (before + after > 0)
    )
    # Below 2**53 the mantissa is an exact float64, and so is every sum above.
    good &= mantissa < 2.0**53
    return mantissa / 10.0 ** np.minimum(after, 16), good


def _slow_number(token: bytes, where: str) -> float:
    if NUMBER.fullmatch(token):
        value = float(token)
        if abs(value) <= float(np.finfo(np.float32).max):
            return value
        raise ValueError(f"{where}: {token.decode()} is too large for float32")
    shown = token.decode("utf-8", "replace")
    if NOT_FINITE.fullmatch(token):
        raise ValueError(
            f"{where}: {shown} among the numbers; remove that word or set its vector to zeros"
        )
    raise ValueError(f"{where}: {shown!r} stands where a number belongs")


def parse_block(block: bytes, dim: int, path: Path, line: int) -> tuple[list[str], Float32]:
    r"""Read whole lines of `word number number ...`.

    The numbers are the last `dim` fields; whatever stands before them is the word, spaces included
    (glove.840B has the word `. . .`). Fields end at the space, lines at the line feed, and at
    nothing else: words hold U+0085 and U+00A0.

    Args:
        block: whole lines, each with its line feed, none of them empty.
        dim: numbers a line.
        path: named in errors.
        line: number of the block's first line, counted from 1; named in errors.

    Returns:
        The words, and their vectors, (n_lines, dim) float32: what `numpy.float32(float(text))`
        gives, to the last bit.

    Raises:
        ValueError: a line with too few or too many numbers, with text, nan or inf among them, or
            with a word that is not UTF-8; the message has the file and the line.

    Example:
        >>> parse_block(b"on 0.5 -1.25e-1\nNew York 0 2\n", 2, Path("x.txt"), 1)
        (['on', 'New York'], array([[ 0.5  , -0.125],
               [ 0.   ,  2.   ]], dtype=float32))
    """
    # The single character is found ten times as fast as the pair, and hardly ever there.
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    data = np.empty(len(block) + 8, np.uint8)
    data[:8] = ord("0")
    data[8:] = np.frombuffer(block, np.uint8)
    text = data[8:]
    cuts = np.flatnonzero((text == ord(" ")) | (text == ord("\n")))
    ends = np.flatnonzero(text.take(cuts) == ord("\n"))
    last = cuts[ends]
    if (text.take(last - 1) == ord(" ")).any():
        # fastText ends its lines so.
        return parse_block(block.replace(b" \n", b"\n"), dim, path, line)
    fields = np.diff(ends, prepend=-1)
    if fields.min() <= dim:
        row = int(np.argmax(fields <= dim))
        raise ValueError(f"{path}, line {line + row}: {fields[row] - 1} numbers instead of {dim}")
    wide = np.flatnonzero(fields > dim + 1)
    grid = cuts[ends[:, None] + np.arange(-dim, 1)] if wide.size else cuts.reshape(-1, dim + 1)
    begins = np.concatenate(([0], last[:-1] + 1))
    raw_words = [block[a:b] for a, b in zip(begins.tolist(), grid[:, 0].tolist(), strict=True)]
    for row in wide.tolist():
        if NUMBER.fullmatch(raw_words[row].rsplit(b" ", 1)[1]):
            raise ValueError(
                f"{path}, line {line + row}: more than {dim} numbers (a word that ends in a "
                "number of its own can't be told from that: write the space within it as '_')"
            )
    numbers, rest = _parse_numbers(data, grid[:, :-1].ravel() + 1, grid[:, 1:].ravel())
    for place in rest.tolist():
        row, column = divmod(place, dim)
        token = block[grid[row, column] + 1 : grid[row, column + 1]]
        numbers[place] = _slow_number(token, f"{path}, line {line + row}")
    return _decode(raw_words, path, line), numbers.reshape(-1, dim)


def _decode(raw_words: list[bytes], path: Path, line: int) -> list[str]:
    try:
        return b"\n".join(raw_words).decode().split("\n")
    except UnicodeDecodeError:
        return [
            decoded_word(raw, f"{path}, line {line + row}") for row, raw in enumerate(raw_words)
        ]


def layout(head: bytes, path: Path) -> tuple[int, int | None]:
    r"""Find out from a file's first lines how it is laid out.

    Args:
        head: the beginning of the file; only its whole lines are looked at.
        path: named in errors.

    Returns:
        Numbers a line, and the number of words that a word2vec header announces (None without a
        header).

    Example:
        >>> layout(b"2 3\nof 0.1 0.2 0.3\nto 1 2 3\n", Path("word2vec.txt"))
        (3, 2)
        >>> layout(b"of 0.1 0.2\n", Path("glove.txt"))
        (2, None)
    """
    lines = [line.rstrip(b" \r") for line in head.split(b"\n")[:-1][:SAMPLE_LINES]]
    header = HEADER.match(head)
    if header and (len(lines) == 1 or len(lines[1].split(b" ")) != 2 or int(header[2]) == 1):
        if int(header[2]) < 1:
            raise ValueError(
                f"{path}, line 1: the header announces vectors of {int(header[2])} numbers"
            )
        return int(header[2]), int(header[1])
    dims: Counter[int] = Counter()
    for line in lines:
        dim = 0
        for field in reversed(line.split(b" ")[1:]):
            if not (NUMBER.fullmatch(field) or NOT_FINITE.fullmatch(field)):
                break
            dim += 1
        dims[dim] += 1
    dim = max(dims, key=lambda d: (dims[d], d), default=0)
    if dim == 0:
        raise ValueError(
            f"{path}: not word vectors in a known format; expected are text lines "
            "of a word and its numbers, split by single spaces (GloVe, word2vec, fastText .vec), "
            "word2vec binary, fastText .bin, or safetensors"
        )
    return dim, None


def _blocks(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Whole lines, some at a time; empty lines at the file's end are left out."""
    kept = b""
    while chunk := stream.read(BLOCK):
        kept += chunk
        cut = kept.rstrip(b"\r\n").rfind(b"\n") + 1
        if cut:
            yield kept[:cut]
            kept = kept[cut:]
        elif len(kept) > LONGEST_LINE:
            raise ValueError(
                f"{path}: a line of more than {LONGEST_LINE} bytes; no text of word vectors has one"
            )
    kept = kept.rstrip(b"\r\n")
    if kept:
        yield kept + b"\n"


def read_text(stream: BinaryIO, head: bytes, path: Path, size: int) -> tuple[list[str], Float32]:
    """Read word vectors from text.

    Args:
        stream: the uncompressed bytes, at their beginning.
        head: those bytes' first part, at least its first line whole.
        path: named in errors and warnings.
        size: about how many bytes there are, to allocate once; a wrong value costs time only.

    Returns:
        The words in the file's order, and their vectors, (n_words, dim) float32.

    Raises:
        ValueError: see `parse_block`; also a header that announces more words than there are, and
            a word that comes twice with different vectors.

    Warns:
        UserWarning: where nothing is lost: more words than the header announces (all are read), a
            word that comes again with the same vector (the first is kept).
    """
    if head.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
        head = head[3:]
    dim, announced = layout(head, path)
    first_line = 1
    if announced is not None:
        stream.readline()
        first_line = 2
    # glibc returns freed memory to the system, and asks for zeroed pages again, until it has seen a
    # large piece freed. Without this, a third of the time goes there.
    np.empty(1 << 24, np.uint8)
    words: list[str] = []
    vectors: Float32 = np.empty((0, dim), np.float32)
    for block in _blocks(stream, path):
        some, rows = parse_block(block, dim, path, first_line + len(words))
        needed = len(words) + len(some)
        if not words:
            estimate = int(1.05 * size / len(block) * len(some))
            vectors = np.empty((max(needed, estimate), dim), np.float32)
        elif needed > len(vectors):
            # In place: the pages move, their content is not copied.
            vectors.resize((max(needed, len(vectors) * 3 // 2), dim), refcheck=False)
        vectors[len(words) : needed] = rows
        words += some
    vectors.resize((len(words), dim), refcheck=False)
    if not words:
        raise ValueError(f"{path}: holds no word vectors")
    check_count(len(words), announced, f"{path}, line {first_line + len(words) - 1}")
    return drop_repeated(words, vectors, path, lambda row: f"line {first_line + row}")


def check_count(found: int, announced: int | None, where: str) -> None:
    """Hold the words read against the number in the header: fewer is an error, more a warning."""
    if announced is None or found == announced:
        return
    told = f"{where}: the file ends after {found} words, its header announces {announced}"
    if found < announced:
        raise ValueError(
            f"{told}; it was cut short (fetch it again), or correct the number in its first line"
        )
    warnings.warn(f"{told}; all {found} are read", stacklevel=2)


def drop_repeated(
    words: list[str], vectors: Float32, path: Path, where: Callable[[int], str]
) -> tuple[list[str], Float32]:
    """Keep the first of words that come again with the same vector, and warn of them.

    Raises:
        ValueError: a word comes again with another vector.
    """
    if len(set(words)) == len(words):
        return words, vectors
    first: dict[str, int] = {}
    repeated: list[int] = []
    for row, word in enumerate(words):
        before = first.setdefault(word, row)
        if before == row:
            continue
        if not np.array_equal(vectors[before], vectors[row]):
            raise ValueError(
                f"{path}, {where(row)}: {word!r} comes again with another vector (the first is "
                f"at {where(before)}); remove one of them"
            )
        repeated.append(row)
    others = f", and so do {len(repeated) - 1} others" if len(repeated) > 1 else ""
    warnings.warn(
        f"{path}, {where(repeated[0])}: {words[repeated[0]]!r} comes again with the same vector"
        f"{others}; the first is kept",
        stacklevel=2,
    )
    return list(first), np.delete(vectors, repeated, axis=0)


def decoded_word(raw: bytes, where: str) -> str:
    """A word from its bytes; the place is named if they are no UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: {raw!r} is not UTF-8 ({error.reason} at byte {error.start}); convert "
            "the file"
        ) from None


def cut_short(path: Path, part: str) -> str:
    """What to say of a file that ends too early."""
    return f"{path}: the file is cut short within its {part}; fetch it again"
