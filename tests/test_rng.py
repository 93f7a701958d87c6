"""The in-graph generator: known answers, then statistics, then what it is keyed on."""

import numpy as np
import pytest
import torch
from scipy import stats

from bmz_ddpm.diffusion.rng import (
    FLIP,
    PERIOD,
    RADIUS,
    ContentNoise,
    mirror_pad,
    normal_table,
    odd_words,
    splitmix64,
    squares,
    swap_halves,
)


@pytest.fixture(scope="module")
def noise() -> ContentNoise:
    module = ContentNoise(1)
    module.configure(seed=7, scale=255.0)
    return module


@pytest.fixture(scope="module")
def photons() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 5 * torch.poisson(torch.full((1, 1, 192, 224), 3.0), generator=generator)


@pytest.fixture(scope="module")
def field(noise: ContentNoise, photons: torch.Tensor) -> np.ndarray:
    """(8 samples, 4 steps, Y, X) of noise."""
    places = noise.places(photons)
    draws = torch.arange(8)
    return np.stack([noise(places, draws, s, 1)[:, 0, 0].numpy() for s in range(4)], axis=1)


def test_squares_known_answers() -> None:
    """The upper halves of published 64-bit Squares outputs are the 32-bit outputs."""
    known = [0x36D88366, 0x944716E0, 0xC8A8F4E0, 0x35CC666A, 0x7094EAB1]
    known += [0xA2A1B6F5, 0xD884957D, 0xE61F37B9, 0xE4D45C47, 0xB0DBD071]
    key = torch.tensor([0x548C9DECBCE65297])
    words = squares(torch.arange(10), key)
    assert (words >> 32 & 0xFFFFFFFF).tolist() == known


def test_squares_equals_shifts_in_unbounded_integers() -> None:
    mask = (1 << 64) - 1

    def reference(counter: int, key: int) -> int:
        def rotate(v: int) -> int:
            return ((v >> 32) | (v << 32)) & mask

        x = y = counter * key & mask
        z = (y + key) & mask
        for add in (y, z, y):
            x = rotate((x * x + add) & mask)
        return (x * x + z) & mask

    counters = [splitmix64(i) for i in range(500)]
    keys = odd_words(3, 2)
    for key in keys:
        got = squares(torch.tensor(counters), torch.tensor([key])).tolist()
        assert [word & mask for word in got] == [reference(c & mask, key & mask) for c in counters]


def test_splitmix_known_answers() -> None:
    """The first outputs of splitmix64 seeded with 1234567, as published with its reference."""
    state, words = 1234567, []
    for _ in range(3):
        words.append(splitmix64(state) & 0xFFFFFFFFFFFFFFFF)
        state += 0x9E3779B97F4A7C15
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_swapping_twice_changes_nothing() -> None:
    values = torch.tensor([splitmix64(i) for i in range(1000)])
    assert torch.equal(swap_halves(swap_halves(values + FLIP) + FLIP), values)
    one = torch.tensor([0x0123456789ABCDEF])
    assert swap_halves(one + FLIP).item() & (1 << 64) - 1 == 0x89ABCDEF01234567


def test_table_is_the_normal_distribution_in_bins() -> None:
    """Entry i is for words from (i − 32768)·2⁴⁸ on, away from 0; those about 0 share one entry."""
    table = normal_table().double().numpy()
    edges = stats.norm.ppf(np.delete(np.arange(65537), 32768) / 65536)
    values, share = table[1:], np.diff(stats.norm.cdf(edges))
    middle = slice(1000, -1000)
    assert np.all(values[1:] > values[:-1])
    assert np.all((values[middle] > edges[:-1][middle]) & (values[middle] < edges[1:][middle]))
    np.testing.assert_allclose(values, -values[::-1], atol=1e-6)
    assert table[0] == table[1]
    assert float((share * values**2).sum()) == pytest.approx(1, abs=1e-6)
    assert float((share * values**4).sum()) == pytest.approx(3, abs=1e-3)


def test_extreme_words_have_entries(monkeypatch: pytest.MonkeyPatch, noise: ContentNoise) -> None:
    """Least and greatest words, and those next to 0."""
    words = torch.tensor([-(2**63), 2**63 - 1, -(2**48), 2**48 - 1, 1 - 2**48, 2**48])
    monkeypatch.setattr("bmz_ddpm.diffusion.rng.squares", lambda counter, key: words)
    drawn = noise(torch.zeros(1, 1, 1, 6, dtype=torch.int64), torch.zeros(1, dtype=int), 0, 1)
    rank = torch.tensor([0, 65535, 32767, 32768, 32768, 32769])
    assert torch.equal(drawn, normal_table()[rank])


def test_moments(field: np.ndarray) -> None:
    """Five standard errors of each moment of n independent unit normals."""
    values, n = field.ravel().astype(np.float64), field.size
    assert abs(values.mean()) < 5 / np.sqrt(n)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs(stats.skew(values)) < 5 * np.sqrt(6 / n)
    # the table ends at 4.4 sigma: excess kurtosis is −2e-4
    assert abs(stats.kurtosis(values)) < 5 * np.sqrt(24 / n) + 1e-3


def test_distribution(field: np.ndarray) -> None:
    assert stats.kstest(field.ravel()[:200_000], "norm").pvalue > 1e-3


