"""Names of axes. Inside, arrays are always "bcyx"; images outside use letters of "tczyx"."""

from __future__ import annotations

#: Canonical order of an image's axes (the order of ImageJ and OME-TIFF).
ORDER = "tzcyx"
NAMES = {"t": "time", "z": "z", "c": "channel", "y": "y", "x": "x"}
