"""DiffusionSampler to TorchScript that libtorch 1.13.1 and 2.0.0 load."""

from __future__ import annotations

import copy
import warnings
from io import BytesIO
from pathlib import Path

import torch

from ..diffusion.sampler import DiffusionSampler
from ..files import write_bytes


def to_torchscript(sampler: DiffusionSampler) -> torch.jit.ScriptModule:
    """Script the sampler around a traced network.

    The U-Net is traced (its Python lists and loops disappear, sizes stay free), everything
    else is scripted (the loops stay loops, so the file does not grow with steps or samples).
    Nothing is frozen: freezing unrolls the loops and leaves no parameters to move to a GPU.

    Parameters
    ----------
    sampler : DiffusionSampler
        Configured, on the CPU. It is not changed.
    """
    module = copy.deepcopy(sampler)
    unet = module.unet
    side = 4 * unet.multiple
    x_t = torch.zeros(2, module.out_channels, side, side)
    cond = torch.zeros(2, module.noise.channel_words.shape[1], side, side)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but it is what Fiji reads
        traced = torch.jit.trace(unet, (x_t, cond, module.modulation[:1]), check_trace=False)
        module.unet = traced
        return torch.jit.script(module)


def save_torchscript(scripted: torch.jit.ScriptModule, path: Path) -> None:
    """Write the file; it appears only when it is complete.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(scripted, stream)
    write_bytes(path, stream.getbuffer())
