"""Run a finished model: tiles, engines, whole images."""
