"""What is exported, and what was measured on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..about import AboutConfig
from ..diffusion.assemble import SamplerSettings
from ..export.parity import Parity
from ..runtime.tiling import Tiling
from ..train.checkpoint import Checkpoint


@dataclass(frozen=True)
class Job:
    """Everything the user decides about an export.

    Attributes
    ----------
    checkpoint : Checkpoint
    about : AboutConfig
    settings : SamplerSettings
    tiling : Tiling
    """

    checkpoint: Checkpoint
    about: AboutConfig
    settings: SamplerSettings
    tiling: Tiling

    @property
    def network_passes(self) -> int:
        """How often an image goes through the network."""
        return self.settings.num_steps * self.settings.num_samples

    @property
    def architecture(self) -> dict[str, Any]:
        """Keyword arguments of the class in the architecture file."""
        config = self.checkpoint.config
        return {
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "network": {**config.network, "dropout": 0.0},
            "num_steps": self.settings.num_steps,
            "num_samples": self.settings.num_samples,
            "samples_per_pass": self.settings.batched,
        }


@dataclass(frozen=True)
class Measured:
    """What was measured while exporting.

    Attributes
    ----------
    parities : dict of Parity
        Weights format to its largest differences from eager, on the test tensor.
    validation : dict, or None
        From `tensors.measure`, with "spread_over_skill"; None without a reference image.
    gflop_per_pass : float
        Billion floating-point operations of one network pass over a megapixel.
    """

    parities: dict[str, Parity]
    validation: dict[str, Any] | None
    gflop_per_pass: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, rounded to what they can tell."""

        def rounded(row: dict[str, Any], digits: int) -> dict[str, Any]:
            return {k: v and float(f"{v:.{digits}g}") for k, v in row.items()}

        return {
            "difference_from_eager": {k: rounded(asdict(v), 2) for k, v in self.parities.items()},
            "validation": self.validation and rounded(self.validation, 6),
            "gflop_per_network_pass_and_megapixel": round(self.gflop_per_pass, 1),
        }
