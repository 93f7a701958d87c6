"""Named samplers: from the paper's 3000 network passes down to a single one."""

from __future__ import annotations

from dataclasses import replace

from .assemble import SamplerSettings

#: `paper` is exactly the paper's; the others were chosen from measured curves of quality against
#: network passes (packaging/benchmarks/README.md).
PROFILES = {
    "paper": SamplerSettings(200, 15, eta=1.0, spacing="time", mirror=False),
    "balanced": SamplerSettings(4, 15, eta=0.0),
    "fast": SamplerSettings(3, 4, eta=0.0),
    "instant": SamplerSettings(1, 15, eta=0.0, one_pass=True),
}


def profile_name(settings: SamplerSettings) -> str | None:
    """Return the name of these settings, whatever their seed and memory; None if they have none."""
    plain = replace(settings, seed=0, samples_per_pass=0)
    return next((name for name, profile in PROFILES.items() if profile == plain), None)
