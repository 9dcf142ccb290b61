"""The user's own task: labelled examples in, a model that learned it out.

``examples.py`` reads what is labelled: texts and places in them. ``features.py`` is what a head is
given of a place, ``heads.py`` how a label comes of that, ``reports.py`` how well.
``estimators.py`` joins them with a model, in scikit-learn's way; what is learned below the head is
in ``training/task.py``.
"""

from polyseme.tasks.estimators import (
    PairScorer,
    SpanClassifier,
    Task,
    TextClassifier,
    WordTagger,
    open_task,
)
from polyseme.tasks.examples import UnusableError
from polyseme.tasks.reports import Report

__all__ = [
    "PairScorer",
    "Report",
    "SpanClassifier",
    "Task",
    "TextClassifier",
    "UnusableError",
    "WordTagger",
    "open_task",
]
