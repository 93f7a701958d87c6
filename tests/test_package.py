"""Packages: what is in them, what is refused, and that they load again."""

import errno
import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from checks import EIGHT_BIT
from PIL import Image

from bmz_ddpm.config import AboutConfig
from bmz_ddpm.data.images import read_image
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.errors import CheckpointError, DataError, ExportError
from bmz_ddpm.package import build
from bmz_ddpm.package.build import export_package, validate
from bmz_ddpm.package.load import load_model
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
def package(
    checkpoint: Checkpoint, about: AboutConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("package") / "tiny.zip"
    export_package(checkpoint, about, SETTINGS, TILING, out)
    return out


@pytest.fixture(scope="module")
def rdf(package: Path) -> dict[str, Any]:
    with zipfile.ZipFile(package) as archive:
        loaded: dict[str, Any] = yaml.safe_load(archive.read("rdf.yaml"))
    return loaded


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
    assert measured["raw_psnr"] == pytest.approx(20 * np.log10(255) - 10 * np.log10(error))
    assert measured["raw_mae"] == pytest.approx(np.abs(raw - truth).mean())
    assert measured["raw_psnr"] + 5 < measured["blur_psnr"] < 40
    for name in ("raw", "blur", "denoised"):
        assert f"| {measured[f'{name}_mae']:.2f} | {measured[f'{name}_psnr']:.2f} |" in text
    assert "$" not in text


def test_cover_is_what_the_zoo_takes(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        data = archive.read("cover.png")
    picture = Image.open(io.BytesIO(data))
    assert len(data) < 500_000
    assert picture.width == 2 * picture.height


def test_exporting_twice_gives_the_same_tensors(
    package: Path, checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path
) -> None:
    again = tmp_path / "tiny.zip"
    export_package(checkpoint, about, SETTINGS, TILING, again)
    with zipfile.ZipFile(package) as a, zipfile.ZipFile(again) as b:
        for name in a.namelist():
            if name.startswith(("test_", "sample_", "architecture")):
                assert a.read(name) == b.read(name), name


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
    checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        export_package(checkpoint, about, SETTINGS, TILING, out)
    assert out.read_bytes() == b"the old package"
    assert list(tmp_path.iterdir()) == [out]


def test_full_disk_leaves_the_old_package(
    checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        export_package(checkpoint, about, SETTINGS, TILING, out)
    assert e.value.fix == "free some space, then repeat"
    assert out.read_bytes() == b"the old package"
    assert list(tmp_path.iterdir()) == [out]


def test_unwritable_place_is_refused_before_the_work(
    checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"model\.zip: cannot be written"):
        export_package(checkpoint, about, SETTINGS, TILING, tmp_path / "file" / "model.zip")


def test_wrong_names_and_images(checkpoint: Checkpoint, about: AboutConfig, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.pt: a package's name ends in \.zip"):
        export_package(checkpoint, about, SETTINGS, TILING, tmp_path / "model.pt")
    large = Tiling(1024, 32)
    with pytest.raises(DataError, match=r"is 192 x 192 pixels, the package's tile is 1024"):
        export_package(checkpoint, about, SETTINGS, large, tmp_path / "model.zip")
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
