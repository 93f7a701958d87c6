"""Training: repeatable, resumable bit for bit, averaged as published, kept in safe files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import write_pairs
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.errors import CheckpointError, ConfigError, DataError, UserError
from bmz_ddpm.train.checkpoint import Checkpoint, load_tensors, save_tensors
from bmz_ddpm.train.ema import PowerAverage, gamma_of_width
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.rate import learning_rate
from bmz_ddpm.train.validation import Score

KEPT = ("last.safetensors", "best.safetensors")


class Interrupted(Exception):
    """Stands for a lost power supply."""


def settings(**changes: Any) -> TrainConfig:
    small = {"size": "tiny", "steps": 6, "batch_size": 2, "patch": 16, "snapshots": 0}
    return TrainConfig(**{**small, "validate_every": 3, "validation_steps": 2, **changes})


def train(pairs: list[Pair], out: Path, stop: int | None = None, **changes: Any) -> Path:
    def progress(step: int, steps: int, loss: float, score: Score | None) -> None:
        assert (score is not None) == (step % 3 == 0 or step == steps)
        if step == stop:
            raise Interrupted

    return Trainer(pairs, settings(**changes), out, "cpu").run(progress)


def refused(kind: type[UserError], call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.problem, caught.value.fix


@pytest.fixture
def pairs(pair_folder: Path) -> list[Pair]:
    return find_pairs(pair_folder)


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A best.safetensors of two steps."""
    folder = tmp_path_factory.mktemp("train")
    path = train(find_pairs(write_pairs(folder, shape=(16, 24))), folder / "run", steps=2)
    return path.read_bytes()


@pytest.fixture
def checkpoint(tmp_path: Path, best: bytes) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(best)
    return path


