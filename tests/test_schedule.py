"""The schedule and the step table against the formulas they stand for."""

import math

import numpy as np
import pytest

from bmz_ddpm.diffusion.schedule import Prediction, Schedule, Spacing, predict_x0, step_table


def test_published_values_of_the_cosine_schedule() -> None:
    """alpha_bar_T is about 6.1e-8 and alpha_T = 0.001 for T = 200, s = 8e-3."""
    bar = Schedule().alpha_bar()
    assert bar.shape == (201,)
    assert bar[0] == 1
    assert bar[200] == pytest.approx(6.1e-8, rel=0.01)
    assert bar[200] / bar[199] == pytest.approx(0.001)
    assert bar[1] == pytest.approx(0.9997, abs=1e-4)
    assert bar[20] == pytest.approx(0.972, abs=1e-3)
    assert np.all(np.diff(bar) < 0)


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10, 199, 200])
def test_levels_go_from_noise_to_the_image(num_steps: int, spacing: Spacing) -> None:
    bar = Schedule().sampled_alpha_bar(num_steps, spacing)
    assert bar.shape == (num_steps + 1,)
    assert bar[0] == Schedule().alpha_bar()[200]
    assert bar[-1] == 1
    assert np.all(np.diff(bar) > 0)


def test_all_steps_in_time_are_the_training_steps() -> None:
    np.testing.assert_array_equal(
        Schedule().sampled_alpha_bar(200, "time"), Schedule().alpha_bar()[::-1]
    )


def test_log_snr_spacing_is_even_in_log_snr() -> None:
    bar = Schedule().sampled_alpha_bar(10, "log_snr")[1:-1]
    steps = np.diff(np.log(bar / (1 - bar)))
    np.testing.assert_allclose(steps, steps[0])
    assert bar[-1] == pytest.approx(Schedule().alpha_bar()[1])


def test_log_snr_spacing_draws_more_of_the_spread() -> None:
    """The closed form quoted in `sampled_alpha_bar`: 17 % and 76 %."""
    shares = {}
    for spacing in ("time", "log_snr"):
        bar = Schedule().sampled_alpha_bar(10, spacing)
        s, variance = 0.03, 1.0
        for row, now in zip(step_table(bar, "x0", 0.0), bar[:-1], strict=True):
            gain = s**2 * np.sqrt(now) / (now * s**2 + 1 - now)  # E[x0 | x_t] = gain · x_t
            variance = (row[2] * gain + row[3]) ** 2 * variance + row[4] ** 2
        shares[spacing] = np.sqrt(variance) / s
    assert shares["time"] == pytest.approx(0.17, abs=0.01)
    assert shares["log_snr"] == pytest.approx(0.76, abs=0.01)


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
@pytest.mark.parametrize("num_steps", [0, 201])
def test_impossible_number_of_steps(num_steps: int, spacing: Spacing) -> None:
    with pytest.raises(ValueError, match=f"num_steps={num_steps}: must be 1 to 200"):
        Schedule().sampled_alpha_bar(num_steps, spacing)


def test_ancestral_steps_are_the_ddpm_posterior() -> None:
    """Ho et al. (2020), eqs. 6 and 7, written with beta_t as in the paper."""
    schedule = Schedule()
    bar = schedule.alpha_bar()
    table = step_table(schedule.sampled_alpha_bar(200, "time"), "x0", eta=1.0)
    for row, t in enumerate(range(200, 0, -1)):
        alpha, beta = bar[t] / bar[t - 1], 1 - bar[t] / bar[t - 1]
        x0 = np.sqrt(bar[t - 1]) * beta / (1 - bar[t])
        keep = np.sqrt(alpha) * (1 - bar[t - 1]) / (1 - bar[t])
        variance = beta * (1 - bar[t - 1]) / (1 - bar[t])
        np.testing.assert_allclose(table[row, 2:], [x0, keep, np.sqrt(variance), 0], atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_steps", [1, 5, 200])
def test_last_step_returns_x0_without_noise(eta: float, num_steps: int) -> None:
    bar = Schedule().sampled_alpha_bar(num_steps, "log_snr")
    np.testing.assert_allclose(step_table(bar, "v", eta)[-1, 2:], [1, 0, 0, 0])


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_step_keeps_the_marginal_distribution(eta: float) -> None:
    """With the true x0, x_t ~ N(sqrt(bar)·x0, 1 − bar) must become the same at the next level."""
    bar = Schedule().sampled_alpha_bar(12, "time")
    for row, now, prev in zip(step_table(bar, "x0", eta), bar[:-1], bar[1:], strict=True):
        x0, keep, sigma = row[2:5]
        assert x0 + keep * np.sqrt(now) == pytest.approx(np.sqrt(prev))
        assert keep**2 * (1 - now) + sigma**2 == pytest.approx(1 - prev, abs=1e-12)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "flow"])
