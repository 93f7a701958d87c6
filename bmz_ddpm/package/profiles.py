"""Two packages from one checkpoint: for programs that take many outputs, and for those with one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigError, did_you_mean
from ..runtime.backends import INTERVAL, OUTPUTS


@dataclass(frozen=True)
class Output:
    """One output tensor.

    Attributes
    ----------
    id : str
    description : str
    statistics : tuple of str
        What its channels hold, each once per channel of the image; empty where `id` says it.
    """

    id: str
    description: str
    statistics: tuple[str, ...] = ()

    def channel_names(self, channels: Iterable[str]) -> list[str]:
        """Return the names of all channels, given those of the image."""
        named = list(channels)
        if not self.statistics:
            return named
        if len(named) == 1:
            return list(self.statistics)
        return [f"{statistic} {name}" for statistic in self.statistics for name in named]


@dataclass(frozen=True, eq=False)  # compared and hashed as what it is: one of two
class Profile:
    """What a package for some programs looks like.

    Attributes
    ----------
    name : str
        Also the ending of file names, of all but the first profile.
    consumers : dict
        Short name of a program to how people call it.
    outputs : tuple of Output
    formats : tuple of str
        Weights entries.
    interval : tuple of Output
        What a calibrated model gives besides.
    """

    name: str
    consumers: dict[str, str]
    outputs: tuple[Output, ...]
    formats: tuple[str, ...]
    interval: tuple[Output, ...] = ()

    @property
    def stacked(self) -> bool:
        """Whether everything is in one output."""
        return len(self.outputs) == 1


CORE = Profile(
    "core",
    {
        "fiji": "Fiji (deepImageJ)",
        "core": "bioimageio.core",
        "zoo": "the BioImage Model Zoo's web page",
    },
    (
        Output(OUTPUTS[0], "mean of the samples, in the grey levels of the reference images"),
        Output(
            OUTPUTS[1],
            "standard deviation over the samples, in grey levels (divide by 255 for the paper's)",
        ),
        Output(
            OUTPUTS[2],
            "entropy over the samples, in nats, of 256 equal bins of the output range",
        ),
    ),
    ("pytorch_state_dict", "torchscript", "onnx"),
    tuple(Output(n, f"{n} end of the calibrated interval, in grey levels") for n in INTERVAL),
)
ILASTIK = Profile(
    "ilastik",
    {"ilastik": "ilastik", "qupath": "QuPath"},
    (
        Output(
            "result",
            "mean and std of the samples as shares of the output range, entropy as a share of its "
            "maximum: all from 0 to 1",
            ("mean", "std", "entropy"),
        ),
    ),
    ("pytorch_state_dict", "torchscript"),  # neither program has ONNX Runtime
)
PROFILES = (CORE, ILASTIK)
CONSUMERS = {consumer: profile for profile in PROFILES for consumer in profile.consumers}


def profiles_for(consumers: Iterable[str]) -> list[Profile]:
    """Return the profiles that these programs need; `CORE` where none is named.

    Raises
    ------
    ConfigError
        If a program is unknown.
    """
    named = list(consumers)
    for name in named:
        if name not in CONSUMERS:
            near = did_you_mean(name, CONSUMERS)
            raise ConfigError(f"--for {name}: unknown{near}", f"choose {', '.join(CONSUMERS)}")
    return [p for p in PROFILES if set(named) & set(p.consumers)] or [CORE]
