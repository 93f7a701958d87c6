"""The command line as it is used: exit codes, what is printed, what is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import write_pairs
from PIL import Image
from safetensors.numpy import save_file

COMMAND = Path(sys.executable).parent / "bmz-ddpm"
QUICK = ("--steps", "2", "--samples", "2", "--tile", "128", "--halo", "32")
SIZE = (0.25, 0.1)  # micrometre, y and x


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def mistake(folder: Path, *arguments: object) -> tuple[str, str]:
    """Run a command that must fail: exit code 1, nothing on stdout, two lines on stderr."""
    done = run(folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("fix:   ")
    return first.removeprefix("error: "), second.removeprefix("fix:   ")


def write_image(path: Path, shape: tuple[int, ...] = (70, 90), axes: str = "YX") -> Path:
    values = np.random.default_rng(0).poisson(200, shape).astype(np.uint16)
    metadata = {"axes": axes, "unit": "um"}
    resolution = (1 / SIZE[1], 1 / SIZE[0])
    tifffile.imwrite(path, values, imagej=True, metadata=metadata, resolution=resolution)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with pairs/, trained.json and run/, the result of a training of two steps."""
    folder = tmp_path_factory.mktemp("cli")
    write_pairs(folder / "pairs")
    small = ("--size", "tiny", "--steps", 2, "--patch", 16, "--batch-size", 1)
    done = run(folder, "train", "pairs", "--out", "run", *small)
    (folder / "trained.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder


VERBS = [
    "prepare",
    "train",
    "evaluate",
    "calibrate",
    "compare",
    "export",
    "check",
    "upload",
    "predict",
]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_help_ends_with_an_example(tmp_path: Path, verb: str) -> None:
    done = run(tmp_path, *verb.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.strip().splitlines()[-1].strip().startswith(f"Example: bmz-ddpm {verb}")
    assert done.stderr == ""


def test_train_prints_both_checkpoints(place: Path) -> None:
    code, out, err = json.loads((place / "trained.json").read_text())
    assert code == 0, err
    assert out.split() == ["run/best.safetensors", "run/final.safetensors"]
    assert "step 2/2 loss" in err
    assert "validation MAE" in err
    kept = {path.name for path in (place / "run").iterdir()}
    tensors = {f"{name}.safetensors" for name in ("best", "final", "last")}
    assert kept == tensors | {"log.csv", "config.json", "snapshots"}


def test_dry_run_prints_settings_and_pairs(place: Path) -> None:
    (place / "settings.toml").write_text('size = "tiny"\nsteps = 9\n')
    options = ("--config", "settings.toml", "--steps", 7, "--out", "dry")
    done = run(place, "train", "pairs", *options, "--dry-run")
    assert done.returncode == 0
    text, end, table = done.stdout.partition("\n}\n")
    settings = json.loads(text + end)
    assert settings["steps"] == 7  # an option overrides the file
    assert settings["size"] == "tiny"
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("# ")]
    low, high = Path("pairs/low"), Path("pairs/high")
    assert rows == [
        ["val", "a", str(low / "a.tif"), str(high / "a.tif")],
        ["train", "b", str(low / "b.tif"), str(high / "b.tif")],
        ["train", "c", str(low / "c.tif"), str(high / "c.tif")],
    ]
    plan = [line for line in table.splitlines() if line.startswith("# ")]
    assert plan[0] == "# 0.07 million parameters"
    assert "MiB of memory and the images (counted: " in plan[1]
    assert "hours without validations (from 3 measured steps, batch 8, " in plan[2]
    assert not (place / "dry").exists()


def test_train_with_a_missing_partner(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs")
    (tmp_path / "pairs" / "high" / "b.tif").unlink()
    low, high = Path("pairs/low/b.tif"), Path("pairs/high")
    assert mistake(tmp_path, "train", "pairs") == (
        f"{low}: has no partner 'b' in {high}.",
        "add it, or move this image away.",
    )


def test_train_on_an_empty_folder(tmp_path: Path) -> None:
    for kind in ("low", "high"):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
    assert mistake(tmp_path, "train", "pairs") == (
        f"{Path('pairs/low')}: holds no TIFF or PNG image.",
        "put the images there.",
    )


def test_train_on_one_field(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", "a")
    assert mistake(tmp_path, "train", "pairs") == (
        "pairs: only one field of view ('a'), at least two are needed, one of them to validate on.",
        "add images of another field, or a column 'fov' that tells the fields apart.",
    )


def test_train_with_an_impossible_option(tmp_path: Path) -> None:
    assert mistake(tmp_path, "train", "pairs", "--steps", 0) == (
        "options: steps = 0: input should be greater than or equal to 1.",
        "correct the value.",
    )
    assert mistake(tmp_path, "train", "pairs", "--select", "dye") == (
        "--select dye: is not COLUMN=VALUE.",
        "e.g. --select fov=3,4.",
    )


def test_export_of_what_is_no_checkpoint(place: Path) -> None:
    assert mistake(place, "export", "missing.safetensors", "--about", "about.toml") == (
        "missing.safetensors: does not exist.",
        "name a .safetensors checkpoint.",
    )
    save_file({"weight": np.zeros(3, np.float32)}, place / "foreign.safetensors")
    assert mistake(place, "export", "foreign.safetensors", "--about", "about.toml") == (
        "foreign.safetensors: is not a bmz-ddpm checkpoint.",
        "name the best.safetensors that bmz-ddpm train wrote.",
    )


def test_export_without_description(place: Path) -> None:
    assert mistake(place, "export", "run/best.safetensors", "--about", "missing.toml") == (
        "missing.toml: cannot be read (No such file or directory).",
        "check the path.",
    )
    assert not (place / "model.zip").exists()


def test_predict_writes_three_images(place: Path) -> None:
    write_image(place / "cells.tif")
    done = run(place, "predict", "run/best.safetensors", "cells.tif", "--out", "results", *QUICK)
    assert done.returncode == 0, done.stderr
    paths = [Path("results") / f"cells_{n}.tif" for n in ("denoised", "std", "entropy")]
    assert done.stdout.splitlines() == [str(path) for path in paths]
    names = {path.name for path in (place / "results").iterdir()}
    assert names == {path.name for path in paths} | {"cells_run.json"}
    for path in paths:
        with tifffile.TiffFile(place / path) as file:
            image, tags = file.asarray(), file.pages[0].tags
        assert image.shape == (70, 90)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        sizes = [tags[n].value[1] / tags[n].value[0] for n in ("YResolution", "XResolution")]
        assert sizes == pytest.approx(SIZE, rel=1e-6)
        assert "unit=micron" in tags["ImageDescription"].value


def test_predict_goes_on_after_a_broken_image(place: Path) -> None:
    write_image(place / "good.tif", (32, 32))
    (place / "broken.tif").write_bytes((place / "good.tif").read_bytes()[:1000])
    options = ("--steps", 1, "--samples", 1, "--tile", 0, "--out", "two")
    done = run(place, "predict", "run/best.safetensors", "broken.tif", "good.tif", *options)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: broken.tif: is not a readable image (")
    assert lines[1] == "fix:   is the file complete? save it again."
    assert "Traceback" not in done.stderr
    assert {path.name for path in (place / "two").iterdir()} == {
        "good_denoised.tif",
        "good_std.tif",
        "good_entropy.tif",
        "good_run.json",
    }
    assert done.stdout.count("good_") == 3


def test_predict_images_of_one_name(place: Path) -> None:
    (place / "other").mkdir()
    assert mistake(place, "predict", "run/best.safetensors", "a.tif", "other/a.png") == (
        "a.tif: another image is called 'a' too, results would be overwritten.",
        "denoise them in separate calls with different --out.",
    )


def test_predict_without_model(place: Path) -> None:
    assert mistake(place, "predict", "missing.zip", "cells.tif") == (
        "missing.zip: does not exist.",
        "name a model.",
    )


def test_predict_the_wrong_channels(place: Path) -> None:
    write_image(place / "two.tif", (2, 32, 32), "CYX")
    assert mistake(place, "predict", "run/best.safetensors", "two.tif", *QUICK) == (
        "two.tif: has 2 channels, the model takes 1.",
        "split the channels, or choose a model trained for them.",
    )


def test_predict_a_stack_that_was_cut(place: Path) -> None:
    path = write_image(place / "cut.tif", (4, 32, 32), "ZYX")
    path.write_bytes(path.read_bytes()[:5000])
    problem, fix = mistake(place, "predict", "run/best.safetensors", "cut.tif", *QUICK)
    assert problem.startswith("cut.tif: is not a readable image (")
    assert fix == "is the file complete? save it again."


def test_predict_nan(place: Path) -> None:
    values = np.ones((32, 32), np.float32)
    values[3, :5] = np.nan
    tifffile.imwrite(place / "nan.tif", values)
    assert mistake(place, "predict", "run/best.safetensors", "nan.tif", *QUICK) == (
        "nan.tif: 5 pixels are NaN or infinite, every pixel must be a number.",
        "replace them, e.g. by the local median.",
    )


def test_predict_into_a_file(place: Path) -> None:
    """Refused before the work, not after."""
    (place / "taken").touch()
    write_image(place / "small.tif", (32, 32))
    options = ("--out", "taken", *QUICK)
    problem, fix = mistake(place, "predict", "run/best.safetensors", "small.tif", *options)
    assert problem == f"{Path('taken/results')}: cannot be written (File exists)."
    assert fix == "choose another place for --out."


def test_predict_draws_a_preview(place: Path) -> None:
    write_image(place / "seen.tif")
    options = ("--out", "seen", "--preview", *QUICK)
    done = run(place, "predict", "run/best.safetensors", "seen.tif", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(Path("seen/seen_preview.png"))
    with Image.open(place / "seen/seen_preview.png") as picture:
        assert picture.width > 4 * 90
    assert tifffile.imread(place / "seen/seen_denoised.tif").shape == (70, 90)


def test_predict_with_a_place_that_is_none(place: Path) -> None:
    call = ("predict", "run/best.safetensors", "cells.tif", "--preview-at")
    assert mistake(place, *call, "middle") == (
        "--preview-at middle: is not Y,X, a row and a column in pixels.",
        "e.g. 512,300.",
    )
