"""Drawn structures: repeatable, in range, of many kinds; and how they enter training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bmz_ddpm.config import AugmentConfig
from bmz_ddpm.data import synthetic
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.data.patches import PatchSource, correlated
from bmz_ddpm.data.synthetic import draw_structures


def test_the_seed_decides() -> None:
    one = draw_structures(3, 96, seed=1)
    np.testing.assert_array_equal(one, draw_structures(3, 96, seed=1))
    assert not np.allclose(one, draw_structures(3, 96, seed=2))
    assert not np.allclose(one[0], one[1])


def test_range_and_type() -> None:
    drawn = draw_structures(12, 128, seed=0)
    assert (drawn.shape, drawn.dtype) == ((12, 128, 128), np.float32)
    assert drawn.min() >= 0
    np.testing.assert_allclose(np.percentile(drawn, 99.8, axis=(1, 2)), 1, rtol=1e-3)
    contrast = drawn.std((1, 2)) / drawn.mean((1, 2))
    assert contrast.min() > 0.2  # none is empty


@pytest.mark.parametrize("kind", ["_membranes", "_filaments", "_nuclei", "_spots"])
def test_each_kind_draws_something_sparse(kind: str) -> None:
    """Every layer has light, and leaves most of the picture dimmer than its brightest parts."""
    for seed in range(4):
        layer = getattr(synthetic, kind)(128, np.random.default_rng(seed))
        assert layer.shape == (128, 128)
        assert np.isfinite(layer).all()
        assert layer.max() > 0
        assert np.median(layer) < 0.6 * layer.max()


def test_training_draws_from_them(pair_folder: Path) -> None:
    """With a share of 1 no patch shows the training images: 40 to 400 counts, never darker."""
    pairs = find_pairs(pair_folder)
    drawn = PatchSource(pairs, 32, AugmentConfig(simulated=1, synthetic=1, blur=0), seed=0)
    real = PatchSource(pairs, 32, AugmentConfig(simulated=1, synthetic=0, blur=0), seed=0)
    assert real.synthetic is None
    assert drawn.synthetic is not None
    assert drawn.synthetic.min() >= drawn.noise.offset
    x0 = drawn.batch(1, 8).x0
    again, other = drawn.batch(1, 8).x0, real.batch(1, 8).x0
    assert torch.equal(x0, again)
    assert not torch.allclose(x0, other, atol=0.1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_noise_correlates_with_the_left_neighbour_alone(share: float) -> None:
    """Closed form: lag 1 is s / (1 + s²), all others 0, and the variance stays."""
    noise = torch.randn(1, 400, 400, generator=torch.Generator().manual_seed(0))
    out = correlated(noise, share)
    assert float(out.var()) == pytest.approx(1, abs=0.02)
    along = float((out[..., 1:] * out[..., :-1]).mean())
    assert along == pytest.approx(share / (1 + share**2), abs=0.01)
    assert float((out[..., 2:] * out[..., :-2]).mean()) == pytest.approx(0, abs=0.01)
    assert float((out[:, 1:] * out[:, :-1]).mean()) == pytest.approx(0, abs=0.01)


def test_correlation_is_drawn_for_simulated_patches(pair_folder: Path) -> None:
    """Neighbours along y or x (patches are turned) then share noise; without it they do not."""
    found = {}
    for share in (0.0, 0.5):
        augment = AugmentConfig(simulated=1, correlation=share, gain=(1, 1), blur=0)
        source = PatchSource(find_pairs(pair_folder), 32, augment, seed=0)
        i = source.intensity
        values = []
        for step in range(20):
            batch = source.batch(step, 8)
            noise = batch.cond * i.input_scale + i.input_offset
            noise -= batch.x0 * i.output_scale + i.output_offset
            noise = noise / noise.std((1, 2, 3), keepdim=True)
            values.append(float((noise[..., 1:] * noise[..., :-1]).mean()))
        found[share] = np.mean(values)
    assert abs(found[0.0]) < 0.02
    assert found[0.5] > 0.05
