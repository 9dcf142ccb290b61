"""The user's own task: labelled examples in, a model that learned it out.

``examples.py`` reads what is labelled, texts and places in them, ``labels.py`` the labels;
``records.py`` both from files. ``features.py`` is what a head is given of a place, ``heads.py`` how
a label comes of that, ``reports.py`` how well. ``task.py`` joins them with a model, in
scikit-learn's way; ``estimators.py`` says what an example of each task is, ``saving.py`` what of it
is kept. What is learned below the head is in ``training/task.py``.
"""

from polyseme.tasks.estimators import (
    PairScorer,
    SpanClassifier,
    TextClassifier,
    WordTagger,
    open_task,
)
from polyseme.tasks.examples import UnusableError
from polyseme.tasks.reports import Report
from polyseme.tasks.task import Task

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
