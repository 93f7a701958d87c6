"""Calibrated intervals around the result of any sampler: two more outputs."""

from typing import Any

import torch
from torch import Tensor, nn

from .one_pass import OnePass
from .sampler import DiffusionSampler


class Interval(nn.Module):
    """Lower and upper ends, from the mean and the standard deviation of the samples.

    Notes
    -----
    ``lower = mean − below·w`` and ``upper = mean + above·w``, clipped to the output range, with
    ``w² = spread·std² + a + b·m + c·m²`` and m the mean as a share of the range: where all
    samples agree the error is not zero, and noise grows with the light. The constants come from
    `bmz-ddpm calibrate`.
    """

    constants: Tensor

    def __init__(self) -> None:
        super().__init__()
        # spread, a, b, c (counts²), below, above, lowest and highest output (counts)
        self.register_buffer("constants", torch.zeros(8))

    def width(self, denoised: Tensor, std: Tensor) -> Tensor:
        """Return w, in counts."""
        k = self.constants
        m = ((denoised - k[6]) / (k[7] - k[6])).clamp(0.0, 1.0)
        return torch.sqrt(k[0] * std * std + k[1] + k[2] * m + k[3] * m * m)

    def forward(self, denoised: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Return lower and upper.

        Parameters
        ----------
        denoised, std : (B, C, Y, X) float32
            In counts.

        Returns
        -------
        lower, upper : (B, C, Y, X) float32
            In counts, within the output range.
        """
        k = self.constants
        w = self.width(denoised, std)
        lower = torch.minimum(torch.maximum(denoised - k[4] * w, k[6]), k[7])
        upper = torch.minimum(torch.maximum(denoised + k[5] * w, k[6]), k[7])
        return lower, upper


class Calibrated(nn.Module):
    """Any module that returns (denoised, std, entropy), with lower and upper appended.

    Parameters
    ----------
    sampler : nn.Module
    """

    def __init__(self, sampler: nn.Module) -> None:
        super().__init__()
        self.sampler = sampler
        self.interval = Interval()
        self.eval()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised, std, entropy : (B, C_out, Y, X) float32
            Of `sampler`, unchanged.
        lower, upper : (B, C_out, Y, X) float32
            Ends of the calibrated interval, in counts.
        """
        denoised, std, entropy = self.sampler(image)
        lower, upper = self.interval(denoised, std)
        return denoised, std, entropy, lower, upper


class CalibratedSampler(Calibrated):
    """A `DiffusionSampler` with calibrated intervals: five outputs.

    Parameters
    ----------
    in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
        Of `DiffusionSampler`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        num_steps: int,
        num_samples: int,
        samples_per_pass: int,
    ) -> None:
        super().__init__(
            DiffusionSampler(
                in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
            )
        )


class CalibratedOnePass(Calibrated):
    """A `OnePass` with calibrated intervals: five outputs.

    Parameters
    ----------
    in_channels, out_channels, network, num_samples
        Of `OnePass`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__(OnePass(in_channels, out_channels, network, num_samples))
