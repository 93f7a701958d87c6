"""A table in the setting of the paper's Table 5, from FMD as it is published."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bmz_ddpm.cli.main import app

CAPTURES = 2


def run(folder: Path, *arguments: object) -> Any:
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Confocal_FISH with fields 1 to 20, two captures each, 8 bit; 19 is for the test.

    File names repeat from field to field, as they do there.
    """
    folder = tmp_path_factory.mktemp("fmd")
    rng = np.random.default_rng(0)
    for field in range(1, 21):
        side = 176 if field == 19 else 32  # MS-SSIM needs more than 160 pixels
        y, x = np.mgrid[:side, :side]
        clean = 60 + 50 * np.sin(y / 9 + field) * np.cos(x / 6)
        images = {f"gt/{field}/avg50.png": clean}
        for i in range(CAPTURES):
            for level, count in (("raw", 1), ("avg2", 2)):
                noisy = rng.poisson(clean * count / 4) * 4 / count
                images[f"{level}/{field}/HV110_P05005{i:05}.png"] = noisy
        for name, image in images.items():
            path = folder / "Confocal_FISH" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def test_table_5_from_the_published_layout(published: Path) -> None:
    """Train, baselines, scores and the table: the same --dataset, no file moved or renamed."""
    data = ("Confocal_FISH", "--dataset", "zebrafish")
    small = ("--size", "tiny", "--steps", 2, "--patch", 32, "--batch-size", 1)
    done = run(published, "train", *data, "--out", "run", *small)
    assert "note" not in done.stderr  # twenty fields, as in the paper
    for method in ("raw", "gaussian"):
        run(published, "baseline", *data, "--method", method, "--split", "test", "--out", method)
    score = ("evaluate", *data, "--split", "test")
    model = ("--model", "run/best.safetensors", "--steps", 1, "--tile", 0)
    run(published, *score, *model, "--samples", 2, "--name", "DDPM-avg", "--out", "s/DDPM-avg")
    run(published, *score, *model, "--samples", 1, "--name", "DDPM", "--out", "s/DDPM")
    for method in ("raw", "gaussian"):
        folder = f"{method}/predictions"
        run(published, *score, "--predictions", folder, "--name", method, "--out", f"s/{method}")
    names = ("DDPM-avg", "DDPM", "raw", "gaussian")
    run(published, "compare", *(f"s/{n}" for n in names), "--out", "report", "--pictures", 0)
    with (published / "report" / "table.csv").open(newline="") as stream:
        rows = {(r["method"], r["metric"]): r for r in csv.DictReader(stream)}
    paper = ("mae", "psnr", "ms_ssim", "nrmse", "pearson", "resolution", "resolution_ratio")
    for name in names:
        for metric in paper:
            row = rows[name, metric]
            assert (row["images"], row["fields"]) == (str(CAPTURES), "1"), (name, metric)
            assert np.isfinite(float(row["median"]))
    assert float(rows["gaussian", "mae"]["median"]) < float(rows["raw", "mae"]["median"])
    best = max(names, key=lambda n: float(rows[n, "psnr"]["median"]))
    assert rows[best, "psnr"]["best"] == "True"
    assert "too few fields" in rows["raw", "mae"]["remark"]  # 50 captures of a field are one field
    about = json.loads((published / "s" / "DDPM" / "evaluation.json").read_text())
    assert about["peak"] == 255
    assert {p["field"] for p in about["pairs"]} == {"Confocal_FISH/19"}
    assert Path(about["pairs"][0]["low"]).parts[-4:-1] == ("Confocal_FISH", "raw", "19")


def test_two_noise_levels_whose_files_have_the_same_names(published: Path) -> None:
    """As in FMD: predictions are told apart by their folders."""
    data = ("Confocal_FISH", "--noise", "raw,avg2", "--select", "fov=1,2,3", "--layout", "fmd")
    done = run(published, "baseline", *data, "--method", "raw", "--out", "levels")
    made = [Path(line).stem for line in done.stdout.splitlines()[:-1]]
    assert len(set(made)) == 2 * CAPTURES
    run(published, "evaluate", *data, "--predictions", "levels/predictions", "--out", "s/levels")
    about = json.loads((published / "s" / "levels" / "evaluation.json").read_text())
    assert sorted(p["image"] for p in about["pairs"]) == sorted(made)
    assert about["failed"] == []
