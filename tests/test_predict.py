"""Files of every kind through predict: pixels, metadata, memory, interruption."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import xarray as xr
import zarr
from predictions import (
    MODEL,
    QUICK,
    blur,
    counts,
    digest,
    predict,
    request,
    write_checkpoint,
    write_ome_tiff,
    write_zarr,
)

from bmz_ddpm.data.images import read_image
from bmz_ddpm.data.lazy import open_image, read_block
from bmz_ddpm.errors import ConfigError, DataError, MissingDependency
from bmz_ddpm.package.load import load_model
from bmz_ddpm.predict import run
from bmz_ddpm.predict.blocks import mirrored_places
from bmz_ddpm.predict.estimate import fit_memory, parse_memory, peak_memory
from bmz_ddpm.predict.journal import Journal
from bmz_ddpm.predict.plan import choose_tiling, make_grid
from bmz_ddpm.runtime.position import PlacedBackend
from bmz_ddpm.runtime.predictor import denoise
from bmz_ddpm.runtime.tiling import Tiling


def pixels(path: Path) -> np.ndarray:
    if path.suffix == ".zarr":
        return zarr.open_group(path, mode="r")["0"][...]
    return tifffile.imread(path)


def expected(values: np.ndarray, axes: str, tiling: Tiling) -> dict[str, np.ndarray]:
    import xarray as xr

    made = denoise(xr.DataArray(values, dims=tuple(axes)), blur, tiling)
    return {name: image.values for name, image in made.items()}


# --- reading


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tzcyx"])
@pytest.mark.parametrize("kind", ["imagej", "ome", "tiled", "plain", "zarr-0.4", "zarr-0.5"])
def test_opened_lazily_it_is_what_is_read_at_once(tmp_path: Path, axes: str, kind: str) -> None:
    values = counts(axes)
    if kind.startswith("zarr"):
        path = write_zarr(tmp_path / "a.zarr", values, axes, kind.removeprefix("zarr-"))
    elif kind == "imagej":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values, imagej=True, metadata={"axes": axes.upper()})
    elif kind == "plain":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values, photometric="minisblack", rowsperstrip=8, compression="zlib")
    else:
        tile = {"tile": (32, 32), "compression": "zlib"} if kind == "tiled" else {}
        path = write_ome_tiff(tmp_path / "a.ome.tif", values, axes, **tile)
    declared = axes if kind == "plain" else ""
    lazy, whole = open_image(path, declared), read_image(path, declared)
    assert lazy.dims == whole.dims
    assert lazy.dtype == whole.dtype
    np.testing.assert_array_equal(lazy.values, whole.values)
    for name, value in whole.attrs.items():
        assert lazy.attrs[name] == value
    part = read_block(path, lazy, y=slice(30, 41), x=slice(3, 90))
    np.testing.assert_array_equal(part, whole.values[..., 30:41, 3:90])


def test_big_endian_bigtiff_with_a_pyramid(tmp_path: Path) -> None:
    values = counts("yx")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", bigtiff=True, byteorder=">") as file:
        file.write(values, subifds=1, tile=(32, 32))
        file.write(values[::2, ::2], subfiletype=1, tile=(32, 32))
    tifffile.imwrite(tmp_path / "b.tif", values, byteorder=">")
    for name in ("a.ome.tif", "b.tif"):
        image = open_image(tmp_path / name)
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image.values, values)


@pytest.mark.parametrize(("start", "stop", "size"), [(-32, 100, 70), (-70, 300, 5), (0, 9, 9)])
def test_mirrored_as_numpy_does(start: int, stop: int, size: int) -> None:
    padded = np.pad(np.arange(size), (-start, stop - size), mode="symmetric")
    np.testing.assert_array_equal(mirrored_places(start, stop, size), padded)


# --- pixels


@pytest.mark.parametrize("axes", ["yx", "zyx", "tzcyx"])
@pytest.mark.parametrize("kind", ["tif", "ome-tif", "ome-zarr-0.4", "ome-zarr-0.5"])
def test_blocks_make_the_whole(tmp_path: Path, axes: str, kind: Any) -> None:
    values = counts(axes, "u1")
    source = write_zarr(tmp_path / "a.ome.zarr", values, axes)
    paths = predict(source, request(tmp_path / "out", format=kind))
    ending = {"tif": ".tif", "ome-tif": ".ome.tif"}.get(kind, ".ome.zarr")
    assert [p.name for p in paths] == [f"a_{n}{ending}" for n in ("denoised", "std", "entropy")]
    for path, (_, wanted) in zip(
        paths, expected(values, axes, Tiling(96, 32)).items(), strict=True
    ):
        found = read_image(path)
        assert (found.dims, found.dtype) == (tuple(axes), np.float32)
        np.testing.assert_array_equal(found.values, wanted)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {p.name for p in paths} | {"a_run.json"}


def test_block_size_and_order_change_nothing(tmp_path: Path) -> None:
    source = write_ome_tiff(tmp_path / "a.ome.tif", counts("zyx"), "zyx")
    results = []
    for number, more in enumerate(({"chunk": 32}, {"chunk": 96}, {"tile": 0})):
        paths = predict(source, request(tmp_path / str(number), **more))
        results.append([pixels(p) for p in paths])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)


def test_the_type_of_the_input(tmp_path: Path) -> None:
    values = counts("yx", "u1")
    source = write_zarr(tmp_path / "a.zarr", values, "yx")
    denoised, std, entropy = predict(source, request(tmp_path / "out", dtype="input"))
    wanted = expected(values, "yx", Tiling(96, 32))["denoised"]
    assert pixels(denoised).dtype == np.uint8
    np.testing.assert_array_equal(pixels(denoised), np.clip(np.rint(wanted), 0, 255))
    assert pixels(std).dtype == pixels(entropy).dtype == np.float32


def test_a_channel_by_name_and_by_number(tmp_path: Path) -> None:
    values = counts("cyx")
    source = write_ome_tiff(tmp_path / "a.ome.tif", values, "cyx")
    one = replace(MODEL, in_channels=1)
    for channel in ("GFP", "2"):
        path = predict(source, request(tmp_path / channel, channel=channel), one)[0]
        wanted = expected(values[1:], "cyx", Tiling(96, 32))["denoised"]
        np.testing.assert_array_equal(pixels(path).reshape(wanted.shape), wanted)
        described = ome_types.from_tiff(path).images[0].pixels
        assert [c.name for c in described.channels] == ["GFP"]
        assert described.channels[0].emission_wavelength == 509
    with pytest.raises(DataError, match="has 2 channels, the model takes 1"):
        predict(source, request(tmp_path / "both"), one)
    with pytest.raises(DataError, match="has no channel 'RFP'"):
        predict(source, request(tmp_path / "none", channel="RFP"), one)


def test_pyramids(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 99, (1100, 700)).astype(np.uint16)
    source = write_zarr(tmp_path / "a.zarr", values, "yx")
    wide = {"tile": 576, "chunk": 512}
    target = predict(source, request(tmp_path / "zarr", **wide))[0]
    group = zarr.open_group(target, mode="r")
    levels = group.attrs["multiscales"][0]["datasets"]
    assert [group[level["path"]].shape for level in levels] == [(1100, 700), (550, 350), (275, 175)]
    fine = group["0"][...]
    quarter = fine.reshape(550, 2, 350, 2).mean((1, 3))
    np.testing.assert_allclose(group["1"][...], quarter, rtol=1e-6)
    steps = [level["coordinateTransformations"] for level in levels]
    assert steps[1][0]["scale"] == pytest.approx([0.5, 0.2])
    assert steps[1][1]["translation"] == pytest.approx([0.125, 0.05])
    target = predict(source, request(tmp_path / "tif", format="ome-tif", **wide))[0]
    with tifffile.TiffFile(target) as file:
        assert [level.shape for level in file.series[0].levels] == [
            (1100, 700), (550, 350), (275, 175)]  # fmt: skip
        np.testing.assert_allclose(file.series[0].levels[1].asarray(), quarter, rtol=1e-6)
    target = predict(source, request(tmp_path / "flat", pyramid=False, **wide))[0]
    assert list(zarr.open_group(target, mode="r").array_keys()) == ["0"]


# --- metadata, read by others


def rich_xml(path: Path) -> str:
    """Return the OME-XML of a file with what a microscope adds to it."""
    ome = ome_types.from_tiff(path)
    ome.instruments = [
        ome_types.model.Instrument(
            id="Instrument:0",
            objectives=[ome_types.model.Objective(id="Objective:0", nominal_magnification=63)],
        )
    ]
    image = ome.images[0]
    image.acquisition_date = "2026-01-02T03:04:05"  # type: ignore[assignment]
    image.instrument_ref = ome_types.model.InstrumentRef(id="Instrument:0")
    sizes = image.pixels
    image.pixels.planes = [
        ome_types.model.Plane(the_z=z, the_t=t, the_c=c, delta_t=t + z / 10, exposure_time=0.05)
        for t in range(sizes.size_t) for z in range(sizes.size_z) for c in range(sizes.size_c)
    ]  # fmt: skip
    return ome_types.to_xml(ome)


@pytest.mark.parametrize("channel", ["", "GFP"])
def test_what_the_microscope_wrote_survives(tmp_path: Path, channel: str) -> None:
    source = write_ome_tiff(tmp_path / "a.ome.tif", counts("tzcyx"), "tzcyx")
    tifffile.tiffcomment(source, rich_xml(source).encode())
    tif = predict(source, request(tmp_path / "tif", channel=channel))[0]
    folder = predict(source, request(tmp_path / "zarr", channel=channel, format="ome-zarr"))[0]
    for ome in (
        ome_types.from_tiff(tif),
        ome_types.from_xml((folder / "OME" / "METADATA.ome.xml").read_text()),
    ):
        image = ome.images[0]
        assert ome.instruments[0].objectives[0].nominal_magnification == 63
        assert image.acquisition_date is not None
        assert image.acquisition_date.year == 2026
        found = image.pixels
        assert found.type.value == "float"
        assert (found.size_t, found.size_z, found.size_y, found.size_x) == (2, 3, 70, 100)
        assert (found.physical_size_x, found.physical_size_y) == (0.1, 0.25)
        assert (found.physical_size_z, found.time_increment) == (0.7, 2.5)
        names = [channel] if channel else ["DAPI", "GFP"]
        assert [c.name for c in found.channels] == names
        assert len(found.planes) == 6 * len(names)
        assert {p.the_c for p in found.planes} == set(range(len(names)))
        assert {p.exposure_time for p in found.planes} == {0.05}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_by_an_independent_reader(tmp_path: Path, version: str) -> None:
    from ome_zarr_models import v04, v05

    omero = {"channels": [{"label": n, "color": c, "active": True,
                           "window": {"min": 0, "max": 9, "start": 0, "end": 9}}
                          for n, c in (("DAPI", "0000FF"), ("GFP", "00FF00"))]}  # fmt: skip
    attributes = {"omero": omero, "microscope": {"gain": 7}}
    source = write_zarr(tmp_path / "a.zarr", counts("tzcyx"), "tzcyx", version,
                        channel_names=("DAPI", "GFP"), zarr=attributes)  # fmt: skip
    target = predict(source, request(tmp_path / "out"))[0]
    group = zarr.open_group(target, mode="r")
    if version == "0.5":
        attrs = v05.Image.from_zarr(group).ome_attributes  # compares the arrays, too
    else:
        attrs = v04.image.ImageAttrs.model_validate(group.attrs.asdict())
    multiscale = attrs.multiscales[0]
    axes = [(a.name, a.type, a.unit) for a in multiscale.axes]
    assert axes == [
        ("t", "time", "second"), ("c", "channel", None), ("z", "space", "micrometer"),
        ("y", "space", "micrometer"), ("x", "space", "micrometer"),
    ]  # fmt: skip
    scale = multiscale.datasets[0].coordinateTransformations[0].scale
    assert scale == pytest.approx([2.5, 1, 0.7, 0.25, 0.1])
    metadata = group.attrs.asdict()
    shown = metadata.get("ome", metadata)["omero"]["channels"]
    assert [(c["label"], c["color"]) for c in shown] == [
        ("DAPI", "0000FF"), ("GFP", "00FF00")]  # fmt: skip
    assert group.attrs["microscope"] == {"gain": 7}


def test_imagej_keeps_what_it_says(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    said = {"axes": "TZYX", "finterval": 2.5, "spacing": 0.7, "unit": "um", "Info": "laser 5 %"}
    tifffile.imwrite(source, counts("tzyx"), imagej=True, resolution=(10, 4), metadata=said)
    target = predict(source, request(tmp_path / "out"))[0]
    with tifffile.TiffFile(target) as file:
        found = file.imagej_metadata
        assert file.series[0].axes == "TZYX"
        assert found is not None
        assert {k: found[k] for k in ("finterval", "spacing", "Info")} == {
            k: said[k] for k in ("finterval", "spacing", "Info")}  # fmt: skip
    assert read_image(target).attrs["pixel_size"] == pytest.approx((0.25, 0.1))
    described = ome_types.from_tiff(predict(source, request(tmp_path / "o", format="ome-tif"))[0])
    assert described.images[0].description == "laser 5 %"
    assert described.images[0].pixels.time_increment == 2.5


def test_the_record_of_a_run(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("yx"), "yx")
    wanted = request(tmp_path / "out")
    predict(source, wanted)
    record = json.loads((tmp_path / "out" / "a_run.json").read_text())
    assert record["job"]["model_sha256"] == "0" * 64
    assert (record["job"]["tile"], record["job"]["halo"]) == (96, 32)
    assert record["outputs"] == [f"a_{n}.ome.zarr" for n in ("denoised", "std", "entropy")]
    assert run.is_finished(run.make_plan(source, wanted, MODEL, "0" * 64))
    assert not run.is_finished(run.make_plan(source, wanted, MODEL, "1" * 64))


# --- interrupted


def killed(path: Path, wanted: Any, moment: str, count: int) -> int:
    """Denoise in a process that dies when something happens for the n-th time."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        left, lock = count, threading.Lock()

        def dying(owner: Any, name: str, after: bool = False) -> None:
            real = getattr(owner, name)

            def step(*arguments: Any, **more: Any) -> Any:
                nonlocal left
                with lock:  # Zarr renames its chunks in threads
                    left -= 1
                    mine = left == 0
                if mine and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = real(*arguments, **more)
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            setattr(owner, name, step)

        from bmz_ddpm.predict import blocks, outputs

        places = {
            "before log": (Journal, "add", False), "after log": (Journal, "add", True),
            "store": (blocks, "as_type", False), "levels": (outputs, "write_metadata", False),
            "rename": (os, "replace", False), "renamed": (os, "replace", True),
            "record": (run, "write_record", True), "remove": (Journal, "remove", False),
        }  # fmt: skip
        dying(*places[moment])
        predict(path, wanted)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


