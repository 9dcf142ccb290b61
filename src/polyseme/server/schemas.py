"""What requests and answers look like, as /openapi.json says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_TEXTS = 2048
MOST_SENTENCES = 16
MOST_EXPLAINED_WORDS = 128

Text = Annotated[
    str | list[str], Field(description="A text, or the words of one that is already split.")
]
Encoding = Annotated[
    Literal["float", "base64"],
    Field(description="Vectors as lists of numbers, or as little-endian float32 in base64."),
]
Phrases = Annotated[
    list[Annotated[str, Field(min_length=1)]] | None,
    Field(max_length=256, description="Phrases that are kept as one unit with one vector."),
]
Span = Annotated[list[int], Field(min_length=2, max_length=2, description="Start and end.")]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x and y.")]
Rung = Annotated[
    Literal["static", "parameter-free"] | None,
    Field(description="A lower rung over the same static vectors; the model itself if null."),
]


class Request(BaseModel):
    """A body; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorDetail(BaseModel):
    """What is wrong, for people and programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class ContextualizeRequest(Request):
    """Texts whose words get their vectors."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
    phrases: Phrases = None
    layer: Annotated[
        int | None, Field(description="The state after this layer; 0 is static, null the last.")
    ] = None
    normalize: bool = False
    encoding_format: Encoding = "float"

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["An apple a day", "Apple pie"]}]}
    )


class WordVectorsOfText(BaseModel):
    """A text, its words, where they stand (in code points), and a vector for each."""

    text: str
    words: list[str]
    spans: list[Span]
    known: list[bool]
    vectors: Annotated[
        list[list[float]] | str,
        Field(description="(n_words, dim); in base64 all of them end to end."),
    ]


class ContextualizeAnswer(BaseModel):
    """The texts in the order of the request."""

    model: str
    dim: int
    texts: list[WordVectorsOfText]


class ExplainRequest(Request):
    """A word of a text."""

    text: Text
    word: Annotated[
        str | int, Field(description="The word, or its position where it occurs more than once.")
    ]
    rung: Rung = None
    matrices: Annotated[
        bool, Field(description="Also the weights between all words, by layer and head.")
    ] = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "We sat on the bank of the river", "word": "bank"}]
        }
    )


class ExplainAnswer(BaseModel):
    """What made a word what it is; see ``polyseme.explain``."""

    model: str
    rung: str
    text: str
    word: str
    position: int
    words: list[str]
    spans: list[Span]
    formula: str
    exact: bool
    note: str
    weights: list[float]
    left_out: list[float]
    matrix: list[list[float]]
    layer_weights: list[list[list[float]]]
    layer_matrices: list[list[list[list[float]]]] | None
    moved: Annotated[
        list[float], Field(description="1 - cosine to the static vector, after each layer from 0.")
    ]


class CompareRequest(Request):
    """A word and the sentences that it stands in."""

    word: Annotated[str, Field(min_length=1)]
    sentences: Annotated[list[str], Field(min_length=1, max_length=MOST_SENTENCES)]
    phrases: Phrases = None
    nearest: Annotated[
        int, Field(ge=0, le=50, description="Nearest words of the vocabulary for each use.")
    ] = 0

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "word": "apple",
                    "sentences": ["An apple a day", "Apple just launched a new iPhone"],
                }
            ]
        }
    )


class UseOfWord(BaseModel):
    """An occurrence of the word."""

    sentence: int
    position: int
    span: Span
    known: bool


class NearWord(BaseModel):
    """A word of the vocabulary, by itself."""

    word: str
    similarity: float


class RungOfComparison(BaseModel):
    """What one rung makes of the uses."""

    rung: str
    similarity: list[list[float | None]]
    nearest: list[list[NearWord]]
    before: Annotated[
        list[Point],
        Field(description="The uses' static vectors on the plane that shows this rung best."),
    ]
    after: Annotated[list[Point], Field(description="Their vectors in context on the same plane.")]
    shown: Annotated[float, Field(description="Share of the variance that lies in the plane.")]


