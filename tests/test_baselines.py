"""Baselines: closed forms, published numbers of parameters, and toys that must be learnt."""

from __future__ import annotations

import ast
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import xarray as xr
from conftest import write_pairs
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner

from bmz_ddpm.baselines import careamics, pix2pix, run, training, unet_rcan
from bmz_ddpm.baselines.run import METHODS, Baseline, run_baseline, write_prediction
from bmz_ddpm.baselines.training import Budget, Network, make_source
from bmz_ddpm.data.images import read_image, write_tiff
from bmz_ddpm.data.noise import NoiseModel
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.data.planes import Planes, load_planes
from bmz_ddpm.environments import cache_folder, parse_pins, python_in
from bmz_ddpm.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EnvironmentUnusable,
    MissingDependency,
)
from bmz_ddpm.evaluate import classical

OWN = ("pix2pix", "unet-rcan")


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the same shape with few channels."""
    monkeypatch.setattr(pix2pix, "WIDTH", 8)

    def restoration(*given: Any) -> unet_rcan.Restoration:
        network = unet_rcan.UNetRCAN(given[0], given[1], (8, 12, 16), groups=1, blocks=2)
        return unet_rcan.Restoration(*given, network=network)

    monkeypatch.setitem(training.LEARNERS, "unet-rcan", restoration)


def quiet(*_: Any) -> None:
    """Say nothing."""


# --- BM3D: variance stabilisation ----------------------------------------------------------------


def expected_stable(mean: float, noise: NoiseModel) -> float:
    """E f(z) for z = offset + gain·Poisson(mean) + N(0, read_std²), by summation and quadrature."""
    top = int(mean + 12 * np.sqrt(mean) + 40)
    counts = np.arange(top + 1)
    logs = (
        counts * np.log(mean)
        - mean
        - np.array([np.sum(np.log(np.arange(1, k + 1))) for k in counts])
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    values = noise.offset + noise.gain * counts[:, None] + noise.read_std * nodes
    inner = classical.stabilise(values, noise) @ weights / np.sqrt(2 * np.pi)
    return float(np.exp(logs) @ inner)


@pytest.mark.parametrize(("gain", "offset", "read_std"), [(1.0, 0.0, 0.0), (2.5, 100.0, 4.0)])
def test_inverse_anscombe_is_unbiased(gain: float, offset: float, read_std: float) -> None:
    """Mean stabilised values, computed by summation, lead back to the mean counts.

    The algebraic inverse is wrong by a quarter of a photon; ours by less than a fiftieth.
    """
    noise = NoiseModel(gain, offset, read_std)
    for photons in (2.0, 5.0, 20.0, 100.0):
        stable = np.array(expected_stable(photons, noise))
        found = (classical.unstabilise(stable, noise) - offset) / gain
        algebraic = (stable / 2) ** 2 - 3 / 8 - (read_std / gain) ** 2
        assert abs(found - photons) < 0.02
        assert abs(algebraic - photons) > 0.15


def test_stabilised_noise_has_unit_variance() -> None:
    rng = np.random.default_rng(0)
    noise = NoiseModel(3.0, 10.0, 5.0)
    for photons in (10, 100):
        counts = 10 + 3.0 * rng.poisson(photons, 100_000) + rng.normal(0, 5, 100_000)
        assert classical.stabilise(counts, noise).std() == pytest.approx(1, abs=0.03)


def test_no_light_is_not_below_no_light() -> None:
    noise = NoiseModel(2.0, 7.0, 1.0)
    assert classical.unstabilise(np.array([-5.0, 0.0, 0.5]), noise) == pytest.approx(7, abs=0.5)


def test_bm3d_beats_raw_and_leaves_a_constant_alone() -> None:
    pytest.importorskip("bm3d")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    clean = 60 + 50 * np.sin(y / 9) * np.cos(x / 6)
    noisy = rng.poisson(clean).astype(np.float32)
    made = classical.bm3d_stabilised(noisy, NoiseModel(1.0, 0.0, 0.0))
    assert ((made - clean) ** 2).mean() < ((noisy - clean) ** 2).mean() / 8
    assert abs(made.mean() - clean.mean()) < 0.5
    constant = np.full((32, 32), 9.0)
    assert (classical.bm3d_stabilised(constant, NoiseModel(1.0, 0.0, 0.0)) == 9).all()


def test_bm3d_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(MissingDependency) as error:
        classical.bm3d_stabilised(np.ones((8, 8)), NoiseModel(1.0, 0.0, 0.0))
    assert error.value.problem == "the BM3D baseline needs bm3d, which is not installed"
    assert error.value.fix.startswith("pip install bm3d, if your use is not commercial")


# --- the blur ------------------------------------------------------------------------------------


def test_tuned_sigma_is_the_best_one_in_theory() -> None:
    """A cosine in white noise: the error of a blur has a closed form, with its lowest point."""
    rng = np.random.default_rng(0)
    frequency, amplitude, std = 2 * np.pi / 32, 10.0, 12.0
    clean = amplitude * np.cos(frequency * np.arange(192))[None, :] * np.ones((192, 1))
    low = clean + rng.normal(0, std, (3, 1, 192, 192))
    high = np.broadcast_to(clean, low.shape)
    sigmas = np.arange(0.5, 8, 0.01)
    signal = amplitude**2 / 2 * (1 - np.exp(-((sigmas * frequency) ** 2) / 2)) ** 2
    expected = sigmas[np.argmin(signal + std**2 / (4 * np.pi * sigmas**2))]
    found = classical.tune_sigma([Planes(low.astype(np.float32), high.astype(np.float32), None)])
    assert found == pytest.approx(expected, abs=0.1)


def test_nothing_is_blurred_where_there_is_no_noise_and_outside_the_mask_nothing_counts() -> None:
    rng = np.random.default_rng(0)
    clean = rng.uniform(0, 100, (1, 1, 40, 40)).astype(np.float32)
    assert classical.tune_sigma([Planes(clean, clean, None)]) == 0
    mask = np.zeros(clean.shape, bool)
    mask[..., :20] = True
    wrong = np.where(mask, clean, 50).astype(np.float32)
    assert classical.tune_sigma([Planes(clean, wrong, mask)]) == 0


def test_blur_keeps_the_channels() -> None:
    two = Planes(np.ones((1, 2, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.float32), None)
    with pytest.raises(DataError) as error:
        classical.tune_sigma([two])
    assert (
        error.value.problem == "pairs: 2 channels in and 1 out, a blur cannot change their number"
    )


# --- the networks --------------------------------------------------------------------------------


def test_pix2pix_has_the_published_size() -> None:
    """54.414 and 2.769 million, as the authors' program prints for 256 pixels and three colours.

    Convolutions of 4 x 4, a scale and an offset per normalised channel, and a bias only in the
    last layer of the generator, and in the first and last one of the critic.
    """
    down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    up = [512, 512, 512, 512, 512, 256, 128, 64, 3]
    doubled = [1, 2, 2, 2, 2, 2, 2, 2]
    expected = sum(16 * a * b for a, b in pairwise(down))
    expected += sum(16 * f * a * b for f, (a, b) in zip(doubled, pairwise(up), strict=True))
    expected += 2 * sum(down[2:8]) + 2 * sum(up[1:8]) + 3
    assert parameters(pix2pix.Generator(3, 3)) == expected == 54_413_955
    assert parameters(pix2pix.PatchCritic(6)) == 2_768_705


def test_critic_judges_70_pixels() -> None:
    """By the recurrence over its layers, and by which pixels have a gradient."""
    side = 1
    for kernel, stride in reversed(pix2pix.PatchCritic.LAYERS):
        side = (side - 1) * stride + kernel
    assert side == 70
    torch.manual_seed(0)
    critic = pix2pix.PatchCritic(2)
    for module in critic.layers.modules():  # means over the image would reach everywhere
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    image = torch.rand(1, 1, 160, 160, requires_grad=True)
    logits = critic(image, image)
    assert logits.shape == (1, 1, 18, 18)
    logits[0, 0, 9, 9].backward()
    assert image.grad is not None
    reached = image.grad[0, 0].nonzero()
    extent = reached.max(0).values - reached.min(0).values + 1
    assert extent.tolist() == [70, 70]


@pytest.mark.parametrize("depth", [3, 5])
def test_generator_keeps_the_size(depth: int, small: None) -> None:
    generator = pix2pix.Generator(2, 1, depth)
    made = generator(torch.rand(1, 2, 2**depth, 2 ** (depth + 1)))
    assert made.shape == (1, 1, 2**depth, 2 ** (depth + 1))
    assert made.abs().max() <= 1


def test_unet_rcan_size_and_shape() -> None:
    """Counted by hand: weights and biases of every convolution."""

    def conv(a: int, b: int, kernel: int) -> int:
        return a * b * kernel**2 + b

    def residual(a: int, b: int, kernel: int = 3) -> int:
        return conv(a, b, kernel) + conv(b, b, kernel) + conv(a, b, 1)

    def attention(width: int) -> int:
        return 2 * conv(width, width, 3) + conv(width, 4, 1) + conv(4, width, 1)

    unet = residual(1, 64) + residual(64, 128) + residual(128, 256)
    unet += residual(256, 512) + residual(512, 512)
    unet += residual(768, 256) + residual(384, 128) + residual(192, 64) + residual(64, 1, 1)
    unet += attention(64) + attention(128) + attention(256)
    group = 8 * attention(64) + conv(64, 64, 3)
    rcan = conv(2, 64, 3) + 3 * group + conv(64, 64, 3) + conv(64, 1, 1)
    assert parameters(unet_rcan.UNetRCAN(1, 1)) == unet + rcan == 16_684_337
    network = unet_rcan.UNetRCAN(3, 2, (4, 6, 8), groups=1, blocks=1)
    first, second = network(torch.rand(2, 3, 16, 24))
    assert first.shape == second.shape == (2, 2, 16, 24)


def test_restoration_loss_of_known_errors() -> None:
    """A constant error has no edges; a checkerboard of height h has a Laplacian of 8h."""
    clean = torch.zeros(2, 1, 8, 8)
    assert float(unet_rcan.restoration_loss(clean + 0.5, clean)) == pytest.approx(
        np.sqrt(0.25 + 1e-6) + 0.05 * 1e-3, rel=1e-5
    )
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = 0.1 * (1 - 2 * ((y + x) % 2)).float().expand(2, 1, 8, 8)
    expected = np.sqrt(0.01 + 1e-6) + 0.05 * np.sqrt(0.64 + 1e-6)
    assert float(unet_rcan.restoration_loss(board, clean)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", OWN)
def test_pixels_without_a_clean_value_teach_nothing(method: str, small: None) -> None:
    """Nothing flows back from there."""
    torch.manual_seed(0)
    noisy, clean = torch.rand(2, 1, 1, 32, 32).mul(2).sub(1)
    weight = torch.ones(1, 1, 32, 32)
    weight[..., 16:] = 0
    learner = training.LEARNERS[method](1, 1, 32, torch.device("cpu"))
    gradients: list[Tensor] = []

    def watch(module: Any, inputs: Any, out: Any) -> None:
        (out if isinstance(out, Tensor) else out[1]).register_hook(gradients.append)

    learner.network.register_forward_hook(watch)
    learner.step(noisy, clean, weight)
    (gradient,) = gradients
    assert (gradient[..., 16:] == 0).all()
    assert (gradient[..., :16] != 0).any()


# --- training ------------------------------------------------------------------------------------


def toy(folder: Path) -> list[Pair]:
    """Four fields of 32 x 32 pixels, one of them for validation."""
    return find_pairs(write_pairs(folder, "abcd", (32, 32)))


@pytest.mark.parametrize(("method", "steps"), [("pix2pix", 120), ("unet-rcan", 120)])
def test_network_learns_a_toy(method: str, steps: int, small: None, tmp_path: Path) -> None:
    """The loss falls, and images that were never seen come out better than they went in."""
    pairs = toy(tmp_path)
    source = make_source(method, [p for p in pairs if p.split == "train"], 0)
    assert source.patch == 32
    validation = [load_planes(p) for p in pairs if p.split == "val"]
    network = Network.untrained(method, source, "cpu", 0)
    for optimiser in (
        [network.learner.optimiser]  # type: ignore[attr-defined]
        if method == "unet-rcan"
        else network.learner.optimisers  # type: ignore[attr-defined]
    ):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3
    losses: list[float] = []
    network.train(source, validation, Budget(steps=steps), lambda *a: losses.append(a[2]))
    assert len(losses) == steps
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:20])
    (planes,) = validation
    made = network.predict(planes.low)
    assert np.abs(made - planes.high).mean() < np.abs(planes.low - planes.high).mean()


@pytest.mark.parametrize("method", OWN)
def test_same_seed_same_run_and_any_size(method: str, small: None, pair_folder: Path) -> None:
    pairs = find_pairs(pair_folder)
    training_pairs = [p for p in pairs if p.split == "train"]
    validation = [load_planes(p) for p in pairs if p.split == "val"]
    source = make_source(method, training_pairs, 0)
    made = []
    for seed in (0, 0, 1):
        network = Network.untrained(method, source, "cpu", seed)
        record = network.train(source, validation, Budget(steps=3), quiet)
        made.append(network.predict(validation[0].low))
    assert made[0].shape == (1, 1, 48, 56)
    assert made[0].dtype == np.float32
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()
    assert record["steps"] == 3


def test_best_weights_are_kept_and_the_rate_falls(
    small: None, pair_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation errors 3, 1, 2, 2, …: the second state stays, the rate falls after six worse."""
    pairs = find_pairs(pair_folder)
    source = make_source("unet-rcan", [p for p in pairs if p.split == "train"], 0)
    network = Network.untrained("unet-rcan", source, "cpu", 0)
    errors, states = iter([3.0, 1.0] + [2.0] * 18), []

    def validate(_: Any) -> float:
        states.append(network.learner.network.rcan[0].bias.detach().clone())  # type: ignore
        return next(errors)

    monkeypatch.setattr(network, "validate", validate)
    record = network.train(source, [], Budget(steps=20), quiet)
    assert record["kept_step"] == 2
    assert record["validation_mae"][:3] == [(1, 3.0), (2, 1.0), (3, 2.0)]
    assert (network.learner.network.rcan[0].bias == states[1]).all()  # type: ignore
    rate = network.learner.optimiser.param_groups[0]["lr"]  # type: ignore[attr-defined]
    assert rate == pytest.approx(1e-4 * 0.2**3)