@pytest.mark.parametrize("kind", ["tif", "ome-zarr"])
def test_killed_at_any_moment(tmp_path: Path, kind: Any) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("zyx"), "zyx")
    whole = predict(source, request(tmp_path / "whole", format=kind))
    out = tmp_path / "out"
    moments = [("before log", 3), ("after log", 5), ("store", 8), ("rename", 1), ("renamed", 1),
               ("rename", 2), ("renamed", 2), ("record", 1), ("remove", 1)]  # fmt: skip
    moments[3:3] = [("levels", 1)] if kind == "ome-zarr" else []
    for moment, count in moments:
        assert killed(source, request(out, format=kind), moment, count) == -signal.SIGKILL, moment
        for path in out.glob("a_*"):  # what has its name is complete
            if not path.name.endswith(".json"):
                assert digest(path) == digest(tmp_path / "whole" / path.name)
    done: list[int] = []
    predict(source, request(out, format=kind), progress=lambda n, *_: done.append(n))
    assert not done  # all blocks had been finished
    assert {p.name for p in out.iterdir()} == {p.name for p in whole} | {"a_run.json"}
    for path in whole:
        assert digest(out / path.name) == digest(path)


def test_a_block_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("zyx"), "zyx")
    whole = predict(source, request(tmp_path / "whole", chunk=32))
    out = tmp_path / "out"
    assert killed(source, request(out, chunk=32), "before log", 20) == -signal.SIGKILL
    stage = out / "a.unfinished"
    chunks = sorted(
        p for p in (stage / "denoised.zarr" / "0").rglob("*") if p.is_file() and p.name.isdecimal()
    )
    chunks[0].write_bytes(chunks[0].read_bytes()[:20])
    chunks[1].unlink()
    with (stage / "finished.txt").open("a") as log:
        log.write("27 123")  # a line that was cut
    done: list[int] = []
    predict(source, request(out, chunk=32), progress=lambda n, *_: done.append(n))
    assert len(done) == 3 * 12 - 19 + 2
    for path in whole:
        assert digest(out / path.name) == digest(path)


