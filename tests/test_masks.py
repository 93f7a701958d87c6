"""What the mask of a pair hides has no say: not in training, not in validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import write_pairs
from test_train import settings

from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.data.vary import eroded, warp
from bmz_ddpm.errors import DataError
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.validation import Validation

HIDDEN = np.s_[5:33, 30:56]


def masked(folder: Path, garbage: int) -> list[Pair]:
    """Pairs whose clean images hold garbage in a corner that their masks hide."""
    write_pairs(folder)
    pairs = []
    for pair in find_pairs(folder):
        clean = tifffile.imread(pair.high)
        inside = np.ones(clean.shape, np.uint8)
        inside[HIDDEN] = 0
        clean[HIDDEN] = garbage
        path = folder / f"{pair.fov}_mask.tif"
        tifffile.imwrite(pair.high, clean)
        tifffile.imwrite(path, inside)
        pairs.append(replace(pair, mask=path))
    return pairs


@pytest.mark.parametrize("simulated", [0.0, 1.0])
def test_garbage_behind_the_mask_changes_nothing(tmp_path: Path, simulated: float) -> None:
    """Ranges, noise model, loss, gradient and validation error are the same bit for bit."""
    found = []
    for garbage in (0, 65535):
        config = settings(batch_size=4, augment={"simulated": simulated})
        pairs = masked(tmp_path / str(garbage), garbage)
        trainer = Trainer(pairs, config, tmp_path / "run", "cpu")
        batch = trainer.source.batch(1, 8)
        assert 0.3 < float(batch.weight.mean()) < 0.97
        losses = [trainer._advance() for _ in range(2)]
        gradient = trainer.denoiser.unet.conv_out.weight.grad
        source = trainer.source
        found.append((source.intensity, source.noise, losses, trainer.validate(), gradient))
    assert found[0][:4] == found[1][:4]
    assert torch.equal(found[0][4], found[1][4])


def test_no_mask_is_a_weight_of_one(pair_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(find_pairs(pair_folder), settings(), tmp_path / "run", "cpu")
    assert bool((trainer.source.batch(1, 4).weight == 1).all())


def test_eroding_takes_all_pixels_near_an_invalid_one() -> None:
    valid = torch.ones(1, 20, 20, dtype=torch.bool)
    valid[0, 8, 9] = False
    expected = torch.ones(1, 20, 20, dtype=torch.bool)
    expected[0, 6:11, 7:12] = False
    assert torch.equal(eroded(valid, 2), expected)


def test_warping_hides_every_pixel_that_an_invalid_one_reaches() -> None:
    """An image that differs behind the mask alone gives the same valid pixels."""
    valid = torch.ones(1, 40, 40, dtype=torch.bool)
    valid[0, 10:22, 15:30] = False
    image = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0))
    other = torch.where(valid, image, 1e3)
    for seed in range(20):
        patches = []
        for values in (image, other):
            generator = torch.Generator().manual_seed(seed)

            def uniform(low: float, high: float, of: torch.Generator = generator) -> float:
                return low + (high - low) * float(torch.rand((), generator=of))

            patches.append(warp(values, valid, 32, 180, (0.6, 1.5), uniform))
        (a, inside), (b, again) = patches
        assert inside is not None
        assert torch.equal(inside, again)
        assert torch.equal(a[inside], b[inside])
        assert 0.1 < float(inside.float().mean()) < 1


def test_a_mask_that_hides_all_that_is_validated(tmp_path: Path) -> None:
    pairs = masked(tmp_path, 0)
    pair = pairs[0]
    inside = np.zeros((48, 56), np.uint8)
    inside[0] = 1
    assert pair.mask is not None
    tifffile.imwrite(pair.mask, inside)
    with pytest.raises(DataError) as caught:
        Validation([pair], settings(validation_crop=16), (1, 1))
    assert caught.value.problem == f"{pair.mask}: is zero in the part that is validated"
    assert caught.value.fix == ("leave this pair out, or set validation_crop = 0 for whole images")


def test_validation_of_whole_stacks_and_of_their_centres(tmp_path: Path) -> None:
    """Closed form, with a sampler that adds 3 counts: MAE 3, PSNR 20·log10(span / 3)."""
    levels = np.arange(1, 7).reshape(6, 1, 1) * np.ones((6, 20, 24))
    for kind in ("low", "high"):
        tifffile.imwrite(
            tmp_path / f"{kind}.tif", levels.astype("u2"), imagej=True, metadata={"axes": "ZYX"}
        )
    pair = Pair(tmp_path / "low.tif", tmp_path / "high.tif", "a", "val")
    seen: list[tuple[int, ...]] = []

    class Adds(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            seen.append(tuple(image.shape))
            return (image + 3,)

    for changes, shape, count in (
        ({"validation_planes": 0, "validation_crop": 0}, (1, 1, 20, 24), 6),
        ({"validation_planes": 2, "validation_crop": 16}, (1, 1, 16, 16), 2),
        ({}, (1, 1, 20, 24), 1),
    ):
        seen.clear()
        score = Validation([pair], settings(**changes), (1, 1)).score(
            Adds(), 255.0, torch.device("cpu")
        )
        assert seen == [shape] * count
        assert score.mae == pytest.approx(3)
        assert score.psnr == pytest.approx(20 * np.log10(255 / 3))
