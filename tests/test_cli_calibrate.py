"""bmz-ddpm calibrate as it is used, and what predict then writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tifffile
from conftest import write_pairs
from test_cli import QUICK, mistake, run

OPTIONS = ("--split", "all", "--delta", "0.5", "--fit", "1", *QUICK)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with new/, five fields, and run/, a training of two steps on others."""
    folder = tmp_path_factory.mktemp("calibrate")
    write_pairs(folder / "pairs")
    write_pairs(folder / "new", "defgh")
    small = ("--size", "tiny", "--steps", 2, "--patch", 16, "--batch-size", 1)
    assert run(folder, "train", "pairs", "--out", "run", *small).returncode == 0
    done = run(folder, "calibrate", "run/best.safetensors", "new", "--out", "found", *OPTIONS)
    (folder / "done.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder


def test_calibrate_writes_a_checkpoint_and_says_what_it_promises(place: Path) -> None:
    code, out, err = json.loads((place / "done.json").read_text())
    assert code == 0, err
    names = ("calibrated.safetensors", "calibration.json", "fields.csv")
    assert out.splitlines() == [str(Path("found") / name) for name in names]
    assert "at least 90% of the pixels lie inside, with a probability of 50%." in err
    assert "1 fields of view for the form, 4 for the width." in err
    assert len(list((place / "found" / "predictions").iterdir())) == 10
    assert len((place / "found" / "fields.csv").read_text().splitlines()) == 5


def test_predict_then_gives_intervals(place: Path) -> None:
    model = "found/calibrated.safetensors"
    done = run(place, "predict", model, "new/low/d.tif", "--out", "results", *QUICK)
    assert done.returncode == 0, done.stderr
    kinds = ("denoised", "std", "entropy", "lower", "upper")
    assert done.stdout.splitlines() == [str(Path("results") / f"d_{kind}.tif") for kind in kinds]
    assert "warning" not in done.stderr
    read = {kind: tifffile.imread(place / "results" / f"d_{kind}.tif") for kind in kinds}
    assert (read["lower"] <= read["denoised"]).all()
    assert (read["lower"] < read["upper"]).all()
    other = run(place, "predict", model, "new/low/d.tif", "--out", "other", *QUICK, "--samples", 3)
    assert len(other.stdout.splitlines()) == 3  # not calibrated for three samples
    bright = 5 * tifffile.imread(place / "new/low/d.tif")
    tifffile.imwrite(place / "bright.tif", bright)
    done = run(place, "predict", model, "bright.tif", "--out", "results", *QUICK)
    assert "bright.tif: has grey levels " in done.stderr
    assert "bright.tif: has a noise level of " in done.stderr


def test_repeated_it_takes_what_is_finished(place: Path) -> None:
    pictures = sorted((place / "found" / "predictions").iterdir())
    before = [path.stat().st_mtime_ns for path in pictures]
    more = ("--guarantee", "field", "--alpha", "0.2")
    done = run(place, "calibrate", "run/best.safetensors", "new", "--out", "found", *OPTIONS, *more)
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in pictures] == before
    assert "at least 80% of the pixels" in done.stderr
    known = ("--predictions", "found/predictions", "--out", "known")
    done = run(place, "calibrate", "run/best.safetensors", "new", *OPTIONS, *known)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (place / "known").iterdir()} == {
        "calibrated.safetensors", "calibration.json", "fields.csv",
    }  # fmt: skip


def test_mistakes(place: Path) -> None:
    model = "run/best.safetensors"
    strict = ("--split", "all", "--guarantee", "rcps", "--out", "none")
    assert mistake(place, "calibrate", model, "new", *strict) == (
        "--guarantee rcps: 4 fields of view are left to calibrate on, with alpha 0.1 and delta "
        "0.1 22 are needed.",
        "add 18 more, or promise less: --guarantee field --delta 0.2.",
    )
    assert not (place / "none").exists()  # refused before anything is computed
    assert mistake(place, "calibrate", model, "new", "--out", "found", *OPTIONS, "--steps", 3) == (
        "found: holds an evaluation with num_steps = 2, now it is 3.",
        "choose another --out, or delete that folder.",
    )
