"""How well a model's vectors tell meanings apart: one module for each public task."""
