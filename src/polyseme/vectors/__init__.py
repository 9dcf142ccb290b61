"""Static word vectors from files of every common format.

``word_vectors.py`` is the class; ``files.py`` recognises a file's format and reads the binary ones,
``text_files.py`` and ``fasttext.py`` read theirs, ``cache.py`` keeps what was read from text mapped
into memory.
"""

from polyseme.vectors.word_vectors import WordVectors

__all__ = ["WordVectors"]
