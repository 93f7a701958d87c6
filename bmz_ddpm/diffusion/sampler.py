"""The whole sampler as one deterministic module: image in; mean, std and entropy out.

The same source runs eagerly, as TorchScript and as ONNX. Nothing in here knows which sampler
it is: that is the table of `schedule.step_table`. All trip counts are read from the shapes of
buffers, so that exporters keep real loops, and all constants are buffers, so that the module
can move to another device.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .rng import ContentNoise, mirror_pad
from .uncertainty import entropy_of_levels, merge_moments
from .unet import UNet


def mirrored_by(x: Tensor, flags: Tensor) -> Tensor:
    """Mirror each sample along y, x, both or not at all; doing it twice changes nothing.

    Parameters
    ----------
    x : (N, B, C, Y, X)
    flags : (N, 2) bool
        Along y, along x.
    """
    flags = flags[:, :, None, None, None, None]
    x = torch.where(flags[:, 0], x.flip(3), x)
    return torch.where(flags[:, 1], x.flip(4), x)


def mirrored_to(image: Tensor, multiple: int) -> Tensor:
    """Mirror (B, C, Y, X) at the lower and right ends up to a multiple of `multiple` pixels."""
    below = (multiple - image.shape[2] % multiple) % multiple
    right = (multiple - image.shape[3] % multiple) % multiple
    return mirror_pad(image, 0, below, 0, right)


def clean_range(intensity: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest clean value, in model units (scalars)."""
    ends = (intensity[4:] - intensity[2]) / intensity[3]
    return ends[0], ends[1]


