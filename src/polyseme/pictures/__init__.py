"""Pictures of explanations: heat maps, arcs, and maps of a word's senses.

``charts.py`` lays them out, ``drawing.py`` turns shapes into SVG, HTML and PNG, ``lettering.py``
knows how wide text is and where a label fits.
"""

from polyseme.pictures.charts import arcs, heat_map, sense_map
from polyseme.pictures.drawing import Picture

__all__ = ["Picture", "arcs", "heat_map", "sense_map"]