def test_another_run_in_the_same_place(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("yx"), "yx")
    assert killed(source, request(tmp_path), "before log", 3) == -signal.SIGKILL
    stage = tmp_path / "a.unfinished"
    with pytest.raises(ConfigError, match="holds an unfinished run with tile = 96, now it is 128"):
        predict(source, request(tmp_path, tile=128))
    journal = Journal(stage, json.loads((stage / "job.json").read_text()))
    with pytest.raises(ConfigError, match="another process is writing these results"):
        predict(source, request(tmp_path))
    journal.close()
    predict(source, request(tmp_path, chunk=0))  # goes on with the blocks it was begun with
    (tmp_path / "a_run.json").write_text("{")
    with pytest.raises(DataError, match=r"a_run\.json: cannot be read"):
        run.is_finished(run.make_plan(source, request(tmp_path), MODEL, ""))


# --- memory, dry run


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("2GB", 2e9), ("1.5 GiB", 1.5 * 2**30), ("800mb", 8e8), ("7", 7)]
)
def test_sizes_of_memory(text: str, size: float) -> None:
    assert parse_memory(text) == size


def test_no_size_of_memory() -> None:
    with pytest.raises(ConfigError, match="--memory lots: is no size"):
        parse_memory("lots")


def test_blocks_are_made_to_fit(tmp_path: Path) -> None:
    values = np.zeros((1200, 1200), np.uint16)
    values[0] = 1
    image = open_image(write_zarr(tmp_path / "a.zarr", values, "yx"))
    grid = make_grid(image, Tiling(96, 32), 0)
    assert grid.side == 1024
    assert fit_memory(image, grid, 3, 1, 10**9, 0).side == 1024
    small = fit_memory(image, grid, 3, 1, 10**7, 0)
    assert 32 <= small.side < 512
    with pytest.raises(ConfigError, match="blocks of a single tile of 96 pixels need"):
        fit_memory(image, grid, 3, 1, 10**7, 10**7)


