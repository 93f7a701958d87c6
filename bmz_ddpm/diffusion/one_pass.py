"""The student: mean, std and entropy of the samples in one pass of the network.

It has the sampler's inputs and outputs, no noise and no loop. Its network is the sampler's, trained
on at the noisiest level, where x_t tells nothing and is left at zero, to return what the samples'
average and their spread would be (``bmz-ddpm distill``).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .sampler import clean_range, mirrored_to, stack_outputs
from .unet import UNet


class OnePass(nn.Module):
    """Estimate what many samples would say together.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the microscope image and of the clean image.
    network : dict
        Keyword arguments of `UNet`, with ``statistics=2``.
    num_samples : int
        Samples whose mean, std and entropy are estimated.

    Notes
    -----
    A new module holds zeros. Its constants come from `assemble_one_pass` or, in a package, from
    ``load_state_dict``.
    """

    net_weight: Tensor
    modulation: Tensor
    intensity: Tensor
    entropies: Tensor
    samples: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__()
        self.unet = UNet(in_channels, out_channels, folded=True, **network)
        self.multiple = int(self.unet.multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        widths = sum(self.unet.block_widths)
        self.register_buffer("net_weight", torch.zeros(1))  # of x0_hat = weight·F at x_t = 0
        self.register_buffer("modulation", torch.zeros(1, widths))
        # as in DiffusionSampler: input and output offset and scale, lowest and highest output
        self.register_buffer("intensity", torch.zeros(6))
        # entropy in nats by log2(std in 1/255 of the range) from -4 to 8 in steps of 1/8
        self.register_buffer("entropies", torch.zeros(97))
        self.register_buffer("samples", torch.arange(num_samples))
        self.eval()
        self.requires_grad_(False)

    def entropy(self, std: Tensor) -> Tensor:
        """Return the expected entropy of samples with this std, given in 1/255 of the range."""
        place = ((torch.log(std.clamp(min=1e-6)) / math.log(2.0) + 4.0) * 8.0).clamp(0.0, 96.0)
        below = torch.floor(place).clamp(max=95.0)
        index = below.to(torch.int64)
        share = place - below
        return self.entropies[index] * (1.0 - share) + self.entropies[index + 1] * share

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise.

        Parameters
        ----------
        image : (B, C_in, Y, X) float32
            In camera counts; any y and x.

        Returns
        -------
        denoised, std, entropy : (B, C_out, Y, X) float32
            Estimates of what `DiffusionSampler` returns, in its units.
        """
        rows, columns = image.shape[2], image.shape[3]
        padded = mirrored_to(image, self.multiple)
        cond = (padded - self.intensity[0]) / self.intensity[1]
        x_t = (cond[:, :1] * 0.0).expand(-1, self.out_channels, -1, -1)
        net = self.unet(x_t, cond, self.modulation)[:, :, :rows, :columns]
        low, high = clean_range(self.intensity)
        x0_hat = net[:, : self.out_channels] * self.net_weight
        mean = torch.minimum(torch.maximum(x0_hat, low), high)
        std = torch.exp(net[:, self.out_channels :].clamp(-12.0, 4.0))
        denoised = mean * self.intensity[3] + self.intensity[2]
        entropy = self.entropy(std * (255.0 / (high - low)))
        return denoised, std * self.intensity[3], entropy


class StackedOnePass(nn.Module):
    """The same student with one output, for programs that take no more: ilastik, QuPath.

    Parameters
    ----------
    in_channels, out_channels, network, num_samples
        Of `OnePass`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, network: dict[str, Any], num_samples: int
    ) -> None:
        super().__init__()
        self.sampler = OnePass(in_channels, out_channels, network, num_samples)

    def forward(self, image: Tensor) -> Tensor:
        """Denoise (B, C_in, Y, X) counts to (B, 3·C_out, Y, X) as `StackedSampler` does."""
        intensity = self.sampler.intensity
        most = math.log(float(self.sampler.samples.numel()))
        return stack_outputs(self.sampler(image), intensity[4], intensity[5], most)
