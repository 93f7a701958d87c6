"""The objective: which noise levels are drawn, and what the network is asked for."""

import pytest
import torch

from bmz_ddpm.diffusion.loss import (
    Loss,
    NoiseLevels,
    diffusion_loss,
    draw_alpha_bar,
    visited_levels,
)
from bmz_ddpm.diffusion.schedule import Prediction, Schedule

ALPHA_BAR = torch.from_numpy(Schedule().alpha_bar())


def draw(count: int, noisier: float, levels: NoiseLevels = "log_snr") -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return draw_alpha_bar(ALPHA_BAR, uniform, levels, noisier)


@pytest.mark.parametrize("levels", ["log_snr", "alpha_bar", "discrete"])
@pytest.mark.parametrize("noisier", [0.0, 0.3, 0.5, 1.0])
def test_the_noisier_half_is_drawn_as_often_as_asked(noisier: float, levels: NoiseLevels) -> None:
    share = (draw(20_000, noisier, levels) < ALPHA_BAR[100]).double().mean()
    assert abs(share - noisier) < 0.015  # over four standard deviations


def test_levels_fill_the_schedule_without_gaps_and_stay_inside() -> None:
    levels = torch.logit(draw(20_000, 0.5)).sort().values
    assert torch.logit(ALPHA_BAR[200]) <= levels[0] + 1e-9  # rounding of logit(sigmoid(x))
    assert levels[-1] <= torch.logit(ALPHA_BAR[1]) + 1e-9
    steps = torch.logit(ALPHA_BAR[1:]).flip(0)
    counts = torch.histogram(levels[(levels > steps[0]) & (levels < steps[-1])], bins=steps).hist
    # 100 expected in each; the last one holds draws of step 1 at its end only
    assert counts.min() > 55
    assert counts.max() < 160


def test_discrete_levels_are_the_steps_alike() -> None:
    """The text: t is uniform on 1 to T, the level alpha_bar of step t."""
    levels, counts = draw(20_000, 0.5, "discrete").unique(return_counts=True)
    assert torch.equal(levels, ALPHA_BAR[1:].flip(0))
    assert counts.min() > 55
    assert counts.max() < 160


def test_visited_levels_are_those_of_the_sampler() -> None:
    """Fast-DDPM: nothing is trained but what the four steps of the default sampler ask for."""
    visited = visited_levels(Schedule(), 4)
    uniform = torch.rand(2000, 3, dtype=torch.float64)
    drawn = draw_alpha_bar(visited, uniform, "visited", 0.5).unique()
    table = Schedule().sampled_alpha_bar(4, "log_snr")
    assert drawn.tolist() == table[:-1].tolist()  # the last one, 1, is the image


def test_alpha_bar_levels_are_even_between_two_steps() -> None:
    """The code: gamma ~ U(alpha_bar_t, alpha_bar_(t-1)); closed form of the mean and of a share."""
    levels = draw(200_000, 0.5, "alpha_bar")
    expected = (ALPHA_BAR[1:] + ALPHA_BAR[:-1]).mean() / 2
    assert float(levels.mean()) == pytest.approx(float(expected), abs=0.004)
    lower, upper = ALPHA_BAR[60], ALPHA_BAR[59]
    inside = levels[(levels > lower) & (levels < upper)]
    assert len(inside) == pytest.approx(1000, abs=150)
    assert float(((inside - lower) / (upper - lower)).mean()) == pytest.approx(0.5, abs=0.05)
    assert levels.max() <= 1 - 1e-6  # at 1 there would be no log(SNR)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_the_loss_of_the_true_answer_is_zero(prediction: Prediction, loss: Loss) -> None:
    generator = torch.Generator().manual_seed(1)
    x0, eps = (torch.randn(2, 1, 8, 8, generator=generator) for _ in range(2))
    level = torch.tensor([0.3, 0.9], dtype=torch.float64)
    a, s = (v.float().view(2, 1, 1, 1) for v in (level.sqrt(), (1 - level).sqrt()))

    def oracle(x_t: torch.Tensor, _: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        # from x_t and x0 alone: eps = (x_t − a·x0)/s and v = (a·x_t − x0)/s
        noise = (x_t - a * x0) / s
        answers = {"eps": noise, "v": (a * x_t - x0) / s, "x0": x0, "flow": (noise - x0) / 2**0.5}
        return answers[prediction]

    assert diffusion_loss(oracle, x0, x0, level, eps, prediction, loss=loss) < 1e-5


def test_the_loss_is_the_weighted_mean_over_all_pixels() -> None:
    """A network that answers 0 has the mean of eps² or |eps|; parts of a batch average to it."""
    eps = torch.randn(4, 2, 8, 8)
    weight = (torch.rand(4, 1, 8, 8) < 0.5).float()
    level = torch.full((4,), 0.5, dtype=torch.float64)

    def zero(x_t: torch.Tensor, _: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x_t)

    for loss, error in (("mse", eps**2), ("l1", eps.abs())):
        whole = diffusion_loss(zero, eps, eps, level, eps, "eps", weight, loss)  # type: ignore[arg-type]
        torch.testing.assert_close(whole, (error * weight).mean())
        halves = [
            diffusion_loss(zero, *(t[s] for t in (eps, eps, level, eps)), "eps", weight[s], loss)  # type: ignore[arg-type]
            for s in (slice(2), slice(2, 4))
        ]
        torch.testing.assert_close(sum(halves) / 2, whole)