def test_a_package_keeps_its_own_tiles_unless_others_are_asked_for() -> None:
    """Other programs have no choice: whoever compares must see the same image here."""
    image, own = xr.DataArray(np.zeros((1200, 1200)), dims=("y", "x")), Tiling(192, 32)
    assert choose_tiling(image, request(Path(), tile=None, halo=None), own) == own
    assert choose_tiling(image, request(Path(), tile=None, halo=None), None) == Tiling(448, 64)
    assert choose_tiling(image, request(Path(), tile=None, halo=32), own).halo == 32
    assert choose_tiling(image, request(Path(), tile=None, halo=96), own).halo == 96
    assert choose_tiling(image, request(Path(), tile=256, halo=None), own) == Tiling(256, 64)
    assert choose_tiling(image, request(Path(), tile=0, halo=None), own).inner >= 1200


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_peak_memory_is_at_least_what_is_held_now() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert 0.95 * held < peak_memory() < 50 * held


def test_dry_run_states_blocks_passes_memory_time(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("zyx"), "zyx")
    wanted = request(tmp_path / "out", chunk=32)
    lines = run.dry_run(run.make_plan(source, wanted, MODEL, ""), wanted)
    assert lines[0] == "a.zarr: 3 z x 70 y x 100 x, uint16"
    assert lines[1].startswith("36 blocks of up to 32 pixels")
    assert "36 tiles of 96 pixels (halo 32), 2 network passes each: 72 passes" in lines[2]
    assert "MB of memory per worker" in lines[3]
    assert "hours (one tile measured" in lines[4]
    assert "0 MB of results (denoised, std, entropy)" in lines[5]
    assert not (tmp_path / "out").exists()


