"""Broken inputs: one clear line each, nothing half-written, and the other images are denoised."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from predictions import MODEL, counts, digest, predict, request, write_ome_tiff, write_zarr

from bmz_ddpm.data import lazy
from bmz_ddpm.errors import UserError
from bmz_ddpm.predict.blocks import Workshop


def cut_tiff(folder: Path) -> Path:
    path = folder / "a.tif"
    tifffile.imwrite(path, counts("zyx"), imagej=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[:20000])
    return path


def cut_compressed(folder: Path) -> Path:
    path = write_ome_tiff(folder / "a.ome.tif", counts("zyx"), "zyx", compression="zlib")
    path.write_bytes(path.read_bytes()[:9000])
    return path


def damaged_tile(folder: Path) -> Path:
    path = folder / "a.tif"
    tifffile.imwrite(path, counts("yx"), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"x" * 40
    path.write_bytes(data)
    return path


def header_only(folder: Path) -> Path:
    (folder / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 8))
    return folder / "a.tif"


def text(folder: Path) -> Path:
    (folder / "a.tif").write_text("not an image")
    return folder / "a.tif"


def empty(folder: Path) -> Path:
    (folder / "a.tif").touch()
    return folder / "a.tif"


def missing(folder: Path) -> Path:
    return folder / "a.tif"


def other_type(folder: Path) -> Path:
    (folder / "a.czi").write_text("")
    return folder / "a.czi"


def plain_folder(folder: Path) -> Path:
    (folder / "a").mkdir()
    return folder / "a"


def nan(folder: Path) -> Path:
    values = counts("yx", "f4")
    values[3, :5] = np.nan
    tifffile.imwrite(folder / "a.tif", values)
    return folder / "a.tif"


def infinite_zarr(folder: Path) -> Path:
    values = counts("zyx", "f4")
    values[1, 60, 90] = np.inf
    return write_zarr(folder / "a.zarr", values, "zyx")


def colour_5d(folder: Path) -> Path:
    values = np.zeros((2, 3, 2, 20, 30, 3), np.uint8)
    metadata = {"axes": "TZCYXS"}
    tifffile.imwrite(folder / "a.ome.tif", values, metadata=metadata, photometric="rgb")
    return folder / "a.ome.tif"


def complex_pixels(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", np.ones((20, 30), np.complex64))
    return folder / "a.tif"


def two_positions(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.ome.tif") as file:
        for _ in range(2):
            file.write(counts("yx"), metadata={"axes": "YX"})
    return folder / "a.ome.tif"


def unknown_axis(folder: Path) -> Path:
    values = np.zeros((4, 20, 30), np.uint16)
    tifffile.imwrite(folder / "a.ome.tif", values, metadata={"axes": "HYX"}, ome=False)
    with tifffile.TiffWriter(folder / "a.ome.tif") as file:
        file.write(values, metadata={"axes": "HYX"})
    return folder / "a.ome.tif"


def companion(folder: Path) -> Path:
    """An OME-TIFF whose second plane lies in a file that is not there."""
    path = write_ome_tiff(folder / "a.ome.tif", counts("zyx")[:2], "zyx")
    xml = tifffile.tiffcomment(path)
    one = '<TiffData FirstZ="0" IFD="0" PlaneCount="1"/>'
    two = (
        '<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">'
        "urn:uuid:00000000-0000-0000-0000-000000000001</UUID></TiffData>"
    )
    assert isinstance(xml, str)
    xml = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', one + two)
    tifffile.tiffcomment(path, xml.encode())
    return path


def zarr_without_metadata(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("yx"), "yx")
    (path / ".zattrs").unlink()
    return path


def zarr_without_group(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("yx"), "yx", "0.5")
    (path / "zarr.json").write_text("{")
    return path


def zarr_without_array(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("yx"), "yx")
    (path / "0" / ".zarray").unlink()
    return path


def zarr_without_chunks(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("yx"), "yx", "0.5")
    for chunk in [p for p in (path / "0" / "c").rglob("*") if p.is_file()]:
        chunk.unlink()
    return path


def zarr_cut_chunk(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("yx"), "yx", "0.5")
    chunk = path / "0" / "c" / "1" / "2"
    chunk.write_bytes(chunk.read_bytes()[:30])
    return path


def zarr_wrong_axes(folder: Path) -> Path:
    path = write_zarr(folder / "a.zarr", counts("zyx"), "zyx")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["axes"] = attributes["multiscales"][0]["axes"][1:]
    for level in attributes["multiscales"][0]["datasets"]:
        level["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1]}]
    (path / ".zattrs").write_text(json.dumps(attributes))
    return path


def zarr_plate(folder: Path) -> Path:
    zarr.open_group(folder / "a.zarr", mode="w").attrs.put({"ome": {"plate": {}}})
    return folder / "a.zarr"


def zarr_zero_size(folder: Path) -> Path:
    path = folder / "a.zarr"
    group = zarr.open_group(write_zarr(path, counts("yx"), "yx"), mode="r+")
    group.create_array("0", shape=(0, 100), chunks=(1, 100), dtype="u2", overwrite=True)
    return path


def good(folder: Path) -> Path:
    return write_zarr(folder / "a.zarr", counts("zyx"), "zyx")


BROKEN: list[tuple[Callable[[Path], Path], dict[str, Any], str]] = [
    (cut_tiff, {}, "is not a readable image ("),
    (cut_compressed, {}, "is not a readable image ("),
    (damaged_tile, {}, "is not a readable image ("),
    (header_only, {}, "is not a readable image ("),
    (text, {}, "is not a readable image ("),
    (empty, {}, "is not a readable image ("),
    (missing, {}, "does not exist"),
    (other_type, {}, "file type '.czi' is not read"),
    (plain_folder, {}, "is a folder, expected an image file"),
    (nan, {}, "5 pixels are NaN or infinite"),
    (infinite_zarr, {}, "1 pixels are NaN or infinite"),
    (colour_5d, {}, "axis 's' of length 3 is not one of t, z, c, y, x"),
    (complex_pixels, {}, "pixel type complex64 is not supported"),
    (two_positions, {}, "holds 2 images of 70 x 100, expected one"),
    (companion, {}, "is not a readable image (plane 2 is missing)"),
    (zarr_without_metadata, {}, "has no 'multiscales' metadata"),
    (zarr_without_group, {}, "is no Zarr group"),
    (zarr_without_array, {}, "has no array '0', which its metadata names"),
    (zarr_without_chunks, {}, "none of the 12 chunks with its pixels is there"),
    (zarr_cut_chunk, {}, "is not a readable image ("),
    (zarr_wrong_axes, {}, "has 3 dimensions but its metadata names 2 axes"),
    (zarr_plate, {}, "holds several images (a plate or a series)"),
    (zarr_zero_size, {}, "holds no pixels"),
    (good, {"axes": "tyx"}, "its axes are 'zyx' but 'tyx' is declared"),
    (good, {"axes": "zqx"}, "must be different letters out of t, z, c, y and x"),
    (good, {"channel": "GFP"}, "has no channel 'GFP'"),
]


@pytest.mark.parametrize(
    ("make", "options", "words"), BROKEN, ids=[f"{m.__name__}{o or ''}" for m, o, _ in BROKEN]
)
def test_one_clear_line_and_nothing_lost(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any], words: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_denoised.tif").write_text("of an earlier run")
    (out / "b_denoised.tif").write_text("of another image")
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        predict(path, request(out, **options))
    assert words in caught.value.problem
    assert "\n" not in caught.value.problem
    assert caught.value.fix
    assert (out / "a_denoised.tif").read_text() == "of an earlier run"
    assert (out / "b_denoised.tif").read_text() == "of another image"
    assert {p.name for p in out.iterdir()} <= {"a_denoised.tif", "b_denoised.tif", "a.unfinished"}


def test_missing_chunks_are_said(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", counts("yx"), "yx", "0.5")
    (path / "0" / "c" / "1" / "2").unlink()
    said: list[str] = []
    predict(path, request(tmp_path / "out"), warn=said.append)
    assert said == [f"{path}: 1 of 12 chunks are not there and count as empty"]


def test_no_permission_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = good(tmp_path)

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(lazy, "open_ome_zarr", refuse)
    with pytest.raises(UserError, match=r"is not a readable image \(.*Permission denied"):
        predict(path, request(tmp_path / "out"))


def test_no_permission_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.unfinished: cannot be written \(Not a directory\)"):
        predict(good(tmp_path), request(tmp_path / "file"))


@pytest.mark.parametrize("where", ["block", "stage", "log", "tif", "levels"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whatever is being written: what is finished stays, and the next call goes on from there."""
    path, out = good(tmp_path), tmp_path / "out"
    kind = "tif" if where == "tif" else "ome-zarr"
    whole = predict(path, request(tmp_path / "whole", format=kind))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Target:
        dtype = np.dtype(np.float32)

        def __setitem__(self, *_: Any) -> None:
            full()

    from bmz_ddpm.predict import journal, outputs

    with monkeypatch.context() as patch:
        if where == "block":
            patch.setattr(Workshop, "__init__", broken_targets(Workshop.__init__, Target()))
        elif where == "stage":
            patch.setattr(outputs, "create_level", full)
        elif where == "log":
            patch.setattr(journal.Journal, "_opened_log", full)
        elif where == "tif":
            patch.setattr(tifffile, "imwrite", full)
        else:
            patch.setattr(outputs, "add_levels", full)
        with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
            predict(path, request(out, format=kind))
    assert {p.name for p in out.iterdir()} == {"a.unfinished"}
    assert [digest(p) for p in predict(path, request(out, format=kind))] == [
        digest(p) for p in whole
    ]


def broken_targets(real: Callable[..., None], target: Any) -> Callable[..., None]:
    def init(self: Workshop, *arguments: Any) -> None:
        real(self, *arguments)
        self.targets[1] = target

    return init


def test_intensities_of_another_kind_are_said(tmp_path: Path) -> None:
    said: list[str] = []
    path = write_zarr(tmp_path / "a.zarr", counts("yx") // 200, "yx")
    predict(path, request(tmp_path / "out"), MODEL, warn=said.append)
    assert len(said) == 1
    assert "its brightest pixel is 1, the model expects grey levels from 0 to 255" in said[0]
