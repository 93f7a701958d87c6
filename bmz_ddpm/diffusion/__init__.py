"""The mathematics: pure torch, scriptable, no files."""
