"""What of the napari plugin works without napari: layers, the reader, the work in the thread."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from checks import EIGHT_BIT, photons
from torch.nn.modules import module

from bmz_ddpm.config import ModelConfig
from bmz_ddpm.data.images import write_tiff
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.diffusion.profiles import PROFILES
from bmz_ddpm.display.scale import grey_limits
from bmz_ddpm.errors import CheckpointError, DataError
from bmz_ddpm.napari import job
from bmz_ddpm.napari.layers import Place, place_of, result_layers
from bmz_ddpm.napari.reader import OUTPUTS, get_reader
from bmz_ddpm.napari.source import guess_axes, image_of
from bmz_ddpm.package.load import load_model
from bmz_ddpm.runtime.predictor import denoise
from bmz_ddpm.runtime.tiling import Tiling
from bmz_ddpm.train.checkpoint import build_denoiser, save_tensors

MANIFEST = Path(job.__file__).parent / "napari.yaml"


def tiny(path: Path) -> Path:
    """Write an untrained model."""
    torch.manual_seed(0)
    config = ModelConfig(
        in_channels=1, out_channels=1, network=SIZES["tiny"], num_train_steps=200,
        schedule_offset=8e-3, prediction="v", label="log_snr", intensity=EIGHT_BIT,
    )  # fmt: skip
    state = build_denoiser(config).state_dict()
    save_tensors(path, state, {"model": config.model_dump(), "info": {}})
    return path


def layer(values: np.ndarray, **given: Any) -> Any:
    """Return what is read of an image layer."""
    n = values.ndim - bool(given.get("rgb"))
    plain = {
        "name": "cells", "data": values, "ndim": n, "rgb": False, "multiscale": False,
        "scale": (1.0,) * n, "translate": (0.0,) * n, "units": ("pixel",) * n,
        "axis_labels": tuple(str(i - n) for i in range(n)),
        "rotate": np.eye(n), "shear": np.zeros(1), "affine": np.eye(n + 1),
    }  # fmt: skip
    return SimpleNamespace(**plain | given)


def volume(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def test_axes_are_guessed_from_labels_or_from_their_number() -> None:
    assert [guess_axes(layer(np.zeros((2,) * n))) for n in (2, 3, 4)] == ["yx", "zyx", "tzyx"]
    assert guess_axes(layer(np.zeros((2, 2, 2)), axis_labels=("Time", "Y", "X"))) == "tyx"
    assert guess_axes(layer(np.zeros((2, 2, 2)), axis_labels=("left", "up", "x"))) == "zyx"
    assert guess_axes(layer(np.zeros((2, 2, 3)), rgb=True)) == "yxc"


def test_a_layer_keeps_its_place() -> None:
    given = layer(volume(3, 4, 5), scale=(2.0, 0.1, 0.2), units=("s", "um", "um"))
    image, place = image_of(given, "tyx", None)
    np.testing.assert_array_equal(image, given.data)
    said = place.arguments("tyx")
    assert said["scale"] == (2.0, 0.1, 0.2)
    assert said["units"] == ("s", "um", "um")
    assert (said["affine"] == np.eye(4)).all()


def test_one_plane_of_a_layer_stays_where_it_was() -> None:
    given = layer(volume(3, 4, 5), scale=(2.0, 0.1, 0.1), translate=(10.0, 1.0, 0.0))
    image, place = image_of(given, "zyx", (2, 0, 0))
    np.testing.assert_array_equal(image, given.data[2:])
    assert place.arguments("zyx")["translate"] == (14.0, 1.0, 0.0)
    beyond, _ = image_of(given, "zyx", (9, 0, 0))
    np.testing.assert_array_equal(beyond, given.data[2:])


def test_colour_and_pyramids() -> None:
    image, place = image_of(layer(volume(4, 5, 3), rgb=True), "yxc", None)
    assert image.dims == ("c", "y", "x")
    assert place.axes == "yx"
    levels = [volume(8, 8), volume(4, 4)]
    pyramid = layer(volume(8, 8), multiscale=True)
    pyramid.data = levels
    assert image_of(pyramid, "yx", None)[0].shape == (8, 8)


def test_axes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"cells: has 3 axes \(2 x 4 x 5\) but 'yx' names 2"):
        image_of(layer(volume(2, 4, 5)), "yx", None)
    with pytest.raises(DataError, match="cells: axes 'zz': must be different letters"):
        image_of(layer(volume(4, 5)), "zz", None)


def test_results_become_layers_in_order() -> None:
    values = np.linspace(0, 100, 64, dtype=np.float32).reshape(8, 8)
    image = xr.DataArray(values, dims=("y", "x"))
    results = {name: (i + 1) * image for i, name in enumerate(OUTPUTS)}
    place = Place("yx", {"scale": (0.1, 0.2)})
    found = {a["name"]: (data, a) for data, a, _ in result_layers(results, "cells", place, {})}
    assert list(found)[-1] == "cells_denoised"  # on top
    assert set(found) == {f"cells_{name}" for name in OUTPUTS}
    assert [name for name, (_, a) in found.items() if a["visible"]] == ["cells_denoised"]
    assert {a["scale"] for _, a in found.values()} == {(0.1, 0.2)}
    grey = grey_limits(values.ravel())
    for name in ("denoised", "lower", "upper"):  # comparable by eye
        assert found[f"cells_{name}"][1]["contrast_limits"] == grey
    data, std = found["cells_std"]
    np.testing.assert_array_equal(data, 2 * values)
    assert std["contrast_limits"][0] == 0
    assert std["colormap"] == "magma"


def test_a_layer_per_channel() -> None:
    image = xr.DataArray(np.zeros((2, 3, 4, 5)), dims=tuple("zcyx"))
    image.attrs = {"channel_names": ("DAPI", "", "GFP"), "pixel_size": (0.1, 0.2)}
    found = result_layers({"std": image}, "cells", place_of(image), {})
    names = [a["name"] for _, a, _ in found]
    assert names == ["cells_std DAPI", "cells_std channel 2", "cells_std GFP"]
    for data, said, kind in found:
        assert data.shape == (2, 4, 5)
        assert said["scale"] == (1.0, 0.1, 0.2)
        assert said["units"] == ("pixel", "micrometer", "micrometer")
        assert kind == "image"


def write_set(folder: Path, name: str = "cells", ending: str = ".tif", **attrs: Any) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for i, output in enumerate(("denoised", "std", "entropy")):
        image = xr.DataArray(np.full((6, 8), i, np.float32), dims=("y", "x"), attrs=attrs)
        write_tiff(folder / f"{name}_{output}{ending}", image)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
def test_one_file_brings_the_others_and_the_noisy_image(tmp_path: Path, ending: str) -> None:
    write_set(tmp_path / "denoised", ending=ending, pixel_size=(0.5, 0.25))
    noisy = xr.DataArray(np.full((6, 8), 9, np.uint16), dims=("y", "x"))
    write_tiff(tmp_path / "cells.tif", noisy, np.uint16)
    path = str(tmp_path / "denoised" / f"cells_std{ending}")
    reader = get_reader([path, path])
    assert reader
    found = {a["name"]: (data, a) for data, a, _ in reader([path, path])}
    assert list(found) == ["cells", "cells_std", "cells_entropy", "cells_denoised"]
    assert found["cells"][0].max() == 9
    assert found["cells_std"][1]["scale"] == pytest.approx((0.5, 0.25))
    assert found["cells_std"][0].max() == 1


def test_a_noisy_image_of_another_size_is_another_image(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_tiff(tmp_path / "cells.tif", xr.DataArray(np.zeros((6, 9), np.uint8), dims=("y", "x")))
    reader = get_reader(str(tmp_path / "cells_denoised.tif"))
    assert reader
    found = [a["name"] for _, a, _ in reader(str(tmp_path / "cells_denoised.tif"))]
    assert found == ["cells_std", "cells_entropy", "cells_denoised"]


@pytest.mark.parametrize("name", ["cells.tif", "denoised.tif", "_denoised.tif", "a_denoised.png"])
def test_other_images_are_left_to_other_readers(name: str) -> None:
    assert get_reader(name) is None
    assert get_reader([name, "cells_denoised.tif"]) is None


def test_a_result_that_cannot_be_read(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "cells_std.tif").write_bytes(b"II*")
    reader = get_reader(str(tmp_path / "cells_denoised.tif"))
    assert reader
    with pytest.raises(DataError, match=r"cells_std\.tif: is not a readable image"):
        reader(str(tmp_path / "cells_denoised.tif"))


def test_the_widget_offers_all_samplers() -> None:
    """Read, not imported: it needs Qt."""
    source = (MANIFEST.parent / "widget.py").read_text()
    offered = ast.literal_eval(source.partition("\nPROFILES = ")[2].partition("\n")[0])
    assert offered[0] == "balanced"
    assert set(offered) == set(PROFILES)


def test_the_manifest_names_what_the_reader_reads() -> None:
    reader = yaml.safe_load(MANIFEST.read_text())["contributions"]["readers"][0]
    endings = (".tif", ".ome.tif", ".ome.zarr")
    assert set(reader["filename_patterns"]) == {f"*_{o}{e}" for e in endings for o in OUTPUTS}
    assert all(get_reader(p.replace("*", "cells")) for p in reader["filename_patterns"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> SamplerSettings:
    """What "balanced" is in this test."""
    chosen = SamplerSettings(1, 2, 0.0)
    monkeypatch.setitem(PROFILES, "balanced", chosen)
    return chosen


def test_the_job_is_what_predict_does(tmp_path: Path, quick: SamplerSettings) -> None:
    path = tiny(tmp_path / "best.safetensors")
    image = xr.DataArray(photons(70, 90)[0, 0], dims=("y", "x"))
    tiles: list[tuple[int, int]] = []
    notes: list[str] = []
    chosen = job.Settings(path)
    results = job.run(image, "cells", chosen, lambda *t: tiles.append(t), notes.append, bool)
    assert tiles == [(0, 1), (1, 1)]
    assert notes == []
    backend = load_model(path, quick).backend
    for name, expected in denoise(image, backend, Tiling(256, 32)).items():
        np.testing.assert_array_equal(results[name], expected)


def test_a_checkpoint_stops_between_two_layers(tmp_path: Path) -> None:
    """The paper's sampler would take minutes for this tile."""
    path = tiny(tmp_path / "best.safetensors")
    image = xr.DataArray(photons(32, 32)[0, 0], dims=("y", "x"))
    asked = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 20

    chosen = job.Settings(path, profile="paper")
    with pytest.raises(job.Cancelled):
        job.run(image, "cells", chosen, lambda *_: None, print, stopped)
    assert len(asked) == 21
    assert not module._global_forward_pre_hooks


