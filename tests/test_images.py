"""Images: what is read, what is written, what is refused and in which words."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import tifffile
import xarray as xr
from PIL import Image

from bmz_ddpm.data.images import read_image, write_tiff
from bmz_ddpm.errors import DataError

LENGTHS = {"T": 3, "Z": 4, "C": 2, "Y": 20, "X": 30}
SIZE = (0.25, 0.1)  # micrometre, y and x
Y_X = (1 / SIZE[0], 1 / SIZE[1])


def counts(axes: str, dtype: str = "u2") -> np.ndarray:
    shape = [LENGTHS[a] for a in axes]
    return np.random.default_rng(0).uniform(0, 250, shape).astype(dtype)


def imagej(path: Path, values: np.ndarray, axes: str, unit: str = "um") -> None:
    metadata = {"axes": axes, "unit": unit}
    tifffile.imwrite(path, values, imagej=True, metadata=metadata, resolution=Y_X[::-1])


def ome(path: Path, values: np.ndarray, axes: str, unit: str = "µm", scale: float = 1) -> None:
    metadata = {"axes": axes}
    for axis, size in zip("YX", SIZE, strict=True):
        metadata |= {f"PhysicalSize{axis}": size * scale, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(path, values, ome=True, metadata=metadata)


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        read_image(path)
    return caught.value.problem, caught.value.fix


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("axes", ["YX", "CYX", "ZCYX", "TZYX", "TZCYX"])
@pytest.mark.parametrize("write", [imagej, ome])
def test_tiff_is_read_as_written(tmp_path: Path, write: Callable, axes: str, dtype: str) -> None:
    values = counts(axes, dtype)
    write(tmp_path / "a.tif", values, axes)
    image = read_image(tmp_path / "a.tif")
    assert "".join(image.dims).upper() == axes
    assert image.dtype == values.dtype
    np.testing.assert_array_equal(image.values, values)
    assert image.attrs["pixel_size"] == pytest.approx(SIZE, rel=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "f4", "f8"])
def test_plain_tiff_is_read_as_written(tmp_path: Path, dtype: str) -> None:
    values = counts("YX", dtype)
    tifffile.imwrite(tmp_path / "a.TIFF", values, compression="zlib")
    image = read_image(tmp_path / "a.TIFF")
    assert image.dims == ("y", "x")
    assert "pixel_size" not in image.attrs
    np.testing.assert_array_equal(image.values, values)


def test_axes_come_in_the_documented_order(tmp_path: Path) -> None:
    values = counts("TCZYX")
    ome(tmp_path / "a.ome.tif", values, "TCZYX")
    image = read_image(tmp_path / "a.ome.tif")
    assert image.dims == ("t", "z", "c", "y", "x")
    np.testing.assert_array_equal(image.values, values.swapaxes(1, 2))


def test_pages_of_a_plain_tiff_are_planes_and_colours_are_channels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", counts("ZYX"), photometric="minisblack")
    assert read_image(tmp_path / "pages.tif").dims == ("z", "y", "x")
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    image = read_image(tmp_path / "rgb.tif")
    assert image.dims == ("c", "y", "x")
    np.testing.assert_array_equal(image.values, rgb.transpose(2, 0, 1))


@pytest.mark.parametrize(("unit", "scale"), [("nm", 1e3), ("mm", 1e-3), ("µm", 1), ("cm", 1e-4)])
def test_units_become_micrometre(tmp_path: Path, unit: str, scale: float) -> None:
    ome(tmp_path / "a.ome.tif", counts("YX"), "YX", unit, scale)
    assert read_image(tmp_path / "a.ome.tif").attrs["pixel_size"] == pytest.approx(SIZE)


def test_units_of_imagej_and_of_plain_tiff(tmp_path: Path) -> None:
    for unit in ("um", "micron", "microns", "\\u00b5m"):
        imagej(tmp_path / f"{unit[-3:]}.tif", counts("YX"), "YX", unit)
    resolution = (1e4 / SIZE[1], 1e4 / SIZE[0])  # pixels per centimetre
    tifffile.imwrite(tmp_path / "cm.tif", counts("YX"), resolution=resolution, resolutionunit=3)
    for path in tmp_path.iterdir():
        assert read_image(path).attrs["pixel_size"] == pytest.approx(SIZE), path


def test_an_unknown_or_impossible_pixel_size_is_absent(tmp_path: Path) -> None:
    ome(tmp_path / "pixel.ome.tif", counts("YX"), "YX", "pixel")
    ome(tmp_path / "zero.ome.tif", counts("YX"), "YX", scale=0)
    imagej(tmp_path / "ij.tif", counts("YX"), "YX", "pixel")
    tifffile.imwrite(tmp_path / "dpi.tif", counts("YX"), resolution=(72, 72), resolutionunit=2)
    for path in tmp_path.iterdir():
        assert "pixel_size" not in read_image(path).attrs, path


@pytest.mark.parametrize("axes", ["YX", "CYX", "ZCYX", "TZYX", "TZCYX"])
def test_written_imagej_tiff_by_its_tags(tmp_path: Path, axes: str) -> None:
    values = counts(axes)
    attrs = {"pixel_size": SIZE}
    write_tiff(tmp_path / "a.tif", xr.DataArray(values, dims=tuple(axes.lower()), attrs=attrs))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        sizes = [tags[n].value[1] / tags[n].value[0] for n in ("YResolution", "XResolution")]
        assert sizes == pytest.approx(SIZE, rel=1e-6)
        assert "unit=micron" in tags["ImageDescription"].value
        assert file.is_imagej
        assert file.series[0].axes == axes
        np.testing.assert_array_equal(file.asarray(), values.astype(np.float32))
        assert file.pages[0].dtype == np.float32
    assert read_image(tmp_path / "a.tif").attrs["pixel_size"] == pytest.approx(SIZE, rel=1e-6)


@pytest.mark.parametrize("axes", ["YX", "ZCYX"])
def test_written_ome_tiff_by_its_xml(tmp_path: Path, axes: str) -> None:
    values = counts(axes)
    attrs = {"pixel_size": SIZE}
    image = xr.DataArray(values, dims=tuple(axes.lower()), attrs=attrs)
    write_tiff(tmp_path / "a.ome.tif", image)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = next(
            e for e in ElementTree.fromstring(file.ome_metadata).iter() if "SizeX" in e.attrib
        )
        assert file.series[0].axes == axes
        np.testing.assert_array_equal(file.asarray(), values.astype(np.float32))
    assert [float(pixels.attrib[f"PhysicalSize{a}"]) for a in "YX"] == pytest.approx(SIZE)
    assert [pixels.attrib[f"PhysicalSize{a}Unit"] for a in "YX"] == ["µm", "µm"]


def test_transposed_and_without_pixel_size(tmp_path: Path) -> None:
    values = counts("CYX")
    write_tiff(
        tmp_path / "a.tif", xr.DataArray(values, dims=("c", "y", "x")).transpose("x", "c", "y")
    )
    image = read_image(tmp_path / "a.tif")
    assert image.dims == ("c", "y", "x")
    assert "pixel_size" not in image.attrs
    np.testing.assert_array_equal(image.values, values)


def test_png_is_read_as_written(tmp_path: Path) -> None:
    grey8, grey16 = counts("YX", "u1"), counts("YX") * 250
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 4)).astype(np.uint8)
    written = {
        "8": grey8,
        "16": grey16,
        "rgb": colours[..., :3],
        "rgba": colours,
        "la": colours[..., :2],
    }
    for name, values in written.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    found = {name: read_image(tmp_path / f"{name}.png") for name in written}
    for name, values in (("8", grey8), ("16", grey16), ("la", colours[..., 0])):
        assert found[name].dims == ("y", "x")
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name].values, values)
    for name in ("rgb", "rgba"):
        assert found[name].dims == ("c", "y", "x")
        np.testing.assert_array_equal(found[name].values, colours[..., :3].transpose(2, 0, 1))


def test_what_is_no_image_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.tif"
    assert refused(missing) == (f"{missing}: does not exist", "check the path")
    assert refused(tmp_path) == (
        f"{tmp_path}: is a folder, expected an image file",
        "name one image",
    )
    other = tmp_path / "a.jpg"
    other.write_bytes(b"x")
    assert refused(other) == (
        f"{other}: file type '.jpg' is not read, expected .tif, .tiff or .png",
        "save it as TIFF",
    )


@pytest.mark.parametrize("name", ["text.tif", "text.png"])
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_text_with_the_name_of_an_image(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    problem, fix = refused(path)
    assert problem.startswith(f"{path}: is not a readable image (")
    assert fix == "is the file complete? save it again"


def pages(path: Path, values: np.ndarray, axes: str) -> None:
    with tifffile.TiffWriter(path) as writer:
        for plane in values.reshape(-1, *values.shape[-2:]):
            writer.write(plane, metadata=None, contiguous=False, compression="zlib")


def plain(path: Path, values: np.ndarray, axes: str) -> None:
    tifffile.imwrite(path, values.reshape(-1, *values.shape[-2:]), photometric="minisblack")


def png(path: Path, values: np.ndarray, axes: str) -> None:
    Image.fromarray(values.reshape(-1, values.shape[-1])).save(path, format="png")


@pytest.mark.parametrize("write", [plain, pages, imagej, ome, png])
def test_a_cut_file_is_refused_or_complete(
    tmp_path: Path, write: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is cut off: never fewer planes, never zeros, and nothing but the error."""
    path = tmp_path / ("a.png" if write is png else "a.tif")
    write(path, counts("ZCYX"), "ZCYX")
    data, whole = path.read_bytes(), read_image(path)
    accepted, errors = 0, []
    for length in np.linspace(1, len(data) - 1, 60).astype(int):
        path.write_bytes(data[:length])
        try:
            assert read_image(path).identical(whole), f"{length} of {len(data)} bytes"
            accepted += 1
        except DataError as error:
            errors.append((error.problem, error.fix))
    assert accepted <= 12  # a lost end of the file need not hold pixels
    for problem, fix in errors:
        assert problem.startswith(f"{path}: is not a readable image (")
        assert "\n" not in problem
        assert fix == "is the file complete? save it again"
    assert capfd.readouterr().err == ""


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = counts("YX", "f4")
    values[3, 4], values[5, 6] = np.nan, np.inf
    tifffile.imwrite(path, values)
    assert refused(path) == (
        f"{path}: 2 pixels are NaN or infinite, every pixel must be a number",
        "replace them, e.g. by the local median",
    )


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_pixel_types_that_are_no_counts(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts("YX").astype(dtype))
    assert refused(path) == (
        f"{path}: pixel type {dtype} is not supported, expected integers or float",
        "convert it to 8 bit, 16 bit or float",
    )


