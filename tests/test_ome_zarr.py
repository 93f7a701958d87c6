"""OME-Zarr folders: what is read from them, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bmz_ddpm.data.images import read_image
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.data.planes import load_planes
from bmz_ddpm.errors import DataError

UNIT = {"y": "micrometer", "x": "nanometer", "z": "micrometer", "t": "second"}
KIND = {"t": "time", "c": "channel"}


def counts(axes: str, dtype: str = "u2") -> np.ndarray:
    shape = [{"t": 3, "z": 4, "c": 2, "y": 20, "x": 30}[a] for a in axes]
    return np.random.default_rng(0).uniform(1, 250, shape).astype(dtype)


def write(
    path: Path, values: np.ndarray, axes: str, version: str = "0.4", labels: tuple[str, ...] = ()
) -> Path:
    """Write two levels: 0.2 micrometre by 100 nm, once as level scale, once doubled for all."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    scale = [{"y": 0.1, "x": 50.0}.get(a, 1.0) for a in axes]
    datasets = []
    for level, image in (("full", values), ("half", values[..., ::2, ::2])):
        array = group.create_array(
            level, shape=image.shape, dtype=image.dtype, chunks=(1,) * (image.ndim - 2) + (16, 16)
        )
        array[...] = image
        transformations = [{"type": "scale", "scale": scale}]
        datasets.append({"path": level, "coordinateTransformations": transformations})
    named = [
        {"name": a, "type": KIND.get(a, "space")} | ({"unit": UNIT[a]} if a in UNIT else {})
        for a in axes
    ]
    whole = [{"type": "scale", "scale": [2.0 if a in "yx" else 1.0 for a in axes]}]
    multiscale = {"axes": named, "datasets": datasets, "coordinateTransformations": whole}
    metadata: dict[str, Any] = {"multiscales": [multiscale]}
    if labels:
        window = {"start": 0, "end": 255, "min": 0, "max": 255}
        metadata["omero"] = {
            "channels": [{"label": name, "color": "FFFFFF", "window": window} for name in labels]
        }
    if version == "0.4":
        multiscale["version"] = "0.4"
        group.attrs.update(metadata)
    else:
        group.attrs["ome"] = metadata | {"version": "0.5"}
    return path


def refused(path: Path, axes: str = "") -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        read_image(path, axes)
    assert "\n" not in caught.value.problem
    return caught.value.problem, caught.value.fix


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "dtype"), [("yx", "u1"), ("zyx", "u2"), ("tczyx", "u2"), ("cyx", "f4")]
)
def test_the_full_resolution_is_read(tmp_path: Path, version: str, axes: str, dtype: str) -> None:
    values = counts(axes, dtype)
    labels = ("DAPI", "GFP") if "c" in axes else ()
    image = read_image(write(tmp_path / "a.ome.zarr", values, axes, version, labels))
    assert "".join(image.dims) == "".join(a for a in "tzcyx" if a in axes)
    assert image.dtype == values.dtype
    np.testing.assert_array_equal(image.transpose(*axes).values, values)
    assert image.attrs["pixel_size"] == pytest.approx((0.2, 0.1))
    assert image.attrs.get("channel_names", ()) == labels


def test_axes_and_a_missing_unit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", counts("zyx"), "zyx")
    assert read_image(path, "zyx").dims == ("z", "y", "x")
    assert refused(path, "tyx") == (
        f"{path}: its axes are 'zyx' but 'tyx' is declared, both must agree",
        "correct the declared axes, or leave them out",
    )
    metadata = json.loads((path / ".zattrs").read_text())
    del metadata["multiscales"][0]["axes"][1]["unit"]
    (path / ".zattrs").write_text(json.dumps(metadata))
    assert "pixel_size" not in read_image(path).attrs


