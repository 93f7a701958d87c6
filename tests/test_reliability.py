"""What a training run survives: being killed, a full disk, images that cannot be learnt from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pairs
from killed import MOMENTS
from safetensors.torch import load_file
from test_train import refused, settings

from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.errors import CheckpointError, ConfigError, DataError, MissingDependency
from bmz_ddpm.train.checkpoint import Checkpoint, load_tensors
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.state import learnt_by_heart
from bmz_ddpm.train.validation import Score


@pytest.fixture
def pairs(pair_folder: Path) -> list[Pair]:
    return find_pairs(pair_folder)


def quick(**changes: object) -> object:
    return settings(**{"steps": 4, "batch_size": 1, "validate_every": 2, **changes})


def fit(pairs: list[Pair], out: Path, **changes: object) -> Trainer:
    trainer = Trainer(pairs, quick(**changes), out, "cpu")  # type: ignore[arg-type]
    trainer.run(lambda *_: None)
    return trainer


def same(a: Path, b: Path) -> bool:
    (left, head), (right, other) = load_tensors(a), load_tensors(b)
    return (
        head == other
        and left.keys() == right.keys()
        and all(torch.equal(left[k], right[k]) for k in left)
    )


def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """SIGKILL, in the middle of writing every kind of file too; the log has every line once."""
    write_pairs(tmp_path / "pairs")
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "pairs", tmp_path / "parts", tmp_path / "whole"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*(f"{what}: killed" for what, _ in MOMENTS), "never: 0"]
    names = {str(p.relative_to(tmp_path / "whole")) for p in (tmp_path / "whole").rglob("*.*")}
    parts = {str(p.relative_to(tmp_path / "parts")) for p in (tmp_path / "parts").rglob("*.*")}
    assert names == parts  # no half-written file is left
    assert len([n for n in names if n.startswith("snapshots")]) == 3
    for name in names:
        parts_file, whole_file = tmp_path / "parts" / name, tmp_path / "whole" / name
        if name.endswith(".safetensors"):
            assert same(parts_file, whole_file), name
        else:
            assert parts_file.read_bytes() == whole_file.read_bytes(), name
    log = (tmp_path / "parts" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "2", "4", "6"]


def test_a_full_disk_keeps_the_last_good_checkpoint(
    pairs: list[Pair], tmp_path: Path, full_disk: Callable
) -> None:
    """And the run goes on from there once there is space."""
    out = tmp_path / "run"
    trainer = Trainer(pairs, quick(), out, "cpu")  # type: ignore[arg-type]
    kept = {}

    def fill(step: int, steps: int, loss: float, score: Score | None) -> None:
        if step == 2:
            kept.update({path.name: path.read_bytes() for path in out.iterdir()})
            context = full_disk()
            context.__enter__()
            kept["context"] = context

    problem, fix = refused(DataError, lambda: trainer.run(fill))
    kept.pop("context").__exit__(None, None, None)
    assert problem.endswith("could not be written (No space left on device)")
    assert fix == "free some space, then repeat"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept
    fit(pairs, out)
    fit(pairs, tmp_path / "whole")
    assert same(out / "last.safetensors", tmp_path / "whole" / "last.safetensors")


def test_a_loss_that_is_no_number_names_the_batch(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint is kept, and holds numbers."""
    trainer = Trainer(pairs, quick(), tmp_path, "cpu")  # type: ignore[arg-type]

    def break_weights(step: int, steps: int, loss: float, score: Score | None) -> None:
        if step == 2:
            with torch.no_grad():
                trainer.denoiser.out_gain.fill_(torch.nan)

    problem, fix = refused(DataError, lambda: trainer.run(break_weights))
    low = trainer.source.batch(3, 1).names[0]
    assert problem == f"step 3: the loss is not a number, after a batch from {low}"
    assert low in {str(pair.low) for pair in pairs}
    assert fix.startswith("look for extreme values in these images, or train with a lower")
    tensors, header = load_tensors(tmp_path / "last.safetensors")
    assert header["step"] == 2
    assert all(bool(torch.isfinite(t).all()) for t in tensors.values())