def test_what_the_job_refuses(tmp_path: Path) -> None:
    path = tiny(tmp_path / "best.safetensors")
    image = xr.DataArray(np.ones((32, 32)), dims=("y", "x"))

    def run(image: xr.DataArray, path: Path) -> None:
        job.run(image, "cells", job.Settings(path), lambda *_: None, print, bool)

    with pytest.raises(CheckpointError, match=r"missing\.zip: does not exist"):
        run(image, tmp_path / "missing.zip")
    with pytest.raises(DataError, match="cells: 1024 pixels are NaN or infinite"):
        run(image * np.nan, path)
    with pytest.raises(DataError, match="cells: pixel type complex128 is not supported"):
        run(image * 1j, path)
    with pytest.raises(DataError, match="cells: has 3 channels, the model takes 1"):
        run(image.expand_dims(c=3), path)


@pytest.mark.usefixtures("quick")
def test_grey_levels_of_another_camera_are_said(tmp_path: Path) -> None:
    path = tiny(tmp_path / "best.safetensors")
    notes: list[str] = []
    image = xr.DataArray(np.full((8, 8), 900.0), dims=("y", "x"))
    job.run(image, "cells", job.Settings(path), lambda *_: None, notes.append, bool)
    assert notes == ["cells: 100.0% of the pixels are above 255, where the model's range ends"]