def test_spectrum_is_flat(field: np.ndarray) -> None:
    """Power averaged over samples is exponential / N: compare bands with the mean."""
    images = field.reshape(-1, *field.shape[-2:])
    power = (np.abs(np.fft.rfft2(images)) ** 2).mean(0) / images[0].size
    power = power[:, 1:-1]
    assert power.mean() == pytest.approx(1, abs=0.02)
    bands = power[: power.shape[0] // 8 * 8].reshape(8, -1, power.shape[1]).mean((1, 2))
    np.testing.assert_allclose(bands, 1, atol=0.02)
    assert power.max() < 4  # a line in the spectrum would stand out


def test_neighbours_steps_and_samples_are_independent(field: np.ndarray) -> None:
    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1])) * np.sqrt(a.size)

    limit = 5.0  # standard errors
    assert correlation(field[..., 1:], field[..., :-1]) < limit
    assert correlation(field[..., 1:, :], field[..., :-1, :]) < limit
    assert correlation(field[:, 1:], field[:, :-1]) < limit
    assert correlation(field[1:], field[:-1]) < limit
    assert correlation(field[1:, 1:], field[:-1, :-1]) < limit
    assert correlation(field**2, np.roll(field**2, 1, axis=0)) < limit


def test_noise_is_independent_of_the_image(field: np.ndarray, photons: torch.Tensor) -> None:
    image = np.broadcast_to(photons[0, 0].numpy(), field.shape)
    correlation = np.corrcoef(image.ravel(), field.ravel())[0, 1]
    assert abs(correlation) * np.sqrt(photons.numel()) < 5


def test_crop_keeps_its_noise(noise: ContentNoise, photons: torch.Tensor) -> None:
    whole = noise(noise.places(photons), torch.arange(2), 3, 1)
    crop = noise(noise.places(photons[..., 40:150, 61:171]), torch.arange(2), 3, 1)
    inside = slice(RADIUS, 110 - RADIUS)
    expected = whole[..., 40:150, 61:171][..., inside, inside]
    assert torch.equal(crop[..., inside, inside], expected)


def test_one_changed_pixel_changes_only_its_surroundings(
    noise: ContentNoise, photons: torch.Tensor
) -> None:
    changed = photons.clone()
    changed[0, 0, 100, 100] += 1
    differ = (noise.places(changed) != noise.places(photons))[0, 0].nonzero()
    assert differ.min(0).values.tolist() == [100 - RADIUS] * 2
    assert differ.max(0).values.tolist() == [100 + RADIUS] * 2
    assert len(differ) == (2 * RADIUS + 1) ** 2


def test_constant_region_is_white_and_periodic(noise: ContentNoise) -> None:
    """Nothing to hash in a black region: the index modulo 32 takes over."""
    drawn = noise(noise.places(torch.zeros(1, 1, 128, 128)), torch.arange(64), 0, 1)[:, 0, 0]
    assert torch.equal(drawn[:, :PERIOD, :PERIOD], drawn[:, PERIOD : 2 * PERIOD, -PERIOD:])
    cell = drawn[:, :PERIOD, :PERIOD].numpy()
    assert len(np.unique(cell[0])) > 0.99 * PERIOD**2
    assert abs(np.corrcoef(cell[:, 1:].ravel(), cell[:, :-1].ravel())[0, 1]) < 5 / np.sqrt(
        cell.size
    )


def test_channels_and_seeds_differ(photons: torch.Tensor) -> None:
    modules = [ContentNoise(1), ContentNoise(1)]
    fields = []
    for seed, module in enumerate(modules):
        module.configure(seed, 255.0)
        fields.append(module(module.places(photons), torch.arange(1), 0, 2).flatten(2).numpy())
    a, b = fields[0][0, 0].reshape(-1), fields[1][0, 0].reshape(-1)
    assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(a.size) < 5
    first, second = fields[0].reshape(2, -1)
    assert abs(np.corrcoef(first, second)[0, 1]) * np.sqrt(first.size) < 5


def test_every_channel_of_the_image_counts() -> None:
    module = ContentNoise(3)
    module.configure(0, 255.0)
    image = torch.randint(0, 200, (1, 3, 40, 40), generator=torch.Generator().manual_seed(0))
    base = module.places(image.float())
    for channel in range(3):
        changed = image.clone().float()
        changed[0, channel, 20, 20] += 1
        assert module.places(changed)[0, 0, 20, 20] != base[0, 0, 20, 20]


@pytest.mark.parametrize(("scale", "resolution"), [(255.0, 512), (1.0, 65536), (4000.0, 32)])
def test_quantisation_is_a_power_of_two(scale: float, resolution: int) -> None:
    module = ContentNoise(1)
    module.configure(0, scale)
    assert float(module.resolution) == resolution


def test_mirror_pad_equals_numpy_reflect() -> None:
    image = torch.arange(42.0).reshape(1, 1, 6, 7)
    expected = np.pad(image[0, 0].numpy(), ((13, 9), (0, 4)), mode="reflect")
    np.testing.assert_array_equal(mirror_pad(image, 13, 9, 0, 4)[0, 0], expected)
    one = mirror_pad(torch.ones(1, 1, 1, 1), 3, 3, 3, 3)
    assert one.shape == (1, 1, 7, 7)