def test_a_validation_error_that_is_no_number(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "validate", lambda *_: Score(float("nan"), 0.0))
    problem, _ = refused(DataError, lambda: fit(pairs, tmp_path))
    assert problem.startswith("step 2: the validation error is not a number, after a batch from ")
    assert not (tmp_path / "last.safetensors").exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_image_is_named(pairs: list[Pair], tmp_path: Path, split: str) -> None:
    path = next(pair.high for pair in pairs if pair.split == split)
    path.write_bytes(path.read_bytes()[:200])
    problem, _ = refused(DataError, lambda: fit(pairs, tmp_path / "run"))
    assert problem.startswith(f"{path}: is not a readable image (")


def rows(*values: tuple[float, float]) -> list[dict[str, float]]:
    return [
        {"step": 100.0 * i, "loss": loss, "validation_mae": mae}
        for i, (loss, mae) in enumerate(values, 1)
    ]


def test_learning_by_heart_is_noticed() -> None:
    """Three validations more than 3 % above the best, while the training loss fell."""
    worse = [(0.5, 10.0), (0.4, 10.4), (0.3, 10.5), (0.2, 10.31)]
    assert learnt_by_heart(rows(*worse)).startswith(
        "warning: the validation error has risen by more than 3 % since step 100 while the training"
    )
    assert not learnt_by_heart([])
    assert not learnt_by_heart(rows(*worse[:3]))
    assert not learnt_by_heart(rows(*worse[:3], (0.2, 10.29)))
    assert not learnt_by_heart(rows((0.1, 10.0), *worse[1:]))


def test_the_warning_comes_once(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([10.0, 10.5, 10.5, 10.5, 10.5])
    monkeypatch.setattr(Trainer, "validate", lambda *_: Score(next(scores), 30.0))
    losses = iter([5.0, 4.0, 3.0, 2.0, 1.0])
    told: list[str] = []
    config = quick(steps=5, validate_every=1)
    trainer = Trainer(pairs, config, tmp_path, "cpu", tell=told.append)  # type: ignore[arg-type]
    advance = trainer._advance

    def fewer_losses() -> float:
        advance()
        trainer.losses[-1] = next(losses)
        return trainer.losses[-1]

    monkeypatch.setattr(trainer, "_advance", fewer_losses)
    trainer.run(lambda *_: None)
    assert len(told) == 1
    assert "since step 1 " in told[0]


def test_start_takes_over_the_weights(pairs: list[Pair], tmp_path: Path) -> None:
    fit(pairs, tmp_path / "first")
    start = tmp_path / "first" / "best.safetensors"
    trainer = Trainer(pairs, quick(seed=5), tmp_path / "second", "cpu", start=start)  # type: ignore[arg-type]
    weights = Checkpoint.load(start).denoiser.state_dict()
    for name, value in trainer.denoiser.state_dict().items():
        torch.testing.assert_close(value, weights[name], atol=1e-3, rtol=1e-3)  # renormalised
    trainer.run(lambda *_: None)
    info = Checkpoint.load(tmp_path / "second" / "best.safetensors").info
    assert info["start"] == str(start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "small"}, "has network = {"),
        ({"prediction": "eps"}, "has prediction = v, this run has eps"),
        ({"label": "alpha_bar"}, "has label = log_snr, this run has alpha_bar"),
    ],
)
def test_start_needs_the_same_kind_of_model(
    pairs: list[Pair], tmp_path: Path, changes: dict, message: str
) -> None:
    fit(pairs, tmp_path / "first", steps=1)
    start = tmp_path / "first" / "final.safetensors"
    problem, fix = refused(
        CheckpointError,
        lambda: Trainer(pairs, quick(**changes), tmp_path / "run", "cpu", start=start),  # type: ignore[arg-type]
    )
    assert problem.startswith(f"--start {start}: {message}")
    assert fix == "choose the same settings and channels as the checkpoint's"


def test_another_width_is_written_without_training(pairs: list[Pair], tmp_path: Path) -> None:
    """final.safetensors alone changes; its validation error is that of the new average."""
    fit(pairs, tmp_path, steps=6, snapshots=6, learning_rate=0.3)
    before = load_file(tmp_path / "final.safetensors")
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.name != "final.safetensors"}
    config = quick(steps=6, snapshots=6, learning_rate=0.3)

    def trains(*_: object) -> None:
        raise AssertionError("a finished run was trained")

    Trainer(pairs, config, tmp_path, "cpu").run(trains, ema_width=0.12)  # type: ignore[arg-type]
    after = load_file(tmp_path / "final.safetensors")
    assert not torch.equal(after["unet.conv_in.weight"], before["unet.conv_in.weight"])
    assert torch.equal(after["embedding.freqs"], before["embedding.freqs"])
    info = Checkpoint.load(tmp_path / "final.safetensors").info
    assert info["ema_width"] == 0.12
    assert 0 < info["ema_error"] < 0.1
    assert all(path.read_bytes() == data for path, data in kept.items())