def test_axes_that_have_no_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = counts("CZYX")
    tifffile.imwrite(path, values, metadata={"axes": "HZYX"})
    assert refused(path) == (
        f"{path}: axis 'h' of length 2 is not one of t, z, c, y, x",
        "save it as an ImageJ or OME TIFF",
    )
    tifffile.imwrite(path, values[:1], metadata={"axes": "HZYX"})
    np.testing.assert_array_equal(read_image(path).values, values[0])


def test_a_file_with_several_positions_is_not_cut_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    values = counts("YX")
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(values)
        writer.write(values)
    y, x = values.shape
    assert refused(path) == (
        f"{path}: holds 2 images of {y} x {x}, expected one",
        "save each position or scene as a file of its own",
    )
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(values)
        writer.write(values[:2, :2])  # such as a thumbnail
    np.testing.assert_array_equal(read_image(path).values, values)


def test_png_with_16_bit_per_colour_is_not_cut_to_8(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.full((8, 9, 3), 1000, np.uint16)))
    assert refused(path) == (
        f"{path}: is a PNG with 16 bit per colour, only grey PNG is read with 16 bit",
        "save it as TIFF",
    )


@pytest.mark.parametrize("previous", [None, b"previous"])
def test_a_full_disk_keeps_the_previous_file(
    tmp_path: Path, full_disk: Callable, previous: bytes | None
) -> None:
    path = tmp_path / "a.tif"
    if previous:
        path.write_bytes(previous)
    with full_disk(), pytest.raises(DataError) as caught:
        write_tiff(path, xr.DataArray(counts("YX"), dims=("y", "x")))
    assert caught.value.problem == f"{path}: could not be written (No space left on device)"
    assert caught.value.fix == "free some space, then repeat"
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([previous] if previous else [])


@pytest.mark.parametrize("missing", [1, 100, 5000])
def test_a_file_that_does_not_fit_is_never_left_short(tmp_path: Path, missing: int) -> None:
    """A real limit: tifffile itself writes the last few kB without noticing that they are lost."""
    resource = pytest.importorskip("resource")
    image = xr.DataArray(np.zeros((96, 96), np.float32), dims=("y", "x"))
    write_tiff(tmp_path / "whole.tif", image)
    room = (tmp_path / "whole.tif").stat().st_size - missing
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(DataError) as caught:
            write_tiff(tmp_path / "a.tif", image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.problem == f"{tmp_path / 'a.tif'}: could not be written (File too large)"
    assert os.listdir(tmp_path) == ["whole.tif"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.tif"
    with pytest.raises(DataError) as caught:
        write_tiff(path, xr.DataArray(counts("YX"), dims=("y", "x")))
    assert caught.value.problem == f"{path}: cannot be written (File exists)"
    assert caught.value.fix == "choose another place for --out"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_tiff(tmp_path / "a.tif", xr.DataArray(counts("YX"), dims=("y", "x")))
    finally:
        after = os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.tif").stat().st_mode) == 0o666 & ~mask
    assert after == mask
