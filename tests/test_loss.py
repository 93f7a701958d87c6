"""The objective: which noise levels are drawn, and what the network is asked for."""

import pytest
import torch

from bmz_ddpm.diffusion.loss import diffusion_loss, draw_alpha_bar
from bmz_ddpm.diffusion.schedule import Prediction, Schedule

ALPHA_BAR = torch.from_numpy(Schedule().alpha_bar())


def draw(count: int, noisier: float) -> torch.Tensor:
    return draw_alpha_bar(ALPHA_BAR, count, torch.Generator().manual_seed(0), noisier)


@pytest.mark.parametrize("noisier", [0.0, 0.3, 0.5, 1.0])
def test_the_noisier_half_is_drawn_as_often_as_asked(noisier: float) -> None:
    share = (draw(20_000, noisier) < ALPHA_BAR[100]).double().mean()
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


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_the_loss_of_the_true_answer_is_zero(prediction: Prediction) -> None:
    generator = torch.Generator().manual_seed(1)
    x0, eps = (torch.randn(2, 1, 8, 8, generator=generator) for _ in range(2))
    level = torch.tensor([0.3, 0.9], dtype=torch.float64)
    a, s = (v.float().view(2, 1, 1, 1) for v in (level.sqrt(), (1 - level).sqrt()))

    def oracle(x_t: torch.Tensor, _: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        # from x_t and x0 alone: eps = (x_t − a·x0)/s and v = (a·x_t − x0)/s
        return {"eps": (x_t - a * x0) / s, "v": (a * x_t - x0) / s, "x0": x0}[prediction]

    loss = diffusion_loss(oracle, x0, x0, level, eps, prediction)  # type: ignore[arg-type]
    assert loss < 1e-10
