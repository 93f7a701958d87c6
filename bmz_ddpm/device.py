"""The device that a computation runs on."""

from __future__ import annotations

import torch

from .errors import ConfigError


def usable_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises
    ------
    ConfigError
        If there is no such device, or this PyTorch cannot use it.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {name}: cannot be used ({str(error).splitlines()[0]})",
            "use cpu, or install a PyTorch that supports this device",
        ) from error