def test_a_format_that_is_too_small(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("yx", "i2"), "yx")
    with pytest.raises(ConfigError, match="--format tif: the result is int16"):
        predict(source, request(tmp_path, format="tif", dtype="input"))
    from bmz_ddpm.predict.outputs import choose_format

    image, huge = open_image(source), (1, 40000, 40000)
    with pytest.raises(ConfigError, match=r"the result has 6\.4 GB, this format ends at 4 GB"):
        choose_format(Path("a.tif"), image, "tif", huge, np.dtype(np.float32))
    assert choose_format(Path("a.tif"), image, "auto", huge, np.dtype(np.float32)) == "ome-tif"


# --- noise


def test_places_give_the_same_noise_in_every_tile_and_frame(tmp_path: Path) -> None:
    model = load_model(write_checkpoint(tmp_path / "m.safetensors"), QUICK)
    values = np.tile(counts("yx", "u1")[None], (3, 1, 1))
    values[1] = np.random.default_rng(1).uniform(1, 250, values.shape[1:])
    source = write_zarr(tmp_path / "a.zarr", values, "tyx")
    wide = {"tile": 160, "halo": 64}
    shared = pixels(predict(source, request(tmp_path / "a", **wide), model)[0])
    record = json.loads((tmp_path / "a" / "a_run.json").read_text())
    assert record["job"]["noise"] == "position"
    np.testing.assert_array_equal(shared[0], shared[2])
    other = pixels(predict(source, request(tmp_path / "b", tile=224, halo=64), model)[0])
    np.testing.assert_allclose(shared, other, atol=2e-3)
    own = pixels(predict(source, request(tmp_path / "c", noise="content", **wide), model)[0])
    assert np.abs(own - shared).max() > 1e-3


