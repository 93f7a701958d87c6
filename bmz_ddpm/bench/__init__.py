"""Measure on this machine what a model costs, and beside what."""
