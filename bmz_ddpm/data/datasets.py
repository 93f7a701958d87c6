"""The data sets of the paper by name: where their images lie, and which fields are for what.

One TOML file each, in ``recipes/``.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..about import Citation
from ..errors import ConfigError, did_you_mean
from .pair import Pair
from .splits import split_by_counts, split_by_names

NAMES = ("microtubules", "mitochondria", "synapses", "zebrafish")


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldCounts(_Described):
    """Fields of view per split, drawn with a seed."""

    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = 0


class FieldNames(_Described):
    """Fields of view for validation and tests by name; all others are for training."""

    val: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...]


class DataSet(_Described):
    """A data set, its split and how the paper prepared it.

    Attributes
    ----------
    layout : "pairs" for low/ and high/, or "fmd"; type : folder of FMD.
    noise : noise levels of FMD to use.
    axes : of its files, where they do not say it.
    pixel_size : (y, x) in micrometre, where the paper states it.
    fields : how many fields of view the paper has.
    register : whether the clean images were aligned with the noisy ones.
    tile : side in pixels of the non-overlapping pieces that the paper cut.
    """

    name: str
    title: str
    layout: Literal["pairs", "fmd"]
    type: str = ""
    noise: tuple[str, ...] = ()
    axes: str = ""
    pixel_size: tuple[float, float] | None = None
    fields: int = Field(ge=3)
    register_pairs: bool = Field(alias="register")
    tile: int = Field(ge=16)
    split: FieldCounts | FieldNames
    cite: tuple[Citation, ...]

    def divide(self, source: Path, pairs: list[Pair]) -> list[Pair]:
        """Decide the split of every pair."""
        if isinstance(self.split, FieldNames):
            return split_by_names(source, pairs, self.split.val, self.split.test)
        counts = (self.split.train, self.split.val, self.split.test)
        return split_by_counts(source, pairs, counts, self.split.seed)


def load_dataset(name: str) -> DataSet:
    """Return one of the data sets of the paper.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if name not in NAMES:
        raise ConfigError(
            f"data set '{name}': is unknown{did_you_mean(name, NAMES)}",
            f"known are {', '.join(NAMES)}; your own images need no name",
        )
    text = files(__package__).joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    return DataSet(**tomllib.loads(text))
