"""bmz-ddpm evaluate as it is used."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import write_pairs
from typer.testing import CliRunner

from bmz_ddpm.cli.main import app
from bmz_ddpm.errors import ConfigError, DataError, UserError

QUICK = ("--steps", "2", "--samples", "2", "--tile", "128", "--halo", "32")


def run(folder: Path, *arguments: object) -> Any:
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, [str(a) for a in arguments])


def mistake(folder: Path, *arguments: object) -> UserError:
    error = run(folder, *arguments).exception
    assert isinstance(error, UserError)
    return error


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with pairs/ and run/best.safetensors, the result of a training of two steps."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_pairs(folder / "pairs")
    small = ("--size", "tiny", "--steps", 2, "--patch", 16, "--batch-size", 1)
    assert run(folder, "train", "pairs", "--out", "run", *small).exit_code == 0
    return folder


def test_a_checkpoint_with_its_averaging_curve(place: Path) -> None:
    done = run(
        place, "evaluate", "pairs", "--model", "run/best.safetensors", "--split", "all",
        "--out", "scores", "--name", "ours", "--averaging-curve", *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    files = ("metrics.csv", "evaluation.json", "averaging.csv")
    assert done.stdout.split() == [f"scores/{name}" for name in files]
    assert "averaging 15 samples gains" in done.stderr
    assert "ours: medians of the images (split all)" in done.stderr
    with (place / "scores" / "metrics.csv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["image"] == "b"]
    known = {r["metric"] for r in rows if r["value"]}
    assert {"mae", "psnr", "crps", "spread_skill", "coverage_90"} <= known
    report = json.loads((place / "scores" / "evaluation.json").read_text())
    assert report["model"]["name"] == "best.safetensors"
    assert len(report["model"]["sha256"]) == 64
    wanted = {"sampler": "ddim", "steps": 2, "samples": 2, "seed": 0, "split": "all"}
    assert report["settings"].items() >= wanted.items()
    for kind in ("prediction", "std", "entropy"):
        image = tifffile.imread(place / "scores" / report["pairs"][1][kind])
        assert (image.shape, image.dtype) == ((48, 56), np.float32)


def test_one_sample_has_no_maps(place: Path) -> None:
    """A standard deviation of zero everywhere would look sure of itself."""
    one = ("--steps", "2", "--samples", "1", "--tile", "0", "--out", "one")
    assert run(place, "evaluate", "pairs", "--model", "run/best.safetensors", *one).exit_code == 0
    report = json.loads((place / "one" / "evaluation.json").read_text())
    assert [(p["std"], p["entropy"]) for p in report["pairs"]] == [(None, None)]
    assert [p.name for p in (place / "one" / "predictions").iterdir()] == ["a.tif"]
    assert any("spread_skill" in n and "one sample has no spread" in n for n in report["notes"])


def test_the_test_split_of_a_table_and_a_broken_prediction(place: Path) -> None:
    lines = ["low,high,fov,split"]
    lines += [
        f"low/{n}.tif,high/{n}.tif,{n},{s}"
        for n, s in zip("abc", ("train", "test", "test"), strict=True)
    ]
    (place / "pairs.csv").write_text("\n".join(lines))
    (place / "theirs").mkdir()
    for name in "bc":
        data = (place / "pairs" / "low" / f"{name}.tif").read_bytes()
        (place / "theirs" / f"{name}.tif").write_bytes(data[: None if name == "c" else 100])
    done = run(
        place, "evaluate", "pairs.csv", "--root", "pairs", "--split", "test",
        "--predictions", "theirs", "--out", "theirs_scores", "--rescale", "--no-images",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "error: b: theirs/b.tif: is not a readable image" in done.stderr
    assert done.stderr.endswith("1 of 2 images could not be scored.\n")
    report = json.loads((place / "theirs_scores" / "evaluation.json").read_text())
    assert [p["image"] for p in report["pairs"]] == ["c"]
    assert report["method"] == "theirs"
    assert any("those of the clean training images" in note for note in report["notes"])
    assert not (place / "theirs_scores" / "predictions").exists()


def test_a_baseline_is_rescaled_to_the_clean_training_images(place: Path) -> None:
    """Baselines are restored, then scored, from one table with rows to train and to validate."""
    lines = ["low,high,fov,split"]
    splits = {"a": "train", "b": "val", "c": "train"}
    lines += [f"low/{n}.tif,high/{n}.tif,{n},{s}" for n, s in splits.items()]
    (place / "both.csv").write_text("\n".join(lines))
    table = ("both.csv", "--root", "pairs")
    assert run(place, "baseline", *table, "--method", "gaussian", "--out", "blur").exit_code == 0
    done = run(
        place, "evaluate", *table, "--predictions", "blur/predictions", "--rescale",
        "--name", "blur", "--out", "blur_scores",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    clean = [tifffile.imread(place / "pairs" / "high" / f"{n}.tif") for n in "ac"]
    scored = tifffile.imread(place / "blur_scores" / "predictions" / "b.tif")
    assert scored.mean() == pytest.approx(np.mean(clean), rel=1e-5)
    assert scored.std() == pytest.approx(np.std(clean), rel=1e-5)


def test_compare_reads_what_evaluate_wrote(place: Path) -> None:
    """Every median of the report is that of metrics.csv; nothing else is in it."""
    for kind in ("raw", "gaussian"):
        done = run(
            place, "evaluate", "pairs", "--baseline", kind, "--split", "all", "--out", kind
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
    done = run(place, "compare", "gaussian", "raw", "--out", "report", "--pictures", 1)
    assert done.exit_code == 0, done.stderr
    expected: dict[tuple[str, str], list[float]] = {}
    for kind in ("raw", "gaussian"):
        with (place / kind / "metrics.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                if row["value"]:
                    key = (row["method"], row["metric"])
                    expected.setdefault(key, []).append(float(row["value"]))
    content = json.loads((place / "report" / "results.json").read_text())
    found = {(r["method"], r["metric"]): r for r in content["results"]}
    assert {key: r["median"] for key, r in found.items()} == {
        key: np.median(values) for key, values in expected.items()
    }
    assert {r["images"] for r in found.values()} == {r["fields"] for r in found.values()} == {3}
    mean = np.mean(expected["raw", "mae"]) - np.mean(expected["gaussian", "mae"])
    assert found["raw", "mae"]["difference"] == pytest.approx(mean)
    assert found["raw", "resolution"]["unit"] == "pixels"
    page = (place / "report" / "report.html").read_text()
    assert 'Resolution <span class="unit">(pixels)</span>' in page
    assert "<li>gaussian, raw: peak 65535: the largest value of" in page
    assert "<td>baseline raw, split all</td>" in page
    assert page.count("<img") > 4
    assert "is not shown" not in page


def test_one_source_is_needed(place: Path) -> None:
    for given in ((), ("--baseline", "raw", "--model", "run/best.safetensors")):
        error = mistake(place, "evaluate", "pairs", *given)
        assert error.problem.endswith("needs one of --model, --predictions and --baseline")
        assert error.fix == "e.g. --model cells.zip"


def test_the_curve_needs_a_checkpoint(place: Path) -> None:
    error = mistake(place, "evaluate", "pairs", "--baseline", "raw", "--averaging-curve")
    assert isinstance(error, ConfigError)
    assert error.problem.startswith("--averaging-curve: needs the single samples")


def test_nothing_is_marked_test(place: Path) -> None:
    error = mistake(place, "evaluate", "pairs", "--baseline", "raw", "--split", "test")
    assert isinstance(error, DataError)
    assert "no image is for the test" in error.problem
