"""Static word vectors: one vector a word, wherever it stands; what context is then added to.

Holds a vocabulary and a (n_words, dim) float32 matrix, from memory or from any usual file
(`WordVectors.load`), and answers as gensim's KeyedVectors does. fastText models put unknown words
together from character n-grams (Bojanowski et al. 2017, equation 2: the sum over the n-grams, here
their mean as fastText itself returns), and Model2Vec folders from their tokenizer's pieces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyseme.vectors.cache import load_cached, save_cached
from polyseme.vectors.files import VectorFile, read, save_safetensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Float32 = NDArray[np.float32]

# Below about 20 MB of text, parsing takes a fifth of a second: not worth a second file.
_CACHED_FROM = 10_000_000
_ROWS = 16_384


class WordVectors:
    """Words and their vectors.

    Args:
        words: the vocabulary, each word once.
        vectors: (n_words, dim) numbers; kept as float32, without a copy if they are that already.

    Attributes:
        words: the vocabulary, in the order of the rows.
        table: (n_rows, dim) float32, read-only: one row a word, and behind them fastText's n-gram
            rows if there are any; may be a memory map.
        tokenizer: what cuts a word into rows, if the vectors come from a Model2Vec folder.
        counts: (n_words,) int64, how often each word stood in the training text, if the file says
            so (fastText).

    Raises:
        TypeError: words that are no strings, or vectors that are no real numbers.
        ValueError: not one vector a word, a word twice, or a vector with nan or inf.

    Example:
        >>> vectors = WordVectors(["king", "queen", "apple"], [[1, 0.9], [1, 1], [-1, 0.1]])
        >>> "king" in vectors, len(vectors), vectors["king"]
        (True, 3, array([1. , 0.9], dtype=float32))
        >>> [word for word, cosine in vectors.most_similar("king")]
        ['queen', 'apple']
    """

    words: list[str]
    table: Float32
    counts: NDArray[np.int64] | None
    tokenizer: Tokenizer | None

    def __init__(self, words: Sequence[str], vectors: ArrayLike) -> None:
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise TypeError("words: a sequence of strings is needed, one a word")
        table = np.asarray(vectors)
        if table.dtype.kind not in "fiub":
            raise TypeError(f"vectors: real numbers are needed, not {table.dtype}")
        with np.errstate(over="ignore"):
            table = table.astype(np.float32, copy=False)
        self._fill(VectorFile(list(words), table))
        self._check("vectors")

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, cache: bool = True) -> WordVectors:
        r"""Read word vectors from a file or folder, whose format is recognised.

        GloVe text, word2vec text and binary, fastText `.vec` and `.bin`, what `save` writes, and
        Model2Vec folders; text also packed as gzip, bzip2, xz, or zip of one file. Nothing is ever
        unpickled.

        Args:
            path: the file, or a Model2Vec folder.
            cache: keep what was read from a text of some size in the user's cache folder
                (`POLYSEME_CACHE`, else the system's), and map it into memory at the next load,
                until the file changes.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: an unknown format or damaged content; the message has the file, the line
                and what is wrong.

        Warns:
            UserWarning: oddities that lose nothing: more words than a header announces, a repeated
                word.

        Example:
            >>> import pathlib, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = pathlib.Path(folder, "glove.txt")
            ...     _ = file.write_text("of 0.7 0.57\nto 0.68 -0.04\n")
            ...     WordVectors.load(file)["of"]
            array([0.7 , 0.57], dtype=float32)
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder of word vectors")
        made = cls.__new__(cls)
        if cache and path.is_file() and (cached := load_cached(path)):
            made._fill(VectorFile(*cached))
            return made
        content = read(path)
        made._fill(content)
        if not content.from_text:
            made._check(str(path))
        elif cache and content.table.nbytes >= _CACHED_FROM:
            save_cached(path, content.words, content.table)
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vectors and their vocabulary into one `.safetensors` file.

        `load` maps it into memory. What puts unknown words together (fastText's n-gram rows, a
        Model2Vec tokenizer) is in it as well.

        Raises:
            ValueError: the name ends in something else than `.safetensors`.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(
                f"path: {path.name!r} must end in .safetensors, the format that is written"
            )
        save_safetensors(
            VectorFile(self.words, self.table, self.counts, self._ngrams, self.tokenizer), path
        )

    def _fill(self, content: VectorFile) -> None:
        self.words = content.words
        self.table = content.table.view()
        self.table.flags.writeable = False
        self.counts = content.counts
        self.tokenizer = content.tokenizer
        self._ngrams = content.ngrams

    def _check(self, source: str) -> None:
        if self.table.ndim != 2 or 0 in self.table.shape:
            raise ValueError(
                f"{source}: a matrix (n_words, dim) is needed, not the shape {self.table.shape}"
            )
        if self._ngrams is None and len(self.words) != len(self.table):
            raise ValueError(f"{source}: {len(self.table)} vectors for {len(self.words)} words")
        if len(self._row_of) != len(self.words):
            second = next(i for i, word in enumerate(self.words) if self._row_of[word] != i)
            word = self.words[second]
            raise ValueError(
                f"{source}: {word!r} stands at {second} and at {self._row_of[word]}; "
                "keep one of them"
            )
        if self._ngrams is not None:
            # Some gigabytes that nobody may ever ask for: `_mean` looks at what is asked for.
            return
        for first in range(0, len(self.table), _ROWS):
            good = np.isfinite(self.table[first : first + _ROWS]).all(axis=1)
            if not good.all():
                row = first + int(np.argmin(good))
                raise ValueError(
                    f"{source}: nan or inf in the vector of {self.words[row]!r} (row {row})"
                )

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.words, range(len(self.words)), strict=True))

    @cached_property
    def vectors(self) -> Float32:
        """(n_words, dim) float32, read-only: the vector of each word.

        The same as `table`, but for fastText models with n-grams, whose words are put together at
        first use.
        """
        if self._ngrams is None or self._ngrams.longest < 1:
            return self.table[: len(self)]
        made = self._ngrams.compose(self.words, self.table)
        if not np.isfinite(made).all():
            row = int(np.argmin(np.isfinite(made).all(axis=1)))
            raise ValueError(
                f"nan or inf in what makes {self.words[row]!r}; the model file is damaged"
            )
        made.flags.writeable = False
        return made

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self.table.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __repr__(self) -> str:
        return f"WordVectors({len(self):,} words, dim {self.dim})"

    def __contains__(self, word: object) -> bool:
        """Whether `self[word]` has an answer: from the vocabulary, or put together from parts."""
        return isinstance(word, str) and (word in self._row_of or bool(self._pieces(word)))

    def __getitem__(self, word: str | Sequence[str]) -> Float32:
        """Look up a word, (dim,), or some words, (n, dim), as they are written; a copy.

        Words outside the vocabulary of a fastText or Model2Vec model are put together from their
        parts.

        Raises:
            KeyError: an unknown word; the message names near spellings.
        """
        if isinstance(word, str):
            return self._vector(word)
        if not all(isinstance(one, str) for one in word):
            raise TypeError(f"a word or a list of words is needed, not {word!r}")
        return np.array([self._vector(one) for one in word], np.float32).reshape(-1, self.dim)

    def get(self, word: str, default: Any = None) -> Any:
        """The word's vector, (dim,) float32, or `default` if it is unknown."""
        return self._vector(word) if word in self else default

    def index(self, word: str) -> int:
        """The word's place in the vocabulary, spelled exactly so.

        Raises:
            KeyError: the word is not in the vocabulary.
        """
        row = self._row_of.get(word)
        if row is None:
            raise self._unknown(word)
        return row

    def rows(self, word: str) -> tuple[int, ...]:
        """The rows of `table` whose mean is the vector to use for a word of a text.

        The word as written, else in lower case, else (fastText) its n-grams. A Model2Vec folder's
        tokenizer decides on its own what a word's rows are, special and unknown tokens left out.

        Returns:
            Row numbers, with repetitions if a row counts twice; () for an unknown word.

        Example:
            >>> vectors = WordVectors(["apple", "Apple", "king"], [[1, 0], [0, 1], [1, 1]])
            >>> vectors.rows("Apple"), vectors.rows("APPLE"), vectors.rows("pear")
            ((1,), (0,), ())
        """
        if self.tokenizer is not None:
            return self._pieces(word) or self._pieces(word.lower())
        for spelled in (word, word.lower()):
            row = self._row_of.get(spelled)
            if row is not None:
                return (row, *self._pieces(spelled))
        return self._pieces(word)

    def similarity(self, a: str | ArrayLike, b: str | ArrayLike) -> float:
        """The cosine between two words (or vectors), -1 to 1; 0 if one vector is zero."""
        return float(_unit(self._query(a)) @ _unit(self._query(b)))

    def most_similar(
        self,
        positive: str | ArrayLike | Sequence[str | ArrayLike] | None = None,
        negative: str | ArrayLike | Sequence[str | ArrayLike] | None = None,
        topn: int = 10,
    ) -> list[tuple[str, float]]:
        """The words nearest to some words, and far from others, by cosine.

        The query is the sum of the positive words' unit vectors minus the negative ones' (Mikolov
        et al. 2013, "3CosAdd" of Levy and Goldberg 2014); a vector given as such enters as it is.
        Words of the query are left out.

        Args:
            positive: a word, a (dim,) vector, or a list of either.
            negative: likewise.
            topn: how many words; all, if there are fewer.

        Returns:
            Words with their cosine, the nearest first; words of equal cosine in the vocabulary's
            order.

        Raises:
            KeyError: an unknown word.
            ValueError: nothing asked, or a vector of another size.

        Example:
            >>> vectors = WordVectors(["a", "b", "c", "zero"], [[1, 0], [0, 1], [0, -2], [0, 0]])
            >>> vectors.most_similar("a", negative=["b"], topn=2)
            [('c', 0.7071067690849304), ('zero', 0.0)]
        """
        if topn < 1:
            raise ValueError(f"topn: {topn}; 1 or more is needed")
        plus, minus = _queries(positive), _queries(negative)
        if not plus and not minus:
            raise ValueError("positive: give a word, a vector, or a list of them")
        query = np.zeros(self.dim, np.float32)
        for sign, asked in ((1, plus), (-1, minus)):
            for one in asked:
                query += sign * (
                    _unit(self._vector(one)) if isinstance(one, str) else self._query(one)
                )
        cosines = self._cosines(_unit(query))
        skipped = {
            self._row_of[one]
            for one in (*plus, *minus)
            if isinstance(one, str) and one in self._row_of
        }
        cosines[list(skipped)] = -np.inf
        n = min(topn, len(self) - len(skipped))
        if n < 1:
            return []
        # Everything from the n-th best value on, then sorted stably: a partition alone would cut
        # ties at random.
        limit = np.partition(cosines, len(self) - n)[len(self) - n]
        best = np.flatnonzero(cosines >= limit)
        best = best[np.argsort(-cosines[best], kind="stable")][:n]
        return [(self.words[row], float(cosines[row])) for row in best.tolist()]

    def _cosines(self, unit: Float32) -> Float32:
        cosines = np.empty(len(self), np.float32)
        for first in range(0, len(self), _ROWS):
            # In blocks, as a memory map need not fit into memory, and twice it even less.
            cosines[first : first + _ROWS] = self.vectors[first : first + _ROWS] @ unit
        cosines *= self._inverse_norms
        return np.clip(cosines, -1, 1, out=cosines)

    @cached_property
    def _inverse_norms(self) -> Float32:
        norms = np.empty(len(self), np.float64)
        for first in range(0, len(self), _ROWS):
            block = self.vectors[first : first + _ROWS].astype(np.float64)
            norms[first : first + _ROWS] = np.sqrt(np.einsum("nd,nd->n", block, block))
        return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)

    def _pieces(self, word: str) -> tuple[int, ...]:
        """Rows that a word has beside its own: fastText's n-grams, or the tokenizer's tokens."""
        if self.tokenizer is not None:
            ids = self.tokenizer.encode(word, add_special_tokens=False).ids
            return tuple(i for i in ids if i not in self._left_out)
        if self._ngrams is None:
            return ()
        return tuple(self._ngrams.rows([word])[0].tolist())

    @cached_property
    def _left_out(self) -> frozenset[int]:
        """Ids of the tokenizer's special tokens and of its token for what it doesn't know."""
        if self.tokenizer is None:
            return frozenset()
        special = {
            i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special
        }
        model = json.loads(self.tokenizer.to_str())["model"]
        unknown = model.get("unk_id")
        if model.get("unk_token") is not None:
            unknown = self.tokenizer.token_to_id(model["unk_token"])
        return frozenset(special if unknown is None else special | {unknown})

    def _vector(self, word: str) -> Float32:
        row = self._row_of.get(word)
        composed = self._ngrams is not None and "vectors" not in self.__dict__
        if row is not None and not composed:
            return np.array(self.vectors[row])
        rows = self._pieces(word)
        if row is not None:
            rows = (row, *rows)
        if not rows:
            raise self._unknown(word)
        return self._mean(rows, word)

    def _mean(self, rows: tuple[int, ...], word: str) -> Float32:
        mean: Float32 = self.table[list(rows)].mean(axis=0)
        if not np.isfinite(mean).all():
            raise ValueError(f"nan or inf in what makes {word!r}; the model file is damaged")
        return mean

    def _query(self, given: str | ArrayLike) -> Float32:
        if isinstance(given, str):
            return self._vector(given)
        vector = np.asarray(given, np.float32)
        if vector.shape != (self.dim,) or not np.isfinite(vector).all():
            raise ValueError(
                f"a word or a finite vector of shape ({self.dim},) is needed, not {vector.shape}"
            )
        return vector

    def _unknown(self, word: str) -> KeyError:
        variants = (
            word.lower(),
            word.capitalize(),
            word.title(),
            word.upper(),
            word.strip(),
            word.replace(" ", "_"),
        )
        near = [v for v in dict.fromkeys(variants) if v in self._row_of]
        hint = f"; near spellings: {', '.join(map(repr, near))}" if near else ""
        return KeyError(f"{word!r} is not among the {len(self):,} words{hint}")


def _unit(vector: Float32) -> Float32:
    wide = vector.astype(np.float64)
    norm = np.sqrt(wide @ wide)
    return (wide / norm).astype(np.float32) if norm > 0 else np.zeros_like(vector)


def _queries(given: Any) -> list[Any]:
    """A list of words and vectors from what `most_similar` accepts."""
    if given is None:
        return []
    if isinstance(given, str) or (isinstance(given, np.ndarray) and given.ndim == 1):
        return [given]
    given = list(given)
    return [given] if given and isinstance(given[0], int | float | np.number) else given