def test_position_noise_does_not_depend_on_the_image(tmp_path: Path) -> None:
    model = load_model(write_checkpoint(tmp_path / "m.safetensors"), QUICK, "torch")
    assert isinstance(model.backend, PlacedBackend)
    [noise] = model.backend._noises
    import torch

    draws = torch.arange(2)
    images = [torch.rand(1, 1, 40, 50) * 255 for _ in range(2)]
    content = [noise(noise.places(i), draws, 0, 1) for i in images]
    noise.corner = (10, -7)
    here = [noise(noise.places(i), draws, 0, 1) for i in images]
    noise.corner = (12, -4)
    there = noise(noise.places(images[0]), draws, 0, 1)
    torch.testing.assert_close(here[0], here[1], rtol=0, atol=0)
    torch.testing.assert_close(here[0][..., 2:, 3:], there[..., :-2, :-3], rtol=0, atol=0)
    assert not torch.equal(content[0], content[1])
    assert abs(float(here[0].mean())) < 0.1
    assert float(here[0].std()) == pytest.approx(1, abs=0.1)


def test_an_engine_that_cannot_share_noise(tmp_path: Path) -> None:
    source = write_zarr(tmp_path / "a.zarr", counts("zyx"), "zyx")
    with pytest.raises(ConfigError, match=r"--noise position: model\.zip runs as onnx"):
        predict(source, request(tmp_path, noise="position"))
    said: list[str] = []
    predict(source, request(tmp_path / "out"), warn=said.append)
    assert said == [
        "model.zip runs as onnx, whose noise differs from plane to plane; with --engine torch "
        "they share it"
    ]


def test_clusters_need_distributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    source = write_zarr(tmp_path / "a.zarr", counts("yx"), "yx")
    with pytest.raises(MissingDependency, match="--scheduler needs distributed"):
        predict(source, request(tmp_path / "o", scheduler="tcp://127.0.0.1:1"))
