"""What is exported, and what was measured on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..about import AboutConfig
from ..config import Calibration
from ..diffusion.assemble import SamplerSettings
from ..diffusion.interval import CalibratedOnePass, CalibratedSampler
from ..diffusion.one_pass import OnePass, StackedOnePass
from ..diffusion.profiles import profile_name
from ..diffusion.sampler import DiffusionSampler, StackedSampler
from ..export.parity import Parity
from ..export.torchscript import Module
from ..runtime.tiling import Tiling
from ..train.checkpoint import Checkpoint
from .profiles import Output, Profile


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
    def sampler_name(self) -> str:
        """The named sampler, or its steps and samples."""
        settings = self.settings
        return profile_name(settings) or f"{settings.num_steps} x {settings.num_samples}"

    @property
    def calibration(self) -> Calibration | None:
        """What the intervals of this sampler are made with, where it is calibrated."""
        return self.checkpoint.calibration(self.settings)

    def has_intervals(self, profile: Profile) -> bool:
        """Whether the package of this profile has the outputs lower and upper."""
        return bool(profile.interval) and self.calibration is not None

    def outputs(self, profile: Profile) -> tuple[Output, ...]:
        """Return what the package gives."""
        return profile.outputs + (profile.interval if self.has_intervals(profile) else ())

    def architecture(self, profile: Profile) -> tuple[type[Module], dict[str, Any]]:
        """Return the class in the architecture file, and its keyword arguments."""
        config, settings = self.checkpoint.config, self.settings
        kwargs: dict[str, Any] = {
            "in_channels": config.in_channels,
            "out_channels": config.out_channels,
            "network": {**config.network, "dropout": 0.0},
        }
        if settings.one_pass:
            kwargs["network"]["statistics"] = 2
            kwargs["num_samples"] = settings.num_samples
            if self.has_intervals(profile):
                return CalibratedOnePass, kwargs
            return StackedOnePass if profile.stacked else OnePass, kwargs
        kwargs["num_steps"] = settings.num_steps
        kwargs["num_samples"] = settings.num_samples
        kwargs["samples_per_pass"] = settings.batched
        if self.has_intervals(profile):
            return CalibratedSampler, kwargs
        return StackedSampler if profile.stacked else DiffusionSampler, kwargs


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

        def known(parity: Parity) -> dict[str, Any]:
            return {k: v for k, v in asdict(parity).items() if v is not None}

        return {
            "difference_from_eager": {k: rounded(known(v), 2) for k, v in self.parities.items()},
            "validation": self.validation and rounded(self.validation, 6),
            "gflop_per_network_pass_and_megapixel": round(self.gflop_per_pass, 1),
        }
