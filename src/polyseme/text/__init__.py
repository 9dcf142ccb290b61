"""Text to words with character spans, and words to token ids.

``tokenizer.py`` reads texts, ``words.py`` says what a word and a phrase are, ``chunks.py``
remembers what was read.
"""

from polyseme.text.tokenizer import TokenizedTexts, Tokenizer, windows
from polyseme.text.words import Phrases, split_words

__all__ = ["Phrases", "TokenizedTexts", "Tokenizer", "split_words", "windows"]
