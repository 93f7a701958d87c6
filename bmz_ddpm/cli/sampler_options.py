"""Options that say how to sample; the same in export, predict, evaluate and distill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import ConfigError
from .option_groups import takes

if TYPE_CHECKING:
    from ..diffusion.assemble import SamplerSettings

#: Name to eta and order.
SAMPLERS = {"ddpm": (1.0, 1), "ddim": (0.0, 1), "dpm++": (0.0, 2), "dpm++sde": (1.0, 2)}


@dataclass(frozen=True)
class Sampling:
    """The options as given on the command line; a verb takes them as one parameter."""

    profile: Annotated[
        Literal["paper", "balanced", "fast", "instant"],
        typer.Option(
            help="A named sampler: paper (200 x 15 network passes), balanced, fast, or instant "
            "(one pass, of a checkpoint with a student). The options below change single values."
        ),
    ] = "balanced"
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm++", "dpm++sde"] | None,
        typer.Option(
            help="ddpm and dpm++sde draw fresh noise in every step, ddim and dpm++ only at the "
            "start; dpm++ extrapolates from the step before (DPM-Solver++ 2M)."
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(min=1, help="Network passes per sample (the paper: 200).")
    ] = None
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to average (the paper: 15).")
    ] = None
    spacing: Annotated[
        Literal["log_snr", "time"] | None,
        typer.Option(help="Noise levels to visit: even in log(SNR), or every n-th training step."),
    ] = None
    mirror: Annotated[
        bool | None,
        typer.Option(
            "--mirror/--no-mirror", help="Draw the samples in the four mirror images in turn."
        ),
    ] = None
    samples_per_pass: Annotated[
        int,
        typer.Option(
            min=0,
            help="Samples computed together. 0: as many as fit into half of the free memory of a "
            "GPU, else one.",
        ),
    ] = 0
    seed: Annotated[int, typer.Option(help="Any integer; the same seed gives the same result.")] = 0

    def settings(self) -> SamplerSettings:
        """Return the profile with what was changed.

        Raises
        ------
        ConfigError
            If a value is changed that the one-pass student does not have.
        """
        from dataclasses import replace

        from ..diffusion.profiles import PROFILES

        given = {
            "num_steps": self.steps,
            "num_samples": self.samples,
            "eta": SAMPLERS[self.sampler][0] if self.sampler else None,
            "order": SAMPLERS[self.sampler][1] if self.sampler else None,
            "spacing": self.spacing,
            "mirror": self.mirror,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        if changed and self.profile == "instant":
            raise ConfigError(
                "--profile instant: is one pass without noise, there is no sampler to change",
                "leave out --sampler, --steps, --samples, --spacing and --mirror",
            )
        changed |= {"seed": self.seed, "samples_per_pass": self.samples_per_pass}
        return replace(PROFILES[self.profile], **changed)  # type: ignore[arg-type]


def sampler_name(settings: SamplerSettings) -> str:
    """Return what --sampler calls these settings."""
    kind = settings.eta, settings.order
    return next((name for name, value in SAMPLERS.items() if value == kind), f"eta {kind[0]:g}")


takes_sampling = takes(Sampling)
