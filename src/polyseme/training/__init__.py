"""How queries, keys and values are learned.

``settings.py`` says what a run is told, ``batches.py`` reads texts from files of any length,
``losses.py`` holds the losses, ``loop.py`` takes the steps (one process or several, resumable),
``student.py`` is what they start from, and ``distil.py`` joins them to a small encoder that learns
from a large one. Training needs torch (extra ``train``).
"""
