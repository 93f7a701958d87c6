"""What TensorBoard shows of a run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..data.planes import Planes
from ..display.scale import grey_limits
from ..errors import MissingDependency


class Board:
    """Curves and images for TensorBoard.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    MissingDependency
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependency("tensorboard", "train", "--tensorboard") from error
        self.folder, self._make = folder, SummaryWriter
        self._writer: SummaryWriter | None = None

    @torch.no_grad()
    def show(
        self,
        row: dict[str, float],
        field: Planes,
        samplers: tuple[nn.Module, nn.Module],
        device: torch.device,
    ) -> None:
        """Add the figures of a validation, and the first validation image.

        Parameters
        ----------
        row : dict
            Names and figures; "step" is the step.
        field : Planes
            The first plane and channel are shown: noisy, one sample, mean and truth on the scale
            of the truth (0.5th to 99.8th percentile), the standard deviation on its own.
        samplers : (nn.Module, nn.Module)
            (B, C, Y, X) counts to mean and standard deviation; of several samples, and of one.
        """
        # made here: a resumed run's curves start anew at its step, without those it repeats
        step = int(row["step"])
        writer = self._writer or self._make(str(self.folder), purge_step=step)
        self._writer = writer
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, step)
        low = torch.from_numpy(field.low[:1]).to(device)
        (mean, std), sample = samplers[0](low)[:2], samplers[1](low)[0]
        images = {
            "noisy": low[0, 0],
            "sample": sample[0, 0],
            "mean": mean[0, 0],
            "truth": torch.from_numpy(field.high[0, 0]),
        }
        dark, bright = grey_limits(field.high[0, 0])
        for name, image in images.items():
            grey = (image.cpu() - dark) / max(bright - dark, 1e-6)
            writer.add_image(f"validation/{name}", grey.clamp(0, 1)[None], step)
        spread = std[0, 0].cpu()
        writer.add_image("validation/std", (spread / spread.max().clamp(min=1e-6))[None], step)
        writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer:
            self._writer.close()