class CompareAnswer(BaseModel):
    """A word's uses held against each other on each rung; see ``polyseme.comparison``."""

    model: str
    word: str
    sentences: list[str]
    uses: list[UseOfWord]
    rungs: list[RungOfComparison]


class NeighboursRequest(Request):
    """A word of a text, whose nearest words are looked for."""

    text: Text
    word: Annotated[
        str | int, Field(description="The word, or its position where it occurs more than once.")
    ]
    rung: Rung = None
    topn: Annotated[int, Field(ge=1, le=50, description="How many words.")] = 10

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "We sat on the bank of the river", "word": "bank", "topn": 5}]
        }
    )


class NeighboursAnswer(BaseModel):
    """The words of the vocabulary that are nearest to a word as it is meant in its text."""

    model: str
    rung: str
    nearest: list[NearWord]


class SearchRequest(Request):
    """A word of a text, whose other uses are looked for in the index."""

    text: Text
    word: Annotated[
        str | int, Field(description="The word, or its position where it occurs more than once.")
    ]
    k: Annotated[int, Field(ge=1, le=200, description="Occurrences, at most.")] = 10
    find: Annotated[
        Literal["same", "different", "synonyms"],
        Field(description="The word's uses in this sense or the other ones, or other words."),
    ] = "same"
    where: Annotated[
        str | None, Field(description='A condition of SQL on the metadata: "year > 1990".')
    ] = None
    words: Annotated[
        list[str] | None,
        Field(min_length=1, max_length=256, description="Words to search; the word's own if null."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "Apple just launched a new iPhone", "word": "Apple", "k": 20}]
        }
    )


class OccurrenceOfWord(BaseModel):
    """A word where it stands."""

    word: str
    score: float
    text: str
    start: int
    end: int
    source: str
    line: int
    metadata: dict[str, Any]


class SearchAnswer(BaseModel):
    """What was found, best first."""

    occurrences: list[OccurrenceOfWord]


class SensesRequest(Request):
    """A word of the index."""

    word: Annotated[str, Field(min_length=1)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"word": "bank"}]})


class SenseOfWord(BaseModel):
    """One sense; see ``polyseme.senses.Sense``."""

    word: str
    number: int
    name: str
    label: str
    size: int
    share: float
    marks: list[str]
    examples: list[OccurrenceOfWord]


class SensesAnswer(BaseModel):
    """A word's senses, the most frequent first."""

    word: str
    senses: list[SenseOfWord]


class TagRequest(Request):
    """Texts whose words are told apart by sense."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=256)]
    words: Annotated[
        list[str] | None,
        Field(min_length=1, max_length=256, description="Those with labelled senses if null."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The bank lent money"], "words": ["bank"]}]}
    )


class TagOfWord(BaseModel):
    """The sense of a word in a text; see ``polyseme.senses.Tag``."""

    word: str
    start: int
    end: int
    number: int
    sense: str
    score: float
    margin: float


class TagAnswer(BaseModel):
    """The tags of each text."""

    texts: list[list[TagOfWord]]


class EmbeddingsRequest(Request):
    """As OpenAI's; token arrays are refused."""

    input: str | list[str] | list[int] | list[list[int]]
    model: str
    encoding_format: Encoding = "float"
    dimensions: Annotated[int | None, Field(ge=1)] = None
    user: str | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": "An apple a day", "model": "polyseme-small"}]}
    )


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """The vectors in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model as OpenAI's API lists it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The one model that is served."""

    object: Literal["list"]
    data: list[ModelCard]


class InfoAnswer(BaseModel):
    """What is served, and the limits on requests."""

    version: str
    model: str
    rung: str
    layers: int
    heads: int
    dim: int
    index: dict[str, Any] | None
    limits: dict[str, int | float]


class StateAnswer(BaseModel):
    """Whether the server is there."""

    status: str
