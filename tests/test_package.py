"""Packages: what is in them, what is refused, and that they load again."""

import errno
import hashlib
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import xarray as xr
import yaml
from checks import EIGHT_BIT
from PIL import Image

from bmz_ddpm.about import AboutConfig, Speed
from bmz_ddpm.config import Calibration
from bmz_ddpm.data.images import read_image
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.diffusion.profiles import PROFILES
from bmz_ddpm.distill.fit import first_student
from bmz_ddpm.errors import CheckpointError, ConfigError, DataError, ExportError
from bmz_ddpm.package import build, cover
from bmz_ddpm.package.build import export_packages, targets_of, validate
from bmz_ddpm.package.document import write_document
from bmz_ddpm.package.job import Job, Measured
from bmz_ddpm.package.load import load_model
from bmz_ddpm.package.profiles import CORE, ILASTIK, profiles_for
from bmz_ddpm.package.tensors import load_field
from bmz_ddpm.runtime.predictor import denoise
from bmz_ddpm.runtime.tiling import Tiling
from bmz_ddpm.train.checkpoint import Checkpoint, build_denoiser, save_tensors

REPOSITORY = Path(__file__).parent.parent
RECIPE = REPOSITORY / "packaging" / "recipes" / "fmd-confocal"
SETTINGS = SamplerSettings(2, 2, 1.0)
TILING = Tiling(96, 32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """An untrained tiny model, written and read again."""
    header = {
        "in_channels": 1,
        "out_channels": 1,
        "network": SIZES["tiny"],
        "num_train_steps": 200,
        "schedule_offset": 8e-3,
        "prediction": "v",
        "label": "log_snr",
        "intensity": EIGHT_BIT.model_dump(),
    }
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    torch.manual_seed(0)
    from bmz_ddpm.config import ModelConfig

    denoiser = build_denoiser(ModelConfig(**header))
    denoiser.out_gain.data.fill_(0.3)
    denoiser.embedding.gains.data.fill_(0.5)
    save_tensors(path, denoiser.state_dict(), {"model": header})
    return Checkpoint.load(path)


@pytest.fixture(scope="module")
def about(tmp_path_factory: pytest.TempPathFactory) -> AboutConfig:
    """The middle 192 x 192 pixels of the zebrafish."""
    folder = tmp_path_factory.mktemp("field")
    for name in ("raw", "reference"):
        image = read_image(RECIPE / f"zebrafish_{name}.tif").values[160:352, 160:352]
        tifffile.imwrite(folder / f"{name}.tif", image)
    return AboutConfig(
        name="Tiny test model", image=folder / "raw.tif", reference=folder / "reference.tif"
    )


@pytest.fixture(scope="module")
def job(checkpoint: Checkpoint, about: AboutConfig) -> Job:
    return Job(checkpoint, about, SETTINGS, TILING)


@pytest.fixture(scope="module")
def both(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Profile name to package, exported together."""
    targets = targets_of([CORE, ILASTIK], tmp_path_factory.mktemp("package") / "tiny.zip")
    export_packages(job, targets)
    return {profile.name: path for profile, path in targets.items()}


@pytest.fixture(scope="module")
def package(both: dict[str, Path]) -> Path:
    return both["core"]


def rdf_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        loaded: dict[str, Any] = yaml.safe_load(archive.read("rdf.yaml"))
    return loaded


@pytest.fixture(scope="module")
def rdf(package: Path) -> dict[str, Any]:
    return rdf_of(package)


def entries(value: Any) -> list[dict[str, Any]]:
    """Every mapping with a source in an rdf."""
    if isinstance(value, dict):
        own = [value] if "source" in value else []
        return own + [e for v in value.values() for e in entries(v)]
    return [e for v in value for e in entries(v)] if isinstance(value, list) else []


def test_every_file_is_there_with_its_hash(package: Path, rdf: dict[str, Any]) -> None:
    with zipfile.ZipFile(package) as archive:
        named = {entry["source"]: entry["sha256"] for entry in entries(rdf)}
        assert len(named) == 12
        for name, sha in named.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == sha
        rest = set(archive.namelist()) - set(named)
        assert rest == {"rdf.yaml", rdf["documentation"], *rdf["covers"]}


def test_rules_of_the_readers(rdf: dict[str, Any]) -> None:
    """Rules that a valid rdf.yaml can break, with programs then failing silently."""
    assert rdf["format_version"] == "0.5.10"
    assert isinstance(rdf["documentation"], str)
    assert all(isinstance(cover, str) for cover in rdf["covers"])
    assert "run_mode" not in rdf
    assert rdf["id"] == "tiny-test-model"  # without it, `config` crashes JDLL
    weights = rdf["weights"]
    assert weights["torchscript"]["pytorch_version"] == "2.0.0"
    assert weights["torchscript"]["parent"] == weights["onnx"]["parent"] == "pytorch_state_dict"
    assert weights["torchscript"]["source"] == "weights.pt"
    assert "dependencies" not in weights["torchscript"]
    for tensor in rdf["inputs"] + rdf["outputs"]:
        assert [a["type"] for a in tensor["axes"]] == ["batch", "channel", "space", "space"]
        assert not tensor.get("preprocessing")
        assert not tensor.get("postprocessing")
        assert {"test_tensor", "sample_tensor"} <= set(tensor)
    assert [a["size"] for a in rdf["inputs"][0]["axes"][2:]] == [96, 96]
    for tensor in rdf["outputs"]:
        for axis in tensor["axes"][2:]:
            assert axis["halo"] == 32
            assert axis["size"]["tensor_id"] == "raw"
    assert [t["id"] for t in rdf["outputs"]] == ["denoised", "std", "entropy"]


def test_readme_holds_the_measured_numbers(
    package: Path, rdf: dict[str, Any], about: AboutConfig
) -> None:
    assert about.reference is not None
    raw, truth = (read_image(p).values.astype(float) for p in (about.image, about.reference))
    with zipfile.ZipFile(package) as archive:
        text = archive.read("README.md").decode()
    assert "\n## Validation\n" in text
    measured = rdf["config"]["bmz_ddpm"]["measured"]["validation"]
    error = np.mean((raw - truth) ** 2)
    assert measured["raw_psnr"] == pytest.approx(
        20 * np.log10(255) - 10 * np.log10(error), abs=0.01
    )
    assert measured["raw_mae"] == pytest.approx(np.abs(raw - truth).mean(), rel=1e-3)
    assert measured["raw_psnr"] + 5 < measured["blur_psnr"] < 40
    for name in ("raw", "blur", "denoised"):
        assert f"| {measured[f'{name}_mae']:.2f} | {measured[f'{name}_psnr']:.2f} |" in text
        assert measured[f"{name}_fitted_psnr"] >= measured[f"{name}_psnr"]
    assert "$" not in text


def test_readme_tells_what_was_measured_on_images_that_are_not_shipped(job: Job) -> None:
    def row(method: str, psnr: float, **more: float) -> dict[str, Any]:
        return {
            "data": "Ten fields",
            "method": method,
            "mae": 4.5,
            "psnr": psnr,
            "psnr_fitted": psnr + 1,
            "ms_ssim": 0.9,
        } | more

    rows = (row("noisy", 20.0), row("average of 15", 31.25, spread_skill=0.5))
    about = AboutConfig(image=job.about.image, validation=rows)
    text = write_document(replace(job, about=about), CORE, "x.zip", Measured({}, None, 1.0))
    assert "Ten fields, means over fields of view:" in text
    assert "| average of 15 | 4.50 | 31.25 | 32.25 | 0.900 |" in text
    assert "0.50 times the real error: it is over-confident by 2.0 times" in text
    assert "Not measured" not in text
    without = replace(job, about=AboutConfig(image=job.about.image))
    assert "Not measured" in write_document(without, CORE, "x.zip", Measured({}, None, 1.0))


def test_readme_tells_times_of_as_many_passes_alone(job: Job) -> None:
    """The one-pass package must not repeat the hours of the sampler it was distilled from."""
    passes = job.settings.network_passes
    times = ((229.0, passes), (3.5, passes + 1), (4.25, None))
    speed = [Speed(machine="a", engine="b", seconds_per_megapixel=s, passes=p) for s, p in times]
    measured = Measured({}, None, 1.0)
    about = AboutConfig(image=job.about.image, speed=speed)
    text = write_document(replace(job, about=about), CORE, "x.zip", measured)
    assert "| a | b | 229 |\n| a | b | 4.25 |" in text
    assert "3.5 |" not in text
    other = AboutConfig(image=job.about.image, speed=speed[1:2])
    assert "Not timed" in write_document(replace(job, about=other), CORE, "x.zip", measured)


def test_pixel_size_of_the_settings_where_the_file_has_none(about: AboutConfig) -> None:
    """And the scale bar that it draws: 50 of 500 pixels of 0.2 µm, white, at the lower left."""
    sized = about.model_copy(update={"pixel_size": (0.2, 0.2)})
    assert load_field(about, 1, TILING).pixel_size is None
    assert load_field(sized, 1, TILING).pixel_size == (0.2, 0.2)
    black = np.zeros((500, 500), np.uint8)
    picture = np.asarray(cover.side_by_side([("x", black)], 500, 500 + cover.BAND, 0.2))
    bar = np.flatnonzero(picture[-15] == 255)
    assert (bar.min(), len(bar)) == (12, 20 / 0.2 + 1)


def test_cover_is_what_the_zoo_takes(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        data = archive.read("cover.png")
        second = archive.read("uncertainty.png")
    picture = Image.open(io.BytesIO(data))
    assert len(data) < 500_000
    assert picture.width == 2 * picture.height
    assert len(second) < 500_000
    assert Image.open(io.BytesIO(second)).size == (800, 800)


def test_a_picture_full_of_noise_is_made_smaller() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900), np.uint8))
    data = cover._png(noise)
    assert len(data) < 500_000
    width, height = Image.open(io.BytesIO(data)).size
    assert 400 < width == height < 900


def test_exporting_twice_gives_the_same_files(package: Path, job: Job, tmp_path: Path) -> None:
    """All but scripted ones: names in them count what this process has scripted before."""
    again = tmp_path / "tiny.zip"
    export_packages(job, {CORE: again})
    with zipfile.ZipFile(package) as a, zipfile.ZipFile(again) as b:
        assert a.namelist() == b.namelist()
        for name in set(a.namelist()) - {"weights.pt", "weights.onnx", "rdf.yaml"}:
            assert a.read(name) == b.read(name), name


def test_torchscript_file_tells_nothing_about_the_author(package: Path) -> None:
    """No record with the paths of our sources, and no path in the others."""
    with zipfile.ZipFile(package) as outer:
        data = outer.read("weights.pt")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not [n for n in archive.namelist() if n.endswith("debug_pkl")]
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}
    assert str(REPOSITORY).encode() not in data


def test_profiles_hold_the_same_image(both: dict[str, Path], job: Job) -> None:
    """One output for ilastik: from 0 to 1, axes as the input's; back in grey levels it is equal."""
    entry = rdf_of(both["ilastik"])
    assert [t["id"] for t in entry["outputs"]] == ["result"]
    axes = entry["outputs"][0]["axes"]
    assert axes[1]["channel_names"] == ["mean", "std", "entropy"]
    assert [a["type"] for a in axes] == [a["type"] for a in entry["inputs"][0]["axes"]]
    assert set(entry["weights"]) == {"pytorch_state_dict", "torchscript"}
    tensors = {}
    for name, path in both.items():
        with zipfile.ZipFile(path) as archive:
            for file in archive.namelist():
                if file.startswith("test_"):
                    tensors[name, file[5:-4]] = np.load(io.BytesIO(archive.read(file)))
    result = tensors["ilastik", "result"]
    assert result.shape == (1, 3, 96, 96)
    assert result.dtype == np.float32
    assert 0 <= result.min() < result.max() <= 1
    for channel, statistic, scale in (
        (0, "denoised", 255),
        (1, "std", 255),
        (2, "entropy", np.log(2)),
    ):
        expected = tensors["core", statistic][:, 0]
        np.testing.assert_allclose(result[:, channel] * scale, expected, rtol=1e-6, atol=1e-4)
    image = tensors["core", "raw"]
    ours = [load_model(path, SETTINGS).backend(image) for path in both.values()]
    for core, ilastik in zip(*ours, strict=True):
        np.testing.assert_allclose(core, ilastik, atol=0.0255)


def test_each_package_says_whom_it_is_for(both: dict[str, Path]) -> None:
    for name, programs in (("core", "Fiji (deepImageJ)"), ("ilastik", "ilastik and QuPath")):
        entry = rdf_of(both[name])
        with zipfile.ZipFile(both[name]) as archive:
            text = archive.read("README.md").decode()
        assert f"This package is for {programs}" in text
        assert text.startswith(f"# {entry['name']}\n")
        assert f"bmz-ddpm predict {both[name].name}" in text
        assert entry["config"]["bmz_ddpm"]["profile"] == name
    assert rdf_of(both["ilastik"])["config"]["bmz_ddpm"]["consumers"] == ["ilastik", "qupath"]
    assert rdf_of(both["ilastik"])["id"] == "tiny-test-model-ilastik"


@pytest.fixture(scope="module")
def calibrated(job: Job) -> Job:
    found = Calibration(
        sampler=SETTINGS.kind, guarantee="field", alpha=0.1, delta=0.2, spread=4.0,
        floor=(1.0, 0.0, 20.0), below=1.5, above=2.0, std_factor=2.25, fit_fields=1, fields=12,
        coverage=0.912, worst_coverage=0.88, best_coverage=0.93, left_out=True, length=12.3,
        plain_coverage=0.61, plain_length=5.0, scaled_length=15.25, scaled_factor=5.0,
        match_intensity=True, range_low=(0, 9), range_high=(200, 255),
        noise_low=3.0, noise_high=30.0,
    )  # fmt: skip
    return replace(job, checkpoint=job.checkpoint.with_calibration(found))


def test_a_checkpoint_keeps_one_calibration_per_sampler(calibrated: Job, tmp_path: Path) -> None:
    calibrated.checkpoint.save(tmp_path / "c.safetensors")
    again = Checkpoint.load(tmp_path / "c.safetensors")
    found = again.calibration(SETTINGS)
    assert found == calibrated.calibration
    assert found is not None
    assert again.calibration(replace(SETTINGS, seed=5, samples_per_pass=2)) == found
    assert again.calibration(replace(SETTINGS, num_steps=3)) is None
    other = found.model_copy(update={"sampler": replace(SETTINGS, num_steps=3).kind})
    both = again.with_calibration(other)
    newer = both.with_calibration(found.model_copy(update={"fields": 40}))
    kept = {c.sampler["num_steps"]: c.fields for c in newer.config.calibrations}
    assert kept == {3: 12, SETTINGS.num_steps: 40}
    model = load_model(tmp_path / "c.safetensors", SETTINGS)
    assert model.calibration == found
    assert len(model.backend(np.ones((1, 1, 32, 32), np.float32))) == 5
    assert len(again.sampler(SETTINGS)(torch.ones(1, 1, 32, 32))) == 3


def test_calibrated_packages_give_intervals(calibrated: Job, tmp_path: Path) -> None:
    """Five outputs in the core profile, with what was found; the one for ilastik stays."""
    targets = targets_of([CORE, ILASTIK], tmp_path / "tiny.zip")
    export_packages(calibrated, targets)
    rdf = rdf_of(targets[CORE])
    assert [t["id"] for t in rdf["outputs"]] == ["denoised", "std", "entropy", "lower", "upper"]
    architecture = rdf["weights"]["pytorch_state_dict"]["architecture"]
    assert architecture["callable"] == "CalibratedSampler"
    tolerances = rdf["config"]["bioimageio"]["reproducibility_tolerance"]
    assert tolerances[0]["output_ids"] == ["denoised", "std", "lower", "upper"]
    measured = rdf["config"]["bmz_ddpm"]["measured"]["difference_from_eager"]
    assert measured["onnx"]["interval"] < 1e-4
    tensors = {}
    with zipfile.ZipFile(targets[CORE]) as archive:
        text = archive.read("README.md").decode()
        for name in ("raw", "denoised", "lower", "upper"):
            tensors[name] = np.load(io.BytesIO(archive.read(f"test_{name}.npy")))
    assert (tensors["lower"] < tensors["denoised"]).all()
    assert (tensors["denoised"] < tensors["upper"]).all()
    for engine in ("onnx", "torchscript"):
        model = load_model(targets[CORE], SETTINGS, engine)
        assert model.calibration == calibrated.calibration
        result = denoise(
            xr.DataArray(tensors["raw"][0], dims=("c", "y", "x")), model.backend, TILING
        )
        assert list(result) == ["denoised", "std", "entropy", "lower", "upper"]
        middle = (..., slice(32, 64), slice(32, 64))
        expected = tensors["upper"][0][middle]
        np.testing.assert_allclose(result["upper"].values[middle], expected, atol=0.0255)
    assert "| lower | lower end of the calibrated interval | grey levels |" in text
    assert "at least 90% of the pixels lie inside, with a probability of 80%" in text
    assert "1 field of view decided its form, 12 others its width" in text
    assert "brought to the gain and offset of its noisy one" in text
    assert "91.2% of the pixels inside, 88.0% to 93.0% by field" in text
    assert "Mean ± 1.645 std held 61.0%; a multiple of std that holds as many" in text
    assert "multiplied by 2.25 it is the root mean square error" in text
    assert "| pixels whose entropy differs | lower, upper |\n|---|---|---|---|---|\n" in text
    ilastik = rdf_of(targets[ILASTIK])
    assert [t["id"] for t in ilastik["outputs"]] == ["result"]
    assert "calibration" not in ilastik["config"]["bmz_ddpm"]


def test_what_is_not_known_is_not_said(calibrated: Job) -> None:
    found = calibrated.calibration
    assert found is not None
    less = {"left_out": False, "scaled_length": None, "std_factor": None, "match_intensity": False}
    bare = calibrated.checkpoint.with_calibration(found.model_copy(update=less))
    text = write_document(
        replace(calibrated, checkpoint=bare), CORE, "x.zip", Measured({}, None, 1.0)
    )
    assert "in the very fields that decided the width: expect a little less" in text
    assert "held 61.0%. lower and upper are for single pixels" in text
    assert "multiple of std that" not in text
    assert "root mean square error found" not in text
    assert "brought to the gain" not in text


def test_profiles_for_programs() -> None:
    """--for qpath: unknown (did you mean 'qupath'?)"""
    assert profiles_for([]) == [CORE]
    assert profiles_for(["zoo", "fiji"]) == [CORE]
    assert profiles_for(["qupath"]) == [ILASTIK]
    assert profiles_for(["ilastik", "core"]) == [CORE, ILASTIK]
    with pytest.raises(ConfigError, match=r"--for qpath: unknown \(did you mean 'qupath'\?\)"):
        profiles_for(["qpath"])
    assert targets_of([ILASTIK], Path("a.zip")) == {ILASTIK: Path("a.zip")}
    both = targets_of([CORE, ILASTIK], Path("x/a.zip"))
    assert both == {CORE: Path("x/a.zip"), ILASTIK: Path("x/a-ilastik.zip")}


def test_channels_of_an_image_with_several() -> None:
    names = ILASTIK.outputs[0].channel_names(["red", "green"])
    assert names == [
        "mean red", "mean green", "std red", "std green", "entropy red", "entropy green",
    ]  # fmt: skip


def test_weights_of_the_one_output_need_their_package(
    both: dict[str, Path], tmp_path: Path
) -> None:
    """weights.pt: gives 1 output, 3 are needed"""
    with zipfile.ZipFile(both["ilastik"]) as archive:
        archive.extract("weights.pt", tmp_path)
    model = load_model(tmp_path / "weights.pt", SETTINGS)
    with pytest.raises(CheckpointError, match=r"weights\.pt: gives 1 output, 3 are needed") as e:
        model.backend(np.ones((1, 1, 32, 32), np.float32))
    assert e.value.fix == "name the package that it is from"
    with pytest.raises(ConfigError, match="--engine onnx: the package has no ONNX weights"):
        load_model(both["ilastik"], SETTINGS, "onnx")


@pytest.mark.parametrize("engine", ["onnx", "torchscript"])
def test_package_loads_and_runs(package: Path, engine: str) -> None:
    model = load_model(package, SETTINGS, engine)
    assert (model.engine, model.tiling, model.in_channels) == (engine, TILING, 1)
    with zipfile.ZipFile(package) as archive:
        image = np.load(io.BytesIO(archive.read("test_raw.npy")))
        expected = np.load(io.BytesIO(archive.read("test_denoised.npy")))
    np.testing.assert_allclose(model.backend(image)[0], expected, atol=0.0255)


def test_unpacked_package_and_bare_weights_run_alike(package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    image = read_image(RECIPE / "zebrafish_raw.tif")[:150, :100]
    names = (
        package,
        tmp_path,
        tmp_path / "rdf.yaml",
        tmp_path / "weights.pt",
        tmp_path / "weights.onnx",
    )
    results = [
        denoise(image, load_model(name, SETTINGS).backend, TILING)["denoised"] for name in names
    ]
    assert results[0].shape == (150, 100)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=0.0255)


def test_invalid_rdf_is_refused(package: Path) -> None:
    """rdf.yaml: … license …"""
    with zipfile.ZipFile(package) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    validate(contents)
    rdf = contents["rdf.yaml"].replace(b"license: MIT", b"license: 'no such licence'")
    with pytest.raises(ExportError, match=r"rdf\.yaml: .*license"):
        validate(contents | {"rdf.yaml": rdf})


def test_disagreeing_format_is_not_written(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchscript: differs from eager … nothing was written"""
    out = tmp_path / "model.zip"
    out.write_bytes(b"the old package")
    good = build.torchscript_backend

    def off(path: Path) -> Any:
        backend = good(path)
        return lambda image: tuple(o + 1 for o in backend(image))

    monkeypatch.setattr(build, "torchscript_backend", off)
    with pytest.raises(
        ExportError, match=r"torchscript: differs from eager .* nothing was written"
    ):
        export_packages(job, {CORE: out})
    assert out.read_bytes() == b"the old package"
    assert list(tmp_path.iterdir()) == [out]


def test_full_disk_leaves_the_old_package(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """model.zip: could not be written (No space left on device)"""
    out = tmp_path / "model.zip"
    out.write_bytes(b"the old package")
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target == out:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"model\.zip: could not be written \(No space left") as e:
        export_packages(job, {CORE: out})
    assert e.value.fix == "free some space, then repeat"
    assert out.read_bytes() == b"the old package"
    assert list(tmp_path.iterdir()) == [out]


def test_unwritable_place_is_refused_before_the_work(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"model\.zip: cannot be written"):
        export_packages(job, {CORE: tmp_path / "file" / "model.zip"})


def test_wrong_names_and_images(job: Job, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.pt: a package's name ends in \.zip"):
        export_packages(job, {CORE: tmp_path / "model.pt"})
    large = replace(job, tiling=Tiling(1024, 32))
    with pytest.raises(DataError, match=r"is 192 x 192 pixels, the package's tile is 1024"):
        export_packages(large, {CORE: tmp_path / "model.zip"})
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_refused(package: Path, tmp_path: Path) -> None:
    cases: dict[str, str] = {
        "missing.zip": "missing.zip: does not exist",
        "broken.zip": "broken.zip: is not a readable zip file",
        "broken.pt": "broken.pt: is not a TorchScript file",
        "broken.onnx": "broken.onnx: is not a working ONNX file",
        "notes.txt": "notes.txt: is no model",
    }
    for name, message in cases.items():
        if not name.startswith("missing"):
            (tmp_path / name).write_text("this is text")
        with pytest.raises(CheckpointError, match=message):
            load_model(tmp_path / name, SETTINGS)


def test_foreign_package_is_sent_to_bioimageio(tmp_path: Path) -> None:
    (tmp_path / "rdf.yaml").write_text("name: somebody's model\nconfig: {}\n")
    with pytest.raises(CheckpointError, match="somebody's model: was not built by bmz-ddpm") as e:
        load_model(tmp_path, SETTINGS)
    assert e.value.fix == "run it with: bioimageio predict"


def test_a_package_of_the_student(
    checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path
) -> None:
    """Both kinds of package, run by every format; the names, texts and metadata say what it is."""
    agreement = {"images": 2, "difference": 0.01, "psnr_sampler": 30.0, "psnr_student": 29.9}
    agreement |= {"std_correlation": 0.95, "std_repeat": 0.97, "difference_repeat": 0.01}
    info = {"student": {"agreement": agreement}}
    whole = Checkpoint(checkpoint.config, checkpoint.denoiser, info, first_student(checkpoint))
    job = Job(whole, about, PROFILES["instant"], TILING)
    targets = targets_of([CORE, ILASTIK], tmp_path / "tiny.zip")
    export_packages(job, targets)
    image = read_image(about.image)
    results = []
    for profile, callable_name in ((CORE, "OnePass"), (ILASTIK, "StackedOnePass")):
        rdf = rdf_of(targets[profile])
        entry = rdf["weights"]["pytorch_state_dict"]["architecture"]
        assert entry["callable"] == callable_name
        assert "instant" in rdf["name"]
        assert rdf["config"]["bmz_ddpm"]["sampler"]["name"] == "instant"
        with zipfile.ZipFile(targets[profile]) as archive:
            document = " ".join(archive.read("README.md").decode().split())
        assert "goes through the network 1 time:" in document
        assert "its PSNR by -0.10 dB; the two std maps correlate by 0.95 (two of" in document
        loaded = load_model(targets[profile], SETTINGS)
        results.append(denoise(image, loaded.backend, TILING))
    for name in ("denoised", "std", "entropy"):
        np.testing.assert_allclose(results[0][name], results[1][name], atol=0.05)
    assert float(results[0]["std"].min()) > 0
