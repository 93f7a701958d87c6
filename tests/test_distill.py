"""The one-pass student: what it learns, how it is run and exported, and named samplers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from checks import EIGHT_BIT, photons
from conftest import write_pairs
from safetensors.torch import load_file

from bmz_ddpm.check.weights_files import libtorch_schemas
from bmz_ddpm.cli.sampler_options import Sampling
from bmz_ddpm.config import ModelConfig
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.diffusion.assemble import SamplerSettings, expected_entropy
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.diffusion.profiles import PROFILES, profile_name
from bmz_ddpm.diffusion.sampler import clean_range
from bmz_ddpm.diffusion.uncertainty import entropy_of_levels
from bmz_ddpm.distill import fit
from bmz_ddpm.distill.fit import Distiller, first_student, student_config
from bmz_ddpm.distill.loss import student_loss
from bmz_ddpm.errors import CheckpointError, ConfigError, DataError
from bmz_ddpm.export.onnx import save_onnx
from bmz_ddpm.export.parity import require_agreement
from bmz_ddpm.export.torchscript import save_torchscript, to_torchscript
from bmz_ddpm.runtime.backends import onnx_backend, torch_backend, torchscript_backend
from bmz_ddpm.train.checkpoint import Checkpoint, build_denoiser, load_tensors

SETTINGS = SamplerSettings(2, 4, 0.0)
INSTANT = replace(PROFILES["instant"], num_samples=4)


def teacher(channels: int = 1, **changes: Any) -> Checkpoint:
    """A tiny model whose samples do scatter."""
    torch.manual_seed(0)
    config = ModelConfig(
        in_channels=channels, out_channels=channels, network=SIZES["tiny"], num_train_steps=200,
        schedule_offset=8e-3, prediction="v", label="log_snr", intensity=EIGHT_BIT,
    )  # fmt: skip
    denoiser = build_denoiser(config)
    denoiser.out_gain.data.fill_(0.3)
    denoiser.embedding.gains.data.fill_(0.5)
    train = {"size": "tiny", "patch": 32, "batch_size": 2, **changes}
    return Checkpoint(config, denoiser, {"train": train})


def distiller(folder: Path, pairs: list[Pair], model: Checkpoint, **given: Any) -> Distiller:
    quick = {"steps": 4, "validate_every": 2, "validation_crop": 32} | given
    config = student_config(model, quick)
    return Distiller(model, SETTINGS, pairs, config, folder, "cpu")


@pytest.fixture
def pairs(pair_folder: Path) -> list[Pair]:
    return find_pairs(pair_folder)


def test_the_loss_is_least_at_the_mean_and_the_spread_of_the_samples() -> None:
    """Closed form: from two samples per pixel of a known normal distribution."""
    generator = torch.Generator().manual_seed(0)
    samples = 3 + 0.5 * torch.randn(2, 1, 1, 400, 400, generator=generator)

    def loss(mean: float, std: float) -> float:
        full = torch.ones(1, 1, 400, 400)
        return float(student_loss(full * mean, full * math.log(std), samples))

    best = loss(3.0, 0.5)
    for mean, std in ((2.9, 0.5), (3.1, 0.5), (3.0, 0.47), (3.0, 0.53)):
        assert loss(mean, std) > best


def test_a_wrong_mean_does_not_count_as_spread() -> None:
    samples = torch.stack([torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)])
    log_std = torch.zeros(1, 1, 4, 4, requires_grad=True)
    gradients = []
    for mean in (0.5, 5.0):
        loss = student_loss(torch.full((1, 1, 4, 4), mean), log_std, samples)
        gradients.append(torch.autograd.grad(loss, log_std)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("std", [0.1, 0.5, 2.0, 30.0])
def test_expected_entropy_is_that_of_drawn_samples(std: float) -> None:
    """Against 40000 draws of 15 rounded samples each, of which none is special."""
    generator = torch.Generator().manual_seed(1)
    place = torch.rand(1, 1, 200, 200, generator=generator)
    levels = torch.round(place + std * torch.randn(15, 1, 1, 200, 200, generator=generator))
    drawn = float(entropy_of_levels(levels).mean())
    expected = float(expected_entropy(torch.tensor([std], dtype=torch.float64), 15)[0])
    assert expected == pytest.approx(drawn, abs=0.01)


def test_expected_entropy_lies_between_nothing_and_ln_n() -> None:
    values = expected_entropy(torch.tensor([1e-3, 1.0, 300.0], dtype=torch.float64), 15)
    assert 0 <= values[0] < 0.01
    assert values[1] < values[2] < math.log(15)


def test_a_new_student_says_what_its_teacher_says_of_no_noise(pairs: list[Pair]) -> None:
    """Its mean is the teacher's first estimate at x_t = 0."""
    model = teacher()
    whole = Checkpoint(model.config, model.denoiser, {}, first_student(model))
    image = torch.from_numpy(photons(32, 40))
    sampler = model.sampler(SamplerSettings(1, 1, 0.0, mirror=False))
    low, high = clean_range(sampler.intensity)
    cond = (image - EIGHT_BIT.input_offset) / EIGHT_BIT.input_scale
    with torch.no_grad():
        net = sampler.unet(torch.zeros_like(cond), cond, sampler.modulation[:1])
        expected = (sampler.coefficients[0, 1] * net).clamp(low, high)
        denoised, std, entropy = whole.sampler(INSTANT)(image)
    expected = expected * EIGHT_BIT.output_scale + EIGHT_BIT.output_offset
    torch.testing.assert_close(denoised, expected, atol=1e-3, rtol=1e-5)
    assert (std > 0).all()
    assert (entropy >= 0).all()
    assert (entropy <= math.log(4)).all()