@pytest.mark.parametrize(("budget", "validations"), [({"minutes": 10}, 4), ({"steps": 20}, 20)])
def test_validations_do_not_eat_the_time(
    budget: dict[str, Any],
    validations: int,
    small: None,
    pair_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step takes 30 s, a validation 40 s: of ten minutes a fifth is theirs, and the end."""
    clock = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    source = make_source("unet-rcan", find_pairs(pair_folder), 0)
    network = Network.untrained("unet-rcan", source, "cpu", 0)

    def passes(seconds: float, result: float) -> Any:
        def act(*_: Any) -> float:
            clock[0] += seconds
            return result

        return act

    monkeypatch.setattr(network.learner, "step", passes(30, 1.0))
    monkeypatch.setattr(network, "validate", passes(40, 1.0))
    record = network.train(source, [], Budget(**budget), quiet)
    assert len(record["validation_mae"]) == validations
    assert record["steps"] > 5


def test_time_ends_the_training(small: None, pair_folder: Path) -> None:
    pairs = find_pairs(pair_folder)
    source = make_source("pix2pix", [p for p in pairs if p.split == "train"], 0)
    record = Network.untrained("pix2pix", source, "cpu", 0).train(
        source, [], Budget(minutes=1e-4), quiet
    )
    assert record["steps"] >= 1
    assert record["minutes"] >= 1e-4


def test_loss_that_is_not_finite(
    small: None, pair_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source("pix2pix", find_pairs(pair_folder), 0)
    network = Network.untrained("pix2pix", source, "cpu", 0)
    monkeypatch.setattr(network.learner, "step", lambda *_: float("nan"))
    with pytest.raises(DataError, match="training pix2pix: the loss is nan after 1 steps"):
        network.train(source, [], Budget(steps=3), quiet)


def test_validation_ignores_what_the_mask_hides(
    small: None, pair_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source("pix2pix", find_pairs(pair_folder), 0)
    network = Network.untrained("pix2pix", source, "cpu", 0)
    monkeypatch.setattr(network, "predict", lambda low: low + 2)
    low = np.zeros((1, 1, 300, 300), np.float32)
    high, mask = low.copy(), np.ones(low.shape, bool)
    mask[..., :150], high[..., :150] = False, 99
    assert network.validate([Planes(low, high, mask)]) == 2
    assert network.validate([Planes(low, high, None)]) > 2


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "--minutes and --steps: exactly one of them says how long to train"),
        ({"minutes": 1.0, "steps": 1}, "--minutes and --steps: exactly one of them"),
        ({"minutes": -1.0}, "--minutes -1.0: must be above 0"),
        ({"steps": 0}, "--steps 0: must be above 0"),
    ],
)
def test_budget_that_makes_no_sense(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Budget(**given)


# --- the verb ------------------------------------------------------------------------------------


def baseline(method: str, pairs: Path, out: Path, *more: str) -> Any:
    from bmz_ddpm.cli.main import app

    return CliRunner().invoke(
        app, ["baseline", str(pairs), "--method", method, "--out", str(out), *more]
    )


@pytest.mark.parametrize("method", ["raw", "gaussian", "bm3d", *OWN])
def test_every_method_writes_the_same(
    method: str, small: None, pair_folder: Path, tmp_path: Path
) -> None:
    if method == "bm3d":
        pytest.importorskip("bm3d")
    more = ["--steps", "2"] if method in OWN else []
    out = tmp_path / "run"
    done = baseline(method, pair_folder, out, *more)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(out / "predictions/a.tif"), str(out / "baseline.json")]
    made, source = read_image(out / "predictions/a.tif"), read_image(pair_folder / "low/a.tif")
    assert (made.dtype, made.dims, made.shape) == (np.float32, source.dims, source.shape)
    assert np.isfinite(made.values).all()
    record = json.loads((out / "baseline.json").read_text())
    assert record["method"] == method
    assert (record["train"], record["predicted"]) == (["b.tif", "c.tif"], ["a.tif"])
    truth = read_image(pair_folder / "high/a.tif").values
    error = np.abs(made.values - truth).mean()
    raw = np.abs(source.values.astype(float) - truth).mean()
    if method == "raw":
        assert (made.values == source.values).all()
    elif method not in OWN:  # two steps are no training
        assert error < raw


@pytest.mark.parametrize("method", OWN)
def test_trained_network_is_used_again(
    method: str, small: None, pair_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert baseline(method, pair_folder, out, "--steps", "2").exit_code == 0
    image = out / "predictions/a.tif"
    first, record = image.read_bytes(), json.loads((out / "baseline.json").read_text())
    image.unlink()
    monkeypatch.setattr(Network, "train", None)
    for more in ([], ["--steps", "2"]):
        assert baseline(method, pair_folder, out, *more).exit_code == 0
        assert image.read_bytes() == first
    again = json.loads((out / "baseline.json").read_text())
    assert {**again, "prediction_seconds": 0} == {**record, "prediction_seconds": 0}
    with safe_open(str(out / "model.safetensors"), framework="pt") as file:
        assert json.loads(file.metadata()["header"])["baseline"] == method


def test_training_with_other_settings_is_not_taken(
    small: None, pair_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert baseline("pix2pix", pair_folder, out, "--steps", "1").exit_code == 0
    for more in (["--steps", "2"], ["--seed", "1"], ["--match-intensity"]):
        with pytest.raises(CheckpointError, match="training with other settings or pairs"):
            raise baseline("pix2pix", pair_folder, out, *more).exception
    with pytest.raises(CheckpointError, match="training with other settings or pairs"):
        raise baseline("unet-rcan", pair_folder, out, "--steps", "1").exception
    with pytest.raises(CheckpointError, match="is not a checkpoint of unet-rcan"):
        Network.load("unet-rcan", out / "model.safetensors", "cpu", 0)
    (out / "training.json").unlink()
    with pytest.raises(CheckpointError, match=r"does not tell how model\.safetensors was trained"):
        raise baseline("pix2pix", pair_folder, out).exception


def test_patch_of_ones_own(small: None, stand_in: Path, tmp_path: Path) -> None:
    """It reaches every method that learns, and belongs to the settings of a training."""
    pairs = write_pairs(tmp_path / "pairs", "abc", (70, 81))
    for method in (*OWN, "care"):
        out = tmp_path / method
        assert baseline(method, pairs, out, "--steps", "1", "--patch", "32").exit_code == 0
        record = json.loads((out / "baseline.json").read_text())
        assert record["settings"]["patch"] == 32
        if method == "care":
            assert record["job"]["patch"] == 32
        with pytest.raises(CheckpointError, match="training with other settings or pairs"):
            raise baseline(method, pairs, out, "--steps", "1").exception
    for patch in ("16", "48"):
        with pytest.raises(ConfigError) as error:
            raise baseline("pix2pix", pairs, tmp_path / "run", "--patch", patch).exception
        assert error.value.problem == f"--patch {patch}: must be a power of two, at least 32"


def test_how_long_has_to_be_said(pair_folder: Path, tmp_path: Path) -> None:
    for method in ("n2v", "care", *OWN):
        with pytest.raises(ConfigError) as error:
            raise baseline(method, pair_folder, tmp_path / "run").exception
        assert error.value.problem == f"{method}: is trained, but it is not said for how long"


def test_unknown_method(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pix2pic: unknown method \(did you mean 'pix2pix'\?\)"):
        run_baseline(Baseline("pix2pic", [], tmp_path), quiet, quiet)


def test_images_of_the_same_name(tmp_path: Path) -> None:
    """They get the names under which `evaluate` looks for them."""
    pairs = find_pairs(write_pairs(tmp_path / "one"))
    other = [p for p in find_pairs(write_pairs(tmp_path / "two")) if p.split == "val"]
    made = run_baseline(Baseline("raw", pairs + other, tmp_path / "run"), quiet, quiet)
    assert [p.name for p in made] == ["one_low_a.tif", "two_low_a.tif", "baseline.json"]
    with pytest.raises(DataError, match=r"a\.tif: is listed twice"):
        run_baseline(Baseline("raw", pairs + other + other, tmp_path / "run"), quiet, quiet)


def test_other_channels_than_trained_on(small: None, pair_folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(pair_folder)
    for kind in ("low", "high"):
        path = pair_folder / kind / "a.tif"
        image = np.stack([read_image(path).values] * 2, -1)
        write_tiff(path, xr.DataArray(image, dims=("y", "x", "c")))
    with pytest.raises(DataError, match=r"a\.tif: has 2 channels, pix2pix was trained with 1"):
        run_baseline(Baseline("pix2pix", pairs, tmp_path / "run", Budget(steps=1)), quiet, quiet)


def test_test_pairs_are_restored_when_asked_for(pair_folder: Path, tmp_path: Path) -> None:
    """Only then: they are held out from everything else."""
    table = tmp_path / "pairs.csv"
    splits = {"a": "test", "b": "train", "c": "val"}
    rows = [f"low/{n}.tif,high/{n}.tif,{n},{s}" for n, s in splits.items()]
    table.write_text("low,high,fov,split\n" + "\n".join(rows))
    root = ["--root", str(pair_folder)]
    assert [p.split for p in find_pairs(table, pair_folder)] == ["train", "val"]
    done = baseline("gaussian", table, tmp_path / "run", *root, "--split", "test")
    assert [p.name for p in (tmp_path / "run/predictions").iterdir()] == ["a.tif"], done.output
    record = json.loads((tmp_path / "run/baseline.json").read_text())
    assert record["tuned_on"] == ["c.tif"]
    table.write_text("low,high,fov,split\n" + "\n".join(rows[1:]))
    with pytest.raises(DataError, match="none is marked 'test', there is nothing to restore"):
        raise baseline("raw", table, tmp_path / "run", *root, "--split", "test").exception
    table.write_text("low,high,fov,split\n" + "\n".join([*rows, rows[1].replace("train", "test")]))
    with pytest.raises(DataError, match=r"field of view 'b' is in "):
        find_pairs(table, pair_folder)


def test_axes_and_pixel_size_come_back(tmp_path: Path) -> None:
    """Three time points of two planes; one channel becomes two."""
    image = xr.DataArray(np.zeros((3, 2, 8, 9), np.float32), dims=("t", "z", "y", "x"))
    image.attrs["pixel_size"] = (0.25, 0.5)
    write_tiff(tmp_path / "in.tif", image)
    planes = np.arange(6 * 2 * 72, dtype=np.float32).reshape(6, 2, 8, 9)
    pair = Pair(tmp_path / "in.tif", tmp_path / "in.tif", "a")
    write_prediction(tmp_path / "out.tif", pair, planes)
    found = read_image(tmp_path / "out.tif")
    assert found.dims == ("t", "z", "c", "y", "x")
    assert (found.values.reshape(6, 2, 8, 9) == planes).all()
    assert found.attrs["pixel_size"] == pytest.approx((0.25, 0.5))


def test_declared_axes_and_pixel_size_are_used(tmp_path: Path, small: None) -> None:
    """A file that says nothing: 3 time points of 40 x 44 pixels, not three channels."""
    rng = np.random.default_rng(0)
    pairs = []
    for name, split in (("a", "val"), ("b", "train")):
        for kind in ("low", "high"):
            (tmp_path / kind).mkdir(exist_ok=True)
            values = rng.integers(0, 200, (3, 40, 44)).astype(np.uint8)
            tifffile.imwrite(tmp_path / kind / f"{name}.tif", values, photometric="minisblack")
        low, high = (tmp_path / kind / f"{name}.tif" for kind in ("low", "high"))
        pairs.append(Pair(low, high, name, split, axes="tyx", pixel_size=(0.1, 0.2)))
    for method in ("raw", "pix2pix"):
        job = Baseline(method, pairs, tmp_path / method, Budget(steps=1))
        made = read_image(run_baseline(job, quiet, quiet)[0])
        assert made.dims == ("t", "y", "x")
        assert made.shape == (3, 40, 44)
        assert made.attrs["pixel_size"] == pytest.approx((0.1, 0.2))


# --- careamics -----------------------------------------------------------------------------------


def test_pins_of_careamics_are_exact_and_without_torchvision() -> None:
    text = (Path(careamics.__file__).parent / "pins/careamics.txt").read_text()
    pins, _ = parse_pins("careamics", text)
    assert (pins.name, pins.python) == ("careamics", "3.11")
    assert pins.requirements == ("torch==2.13.0", "numpy==2.4.6")
    versions = dict(line.split("==") for line in pins.alone)
    assert versions["careamics"] == "0.3.5"
    assert "torchvision" not in versions


def test_runner_needs_nothing_of_ours() -> None:
    source = Path(careamics.__file__).with_name("careamics_runner.py").read_text()
    allowed = {*sys.stdlib_module_names, "numpy", "torch", "careamics", "lightning"}
    for node in ast.walk(ast.parse(source)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level
            names = [node.module or ""]
        assert {n.split(".")[0] for n in names} <= allowed


#: Stands for the runner: checks nothing, blurs nothing, but reads and writes the same files.
STAND_IN = """
import json, numpy as np
from pathlib import Path
job = json.loads(Path("job.json").read_text())
names = sorted(p.name for p in Path().glob("*.npy"))
shapes = {n: np.load(n).shape for n in names}
trained = not Path("model.ckpt").exists()
if trained:
    Path("model.ckpt").write_bytes(b"weights")
for p in sorted(Path().glob("predict_*.npy")):
    image = np.load(p)
    image = image[:, None] if image.ndim == 3 else image
    np.save(p.name.replace("predict_", "predicted_"), image + 1)
result = {"versions": {"careamics": "0"}, "shapes": shapes, "job": job}
if trained:
    result |= {"steps": 5, "minutes": 0.1}
Path("result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose interpreter runs something else than careamics."""
    folder = tmp_path / "cache" / "careamics" / "bin"
    folder.mkdir(parents=True)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "stand_in.py"}"\n')
    python.chmod(0o755)
    monkeypatch.setenv("BMZ_DDPM_ENVIRONMENTS", str(tmp_path / "cache"))
    return python


@pytest.mark.parametrize("method", ["n2v", "care"])
def test_images_go_to_careamics_and_come_back(method: str, stand_in: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", "abc", (70, 81))
    out = tmp_path / "run"
    done = baseline(method, pairs, out, "--minutes", "2")
    assert done.exit_code == 0, done.output
    low = read_image(pairs / "low/a.tif").values
    assert (read_image(out / "predictions/a.tif").values == low + 1.0).all()
    record = json.loads((out / "baseline.json").read_text())
    expected = ["predict_00000.npy", "train_low_00000.npy", "train_low_00001.npy"]
    expected += ["val_low_00000.npy"]
    if method == "care":
        expected += ["train_high_00000.npy", "train_high_00001.npy", "val_high_00000.npy"]
    assert list(record["shapes"]) == sorted(expected)
    assert record["shapes"]["train_low_00000.npy"] == [1, 70, 81]
    assert record["shapes"]["predict_00000.npy"] == [1, 72, 88]
    rate, batch = {"n2v": (2e-4, 32), "care": (4e-4, 8)}[method]
    assert (record["job"]["learning_rate"], record["job"]["batch_size"]) == (rate, batch)
    assert (record["job"]["minutes"], record["steps"]) == (2, 5)
    assert (out / "model.ckpt").read_bytes() == b"weights"
    assert baseline(method, pairs, out).exit_code == 0  # from the checkpoint, without training
    again = json.loads((out / "baseline.json").read_text())
    assert again["steps"] == 5


def test_clean_pixels_that_hold_nothing_become_noisy_ones(tmp_path: Path) -> None:
    low, high = np.full((1, 1, 64, 64), 5, np.float32), np.zeros((1, 1, 64, 64), np.float32)
    mask = np.zeros(low.shape, bool)
    mask[..., :10] = True
    careamics._hand_over(tmp_path, "care", [Planes(low, high, mask)], [])
    written = np.load(tmp_path / "train_high_00000.npy")
    assert (written[..., :10] == 0).all()
    assert (written[..., 10:] == 5).all()


def test_careamics_fails(stand_in: Path, tmp_path: Path) -> None:
    stand_in.write_text("#!/bin/sh\necho no luck >&2\nexit 3\n")
    pairs = write_pairs(tmp_path / "pairs", "abc", (70, 70))
    with pytest.raises(EnvironmentUnusable) as error:
        raise baseline("n2v", pairs, tmp_path / "run", "--steps", "1").exception
    assert error.value.problem == "n2v: careamics ended with 3 (no luck)"
    assert str(stand_in.parent.parent) in error.value.fix
    assert not (tmp_path / "run/baseline.json").exists()
    stand_in.chmod(0o644)
    with pytest.raises(EnvironmentUnusable, match="Permission denied"):
        raise baseline("n2v", pairs, tmp_path / "run", "--steps", "1").exception


def test_image_smaller_than_careamics_patch(pair_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an image has only 48 pixels, n2v learns from patches of"):
        raise baseline("n2v", pair_folder, tmp_path / "run", "--steps", "1").exception


@pytest.mark.slow
@pytest.mark.parametrize("method", ["n2v", "care"])
def test_real_careamics(method: str, tmp_path: Path) -> None:
    """A few steps from real images to real images, in the real environment."""
    if not python_in(cache_folder() / "careamics").exists():
        pytest.skip("the environment careamics was not made here: bmz-ddpm baseline n2v makes it")
    pairs = write_pairs(tmp_path / "pairs", "abc", (70, 81))
    done = baseline(method, pairs, tmp_path / "run", "--steps", "3")
    assert done.exit_code == 0, done.output
    made = read_image(tmp_path / "run/predictions/a.tif")
    assert made.shape == (70, 81)
    assert np.isfinite(made.values).all()
    record = json.loads((tmp_path / "run/baseline.json").read_text())
    assert record["steps"] == 3
    assert record["versions"]["careamics"] == "0.3.5"
    first = tifffile.imread(tmp_path / "run/predictions/a.tif")
    assert baseline(method, pairs, tmp_path / "run").exit_code == 0
    assert (tifffile.imread(tmp_path / "run/predictions/a.tif") == first).all()


def test_methods_of_the_command_are_those_of_the_library() -> None:
    from typing import get_args

    from bmz_ddpm.cli.baseline import Method

    assert get_args(Method) == METHODS
    assert set(run.LEARNERS) < set(METHODS)
