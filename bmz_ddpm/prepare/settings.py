"""What the user decides about the preparation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

Mode = Literal["none", "shift", "rigid"]


@dataclass(frozen=True)
class PrepareSettings:
    """Everything that defines a preparation.

    Attributes
    ----------
    register : str
        "rigid" (shift and rotation), "shift", or "none".
    channel : int, optional
        Channel to register on, counted from 1 among those that are used; the mean of all when
        not given.
    max_shift : float, optional
        Largest shift in pixels; a tenth of the image's smaller side when not given.
    max_rotation : float
        Largest rotation in degrees.
    min_similarity : float
        Smallest correlation of the two images' structures, up to 1.
    min_overlap : float
        Smallest share of the noisy image that the clean one has to cover, 0 to 1.
    patch : int, optional
        Side in pixels of the patches that are cut; whole images when not given.
    overlap : int
        Pixels that neighbouring patches share.
    min_valid : float
        Smallest valid share of a patch, 0 to 1.

    Raises
    ------
    ConfigError
        If patches do not advance.
    """

    register: Mode = "rigid"
    channel: int | None = None
    max_shift: float | None = None
    max_rotation: float = 5.0
    min_similarity: float = 0.35
    min_overlap: float = 0.7
    patch: int | None = None
    overlap: int = 0
    min_valid: float = 0.5

    def __post_init__(self) -> None:
        if self.overlap and self.patch is None:
            raise ConfigError(f"--overlap {self.overlap}: no patches are cut", "add --patch 256")
        if self.patch is not None and self.overlap >= self.patch:
            raise ConfigError(
                f"--overlap {self.overlap}: must be smaller than --patch {self.patch}",
                f"at most {self.patch - 1}",
            )