@pytest.mark.parametrize("stop", [3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Bit for bit, in weights, average and optimiser; with dropout; lost steps are done again."""
    monkeypatch.setitem(SIZES, "tiny", {**SIZES["tiny"], "dropout": 0.3})
    train(pairs, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(pairs, tmp_path / "parts", stop=stop)
    assert load_tensors(tmp_path / "parts" / "last.safetensors")[1]["step"] == 3
    assert train(pairs, tmp_path / "parts") == tmp_path / "parts" / "best.safetensors"
    for name in KEPT:
        whole, header = load_tensors(tmp_path / "whole" / name)
        parts, header_of_parts = load_tensors(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        assert [k for k in whole if not torch.equal(whole[k], parts[k])] == []
        assert header == header_of_parts
    log = (tmp_path / "parts" / "log.csv").read_text()
    assert log == (tmp_path / "whole" / "log.csv").read_text()
    assert [line.split(",")[0] for line in log.splitlines()] == ["step", "3", "6"]
    kinds = {k.split("/")[0] for k in load_file(tmp_path / "parts" / KEPT[0])}
    assert kinds == {"model", "average", "optimiser"}


def test_a_seed_is_a_run(pairs: list[Pair], tmp_path: Path) -> None:
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(pairs, tmp_path / out, steps=2, seed=seed)
    for name in KEPT:
        a, b, c = (load_file(tmp_path / out / name) for out in "abc")
        assert all(torch.equal(a[k], b[k]) for k in a)
        assert not all(torch.equal(a[k], c[k]) for k in a)


def test_a_finished_run_is_left_alone(pairs: list[Pair], tmp_path: Path) -> None:
    path = train(pairs, tmp_path / "run", steps=2)
    before = path.read_bytes()
    assert train(pairs, tmp_path / "run", stop=1, steps=2) == path
    assert path.read_bytes() == before


def test_other_settings_do_not_resume(pairs: list[Pair], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(pairs, out, steps=2)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert refused(CheckpointError, lambda: train(pairs, out, steps=2, learning_rate=1e-3)) == (
        f"{out / 'last.safetensors'}: belongs to a run with other settings",
        "choose another --out, or the settings in its config.json",
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert TrainConfig(**json.loads(before["config.json"])) == settings(steps=2)


@pytest.mark.parametrize("part", ["average/0.08/out_gain", "optimiser/out_gain/exp_avg"])
def test_a_run_with_a_part_missing_does_not_resume(
    pairs: list[Pair], tmp_path: Path, part: str
) -> None:
    train(pairs, tmp_path, steps=2)
    path = tmp_path / "last.safetensors"
    tensors, header = load_tensors(path)
    del tensors[part]
    save_tensors(path, tensors, header)
    assert refused(CheckpointError, lambda: train(pairs, tmp_path, steps=2)) == (
        f"{path}: lacks a part of the run's state",
        "delete it to start over",
    )


def test_training_learns_one_pair(pairs: list[Pair], tmp_path: Path) -> None:
    """80 steps on two fields, without simulation, at least halve the loss."""
    losses: list[float] = []
    config = settings(
        steps=80, batch_size=4, learning_rate=0.02, validate_every=80, augment={"simulated": 0}
    )
    trainer = Trainer(pairs, config, tmp_path / "run", "cpu")
    trainer.run(lambda step, steps, loss, score: losses.append(loss))
    assert np.mean(losses[:5]) > 0.4
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])


def test_learning_rate() -> None:
    """Linear over the first 100 steps, then a cosine over the whole run down to zero."""
    config = settings(steps=1000, learning_rate=0.5)
    rates = [learning_rate(config, step) for step in range(1, 1001)]
    np.testing.assert_allclose(rates[:100], 0.5 * np.arange(1, 101) / 100)
    cosine = 0.25 * (1 + np.cos(np.pi * np.arange(101, 1001) / 1000))
    np.testing.assert_allclose(rates[100:], cosine, atol=1e-12)
    assert np.all(np.diff(rates[99:]) < 0)
    assert rates[-1] == 0
    short = settings(steps=200, learning_rate=0.5)  # no room to warm up
    assert learning_rate(short, 1) > 0.49
    assert learning_rate(short, 100) == pytest.approx(0.25)
    assert learning_rate(short, 200) == 0


def test_gamma_of_width() -> None:
    """The inverse of the formula, and the two values that Karras et al. (2024) print."""
    for sigma in (0.01, 0.05, 0.08, 0.1, 0.2, 0.27):
        g = gamma_of_width(sigma)
        assert g > 0
        assert math.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3))) == pytest.approx(sigma, rel=1e-9)
    assert gamma_of_width(0.05) == pytest.approx(16.97, abs=0.005)
    assert gamma_of_width(0.10) == pytest.approx(6.94, abs=0.005)


def averaged(values: np.ndarray, sigma: float) -> float:
    """Run the recursion on a weight that takes these values after steps 1, 2, …"""
    module = torch.nn.Linear(1, 1, bias=False).double()
    average = PowerAverage(module, sigma)
    for step, value in enumerate(values, 1):
        torch.nn.init.constant_(module.weight, value)
        average.update(module, step)
    return float(average.weights["weight"])


@pytest.mark.parametrize("sigma", [0.05, 0.08, 0.2])
def test_power_average(sigma: float) -> None:
    """Unrolled, beta_t = (1 - 1/t)^(gamma + 1) gives step t of n the weight
    (t^(gamma+1) - (t-1)^(gamma+1)) / n^(gamma+1), the integral of the profile (gamma + 1) s^gamma
    from t - 1 to t: t^gamma up to half a step. The start has no weight."""
    n, g = 300, gamma_of_width(sigma)
    t = np.arange(1, n + 1)
    exact = (t ** (g + 1) - (t - 1.0) ** (g + 1)) / n ** (g + 1)
    noise = np.random.default_rng(0).normal(size=n)
    assert averaged(noise, sigma) == pytest.approx(float(exact @ noise), abs=1e-12)
    # on anything that changes by at most 1/n a step, t^gamma itself agrees to 1/n
    power = t**g / (t**g).sum()
    assert averaged(t / n, sigma) == pytest.approx(float(power @ (t / n)), abs=1 / n)
    width = math.sqrt(exact @ (t / n) ** 2 - (exact @ (t / n)) ** 2)
    assert width == pytest.approx(sigma, abs=1 / n)


def test_best_holds_the_average_and_last_both(pairs: list[Pair], tmp_path: Path) -> None:
    train(pairs, tmp_path, steps=3, batch_size=1, learning_rate=0.5)
    last, best = (load_file(tmp_path / name) for name in KEPT)
    assert all(torch.equal(value, last[f"average/0.08/{k}"]) for k, value in best.items())
    assert not all(torch.equal(value, last[f"model/{k}"]) for k, value in best.items())
    rows = last["model/unet.conv_in.weight"].flatten(1)  # forced weight normalisation
    assert rows.square().mean(1).sqrt().numpy() == pytest.approx(1, abs=1e-3)
    checkpoint = Checkpoint.load(tmp_path / "best.safetensors")
    assert checkpoint.info["step"] == 3
    assert checkpoint.info["train"]["batch_size"] == 1
    assert checkpoint.info["noise"]["gain"] == pytest.approx(1, rel=0.2)  # Poisson's
    assert not checkpoint.denoiser.training


def test_final_is_the_average_at_the_end(pairs: list[Pair], tmp_path: Path) -> None:
    """Whatever the validation says; and a finished run that is repeated writes it again."""
    train(pairs, tmp_path, steps=6)
    final, last = (load_file(tmp_path / f"{name}.safetensors") for name in ("final", "last"))
    for name, value in final.items():
        assert torch.equal(value, last[f"average/0.08/{name}"]), name
    checkpoint = Checkpoint.load(tmp_path / "final.safetensors")
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert checkpoint.info["step"] == 6
    assert checkpoint.info["validation_mae"] == pytest.approx(float(log[-1].split(",")[3]))
    (tmp_path / "final.safetensors").unlink()
    train(pairs, tmp_path, steps=6)
    again = Checkpoint.load(tmp_path / "final.safetensors")
    assert again.info == checkpoint.info
    for name, value in again.denoiser.state_dict().items():
        assert torch.equal(value, final[name]), name


def test_best_is_the_best_validation(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([5.0, 3.0, 4.0])
    monkeypatch.setattr(Trainer, "validate", lambda *_: Score(next(errors), 30.0))
    Trainer(pairs, settings(steps=3, validate_every=1), tmp_path, "cpu").run(lambda *_: None)
    info = Checkpoint.load(tmp_path / "best.safetensors").info
    assert (info["step"], info["validation_mae"]) == (2, 3.0)


def test_a_checkpoint_is_no_pickle(checkpoint: Path) -> None:
    with safe_open(str(checkpoint), framework="np") as file:
        names = set(file.keys())
        header = json.loads(file.metadata()["header"])
    assert header["model"]["network"] == SIZES["tiny"]
    data = checkpoint.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    assert set(entries) - {"__metadata__"} == names
    size = sum(4 * math.prod(e["shape"]) for k, e in entries.items() if k != "__metadata__")
    assert len(data) == 8 + length + size  # JSON and float32 numbers, nothing else


def test_checkpoints_that_are_missing_or_not_ours(tmp_path: Path) -> None:
    missing = tmp_path / "best.safetensors"
    assert refused(CheckpointError, lambda: Checkpoint.load(missing)) == (
        f"{missing}: does not exist",
        "name a .safetensors checkpoint",
    )
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    assert refused(CheckpointError, lambda: Checkpoint.load(foreign)) == (
        f"{foreign}: is not a bmz-ddpm checkpoint",
        "name the best.safetensors that bmz-ddpm train wrote",
    )


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_checkpoint_that_was_cut(checkpoint: Path, keep: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    problem, fix = refused(CheckpointError, lambda: Checkpoint.load(checkpoint))
    assert problem.startswith(f"{checkpoint}: cannot be read as safetensors (")
    assert fix == "is the file complete?"


def test_weights_that_do_not_fit(checkpoint: Path) -> None:
    tensors, header = load_tensors(checkpoint)
    name = "unet.conv_in.weight"
    shape = tuple(tensors[name].shape)
    fix = "use a checkpoint written by bmz-ddpm train"
    without = {k: v for k, v in tensors.items() if k != name}
    mutants = {
        f"lacks tensor '{name}'": without,
        "has an unknown tensor 'extra'": tensors | {"extra": torch.zeros(1)},
        f"tensor '{name}' is (3, 4), the model needs {shape}": tensors | {name: torch.zeros(3, 4)},
    }
    for message, mutant in mutants.items():
        save_tensors(checkpoint, mutant, header)
        assert refused(CheckpointError, lambda: Checkpoint.load(checkpoint)) == (
            f"{checkpoint}: {message}",
            fix,
        )


def test_last_is_not_for_export(pairs: list[Pair], tmp_path: Path) -> None:
    train(pairs, tmp_path, steps=1)
    last = tmp_path / "last.safetensors"
    assert refused(CheckpointError, lambda: Checkpoint.load(last)) == (
        f"{last}: its header does not describe a model ('model')",
        "name the best.safetensors of a run; if it is one, update bmz-ddpm",
    )


def test_a_full_disk_keeps_the_previous_checkpoint(checkpoint: Path, full_disk: Callable) -> None:
    before = checkpoint.read_bytes()
    tensors, header = load_tensors(checkpoint)

    def save() -> None:
        with full_disk():
            save_tensors(checkpoint, tensors, header)

    assert refused(DataError, save) == (
        f"{checkpoint}: could not be written (No space left on device)",
        "free some space, then repeat",
    )
    assert [path.read_bytes() for path in checkpoint.parent.iterdir()] == [before]


def test_a_file_where_the_run_should_be(pairs: list[Pair], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.touch()
    assert refused(DataError, lambda: train(pairs, out)) == (
        f"{out / 'config.json'}: cannot be written (File exists)",
        "choose another place for --out",
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(pairs: list[Pair], tmp_path: Path, device: str) -> None:
    problem, fix = refused(
        ConfigError, lambda: Trainer(pairs, settings(), tmp_path / "run", device)
    )
    assert problem.startswith(f"--device {device}: cannot be used (")
    assert fix == "use cpu, or install a PyTorch that supports this device"


def test_more_steps_than_trained(checkpoint: Path) -> None:
    loaded, too_many = Checkpoint.load(checkpoint), SamplerSettings(201, 1, 1.0)
    assert refused(ConfigError, lambda: loaded.sampler(too_many)) == (
        "--steps 201: the model was trained with 200 steps, it cannot take more",
        "use 200 or fewer",
    )


def test_validation_images_need_the_same_channels(pairs: list[Pair], tmp_path: Path) -> None:
    held_out = next(pair for pair in pairs if pair.split == "val")
    rgb = np.ones((2, 48, 56), np.uint16)
    tifffile.imwrite(held_out.low, rgb, imagej=True, metadata={"axes": "CYX"})
    assert refused(DataError, lambda: train(pairs, tmp_path / "run")) == (
        f"{held_out.low}: has 2 channels in and 1 out, the training pairs have 1 and 1",
        "give all pairs the same channels",
    )


def test_half_precision_trains_as_well(pairs: list[Pair], tmp_path: Path) -> None:
    """bfloat16 activations change rounding, not what is learnt; weights stay float32."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = Trainer(pairs, settings(precision=precision), tmp_path / precision, "cpu")
        losses[precision] = [trainer._advance() for _ in range(4)]
        assert {p.dtype for p in trainer.denoiser.parameters()} == {torch.float32}
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.05)
    assert losses["bfloat16"] != losses["float32"]


def test_the_average_is_validated(pairs: list[Pair], tmp_path: Path) -> None:
    """Of the samples that the settings ask for; more of them are never the same error."""
    errors = []
    for count in (1, 3):
        trainer = Trainer(pairs, settings(validation_samples=count), tmp_path / str(count), "cpu")
        trainer._advance()
        errors.append(trainer.validate())
    assert errors[0] != errors[1]
