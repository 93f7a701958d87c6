"""Recipes: complete settings with a name."""

from __future__ import annotations

from pathlib import Path

from ..config import TrainConfig, load_train_config
from ..errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent / "recipes"
RECIPES = ("default", "paper-code", "paper-text")


def load_recipe(name: str) -> TrainConfig:
    """Return the settings of a recipe: "default", "paper-code" or "paper-text".

    Raises
    ------
    ConfigError
        If there is no recipe of this name.
    """
    if name not in RECIPES:
        raise ConfigError(
            f"--recipe {name}: is unknown{did_you_mean(name, RECIPES)}",
            f"known are {', '.join(RECIPES)}; your own settings go into a file (--config)",
        )
    return load_train_config(FOLDER / f"{name}.toml")
