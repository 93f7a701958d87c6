"""FMD as it is published, and the data sets of the paper with their splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bmz_ddpm.data.datasets import NAMES, load_dataset
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.data.planes import load_planes, read_pair
from bmz_ddpm.data.splits import split_by_counts
from bmz_ddpm.errors import ConfigError, UserError

EVERY = ("train", "val", "test")


def fmd(folder: Path, fields: int = 20, captures: int = 3, levels: str = "raw avg2") -> Path:
    """Write a folder of empty files as FMD is published."""
    for field in map(str, range(1, fields + 1)):
        for level in levels.split():
            (folder / level / field).mkdir(parents=True)
            for i in range(captures):
                (folder / level / field / f"HV110_P05005{i:05}.png").touch()
        (folder / "gt" / field).mkdir(parents=True)
        (folder / "gt" / field / "avg50.png").touch()
    return folder


def paired(folder: Path, count: int) -> Path:
    for kind in ("low", "high"):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            (folder / kind / f"{i:03}.tif").touch()
    return folder


def refused(source: Path, **options: object) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        find_pairs(source, **options)  # type: ignore[arg-type]
    return caught.value.problem, caught.value.fix


def test_fmd_pairs_every_capture_with_its_average(tmp_path: Path) -> None:
    folder = fmd(tmp_path / "Confocal_MICE")
    pairs = find_pairs(folder)
    assert len(pairs) == 20 * 3
    assert [p.fov for p in pairs[:4]] == ["Confocal_MICE/1"] * 3 + ["Confocal_MICE/2"]
    assert pairs[-1].low == folder / "raw" / "20" / "HV110_P0500500002.png"
    assert pairs[-1].high == folder / "gt" / "20" / "avg50.png"
    assert len({p.fov for p in pairs if p.split == "val"}) == 2
    both = find_pairs(folder, noise=["raw", "avg2"], captures=2)
    assert Counter(p.low.parent.parent.name for p in both) == {"raw": 40, "avg2": 40}
    some = find_pairs(folder, noise=["avg2"], select={"fov": ["3", "5"]})
    assert {p.low.parent for p in some} == {folder / "avg2" / "3", folder / "avg2" / "5"}


def test_the_colours_of_one_sample_are_one_field(tmp_path: Path) -> None:
    for kind in ("Confocal_BPAE_B", "Confocal_BPAE_G", "TwoPhoton_BPAE_R", "Confocal_FISH"):
        fmd(tmp_path / kind, 2, 1)
    pairs = find_pairs(tmp_path)
    assert sorted(p.fov for p in pairs) == [
        "Confocal_BPAE/1", "Confocal_BPAE/1", "Confocal_BPAE/2", "Confocal_BPAE/2",
        "Confocal_FISH/1", "Confocal_FISH/2", "TwoPhoton_BPAE/1", "TwoPhoton_BPAE/2",
    ]  # fmt: skip
    fish = find_pairs(tmp_path, select={"type": ["Confocal_FISH"]})
    assert [p.fov for p in fish] == ["Confocal_FISH/1", "Confocal_FISH/2"]


def test_fmd_images_are_read(tmp_path: Path) -> None:
    folder = fmd(tmp_path / "Confocal_FISH", 2, 1, "raw")
    rng = np.random.default_rng(0)
    written = {p: rng.integers(0, 255, (32, 40), np.uint8) for p in sorted(folder.rglob("*.png"))}
    for path, values in written.items():
        Image.fromarray(values).save(path)
    for pair in find_pairs(folder):
        low, high, mask = load_planes(pair)
        assert mask is None
        np.testing.assert_array_equal(low[0, 0], written[pair.low])
        np.testing.assert_array_equal(high[0, 0], written[pair.high])


def test_fmd_with_something_missing(tmp_path: Path) -> None:
    folder = fmd(tmp_path / "Confocal_FISH", 2)
    assert refused(folder, noise=["avg4"]) == (
        f"{folder / 'avg4' / '1'}: holds no image, but {folder / 'gt' / '1'} has the average of "
        "its captures",
        "unpack the noise level 'avg4', or choose another with --noise",
    )
    assert refused(folder, noise=["avg3"]) == (
        "noise level 'avg3': is unknown (did you mean 'avg8'?)",
        "known are raw, avg2, avg4, avg8, avg16",
    )
    assert refused(folder, select={"field": ["1"]}) == (
        "--select field: FMD has no 'field'",
        "select type or fov; noise levels are chosen with --noise",
    )
    assert refused(folder, select={"fov": ["9"]}) == (
        f"{folder}: no field of view is left",
        "check the folder and --select",
    )
    (folder / "gt" / "2" / "avg25.png").touch()
    assert refused(folder) == (
        f"{folder / 'gt' / '2'}: holds 2 images, expected one average (avg50.png)",
        "copy the folder again",
    )
    assert refused(paired(tmp_path / "mine", 3), layout="fmd") == (
        f"{tmp_path / 'mine'}: has no folder 'gt', FMD is read from TYPE/raw/1, TYPE/gt/1 and so "
        "on",
        "name the folder of a type, or the one above",
    )


def test_options_that_do_not_fit_the_layout(tmp_path: Path) -> None:
    folder = paired(tmp_path / "mine", 3)
    for options in ({"noise": ["raw"]}, {"captures": 1}):
        assert refused(folder, **options) == (
            f"{folder}: is not laid out as FMD, --noise and --captures need that",
            "leave them out",
        )
    fix = "correct --layout or --dataset, or name what it says"
    assert refused(folder, layout="csv") == (
        f"{folder}: is a folder, the layout 'csv' is read from a CSV file",
        fix,
    )
    table = tmp_path / "a.csv"
    table.touch()
    assert refused(table, layout="pairs") == (
        f"{table}: is a file, the layout 'pairs' is read from a folder",
        fix,
    )


def test_zebrafish_is_split_as_in_the_paper(tmp_path: Path) -> None:
    """Table S1: 72, 4 and 4 tiles, four per field, each with all captures."""
    fmd(tmp_path / "Confocal_FISH", captures=2)
    fmd(tmp_path / "Confocal_MICE", 2)
    zebrafish = load_dataset("zebrafish")
    for source in (tmp_path, tmp_path / "Confocal_FISH"):
        pairs = find_pairs(source, dataset=zebrafish, splits=EVERY)
        assert Counter(p.split for p in pairs) == {"train": 36, "val": 2, "test": 2}
        assert {p.fov for p in pairs if p.split == "test"} == {"Confocal_FISH/19"}
        assert {p.fov for p in pairs if p.split == "val"} == {"Confocal_FISH/20"}
        assert {p.low.parent.parent.name for p in pairs} == {"raw"}
    assert refused(tmp_path, dataset=zebrafish, select={"fov": ["1", "2"]}) == (
        f"{tmp_path}: has no field of view '20', which this data set validates on",
        "add it, or decide with --split-file",
    )


@pytest.mark.parametrize(
    ("name", "size", "counts"),
    [
        ("microtubules", 0.025, (81, 6, 17)),
        ("mitochondria", 0.02, (294, 17, 34)),
        ("synapses", None, (21, 1, 2)),
    ],
)
def test_paired_data_sets_are_split_by_field(
    tmp_path: Path, name: str, size: float | None, counts: tuple[int, int, int]
) -> None:
    dataset = load_dataset(name)
    assert dataset.fields == sum(counts)
    pairs = find_pairs(paired(tmp_path, dataset.fields), dataset=dataset, splits=EVERY)
    split = {p.fov: p.split for p in pairs}
    assert tuple(list(split.values()).count(s) for s in EVERY) == counts
    assert {p.pixel_size for p in pairs} == {(size, size) if size else None}
    assert find_pairs(tmp_path, dataset=dataset) == [p for p in pairs if p.split != "test"]


def test_the_draw_of_fields_is_the_same_everywhere(tmp_path: Path) -> None:
    """The three smallest of `sha256sum` over "0:000" to "0:023"; the order does not matter."""
    pairs = find_pairs(paired(tmp_path, 24), dataset=load_dataset("synapses"), splits=EVERY)
    held_out = {p.fov: p.split for p in pairs if p.split != "train"}
    assert held_out == {"023": "test", "016": "test", "011": "val"}
    again = split_by_counts(tmp_path, pairs[::-1], (21, 1, 2), 0)
    assert again == pairs[::-1]
    assert split_by_counts(tmp_path, pairs, (21, 1, 2), 1) != pairs


@pytest.mark.parametrize(("fields", "counts"), [(3, (1, 1, 1)), (12, (10, 1, 1)), (48, (42, 2, 4))])
def test_other_numbers_of_fields_keep_the_shares(
    tmp_path: Path, fields: int, counts: tuple[int, int, int]
) -> None:
    pairs = find_pairs(paired(tmp_path, fields), dataset=load_dataset("synapses"), splits=EVERY)
    assert tuple([p.split for p in pairs].count(s) for s in EVERY) == counts


def test_two_fields_are_too_few(tmp_path: Path) -> None:
    assert refused(paired(tmp_path, 2), dataset=load_dataset("synapses")) == (
        f"{tmp_path}: has 2 fields of view, at least three are needed for training, validation and "
        "tests",
        "add images of other fields, or decide with --split-file",
    )


def test_a_stack_of_synapses_keeps_its_planes_together(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 250, (5, 32, 40), dtype=np.uint8)
    for kind in ("low", "high"):
        (tmp_path / kind).mkdir()
        for name in "abc":
            tifffile.imwrite(tmp_path / kind / f"{name}.tif", stack, photometric="minisblack")
    pairs = find_pairs(tmp_path, dataset=load_dataset("synapses"), splits=EVERY)
    assert sorted(p.split for p in pairs) == ["test", "train", "val"]
    assert load_planes(pairs[0]).low.shape == (5, 1, 32, 40)


def test_the_pixel_size_of_the_data_set_fills_in(tmp_path: Path) -> None:
    plane = np.ones((32, 40), np.uint8)
    for kind in ("low", "high"):
        (tmp_path / kind).mkdir()
        for name in "abc":
            options = {"resolution": (10, 20), "metadata": {"unit": "um"}} if kind == "high" else {}
            tifffile.imwrite(
                tmp_path / kind / f"{name}.tif", plane, imagej=kind == "high", **options
            )
    low, high = read_pair(find_pairs(tmp_path, dataset=load_dataset("microtubules"))[0])
    assert low.attrs["pixel_size"] == (0.025, 0.025)
    assert high.attrs["pixel_size"] == pytest.approx((0.05, 0.1))  # what the file says goes first


def test_a_csv_keeps_its_own_split(tmp_path: Path) -> None:
    paired(tmp_path, 3)
    lines = [f"low/{i:03}.tif,high/{i:03}.tif,{s}" for i, s in enumerate(("val", "", "test"))]
    table = tmp_path / "a.csv"
    table.write_text("\n".join(["low,high,split", *lines]))
    pairs = find_pairs(table, dataset=load_dataset("synapses"), splits=EVERY)
    assert [(p.split, p.axes) for p in pairs] == [("val", "zyx"), ("train", "zyx"), ("test", "zyx")]


def test_what_the_recipes_say() -> None:
    sets = {name: load_dataset(name) for name in NAMES}
    assert all(d.name == name and d.cite for name, d in sets.items())
    assert [n for n, d in sets.items() if d.register_pairs] == ["microtubules", "synapses"]
    assert {d.tile for d in sets.values()} == {256}
    with pytest.raises(ConfigError) as caught:
        load_dataset("synapse")
    assert caught.value.problem == "data set 'synapse': is unknown (did you mean 'synapses'?)"
    assert caught.value.fix == (
        "known are microtubules, mitochondria, synapses, zebrafish; your own images need no name"
    )


def test_a_split_file_decides(tmp_path: Path) -> None:
    folder, table = paired(tmp_path / "mine", 3), tmp_path / "split.csv"
    table.write_text("fov,split\n000,test\n001,train\n002,val\n003,val\n")
    expected = [("000", "test"), ("001", "train"), ("002", "val")]
    for dataset in (None, load_dataset("synapses")):
        pairs = find_pairs(folder, split_file=table, dataset=dataset, splits=EVERY)
        assert [(p.fov, p.split) for p in pairs] == expected
    assert [p.fov for p in find_pairs(folder, split_file=table)] == ["001", "002"]
    assert [p.fov for p in find_pairs(folder, split_file=table, splits=["test"])] == ["000"]


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        (
            "fov,split\n000,train\n001,val\n",
            "does not name the field of view '002' (did you mean '001'?)",
            "add a line for it",
        ),
        (
            "fov,split\n000,training\n",
            "line 2 needs 'fov' and 'split' (train, val, test)",
            "write the columns fov,split, one line per field of view",
        ),
        (
            "fov,split\n000,train\n000,test\n",
            "field of view '000' is in training and in the test",
            "name each field once",
        ),
    ],
)
def test_split_files_that_cannot_be_used(tmp_path: Path, text: str, problem: str, fix: str) -> None:
    folder, table = paired(tmp_path / "mine", 3), tmp_path / "split.csv"
    table.write_text(text)
    assert refused(folder, split_file=table) == (f"{table}: {problem}", fix)


def test_a_split_file_that_is_none(tmp_path: Path) -> None:
    folder = paired(tmp_path / "mine", 3)
    problem, fix = refused(folder, split_file=tmp_path / "none.csv")
    assert problem.startswith(f"{tmp_path / 'none.csv'}: is not a CSV file (")
    assert fix == "save it as CSV in UTF-8"


def test_nothing_is_for_the_test(tmp_path: Path) -> None:
    folder = paired(tmp_path / "mine", 3)
    assert refused(folder, splits=["test"]) == (
        f"{folder}: no image is for the test",
        "decide which fields of view are, in a column 'split' or with --split-file",
    )


def test_one_image_in_two_fields_of_two_splits(tmp_path: Path) -> None:
    paired(tmp_path, 3)
    table = tmp_path / "a.csv"
    rows = ["low/000.tif,high/000.tif,a,train", "low/001.tif,high/000.tif,b,{}"]
    for split, word in (("val", "validation"), ("test", "the test")):
        table.write_text(
            "\n".join(["low,high,fov,split", *rows, "low/002.tif,high/002.tif,c,val"]).format(split)
        )
        assert refused(table) == (
            f"{tmp_path / 'high' / '000.tif'}: is in training and in {word}, as images of two "
            "fields of view",
            "give all pairs of one image the same field and split",
        )
    table.write_text(
        "\n".join(["low,high,fov,split", *rows, "low/002.tif,high/002.tif,c,val"]).replace(
            ",b,{}", ",a,test"
        )
    )
    assert refused(table) == (
        f"{table}: field of view 'a' is in training and in the test",
        "give all images of one field the same split",
    )


def test_captures_of_one_clean_image_are_one_field(tmp_path: Path) -> None:
    """Without a column fov: the clean image tells."""
    table = tmp_path / "a.csv"
    for kind, count in (("low", 6), ("high", 3)):
        (tmp_path / kind).mkdir()
        for i in range(count):
            (tmp_path / kind / f"{i}.ome.tif").touch()
    lines = [f"low/{i}.ome.tif,high/{i // 2}.ome.tif" for i in range(6)]
    table.write_text("\n".join(["low,high", *lines]))
    pairs = find_pairs(table)
    assert [p.fov for p in pairs] == ["0", "0", "2", "2", "4", "4"]
    assert [p.split for p in pairs] == ["val"] * 2 + ["train"] * 4
