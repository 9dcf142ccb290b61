"""Folders of text into Parquet data sets of vectors, in any size, losing nothing on the way."""

from polyseme.corpus.engine import Summary, embed_corpus
from polyseme.corpus.estimate import Estimate, estimate
from polyseme.corpus.on_ray import RayCluster
from polyseme.corpus.rows import Wanted, embed_rows, schema_of

__all__ = [
    "Estimate",
    "RayCluster",
    "Summary",
    "Wanted",
    "embed_corpus",
    "embed_rows",
    "estimate",
    "schema_of",
]
