"""Two measures that need something of their own: LPIPS its weights, MicroMS3IM its package."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from ..errors import DataError, MissingDependency, UserError
from .metrics import refuse_small

#: torchvision's file name; the digits are the start of its SHA-256.
ALEXNET = "alexnet-owt-7be5be79.pth"
ALEXNET_SHA256 = "7be5be79"
#: Names the file where it lies elsewhere.
VARIABLE = "BMZ_DDPM_ALEXNET"


def alexnet_weights() -> Path:
    """Return where the weights of AlexNet lie; nothing is ever downloaded.

    Returns
    -------
    Path
        What the variable BMZ_DDPM_ALEXNET names, or the file in torch's own folder
        (hub/checkpoints in TORCH_HOME).

    Raises
    ------
    DataError
        If there is no such file, or it is another one.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named)
    else:
        import torch

        path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not path.is_file():
        raise DataError(
            f"LPIPS: {path} does not exist, and nothing is downloaded",
            f"fetch {ALEXNET} from download.pytorch.org/models, put it there or name it in "
            f"{VARIABLE}",
        )
    if not _digest(path).startswith(ALEXNET_SHA256):
        raise DataError(f"LPIPS: {path} is not {ALEXNET} (its SHA-256 differs)", "fetch it again")
    return path


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lpips(truth: np.ndarray, image: np.ndarray, peak: float = 255.0) -> float:
    """Return the learned perceptual distance of two (Y, X) images (AlexNet), by torchmetrics.

    Both are clipped to [0, peak], mapped to [-1, 1] and repeated for three colours.

    Raises
    ------
    MissingDependency
        If torchmetrics is not installed.
    DataError
        If the weights are missing, or an image is smaller than AlexNet can take.

    References
    ----------
    Zhang et al. (2018), "The unreasonable effectiveness of deep features as a perceptual metric".
    """
    if min(truth.shape) < 63:
        raise DataError(
            f"LPIPS: the image has {truth.shape[0]} x {truth.shape[1]} pixels, AlexNet needs 63",
            "score larger images",
        )
    import torch

    network = _network(alexnet_weights())
    a, b = (
        torch.from_numpy((np.clip(x, 0, peak) / peak * 2 - 1).astype(np.float32)).expand(
            1, 3, *x.shape
        )
        for x in (image, truth)
    )
    with torch.no_grad():
        return float(network(a, b))


@cache
def _network(weights: Path) -> Any:
    """Build LPIPS of torchmetrics without torchvision, from which it would take AlexNet.

    torchvision is needed for nothing else, and a build for another torch breaks torchmetrics.
    """
    try:
        from torchmetrics.functional.image import lpips as home
    except ImportError as error:
        raise MissingDependency("torchmetrics", "evaluate", "LPIPS") from error
    import torch

    features = _alexnet()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    mine = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    features.load_state_dict(mine)
    with patch.object(home, "_get_tv_model_features", lambda *_: features):
        return home._LPIPS(net="alex", pnet_rand=True).eval()


def _alexnet() -> Any:
    """Return AlexNet's convolutions, numbered as in the file of weights.

    References
    ----------
    Krizhevsky (2014), "One weird trick for parallelizing convolutional neural networks".
    """
    from torch.nn import Conv2d, MaxPool2d, ReLU, Sequential

    return Sequential(
        Conv2d(3, 64, 11, stride=4, padding=2),
        ReLU(),
        MaxPool2d(3, 2),
        Conv2d(64, 192, 5, padding=2),
        ReLU(),
        MaxPool2d(3, 2),
        Conv2d(192, 384, 3, padding=1),
        ReLU(),
        Conv2d(384, 256, 3, padding=1),
        ReLU(),
        Conv2d(256, 256, 3, padding=1),
        ReLU(),
        MaxPool2d(3, 2),
    )


def micro_ms3im(truth: np.ndarray, image: np.ndarray) -> float:
    """Return the multi-scale structural similarity made for microscopy, by the package microssim.

    Background (3rd percentile) and one factor between the intensities are fitted to this pair of
    (Y, X) images first.

    Raises
    ------
    UserError
        If microssim is not installed.
    DataError
        If a side is shorter than 176 pixels.

    References
    ----------
    Ashesh, Deschamps, Jug (2024), "MicroSSIM: improved structural similarity for comparing
    microscopy data", arXiv 2408.08747.
    """
    refuse_small(truth, "MicroMS3IM")
    try:
        from microssim import micro_multiscale_structural_similarity as measure
    except ImportError as error:
        raise UserError(
            "MicroMS3IM needs microssim, which is not installed",
            "pip install microssim (0.0.5 asks for torchmetrics 1.8.2 or older)",
        ) from error
    return float(measure(truth.astype(np.float64), image.astype(np.float64)))
