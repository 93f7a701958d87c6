"""Where the computation runs: one device, or several processes on one or more machines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from ..config import TrainConfig
from ..device import usable_device
from ..errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def start_fabric(config: TrainConfig, device: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """Start the engine, and with it the other processes of this run.

    Parameters
    ----------
    config : TrainConfig
    device : str
        "cpu", "cuda" or "cuda:N".
    devices : int
        Processes on this machine, each with a device of its own.
    nodes : int
        Machines; each runs the same command, started by SLURM or torchrun.

    Raises
    ------
    ConfigError
        If the device cannot be used, or the batch cannot be shared evenly.
    MissingDependency
        If lightning-fabric is not installed.
    """
    kind = usable_device(device)
    processes = devices * nodes
    if config.batch_size % (processes * config.accumulate):
        raise ConfigError(
            f"batch_size = {config.batch_size}: cannot be shared by {processes} processes in "
            f"{config.accumulate} parts each",
            f"use a multiple of {processes * config.accumulate}",
        )
    if processes > 1 and ":" in device:
        raise ConfigError(
            f"--device {device}: names one device, --devices asks for {devices}",
            f"use --device {kind.type}",
        )
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment
    except ImportError as error:
        raise MissingDependency("lightning-fabric", "train", "training") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=kind.type,
        devices=[kind.index or 0] if processes == 1 and kind.type == "cuda" else devices,
        num_nodes=nodes,
        strategy="ddp" if processes > 1 else "auto",
        # its "bf16-mixed" would round the noise levels too: the loop has an autocast of its own
        precision="32-true",
        # one process needs none of what a cluster's scheduler says
        plugins=[LightningEnvironment()] if processes == 1 else None,
    )
    fabric.launch()
    return fabric


def half_precision(config: TrainConfig, device: torch.device) -> bool:
    """Say whether activations are bfloat16: if asked for, or "auto" and the device computes it."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
