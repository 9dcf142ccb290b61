"""How well a model's vectors tell meanings apart: one module for each task.

``wsd.py``, ``wic.py``, ``idioms.py`` and ``sts.py`` read public data; ``order.py`` and
``spread.py`` make theirs from any text. Each has ``evaluate(model, data)``, which gives a frozen
result with ``to_dict()``. ``models.py`` says what a model must have; ``peers.py`` makes one of
another library's models.
"""