class DiffusionSampler(nn.Module):
    """Draw, average and summarise N samples of the clean image.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the microscope image and of the clean image.
    network : dict
        Keyword arguments of `UNet`.
    num_steps : int
        Network passes per sample.
    num_samples : int
        Samples to average.
    samples_per_pass : int
        Samples that go through the network together; divides `num_samples`. More is a little
        faster and takes more memory; the result is the same.

    Notes
    -----
    A new module holds zeros. Its constants come from `configure` (in the toolkit) or from
    ``load_state_dict`` (in a package).
    """

    coefficients: Tensor
    modulation: Tensor
    draws: Tensor
    intensity: Tensor
    mirror: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        network: dict[str, Any],
        num_steps: int,
        num_samples: int,
        samples_per_pass: int,
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, out_channels, folded=True, **network)
        self.multiple = int(self.unet.multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.noise = ContentNoise(in_channels)
        widths = sum(self.unet.block_widths)
        passes = num_samples // samples_per_pass
        self.register_buffer("coefficients", torch.zeros(num_steps, 6))
        self.register_buffer("modulation", torch.zeros(num_steps, widths))
        self.register_buffer("draws", torch.arange(num_samples).reshape(passes, samples_per_pass))
        # input offset and scale, output offset and scale, lowest and highest output, in counts
        self.register_buffer("intensity", torch.zeros(6))
        self.register_buffer("mirror", torch.zeros(1, dtype=torch.bool))
        self.eval()
        self.requires_grad_(False)

    def sample(self, cond: Tensor, places: Tensor, draws: Tensor) -> Tensor:
        """Draw samples of the clean image.

        Parameters
        ----------
        cond : (B, C, Y, X) float32
            In model units.
        places : (B, 1, Y, X) int64
            From `ContentNoise.places`.
        draws : (N,) int64
            Numbers of the samples.

        Returns
        -------
        (N, B, C, Y, X) float32
            In model units.
        """
        flags = torch.stack([draws % 2 == 1, draws // 2 % 2 == 1], 1) & self.mirror  # (N, 2)
        x_t = mirrored_by(self.noise(places, draws, 0, self.out_channels), flags)
        n, b, c, y, x = x_t.shape[0], x_t.shape[1], x_t.shape[2], x_t.shape[3], x_t.shape[4]
        x_t = x_t.reshape(n * b, c, y, x)  # (N·B, C, Y, X)
        repeated = cond.unsqueeze(0).expand(n, b, cond.shape[1], y, x)
        low, high = clean_range(self.intensity)
        before = torch.zeros_like(x_t)  # x0_hat of the step before
        repeated = mirrored_by(repeated, flags)
        repeated = repeated.reshape(n * b, cond.shape[1], y, x)
        for step in range(self.coefficients.shape[0]):
            row = self.coefficients[step]
            net = self.unet(x_t, repeated, self.modulation[step].unsqueeze(0))
            x0_hat = torch.minimum(torch.maximum(row[0] * x_t + row[1] * net, low), high)
            x_t = row[2] * x0_hat + row[3] * x_t + row[5] * before
            before = x0_hat
            if bool(row[4] > 0):
                fresh = self.noise(places, draws, step + 1, self.out_channels)
                x_t = x_t + row[4] * mirrored_by(fresh, flags).reshape(n * b, c, y, x)
        return mirrored_by(x_t.reshape(n, b, c, y, x), flags)  # (N, B, C, Y, X)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised : (B, C_out, Y, X) float32
            Mean of the samples, in counts of the reference images.
        std : (B, C_out, Y, X) float32
            Their population standard deviation, in the same counts (the paper's eq. 15
            before its division by 255).
        entropy : (B, C_out, Y, X) float32
            In nats, over 256 equal bins of the output range (eq. 16).
        """
        rows, columns = image.shape[2], image.shape[3]
        padded = mirrored_to(image, self.multiple)
        cond = (padded - self.intensity[0]) / self.intensity[1]
        low, high = clean_range(self.intensity)
        places = self.noise.places(padded)
        mean = (places * 0).to(cond.dtype).expand(-1, self.out_channels, -1, -1)
        square = mean
        count = 0
        levels = mean.unsqueeze(0)[:0].to(torch.uint8)  # a byte each: memory hardly grows with N
        for i in range(self.draws.shape[0]):
            samples = self.sample(cond, places, self.draws[i])
            mean, square, count = merge_moments(mean, square, count, samples)
            level = torch.round((samples - low) * (255.0 / (high - low))).clamp(0.0, 255.0)
            levels = torch.cat([levels, level.to(torch.uint8)])
        denoised = mean * self.intensity[3] + self.intensity[2]
        std = torch.sqrt(square / float(count)) * self.intensity[3]
        entropy = entropy_of_levels(levels)
        return (
            denoised[:, :, :rows, :columns],
            std[:, :, :rows, :columns],
            entropy[:, :, :rows, :columns],
        )


def stack_outputs(
    outputs: tuple[Tensor, Tensor, Tensor], low: Tensor, high: Tensor, most: float
) -> Tensor:
    """Put mean, std and entropy into one tensor whose values lie between 0 and 1.

    Parameters
    ----------
    outputs : three of (B, C, Y, X) float32
        In counts, counts and nats.
    low, high : scalars
        Output range, in counts.
    most : float
        Largest possible entropy, in nats.

    Returns
    -------
    (B, 3·C, Y, X) float32
    """
    denoised, std, entropy = outputs
    mean = (denoised - low) / (high - low)
    stacked = torch.cat([mean, std / (high - low), entropy / max(most, 1e-6)], 1)  # (B, 3C, Y, X)
    return stacked.clamp(0.0, 1.0)  # the last bit may lie outside


class StackedSampler(nn.Module):
    """The same sampler with one output, for programs that take no more: ilastik, QuPath.

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
        super().__init__()
        self.sampler = DiffusionSampler(
            in_channels, out_channels, network, num_steps, num_samples, samples_per_pass
        )

    def forward(self, image: Tensor) -> Tensor:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        (B, 3·C_out, Y, X) float32
            All means, then all standard deviations, both as shares of the output range (eq. 15),
            then all entropies as shares of ln N, the largest possible: everything from 0 to 1.
        """
        intensity = self.sampler.intensity
        most = math.log(float(self.sampler.draws.numel()))
        return stack_outputs(self.sampler(image), intensity[4], intensity[5], most)
