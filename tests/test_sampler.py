"""The sampler against a closed form, and its contracts."""

from typing import Any

import numpy as np
import pytest
import torch
from checks import EIGHT_BIT
from torch import Tensor, nn

from bmz_ddpm.diffusion.assemble import SamplerSettings, assemble_sampler
from bmz_ddpm.diffusion.denoiser import SIZES, Denoiser
from bmz_ddpm.diffusion.sampler import DiffusionSampler
from bmz_ddpm.diffusion.schedule import Schedule, step_table


class GaussianNetwork(nn.Module):
    """The exact x0 prediction for x0 ~ N(mu, s²), in place of a U-Net.

    E[x0 | x_t] = mu + s²·sqrt(bar) / (bar·s² + 1 − bar) · (x_t − sqrt(bar)·mu); the modulation
    carries alpha_bar.
    """

    def __init__(self, mu: float, s: float) -> None:
        super().__init__()
        self.mu, self.s = mu, s
        self.multiple = 8

    def forward(self, x_t: Tensor, cond: Tensor, modulation: Tensor) -> Tensor:
        bar = modulation[0, 0].double()
        gain = self.s**2 * bar.sqrt() / (bar * self.s**2 + 1 - bar)
        return (self.mu + gain * (x_t.double() - bar.sqrt() * self.mu)).float()


def gaussian_sampler(
    num_steps: int, num_samples: int, eta: float, order: int = 1
) -> DiffusionSampler:
    network: dict[str, Any] = SIZES["tiny"]
    sampler = DiffusionSampler(1, 1, network, num_steps, num_samples, 4)
    sampler.unet = GaussianNetwork(mu=0.2, s=0.1)  # type: ignore[assignment]
    bar = Schedule().sampled_alpha_bar(num_steps, "log_snr")
    sampler.coefficients.copy_(torch.from_numpy(step_table(bar, "x0", eta, order)))
    sampler.modulation = torch.from_numpy(bar[:-1, None]).float()
    sampler.intensity.copy_(torch.tensor([127.5, 127.5, 127.5, 127.5, 0.0, 255.0]))
    sampler.noise.configure(0, 255.0)
    return sampler


def photons(rows: int, columns: int, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 5 * torch.poisson(torch.full((1, channels, rows, columns), 3.0), generator=generator)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_follow_the_known_distribution(eta: float) -> None:
    """200 steps of either sampler must draw from N(0.2, 0.1²), its spread within 4 %."""
    denoised, std, _ = gaussian_sampler(200, 16, eta)(photons(64, 64))
    mean = float(denoised.mean()) / 127.5 - 1
    spread = float((std**2).mean() * 16 / 15) ** 0.5 / 127.5
    assert mean == pytest.approx(0.2, abs=0.003)
    assert spread == pytest.approx(0.1, rel=0.04)


def test_ddim_converges_with_first_order() -> None:
    """Same noise, more steps: the distance to 200 steps falls as 1/steps."""
    image = photons(32, 32)
    exact = gaussian_sampler(200, 4, 0.0)(image)[1]
    errors = [
        float((gaussian_sampler(n, 4, 0.0)(image)[1] - exact).abs().mean()) for n in (25, 50, 100)
    ]
    # measured from 200 steps, not from infinity, a first-order method has the ratios 7/3 and 3
    assert errors[0] / errors[1] == pytest.approx(7 / 3, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(3, rel=0.2)


def test_the_second_order_comes_nearer_with_the_same_steps() -> None:
    image = photons(32, 32)
    exact = gaussian_sampler(200, 4, 0.0)(image)[1]
    errors = [
        float((gaussian_sampler(20, 4, 0.0, order)(image)[1] - exact).abs().mean())
        for order in (1, 2)
    ]
    assert errors[1] < 0.3 * errors[0]


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    made = Denoiser(1, 1, SIZES["tiny"], "log_snr").eval()
    made.out_gain.data.fill_(0.5)
    made.embedding.gains.data.fill_(0.5)
    return made


def tiny_sampler(denoiser: Denoiser, **changes: Any) -> DiffusionSampler:
    values: dict[str, Any] = {"num_steps": 3, "num_samples": 4, "eta": 1.0} | changes
    return assemble_sampler(
        denoiser,
        in_channels=1,
        out_channels=1,
        network=SIZES["tiny"],
        schedule=Schedule(),
        prediction="v",
        intensity=EIGHT_BIT,
        settings=SamplerSettings(**values),
    )


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (5, 3)])
def test_outputs_have_the_images_shape(denoiser: Denoiser, size: tuple[int, int]) -> None:
    for output in tiny_sampler(denoiser)(photons(*size)):
        assert output.shape == (1, 1, *size)
        assert output.dtype == torch.float32
        assert bool(torch.isfinite(output).all())


