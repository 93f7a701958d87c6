"""Streaming moments and entropy against numpy."""

import numpy as np
import pytest
import torch

from bmz_ddpm.diffusion.uncertainty import entropy_of_levels, merge_moments


@pytest.mark.parametrize("batches", [[8], [1] * 8, [3, 1, 4]])
def test_streamed_moments_are_those_of_all_samples(batches: list[int]) -> None:
    samples = 100 + torch.randn(8, 2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    mean = square = torch.zeros(2, 1, 5, 4)
    count = 0
    for part in samples.split(batches):
        mean, square, count = merge_moments(mean, square, count, part)
    assert count == 8
    everything = samples.double().numpy()
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose((square / 8).sqrt(), everything.std(0), rtol=1e-4)
    assert bool((square >= 0).all())


def test_equal_samples_have_no_spread() -> None:
    samples = torch.full((3, 1, 1, 2, 2), 0.1)
    _, square, _ = merge_moments(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 0, samples)
    assert float(square.max()) < 1e-12
    assert float(entropy_of_levels(torch.round(samples * 255)).abs().max()) == 0


def test_entropy_equals_the_papers_formula() -> None:
    """Eq. 16: − sum of p ln p over the unique values of each pixel."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 5, (15, 1, 1, 6, 7), generator=generator).float()
    entropy = entropy_of_levels(levels)[0, 0]
    for y in range(6):
        for x in range(7):
            p = np.unique(levels[:, 0, 0, y, x].numpy(), return_counts=True)[1] / 15
            assert float(entropy[y, x]) == pytest.approx(-(p * np.log(p)).sum(), abs=1e-6)


def test_entropy_is_at_most_ln_n() -> None:
    distinct = torch.arange(15.0).reshape(15, 1, 1, 1, 1)
    assert float(entropy_of_levels(distinct)) == pytest.approx(np.log(15))
