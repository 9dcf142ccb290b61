"""A component for spaCy pipelines: every token gets the vector that it means in its doc.

spaCy's own tokens are handed to the model as its words, so row i of ``doc.tensor`` is token i on
any text, of any length. Whitespace tokens are not shown to the model; they have no vector and a row
of zeros, as has a token of which the model reads nothing, such as a lone zero-width space. The
hooks of the doc, its tokens and spans read ``doc.tensor``, which spaCy keeps in step when tokens
are merged (the last one's row stays) or a span becomes a doc.

Add the component last: spaCy's ``tok2vec`` writes its own states to ``doc.tensor``, and the parts
that listen to it read them there.
"""

# No "from __future__ import annotations": spaCy 3.7 reads those of `make`, and not as strings.
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from polyseme.contextualizer import Contextualizer
from polyseme.loading import load

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token
    from spacy.util import minibatch
except ModuleNotFoundError as error:
    raise ImportError(f'{error}: pip install "polyseme[spacy]"') from error

Floats = npt.NDArray[np.float32]
Item: TypeAlias = Doc | Span | Token

_KEPT = "polyseme"


class Component:
    """What ``nlp.add_pipe("polyseme")`` adds; the model is loaded with the first doc.

    A doc's vectors are the same, to the last bit, from ``nlp(text)`` and from ``nlp.pipe(texts)``.

    Args:
        source: what ``polyseme.load`` opens: None for the bundled default, a folder, a file of word
            vectors, or a hub id.
        layer: the state after this layer, as in ``Contextualizer.contextualize``.
        options: ``device``, ``dtype`` and ``backend`` of ``polyseme.load``.
    """

    def __init__(self, source: str | None, *, layer: int | None = None, **options: str) -> None:
        self.source = source
        self.layer = layer
        self.options = options

    # Not named `model`: spaCy looks for an attribute of that name on components before from_disk.
    @cached_property
    def contextualizer(self) -> Contextualizer:
        """The model; a pickled pipeline goes without it, and loads it anew."""
        return load(self.source, **self.options)

    def __call__(self, doc: Doc) -> Doc:
        """Set ``doc.tensor``, (n_tokens, dim) float32, and the hooks that read it."""
        return self._embedded([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """The docs of a stream with their vectors; so many docs are handed to the model at once."""
        for docs in minibatch(stream, batch_size):
            yield from self._embedded(docs)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the model if it is a file or folder; the bundled one or a hub id needs no copy.

        Args:
            path: folder, made if it is not there.
            exclude: as spaCy hands it over; nothing here can be left out.
        """
        if self.source is not None and Path(self.source).expanduser().exists():
            self.contextualizer.save_pretrained(path)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Component":
        """Take the model that ``to_disk`` wrote to this folder, if it did."""
        if self.source is not None and (Path(path) / "config.json").exists():
            self.source = str(path)
            self.__dict__.pop("contextualizer", None)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "contextualizer"}

    def _embedded(self, docs: list[Doc]) -> list[Doc]:
        visible = [np.array([bool(token.text.strip()) for token in doc], bool) for doc in docs]
        words = [
            [token.text for token, shown in zip(doc, own, strict=True) if shown]
            for doc, own in zip(docs, visible, strict=True)
        ]
        embedded = self.contextualizer.contextualize(words, layer=self.layer, progress=False)
        for doc, own, text in zip(docs, visible, embedded, strict=True):
            doc.tensor = np.zeros((len(doc), self.contextualizer.dim), np.float32)
            doc.tensor[own] = text.vectors
            hook(doc)
        return docs


def make(
    nlp: Language,
    name: str,
    *,
    model: str | None,
    layer: int | None,
    device: str,
    dtype: str,
    backend: str,
) -> Component:
    """The factory "polyseme"; its config is what ``polyseme.load`` and ``contextualize`` take.

    Example:
        >>> import spacy
        >>> import polyseme.spacy
        >>> nlp = spacy.blank("en")
        >>> _ = nlp.add_pipe("polyseme", config={"layer": -1})
        >>> company, fruit = nlp("Apple sued its rival"), nlp("She ate an apple")
        >>> company[0].vector.shape, bool(company[0].similarity(fruit[3]) < 0.9)
        ((256,), True)
    """
    return Component(model, layer=layer, device=device, dtype=dtype, backend=backend)


Language.factory(
    "polyseme",
    assigns=["doc.tensor"],
    default_config={
        "model": None,
        "layer": None,
        "device": "auto",
        "dtype": "auto",
        "backend": "auto",
    },
    func=make,
)


def hook(doc: Doc) -> Doc:
    """Let ``vector``, ``has_vector``, ``vector_norm`` and ``similarity`` go by ``doc.tensor``.

    The component calls this. Call it again on a doc that has lost its hooks: ``doc.to_bytes`` keeps
    ``doc.tensor`` and no hooks (spaCy warns W109), and so does ``nlp.pipe(n_process=2)``; a
    ``DocBin`` keeps neither, see ``keep``.

    A token's vector is its row. The vector of a span or doc is the mean of the rows of its tokens
    that have one. A similarity is the cosine of two vectors, and 0 where one of them is zero.

    Returns:
        The same doc.

    Raises:
        ValueError: the doc has no vectors.
    """
    if doc.tensor.ndim != 2 and _KEPT in doc.user_data:
        doc.tensor = doc.user_data[_KEPT]
    if doc.tensor.ndim != 2:
        raise ValueError(
            "doc.tensor is empty, so there are no vectors to go by: run the component on the doc "
            '(nlp.get_pipe("polyseme")(doc)); to have vectors in a DocBin, add keep(doc) to it'
        )
    vector = partial(_vector, doc.tensor.shape[1])
    for hooks in (doc.user_hooks, doc.user_token_hooks, doc.user_span_hooks):
        hooks.update(vector=vector, has_vector=_has_vector, similarity=_similarity)
    # Not for spans: there spaCy 3.8 calls the hook of the vector in place of that of the norm.
    doc.user_hooks["vector_norm"] = doc.user_token_hooks["vector_norm"] = _norm
    return doc


def keep(doc: Doc) -> Doc:
    """Put the vectors into ``doc.user_data`` too, for a DocBin, which leaves ``doc.tensor`` out.

    The DocBin needs ``store_user_data=True``; ``hook`` takes the vectors of the docs that come out.
    Tokens that are merged or split afterwards need another ``keep``.

    Returns:
        The same doc.
    """
    doc.user_data[_KEPT] = doc.tensor
    return doc


def _vector(dim: int, item: Item) -> Floats:
    """(dim,) mean of the rows that are not zero."""
    if item.tensor.shape[-1] != dim:
        raise ValueError(
            f"doc.tensor is {item.tensor.shape[-1]} wide where polyseme's vectors are {dim}: "
            "another component has written over them; add polyseme after it"
        )
    rows = item.tensor.reshape(-1, dim)
    rows = rows[rows.any(axis=1)]
    mean: Floats = rows.mean(axis=0) if len(rows) else np.zeros(dim, np.float32)
    return mean


def _has_vector(item: Item) -> bool:
    return bool(item.vector.any())


def _norm(item: Item) -> float:
    return float(np.linalg.norm(item.vector))


def _similarity(item: Item, other: Any) -> float:
    ours, theirs = item.vector, other.vector
    if ours.shape != theirs.shape:
        raise ValueError(
            f"a vector of width {ours.size} has no similarity to {other!r}, whose vector has width "
            f"{theirs.size}: both must come from the same model"
        )
    norms = float(np.linalg.norm(ours)) * float(np.linalg.norm(theirs))
    return float(ours @ theirs) / norms if norms else 0.0