def test_distilling_brings_the_student_to_the_sampler(pairs: list[Pair], tmp_path: Path) -> None:
    model = teacher()
    made, agreement = distiller(tmp_path, pairs, model, steps=60, learning_rate=2e-2).run(
        lambda *_: None
    )
    start = Checkpoint(model.config, model.denoiser, {}, first_student(model))
    config = student_config(model, {"validation_crop": 32})
    held_out = [p for p in pairs if p.split == "val"]
    before = fit.measure_agreement(start, SETTINGS, held_out, config, torch.device("cpu"))
    assert agreement
    assert before
    assert agreement.difference < 0.8 * before.difference
    assert abs(math.log(agreement.std_ratio)) < 0.5 < abs(math.log(before.std_ratio))
    loaded = Checkpoint.load(made)
    assert loaded.info["student"]["agreement"]["std_ratio"] == agreement.std_ratio
    for name, value in model.denoiser.state_dict().items():
        assert torch.equal(loaded.denoiser.state_dict()[name], value)  # the teacher is unchanged


def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = teacher()
    distiller(tmp_path / "whole", pairs, model).run(lambda *_: None)

    def stop(step: int, *_: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distiller(tmp_path / "parts", pairs, model).run(stop)
    (tmp_path / "parts" / ".student.safetensors.part").write_bytes(b"half")
    steps: list[int] = []
    distiller(tmp_path / "parts", pairs, model).run(lambda step, *_: steps.append(step))
    assert steps == [3, 4]
    whole, parts = (load_file(tmp_path / n / "student.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not list((tmp_path / "parts").glob(".*"))


def test_a_student_is_taught_further(pairs: list[Pair], tmp_path: Path) -> None:
    model = teacher()
    student = first_student(model)
    student.out_gain.data.fill_(0.7)
    whole = Checkpoint(model.config, model.denoiser, model.info, student)
    first = distiller(tmp_path / "more", pairs, whole).student
    assert first.out_gain.item() == pytest.approx(0.7)
    distiller(tmp_path / "run", pairs, whole).run(lambda *_: None)
    config = student_config(model, {"steps": 4, "validate_every": 2, "validation_crop": 32})
    short = Distiller(whole, SETTINGS, pairs, config, tmp_path / "run", "cpu", half=True)
    written = load_file(short.run(lambda *_: None)[0])  # a finished run is not trained again
    assert {v.dtype for v in written.values()} == {torch.float16}
    with pytest.raises(ConfigError, match="belongs to another checkpoint"):
        distiller(tmp_path / "run", pairs, model).run(lambda *_: None)


def test_a_run_of_another_teacher_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    distiller(tmp_path, pairs, teacher()).run(lambda *_: None)
    other = teacher()
    other.denoiser.out_gain.data.fill_(0.4)
    with pytest.raises(ConfigError, match="belongs to another checkpoint or sampler"):
        distiller(tmp_path, pairs, other).run(lambda *_: None)


def test_what_cannot_be_distilled(pairs: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--profile instant: is the student itself"):
        Distiller(teacher(), INSTANT, pairs, student_config(teacher(), {}), tmp_path, "cpu")
    with pytest.raises(DataError, match="1 channels in and 1 out, the checkpoint 2 and 2"):
        distiller(tmp_path, pairs, teacher(channels=2))


def test_a_loss_that_is_not_a_number_names_the_images(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "student_loss", lambda mean, *_: mean.sum() * math.nan)
    with pytest.raises(DataError, match=r"step 1: the loss is not a number, after .*tif"):
        distiller(tmp_path, pairs, teacher()).run(lambda *_: None)


def test_without_validation_images_nothing_is_claimed(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs")
    found = [p for p in find_pairs(tmp_path / "pairs") if p.split == "train"]
    made, agreement = distiller(tmp_path / "run", found, teacher()).run(lambda *_: None)
    assert agreement is None
    assert Checkpoint.load(made).info["student"]["agreement"] is None


@pytest.mark.parametrize("channels", [1, 2])
def test_all_formats_give_the_same_image(tmp_path: Path, channels: int) -> None:
    model = teacher(channels)
    whole = Checkpoint(model.config, model.denoiser, {}, first_student(model))
    module = whole.sampler(INSTANT)
    scripted = to_torchscript(module)
    save_torchscript(scripted, tmp_path / "weights.pt")
    save_onnx(scripted, channels, tmp_path / "weights.onnx")
    image = photons(30, 41, channels=channels)
    formats = {
        "torchscript": torchscript_backend(tmp_path / "weights.pt"),
        "onnx": onnx_backend(tmp_path / "weights.onnx"),
    }
    parities = require_agreement(torch_backend(module)(image), image, formats, EIGHT_BIT.span)
    assert parities["torchscript"].denoised == 0
    loaded = torch.jit.load(str(tmp_path / "weights.pt"))
    assert set(torch.jit.export_opnames(loaded)) <= libtorch_schemas()


def test_a_checkpoint_in_half_precision_is_half_as_large(tmp_path: Path) -> None:
    model = teacher()
    whole = Checkpoint(model.config, model.denoiser, {"step": 3}, first_student(model))
    whole.save(tmp_path / "single.safetensors")
    whole.save(tmp_path / "half.safetensors", torch.float16)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("single", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = Checkpoint.load(tmp_path / "half.safetensors")
    assert loaded.info == {"step": 3}
    image = torch.from_numpy(photons(32, 32))
    for settings in (SETTINGS, INSTANT):
        a, b = (c.sampler(settings)(image)[0] for c in (whole, loaded))
        assert (a - b).abs().max() < 0.01 * EIGHT_BIT.span


def test_a_checkpoint_without_student_has_no_instant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this checkpoint has no one-pass student") as caught:
        teacher().sampler(INSTANT)
    assert "bmz-ddpm distill" in caught.value.fix


def test_a_student_for_another_network_is_refused(tmp_path: Path) -> None:
    model = teacher()
    whole = Checkpoint(model.config, model.denoiser, {}, first_student(model))
    whole.save(tmp_path / "a.safetensors")
    tensors, header = load_tensors(tmp_path / "a.safetensors")
    from bmz_ddpm.train.checkpoint import save_tensors

    del tensors["student/out_gain"]
    save_tensors(tmp_path / "b.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match="lacks tensor 'out_gain'"):
        Checkpoint.load(tmp_path / "b.safetensors")


def test_named_samplers_are_what_their_names_promise() -> None:
    names = get_args(get_args(get_type_hints(Sampling, include_extras=True)["profile"])[0])
    assert list(names) == list(PROFILES)
    paper = PROFILES["paper"]
    assert (paper.num_steps, paper.num_samples, paper.eta, paper.spacing) == (200, 15, 1.0, "time")
    assert [p.network_passes for p in PROFILES.values()][0::3] == [3000, 1]
    assert PROFILES["balanced"].network_passes <= 60
    assert PROFILES["fast"].network_passes <= 12
    for name, settings in PROFILES.items():
        assert profile_name(replace(settings, seed=5, samples_per_pass=2)) == name
    assert profile_name(SamplerSettings(5, 7, 0.5)) is None


def test_options_change_single_values_of_a_profile() -> None:
    assert Sampling().settings() == PROFILES["balanced"]
    assert Sampling("paper", steps=50, seed=3).settings() == replace(
        PROFILES["paper"], num_steps=50, seed=3
    )
    assert Sampling(sampler="ddpm", mirror=False).settings().eta == 1.0
    with pytest.raises(ConfigError, match="--profile instant: is one pass without noise"):
        Sampling("instant", steps=2).settings()


def test_entropy_is_interpolated_between_known_values() -> None:
    model = teacher()
    whole = Checkpoint(model.config, model.denoiser, {}, first_student(model))
    module: Any = whole.sampler(INSTANT)
    std = torch.tensor([0.0, 2.0**-4, 1.0, 2.0**0.0625, 2.0**9])
    found = module.entropy(std)
    table = module.entropies
    expected = [table[0], table[0], table[32], (table[32] + table[33]) / 2, table[-1]]
    np.testing.assert_allclose(found.numpy(), [float(v) for v in expected], atol=1e-5)
