"""The HTTP server: words and sentence vectors, explanations and senses for other programs.

``polyseme serve`` starts it; ``create_app`` makes the application that any ASGI server runs. A
request goes through ``guard.py`` (key, size, admission, time), is checked by ``schemas.py``, waits
in ``batching.py`` until its texts are computed together with those of others, and is written by
``answers.py``. Needs the extra ``server``.
"""

from polyseme.server.settings import Settings

__all__ = ["Settings"]
