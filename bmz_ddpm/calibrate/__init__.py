"""Intervals that keep a stated promise, from fields of view that the model has not seen."""
