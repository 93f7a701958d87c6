"""Axes and channels as files name them and as users declare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray as xr
from PIL import Image

from bmz_ddpm.data.channels import select_channels
from bmz_ddpm.data.images import read_image, write_tiff
from bmz_ddpm.data.metadata import check_axes
from bmz_ddpm.errors import DataError

NAMES = ("DAPI", "GFP", "Cy5")


def counts(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape, dtype=np.uint16)


def refused(path: Path, axes: str) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        read_image(path, axes)
    return caught.value.problem, caught.value.fix


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("dims", ["cyx", "zcyx", "tzcyx"])
def test_names_of_channels_survive_writing(tmp_path: Path, name: str, dims: str) -> None:
    shape = [{"t": 2, "z": 4, "c": 3, "y": 20, "x": 30}[a] for a in dims]
    attrs = {"channel_names": NAMES}
    write_tiff(tmp_path / name, xr.DataArray(counts(*shape), dims=tuple(dims), attrs=attrs))
    image = read_image(tmp_path / name)
    assert "".join(image.dims) == dims
    assert image.attrs["channel_names"] == NAMES
    np.testing.assert_array_equal(image.values, counts(*shape))


def test_names_as_imagej_labels_slices(tmp_path: Path) -> None:
    labels = [f"c:{c + 1}/3 z:{z + 1}/2 - {NAMES[c]}" for z in range(2) for c in range(3)]
    metadata = {"axes": "ZCYX", "Labels": labels}
    tifffile.imwrite(tmp_path / "a.tif", counts(2, 3, 20, 30), imagej=True, metadata=metadata)
    assert read_image(tmp_path / "a.tif").attrs["channel_names"] == NAMES


def test_colours_have_names_and_nameless_channels_have_none(tmp_path: Path) -> None:
    rgb = counts(20, 30, 3).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    Image.fromarray(rgb).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        image = select_channels(read_image(tmp_path / name), "green", tmp_path / name)
        np.testing.assert_array_equal(image.values, rgb[None, ..., 1])
    for options in ({"imagej": True}, {"ome": True}):
        tifffile.imwrite(tmp_path / "b.tif", counts(3, 20, 30), metadata={"axes": "CYX"}, **options)
        assert "channel_names" not in read_image(tmp_path / "b.tif").attrs


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("GFP", [1]), ("gfp", [1]), ("2", [1]), ("Cy5, DAPI", [2, 0]), ("", [0, 1, 2])],
)
def test_channels_by_name_and_by_number(wanted: str, chosen: list[int]) -> None:
    image = xr.DataArray(counts(3, 4, 5), dims=("c", "y", "x"), attrs={"channel_names": NAMES})
    selected = select_channels(image, wanted, Path("a.tif"))
    np.testing.assert_array_equal(selected.values, image.values[chosen])
    assert selected.attrs["channel_names"] == tuple(NAMES[i] for i in chosen)
    assert image.attrs["channel_names"] == NAMES


def test_a_name_goes_before_a_number_and_may_hold_a_comma() -> None:
    names = ("2", "488, long", "Cy5")
    image = xr.DataArray(counts(3, 4, 5), dims=("c", "y", "x"), attrs={"channel_names": names})
    for wanted, index in (("2", 0), ("488, long", 1), ("3", 2)):
        selected = select_channels(image, wanted, Path("a.tif"))
        np.testing.assert_array_equal(selected.values, image.values[[index]])


@pytest.mark.parametrize(
    ("names", "wanted", "problem"),
    [
        (NAMES, "DAPPI", "has no channel 'DAPPI' (did you mean 'DAPI'?), its channels are "
         "1 (DAPI), 2 (GFP), 3 (Cy5)"),
        (NAMES, "0", "has no channel '0', its channels are 1 (DAPI), 2 (GFP), 3 (Cy5)"),
        (NAMES, "GFP,4", "has no channel '4', its channels are 1 (DAPI), 2 (GFP), 3 (Cy5)"),
        ((), "DAPI", "has no channel 'DAPI', its channels are 1 to 3, without names"),
    ],
)  # fmt: skip
def test_a_channel_that_is_not_there(names: tuple[str, ...], wanted: str, problem: str) -> None:
    attrs = {"channel_names": names} if names else {}
    image = xr.DataArray(counts(3, 4, 5), dims=("c", "y", "x"), attrs=attrs)
    with pytest.raises(DataError) as caught:
        select_channels(image, wanted, Path("a.tif"))
    assert caught.value.problem == f"a.tif: {problem}"
    assert caught.value.fix == "choose one of them; numbers count from 1"


def test_two_channels_of_one_name() -> None:
    names = ("GFP", "DAPI", "GFP")
    image = xr.DataArray(counts(3, 4, 5), dims=("c", "y", "x"), attrs={"channel_names": names})
    with pytest.raises(DataError) as caught:
        select_channels(image, "GFP", Path("a.tif"))
    assert caught.value.problem == "a.tif: 2 channels are called 'GFP', one is expected"
    assert caught.value.fix == "name it by its number: 1, 3"


def test_an_image_without_channels() -> None:
    image = xr.DataArray(counts(4, 5), dims=("y", "x"))
    assert select_channels(image, "1", Path("a.tif")).identical(image)
    named = image.assign_attrs(channel_names=("DAPI",))
    assert select_channels(named, "DAPI", Path("a.tif")).identical(named)
    with pytest.raises(DataError, match=r"has no channel 'GFP', its channels are 1\. Fix"):
        select_channels(image, "GFP", Path("a.tif"))


@pytest.mark.parametrize(
    ("stored", "declared", "found"),
    [
        ((4, 20, 30), "", "zyx"),
        ((4, 20, 30), "tyx", "tyx"),
        ((4, 20, 30), "cyx", "cyx"),
        ((20, 30, 4), "yxz", "zyx"),
        ((20, 30), "zyx", "yx"),
        ((5, 4, 3, 20, 30), "tzcyx", "tzcyx"),
        ((4, 5, 20, 30), "ztyx", "tzyx"),
    ],
)
def test_pages_are_what_is_declared(
    tmp_path: Path, stored: tuple[int, ...], declared: str, found: str
) -> None:
    values = counts(*stored)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    image = read_image(tmp_path / "a.tif", declared)
    assert "".join(image.dims) == found
    if len(declared) == len(stored):
        np.testing.assert_array_equal(image.transpose(*declared).values, values)


def test_colours_of_pages(tmp_path: Path) -> None:
    values = counts(4, 20, 30, 3).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    for declared in ("tyxc", "tcyx"):
        image = read_image(tmp_path / "a.tif", declared)
        np.testing.assert_array_equal(image.transpose("t", "y", "x", "c").values, values)


def test_several_unknown_axes_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(5, 4, 20, 30), photometric="minisblack")
    assert refused(path, "")[0] == f"{path}: axis 'q' of length 4 is not one of t, z, c, y, x"
    assert refused(path, "zyx") == (
        f"{path}: is 5 x 4 x 20 x 30, which 'zyx' does not name",
        "declare one letter per axis, in the order in which they are stored",
    )


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_the_file_says_something_else(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(4, 20, 30), metadata={"axes": "ZYX"}, **options)
    assert read_image(path, "zyx").dims == ("z", "y", "x")
    for declared in ("tyx", "yx"):
        assert refused(path, declared) == (
            f"{path}: its axes are 'zyx' but '{declared}' is declared, both must agree",
            "correct the declared axes, or leave them out",
        )


@pytest.mark.parametrize("axes", ["zz yx", "zzyx", "qyx", "zy", "z"])
def test_letters_that_are_no_axes(axes: str) -> None:
    with pytest.raises(DataError) as caught:
        check_axes(axes)
    assert caught.value.problem == (
        f"axes '{axes}': must be different letters out of t, z, c, y and x, with y and x"
    )
    assert caught.value.fix.startswith("e.g. zyx for a stack of planes")