def test_tensorboard_shows_curves_and_images(pairs: list[Pair], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = Trainer(pairs, quick(), tmp_path, "cpu", tensorboard=True)  # type: ignore[arg-type]
    trainer.run(lambda *_: None)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    names = {"loss", "learning_rate", "validation_mae", "validation_psnr"}
    assert set(events.Tags()["scalars"]) == names
    images = {f"validation/{n}" for n in ("noisy", "sample", "mean", "std", "truth")}
    assert set(events.Tags()["images"]) == images
    logged = [event.value for event in events.Scalars("validation_mae")]
    assert logged == pytest.approx([row["validation_mae"] for row in trainer.rows])


@pytest.mark.parametrize(
    ("module", "options", "problem"),
    [
        ("lightning_fabric", {}, "training needs lightning-fabric, which is not installed"),
        (
            "torch.utils.tensorboard",
            {"tensorboard": True},
            "--tensorboard needs tensorboard, which is not installed",
        ),
    ],
)
def test_a_library_that_is_missing(
    pairs: list[Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    options: dict,
    problem: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(
        MissingDependency,
        lambda: Trainer(pairs, quick(), tmp_path, "cpu", **options),  # type: ignore[arg-type]
    ) == (problem, "pip install 'bmz-ddpm[train]'")


def test_processes_share_a_batch_evenly(pairs: list[Pair], tmp_path: Path) -> None:
    config = quick(batch_size=4, accumulate=2)
    assert refused(ConfigError, lambda: Trainer(pairs, config, tmp_path, "cpu", devices=3)) == (  # type: ignore[arg-type]
        "batch_size = 4: cannot be shared by 3 processes in 2 parts each",
        "use a multiple of 6",
    )
    assert refused(
        ConfigError,
        lambda: Trainer(pairs, quick(batch_size=4), tmp_path, "cpu:0", devices=2),  # type: ignore[arg-type]
    ) == ("--device cpu:0: names one device, --devices asks for 2", "use --device cpu")


def test_parts_of_a_batch_are_the_batch(pairs: list[Pair], tmp_path: Path) -> None:
    """The loss to float32 rounding; the gradient too."""
    found = []
    for parts in (1, 2, 4):
        config = quick(batch_size=4, accumulate=parts)
        trainer = Trainer(pairs, config, tmp_path, "cpu")  # type: ignore[arg-type]
        losses = [trainer._advance() for _ in range(2)]
        found.append((losses, trainer.denoiser.unet.conv_out.weight.grad))
    for losses, gradient in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=1e-5)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-3, atol=1e-6)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """With gloo on the CPU: the same log to 1e-5, the same weights to 1e-5 (2e-7 measured)."""
    write_pairs(tmp_path / "pairs", "abcd")
    (tmp_path / "quick.toml").write_text(
        'size = "tiny"\nsteps = 4\nbatch_size = 2\npatch = 16\nvalidate_every = 2\n'
        "validation_steps = 1\nvalidation_samples = 1\nsnapshots = 0\nlearning_rate = 1e-3\n"
    )
    command = [Path(sys.executable).parent / "bmz-ddpm", "train", "pairs", "--config", "quick.toml"]
    for count in (1, 2):
        done = subprocess.run(
            [*command, "--devices", str(count), "--out", f"run{count}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [f"run{count}/{n}.safetensors" for n in ("best", "final")]
    one, two = (load_tensors(tmp_path / f"run{n}" / "last.safetensors") for n in (1, 2))
    for alone, together in zip(one[1]["log"], two[1]["log"], strict=True):
        assert together == pytest.approx(alone, rel=1e-5)
    for name, value in one[0].items():
        if name.startswith("model/"):
            torch.testing.assert_close(two[0][name], value, atol=1e-5, rtol=0)


def test_compiling_is_asked_of_torch(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is kept is the plain network, which any run can load."""
    compiled = []

    def compile_(module: torch.nn.Module) -> torch.nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    trainer = Trainer(pairs, quick(compile=True), tmp_path, "cpu")  # type: ignore[arg-type]
    assert compiled == [trainer.denoiser]