def test_ranges(denoiser: Denoiser) -> None:
    denoised, std, entropy = tiny_sampler(denoiser)(photons(32, 32))
    assert 0 <= float(denoised.min()) <= float(denoised.max()) <= 255
    assert 0 <= float(std.min()) <= float(std.max()) <= 127.5
    assert 0 <= float(entropy.min()) <= float(entropy.max()) <= np.log(4) + 1e-6


def test_same_input_same_output_and_seeds_differ(denoiser: Denoiser) -> None:
    image = photons(32, 32)
    first, again = tiny_sampler(denoiser)(image), tiny_sampler(denoiser)(image)
    other = tiny_sampler(denoiser, seed=1)(image)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert float((first[0] - other[0]).abs().mean()) > 0.1


def test_memory_setting_does_not_change_the_result(denoiser: Denoiser) -> None:
    image = photons(32, 40)
    one = tiny_sampler(denoiser, samples_per_pass=1)(image)
    four = tiny_sampler(denoiser, samples_per_pass=4)(image)
    for a, b in zip(one[:2], four[:2], strict=True):
        torch.testing.assert_close(a, b, atol=0.01, rtol=1e-5)


def test_batch_of_two_is_two_of_one(denoiser: Denoiser) -> None:
    sampler = tiny_sampler(denoiser)
    a, b = photons(32, 40, seed=1), photons(32, 40, seed=2)
    both = sampler(torch.cat([a, b]))
    for i, single in enumerate((sampler(a), sampler(b))):
        for joint, alone in zip(both[:2], single[:2], strict=True):
            torch.testing.assert_close(joint[i : i + 1], alone, atol=0.01, rtol=1e-5)


def test_the_mean_is_the_mean_of_the_samples(denoiser: Denoiser) -> None:
    sampler = tiny_sampler(denoiser)
    image = photons(32, 32)
    places, cond = sampler.noise.places(image), image / 127.5 - 1
    samples = torch.cat([sampler.sample(cond, places, torch.tensor([i])) for i in range(4)])
    denoised, std, _ = sampler(image)
    torch.testing.assert_close(denoised, (samples.mean(0) + 1) * 127.5, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(std, samples.std(0, correction=0) * 127.5, atol=1e-3, rtol=1e-4)


def test_mirrored_samples_are_samples_of_mirrored_images(denoiser: Denoiser) -> None:
    """Sample 3 is drawn in the image mirrored along y and x; with mirror=False it is not."""
    image = photons(32, 40)
    flip = (2, 3)
    mirrored, plain = (tiny_sampler(denoiser, eta=0.0, mirror=m) for m in (True, False))
    places, cond = plain.noise.places(image), (image - 127.5) / 127.5
    draw = torch.tensor([3])
    sample = mirrored.sample(cond, places, draw)[0]
    again = plain.sample(cond.flip(flip), places.flip(flip), draw)[0].flip(flip)
    torch.testing.assert_close(sample, again, atol=1e-5, rtol=1e-5)
    assert float((sample - plain.sample(cond, places, draw)[0]).abs().mean()) > 1e-3
    first = torch.tensor([0])
    torch.testing.assert_close(
        mirrored.sample(cond, places, first), plain.sample(cond, places, first)
    )


@pytest.mark.parametrize(("asked", "used"), [(1, 1), (4, 3), (6, 6), (99, 6)])
def test_samples_per_pass_divides_the_samples(asked: int, used: int) -> None:
    assert SamplerSettings(1, 6, 1.0, samples_per_pass=asked).batched == used
