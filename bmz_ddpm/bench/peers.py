"""The same network in other libraries' sampling loops, as their users write them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import ConfigError, MissingDependency
from ..train.checkpoint import Checkpoint
from .engines import Parts, quiet
from .subject import Subject
from .timing import Part


class Wrapped(nn.Module):
    """Our network with the signature that schedulers' loops call, counting its passes.

    Its weights are folded and the embedding of every step is looked up: what is compared is the
    loop and the engine, not what a library's own network would spend on these.
    """

    def __init__(self, unet: nn.Module, modulation: Tensor, channels: int) -> None:
        super().__init__()
        self.unet, self.modulation, self.channels = unet, modulation, channels
        self.passes = 0

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        """Predict from x_t and condition in two groups of channels; `timesteps` is the step."""
        self.passes += 1
        row = self.modulation[timesteps.reshape(-1)[:1].long()]
        return self.unet(x[:, : self.channels], x[:, self.channels :], row)


def wrapped(checkpoint: Checkpoint, device: str) -> Wrapped:
    """Return the network with a row of modulation for every training step."""
    from ..diffusion.assemble import SamplerSettings
    from ..diffusion.schedule import Schedule

    config = checkpoint.config
    unet = checkpoint.sampler(SamplerSettings(1, 1, 0.0)).unet
    bar = Schedule(config.num_train_steps, config.schedule_offset).alpha_bar()[1:]
    with torch.inference_mode():
        rows = checkpoint.denoiser.embedding(torch.from_numpy(bar)).clone()
    return Wrapped(unet.to(device), rows.to(device), config.out_channels)


def _betas(checkpoint: Checkpoint) -> Any:
    from ..diffusion.schedule import Schedule

    config = checkpoint.config
    bar = Schedule(config.num_train_steps, config.schedule_offset).alpha_bar()
    return (1 - bar[1:] / bar[:-1]).astype("float32")


_PREDICTION = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def _prediction_type(config: ModelConfig) -> str:
    if config.prediction not in _PREDICTION:
        raise ConfigError(
            f"prediction = {config.prediction}: unknown to these schedulers", "compare a v model"
        )
    return _PREDICTION[config.prediction]


def diffusers_loop(
    checkpoint: Checkpoint, steps: int, samples: int, eta: float, cond: Tensor
) -> tuple[Callable[[], tuple[Tensor, Tensor]], Wrapped]:
    """Return a call that samples with diffusers' scheduler: DDIM for eta = 0, else DDPM.

    Parameters
    ----------
    cond : (B, C, Y, X) float32
        In model units.

    Raises
    ------
    MissingDependency
        If diffusers is not installed.
    """
    if find_spec("diffusers") is None:
        raise MissingDependency("diffusers", "bench", "comparing with its loop")
    from diffusers import DDIMScheduler, DDPMScheduler

    config = checkpoint.config
    network = wrapped(checkpoint, str(cond.device))
    kind: Any = DDPMScheduler if eta else DDIMScheduler
    scheduler = kind(
        num_train_timesteps=config.num_train_steps,
        trained_betas=_betas(checkpoint),
        prediction_type=_prediction_type(config),
        clip_sample=False,
    )
    scheduler.set_timesteps(steps)
    shape = (cond.shape[0], config.out_channels, *cond.shape[2:])

    def run() -> tuple[Tensor, Tensor]:
        drawn = []
        for _ in range(samples):
            x = torch.randn(shape, device=cond.device)
            for t in scheduler.timesteps:
                x = scheduler.step(network(torch.cat([x, cond], 1), t), t, x).prev_sample
            drawn.append(x)
        stack = torch.stack(drawn)
        return stack.mean(0), stack.std(0)

    return run, network


def monai_loop(
    checkpoint: Checkpoint, steps: int, samples: int, eta: float, cond: Tensor
) -> tuple[Callable[[], tuple[Tensor, Tensor]], Wrapped]:
    """Return a call that samples with MONAI's DiffusionInferer.

    Raises
    ------
    MissingDependency
        If monai is not installed.
    """
    if find_spec("monai") is None:
        raise MissingDependency("monai", "bench", "comparing with its inferer")
    from monai.inferers import DiffusionInferer
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

    config = checkpoint.config
    network = wrapped(checkpoint, str(cond.device))
    kind: Any = DDPMScheduler if eta else DDIMScheduler
    scheduler = kind(
        num_train_timesteps=config.num_train_steps,
        schedule="cosine",
        prediction_type=_prediction_type(config),
        clip_sample=False,
    )
    scheduler.set_timesteps(steps)
    inferer: Any = DiffusionInferer(scheduler)  # its type asks for a network of its own
    shape = (cond.shape[0], config.out_channels, *cond.shape[2:])

    def run() -> tuple[Tensor, Tensor]:
        drawn = [
            inferer.sample(
                torch.randn(shape, device=cond.device), network, scheduler,
                conditioning=cond, mode="concat", verbose=False,
            )
            for _ in range(samples)
        ]  # fmt: skip
        stack = torch.stack(drawn)
        return stack.mean(0), stack.std(0)

    return run, network


LOOPS = {"diffusers": diffusers_loop, "monai": monai_loop}


def _loop(loop: Callable[..., Any], made: tuple[Any, ...]) -> Part:
    return quiet(loop(*made)[0])


def peer_parts(subject: Subject, side: int, device: str, eta: float) -> Parts:
    """Return the loops of the installed libraries, with the same steps and samples."""
    parts = Parts()
    for name, loop in LOOPS.items():
        if subject.checkpoint is None:
            parts.missing[name] = "needs a checkpoint, a package holds no PyTorch module of ours"
            continue
        cond = subject.bare_inputs(side)[1].to(device)
        made = (subject.checkpoint, subject.steps, subject.samples, eta, cond)
        parts.add(name, partial(_loop, loop, made))
    return parts
