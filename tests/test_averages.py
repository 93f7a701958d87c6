"""Averages of other widths, rebuilt after the training from snapshots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.errors import CheckpointError, ConfigError
from bmz_ddpm.train.averages import Averages
from bmz_ddpm.train.ema import PowerAverage, combination, gamma_of_width

STEPS, SNAPSHOTS = 600, 12


def profile(gamma: float, step: int, places: np.ndarray) -> np.ndarray:
    return np.where(places <= step, (gamma + 1) * (places / step) ** gamma / step, 0.0)


def test_combination_is_the_least_squares_fit_of_the_profiles() -> None:
    """Against profiles on a fine grid, fitted there."""
    kept = [(gamma_of_width(w), t) for t in (50, 100) for w in (0.05, 0.1)]
    wanted = (gamma_of_width(0.07), 100)
    share, error = combination(kept, wanted)
    places = (np.arange(200_000) + 0.5) / 2000
    columns = np.stack([profile(*p, places) for p in kept], 1)
    target = profile(*wanted, places)
    expected = np.linalg.lstsq(columns, target, rcond=None)[0]
    np.testing.assert_allclose(share, expected / expected.sum(), atol=2e-3)
    assert share.sum() == pytest.approx(1)
    residual = np.linalg.norm(columns @ share - target) / np.linalg.norm(target)
    assert error == pytest.approx(residual, rel=0.01)


def test_a_kept_average_is_itself() -> None:
    kept = [(gamma_of_width(w), t) for t in (50, 100) for w in (0.05, 0.1)]
    share, error = combination(kept, kept[3])
    np.testing.assert_allclose(share, [0, 0, 0, 1], atol=1e-6)
    assert error < 1e-6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Averages, dict[float, PowerAverage]]:
    """600 steps in which 64 weights wander and settle, with averages tracked along the way."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 8, bias=False)
    model.register_buffer("fixed", torch.tensor([3.0]))
    config = TrainConfig(steps=STEPS, snapshots=SNAPSHOTS, ema=0.08)
    averages = Averages(model, config, tmp_path_factory.mktemp("run"))
    direct = {width: PowerAverage(model, width) for width in (0.04, 0.07, 0.15, 0.2)}
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            model.weight += 0.1 * torch.randn_like(model.weight)
        averages.update(model, step)
        for average in direct.values():
            average.update(model, step)
        if step in averages.steps:
            averages.keep(step)
    return averages, direct


@pytest.mark.parametrize("width", [0.04, 0.07, 0.15, 0.2])
def test_a_rebuilt_average_equals_a_tracked_one(
    run: tuple[Averages, dict[float, PowerAverage]], width: float
) -> None:
    """To the stated error of its profile, at most 5 %, of how far apart the two kept ones are."""
    averages, direct = run
    weights, error = averages.rebuild(width)
    expected = direct[width].weights
    now = averages.tracked[0.05].weights["weight"] - averages.tracked[0.1].weights["weight"]
    off = (weights["weight"] - expected["weight"]).square().mean().sqrt()
    assert off < error * now.square().mean().sqrt()
    assert 0 < error < 0.05
    assert torch.equal(weights["fixed"], expected["fixed"])
    assert weights["weight"].dtype == torch.float32


def test_tracked_widths_are_not_rebuilt(run: tuple[Averages, dict[float, PowerAverage]]) -> None:
    averages, _ = run
    assert averages.rebuild(0.08)[0] is averages.tracked[0.08].weights
    assert averages.steps == list(range(50, 601, 50))


@pytest.mark.parametrize(
    ("width", "message", "fix"),
    [
        (
            0.3,
            "is not a width, it must be above 0 and below 0.28",
            "e.g. --ema-width 0.08",
        ),
        (
            0.005,
            "cannot be rebuilt from 12 snapshots, it would be off by ",
            "choose a larger width, or train with more snapshots",
        ),
    ],
)
def test_widths_that_cannot_be_had(
    run: tuple[Averages, dict[float, PowerAverage]], width: float, message: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run[0].rebuild(width)
    assert caught.value.problem.startswith(f"--ema-width {width:g}: {message}")
    assert caught.value.fix == fix


def test_a_run_without_snapshots(tmp_path: Path) -> None:
    averages = Averages(torch.nn.Linear(1, 1), TrainConfig(snapshots=0), tmp_path)
    assert averages.steps == []
    with pytest.raises(ConfigError) as caught:
        averages.rebuild(0.2)
    assert caught.value.problem == "--ema-width 0.2: this run kept no snapshots"
    assert caught.value.fix == "train with snapshots = 8, or more"


def test_a_snapshot_of_another_model(tmp_path: Path) -> None:
    config = TrainConfig(steps=1, snapshots=1)
    Averages(torch.nn.Linear(2, 1), config, tmp_path).keep(1)
    with pytest.raises(CheckpointError) as caught:
        Averages(torch.nn.Linear(3, 1), config, tmp_path).rebuild(0.07)
    path = tmp_path / "snapshots" / "00000001.safetensors"
    assert caught.value.problem == f"{path}: is not a snapshot of this run"
    assert caught.value.fix == "choose the --out of the run it belongs to"


def test_no_average_is_the_weights_themselves() -> None:
    model = torch.nn.Linear(2, 2)
    average = PowerAverage(model, 0)
    for step in (1, 2, 3):
        torch.nn.init.normal_(model.weight)
        average.update(model, step)
        assert torch.equal(average.weights["weight"], model.weight)