def test_predictions_give_back_x0(prediction: Prediction) -> None:
    rng = np.random.default_rng(0)
    x0, eps, bar = rng.normal(size=3), rng.normal(size=3), np.array([0.9, 0.5, 0.02])
    signal, noise = np.sqrt(bar), np.sqrt(1 - bar)
    targets = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0, "flow": (eps - x0) / 2**0.5}
    target = targets[prediction]
    a, b = predict_x0(bar, prediction)
    np.testing.assert_allclose(a * (signal * x0 + noise * eps) + b * target, x0)


def test_ddim_on_a_straight_path_is_eulers_method() -> None:
    """x_t / (signal + noise) moves by the velocity, the difference of two positions t long."""
    bar = Schedule().sampled_alpha_bar(5, "log_snr")
    signal, noise = np.sqrt(bar), np.sqrt(1 - bar)
    position = noise / (signal + noise)  # 0 at the image, 1 at the noise
    x, answer = 0.7, 1.3  # of a network, whatever it is
    for i, (from_x, from_net, x0, keep, _, _) in enumerate(step_table(bar, "flow", 0.0)):
        velocity = answer * math.sqrt(2)
        straight = x / (signal[i] + noise[i]) + (position[i + 1] - position[i]) * velocity
        x = x0 * (from_x * x + from_net * answer) + keep * x
        assert x / (signal[i + 1] + noise[i + 1]) == pytest.approx(straight)


@pytest.mark.parametrize(("order", "gain"), [(1, 2), (2, 4)])
def test_the_second_order_halves_the_step_and_quarters_the_error(order: int, gain: int) -> None:
    """Closed form: for normal data the deterministic path keeps x_t over its own spread."""
    std = 0.3

    def error(num_steps: int) -> float:
        half_log_snr = np.linspace(-2, 3, num_steps + 1)
        bar = 1 / (1 + np.exp(-2 * half_log_snr))
        spread = np.sqrt(bar * std**2 + 1 - bar)
        x, before = spread[0], 0.0
        table = step_table(bar, "x0", 0.0, order)
        for i, (_, _, x0, keep, _, earlier) in enumerate(table):
            x0_hat = np.sqrt(bar[i]) * std**2 / spread[i] ** 2 * x
            x, before = x0 * x0_hat + keep * x + earlier * before, x0_hat
        return abs(float(x - spread[-1]))

    assert error(40) / error(80) == pytest.approx(gain, rel=0.15)


def test_the_second_order_draws_as_much_noise_as_the_first() -> None:
    """And its first and last step are those of the first order (Lu et al. 2022, algorithm 2)."""
    bar = Schedule().sampled_alpha_bar(6, "log_snr")
    first, second = (step_table(bar, "v", 1.0, order) for order in (1, 2))
    np.testing.assert_array_equal(first[:, [0, 1, 3, 4]], second[:, [0, 1, 3, 4]])
    np.testing.assert_allclose(second[:, 2] + second[:, 5], first[:, 2])
    assert (second[[0, -1], 5] == 0).all()
    assert (second[1:-1, 5] < 0).all()
    half = 0.5 * np.log(bar[:-1] / (1 - bar[:-1]))
    r = (half[2] - half[1]) / (half[3] - half[2])
    assert second[2, 2] == pytest.approx(first[2, 2] * (1 + 1 / (2 * r)))