def test_pairs_of_zarr_folders(tmp_path: Path) -> None:
    """Wherever an image is accepted: in low/ and high/, and in a CSV file."""
    for kind, values in (("low", counts("zyx")), ("high", counts("zyx") + 1)):
        for name in "ab":
            write(tmp_path / kind / f"{name}.ome.zarr", values, "zyx")
    pairs = find_pairs(tmp_path)
    assert [(p.fov, p.split) for p in pairs] == [("a", "val"), ("b", "train")]
    low, high, _ = load_planes(pairs[0])
    np.testing.assert_array_equal(low[:, 0], counts("zyx"))
    np.testing.assert_array_equal(high, low + 1)
    table = tmp_path / "pairs.csv"
    rows = [f"low/{name}.ome.zarr,high/{name}.ome.zarr" for name in "ab"]
    table.write_text("\n".join(["low,high", *rows]))
    assert [p.fov for p in find_pairs(table)] == ["a", "b"]


def test_the_images_of_a_series_and_of_a_plate(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for key, value in (("bioformats2raw.layout", 3), ("plate", {}), ("well", {})):
        group.attrs.put({key: value})
        assert refused(path) == (
            f"{path}: holds several images (a plate or a series), expected one",
            f"name one of them, e.g. {path / '0'}",
        )
    write(path / "0", counts("yx"), "yx")
    np.testing.assert_array_equal(read_image(path / "0").values, counts("yx"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_folders_without_metadata(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.zarr", counts("yx"), "yx", version)
    attributes = path / (".zattrs" if version == "0.4" else "zarr.json")
    if version == "0.4":
        attributes.unlink()
    else:
        attributes.write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    assert refused(path) == (
        f"{path}: has no 'multiscales' metadata, which an OME-Zarr image needs",
        "is .zattrs or zarr.json missing? copy the folder again, or save it as OME-Zarr 0.4 or 0.5",
    )
    (path / (".zgroup" if version == "0.4" else "zarr.json")).unlink()
    assert refused(path) == (
        f"{path}: is no Zarr group (.zgroup or zarr.json is missing or damaged)",
        "is the folder complete? copy it again",
    )


def test_metadata_that_is_incomplete(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", counts("zyx"), "zyx")
    original = json.loads((path / ".zattrs").read_text())
    for key, reason in (("axes", "KeyError: 'axes'"), ("datasets", "KeyError: 'datasets'")):
        changed = json.loads(json.dumps(original))
        del changed["multiscales"][0][key]
        (path / ".zattrs").write_text(json.dumps(changed))
        assert refused(path) == (
            f"{path}: its OME-Zarr metadata is incomplete ({reason}), version 0.4 or 0.5 is read",
            "save it again as OME-Zarr 0.4 or 0.5",
        )
    changed = json.loads(json.dumps(original))
    changed["multiscales"][0]["axes"][2]["name"] = "p"
    (path / ".zattrs").write_text(json.dumps(changed))
    assert "(ValueError: its axes are 'zyp', without y and x)" in refused(path)[0]
    original["multiscales"][0]["axes"].pop(0)
    for owner in (original["multiscales"][0], *original["multiscales"][0]["datasets"]):
        owner["coordinateTransformations"][0]["scale"].pop(0)
    (path / ".zattrs").write_text(json.dumps(original))
    assert refused(path)[0] == (
        f"{path}: its array has 3 dimensions but its metadata names 2 axes ('yx')"
    )


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_pixels_that_are_not_there(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.zarr", counts("zyx"), "zyx", version)
    chunks = [
        p for p in (path / "full").rglob("*") if p.is_file() and not p.name.endswith((".json",))
    ]
    chunks = [p for p in chunks if not p.name.startswith(".z")]
    assert len(chunks) == 4 * 2 * 2
    whole = chunks[0].read_bytes()
    chunks[0].write_bytes(whole[: len(whole) // 2])
    problem, fix = refused(path)
    assert problem.startswith(f"{path}: is not a readable image (")
    assert fix == "is the file complete? save it again"
    for chunk in chunks:
        chunk.unlink()
    copy = "is the folder complete? copy it again"
    assert refused(path) == (
        f"{path}: none of the 16 chunks with its pixels is there",
        copy,
    )
    for file in (path / "full").iterdir():
        if file.is_file():
            file.unlink()
    assert refused(path) == (f"{path}: has no array 'full', which its metadata names", copy)
