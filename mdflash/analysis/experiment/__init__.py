"""Experiments that a run is compared with: what was measured, what frames say, weights that bring both together."""
