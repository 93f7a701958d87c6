"""LPIPS and MicroMS3IM: real, or n/a with the reason; never something else."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bmz_ddpm.errors import DataError, UserError
from bmz_ddpm.evaluate import perceptual
from bmz_ddpm.evaluate.perceptual import VARIABLE, lpips, micro_ms3im

IMAGE = np.random.default_rng(0).uniform(0, 255, (192, 192))


def test_weights_are_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match=r"alexnet-owt-7be5be79\.pth does not exist, and nothing is"
    ):
        lpips(IMAGE, IMAGE)
    assert not list(tmp_path.rglob("*.pth"))


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"something else")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine.pth"))
    with pytest.raises(DataError, match=r"mine.pth is not alexnet-owt-7be5be79.pth \(its SHA-256"):
        lpips(IMAGE, IMAGE)


def test_too_small_for_alexnet() -> None:
    with pytest.raises(DataError, match="the image has 40 x 70 pixels, AlexNet needs 63"):
        lpips(np.zeros((40, 70)), np.zeros((40, 70)))


@pytest.fixture
def some_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with the names of AlexNet's weights, taken for the real one."""
    path = tmp_path / "alexnet.pth"
    shapes = (
        (0, 3, 64, 11),
        (3, 64, 192, 5),
        (6, 192, 384, 3),
        (8, 384, 256, 3),
        (10, 256, 256, 3),
    )
    generator = torch.Generator().manual_seed(0)
    state = {}
    for number, into, out, side in shapes:
        scale = (2 / (into * side**2)) ** 0.5
        weight = scale * torch.randn(out, into, side, side, generator=generator)
        state |= {f"features.{number}.weight": weight, f"features.{number}.bias": torch.zeros(out)}
    torch.save(state, path)
    monkeypatch.setenv(VARIABLE, str(path))
    monkeypatch.setattr(perceptual, "ALEXNET_SHA256", "")
    perceptual._network.cache_clear()
    return path


def test_lpips_is_the_weighted_distance_of_features(some_weights: Path) -> None:
    """Zhang et al. (2018), eq. 1, with the network written down once more."""
    pytest.importorskip("torchmetrics")
    import torch.nn.functional as fn
    import torchmetrics.functional.image as folder

    state = torch.load(some_weights, map_location="cpu")
    linear = torch.load(Path(folder.__file__).parent / "lpips_models" / "alex.pth", "cpu")

    def features(image: np.ndarray) -> list[torch.Tensor]:
        x = torch.from_numpy(image / 255 * 2 - 1).float().expand(1, 3, *image.shape)
        shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
        scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
        x, kept = (x - shift) / scale, []
        for number, stride, rim in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if number in (3, 6):
                x = fn.max_pool2d(x, 3, 2)
            weight = state[f"features.{number}.weight"]
            x = fn.relu(fn.conv2d(x, weight, stride=stride, padding=rim))
            kept.append(x)
        return kept

    noisy = np.clip(IMAGE + np.random.default_rng(1).normal(0, 40, IMAGE.shape), 0, 255)
    total = 0.0
    for level, (a, b) in enumerate(zip(features(IMAGE), features(noisy), strict=True)):
        a, b = (f / f.norm(dim=1, keepdim=True) for f in (a, b))
        weight = linear[f"lin{level}.model.1.weight"]
        total += float((weight * (a - b) ** 2).sum(1).mean())
    assert lpips(IMAGE, noisy) == pytest.approx(total, rel=1e-4)
    assert lpips(IMAGE, IMAGE) == 0


def test_micro_ms3im_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "microssim", None)
    with pytest.raises(UserError, match="MicroMS3IM needs microssim, which is not installed"):
        micro_ms3im(IMAGE, IMAGE)


def test_micro_ms3im_forgives_gain_and_offset() -> None:
    pytest.importorskip("microssim")
    from bmz_ddpm.evaluate.classical import gaussian

    truth = gaussian(IMAGE, 3) * 20
    noisy = truth + np.random.default_rng(1).normal(0, 200, truth.shape)
    assert micro_ms3im(truth, truth * 0.3 + 40) == pytest.approx(1, abs=1e-3)
    assert micro_ms3im(truth, noisy) < 0.95
