"""Pairs: found in a folder or a CSV file, split by field of view, refused in clear words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def folder_of(path: Path, names: list[str]) -> Path:
    touch(path, *(f"{kind}/{name}" for kind in ("low", "high") for name in names))
    return path


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    """Write a CSV file, and an empty file for each low and high that it names."""
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    columns = lines[0].split(",")
    for line in lines[1:]:
        row = dict(zip(columns, line.split(","), strict=False))
        touch(path.parent, *(row[c] for c in ("low", "high") if row.get(c)))
    return path


def refused(source: Path, *args: object, **kwargs: object) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        find_pairs(source, *args, **kwargs)  # type: ignore[arg-type]
    return caught.value.problem, caught.value.fix


def test_a_folder_is_paired_by_name(tmp_path: Path) -> None:
    folder_of(tmp_path, ["b.tif", "a.TIFF"])
    touch(tmp_path, "low/c.png", "high/c.tif", "low/notes.txt", "low/._a.tif", "high/Thumbs.db")
    pairs = find_pairs(tmp_path)
    assert [(p.low.name, p.high.name, p.fov) for p in pairs] == [
        ("a.TIFF", "a.TIFF", "a"),
        ("b.tif", "b.tif", "b"),
        ("c.png", "c.tif", "c"),
    ]
    assert all(p.low.parent == tmp_path / "low" for p in pairs)
    assert all(p.high.parent == tmp_path / "high" for p in pairs)


@pytest.mark.parametrize(
    ("fields", "held_out"), [(2, 1), (3, 1), (10, 1), (11, 2), (20, 2), (21, 3)]
)
def test_one_field_in_ten_is_kept_for_validation(
    tmp_path: Path, fields: int, held_out: int
) -> None:
    folder_of(tmp_path, [f"{i:02}.tif" for i in range(fields)])
    pairs = find_pairs(tmp_path)
    assert len(pairs) == fields
    assert [p.split for p in pairs].count("val") == held_out
    assert {p.split for p in pairs} == {"train", "val"}
    assert pairs == find_pairs(tmp_path)


def test_a_field_is_never_split(tmp_path: Path) -> None:
    """Four images of each field; the order of the lines does not change who validates."""
    lines = [f"l{i}.tif,h{i}.tif,{i // 4}" for i in range(48)]
    forwards = find_pairs(table(tmp_path / "a.csv", "low,high,fov", *lines))
    backwards = find_pairs(table(tmp_path / "b.csv", "low,high,fov", *lines[::-1]))
    splits = {fov: {p.split for p in forwards if p.fov == fov} for fov in map(str, range(12))}
    assert all(len(s) == 1 for s in splits.values())
    assert list(splits.values()).count({"val"}) == 2
    assert forwards == backwards[::-1]


def test_a_csv_may_decide_the_split(tmp_path: Path) -> None:
    lines = ["a.tif,A.tif,1,val", "b.tif,B.tif,2,train", "c.tif,C.tif,3,", "d.tif,D.tif,4,test"]
    pairs = find_pairs(table(tmp_path / "a.csv", "low,high,fov,split", *lines))
    assert [(p.low, p.high, p.fov, p.split) for p in pairs] == [
        (tmp_path / "a.tif", tmp_path / "A.tif", "1", "val"),
        (tmp_path / "b.tif", tmp_path / "B.tif", "2", "train"),
        (tmp_path / "c.tif", tmp_path / "C.tif", "3", "train"),
    ]


def test_a_csv_without_fov_takes_the_name_of_the_low_image(tmp_path: Path) -> None:
    pairs = find_pairs(table(tmp_path / "a.csv", "low,high", "a.tif,x.tif", "b.tif,y.tif"))
    assert [(p.fov, p.split) for p in pairs] == [("a", "val"), ("b", "train")]


def test_a_csv_saved_by_excel(tmp_path: Path) -> None:
    source = table(
        tmp_path / "a.csv", "low,high,fov", "a.tif,A.tif,1", "b.tif,B.tif,2", encoding="utf-8-sig"
    )
    assert [p.low.name for p in find_pairs(source)] == ["a.tif", "b.tif"]


def test_root_is_where_the_paths_start(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = ["low,high", "a.tif,A.tif", "b.tif,B.tif"]
    source = table(tmp_path / "images" / "a.csv", *lines)
    moved = source.rename(tmp_path / "moved.csv")
    assert [p.low for p in find_pairs(moved, tmp_path / "images")] == [
        tmp_path / "images" / "a.tif",
        tmp_path / "images" / "b.tif",
    ]
    missing = tmp_path / "a.tif"
    assert refused(moved) == (f"{missing}: named in {moved} but does not exist", "check --root")


def test_select_keeps_rows(tmp_path: Path) -> None:
    lines = [f"{i}.tif,h{i}.tif,{dye},{i}" for i, dye in enumerate(("red", "green", "red", "blue"))]
    source = table(tmp_path / "a.csv", "low,high,dye,fov", *lines)
    assert [p.fov for p in find_pairs(source, select={"dye": ["red"]})] == ["0", "2"]
    both = {"dye": ["red", "blue"], "fov": ["2", "3", "9"]}
    assert [p.fov for p in find_pairs(source, select=both)] == ["2", "3"]
    assert refused(source, select={"dye": ["yellow"]}) == (
        f"{source}: no row is left to train on",
        "check the file and --select",
    )
    assert refused(source, select={"dyes": ["red"]}) == (
        f"{source}: has no column 'dyes' (did you mean 'dye'?)",
        "its columns are low, high, dye, fov",
    )
    assert refused(folder_of(tmp_path, ["a.tif", "b.tif"]), select={"dye": ["red"]}) == (
        f"{tmp_path}: is a folder, --select needs a CSV file",
        "leave it out",
    )


def test_nothing_to_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refused(missing) == (
        f"{missing}: does not exist",
        "name a folder with low/ and high/, or a CSV",
    )
    put = "put the noisy images into low/ and the clean ones into high/"
    assert refused(tmp_path) == (
        f"{tmp_path}: has no folder 'low', pairs are read from low/ and high/",
        put,
    )
    touch(tmp_path, "low/notes.txt")
    assert refused(tmp_path) == (
        f"{tmp_path}: has no folder 'high', pairs are read from low/ and high/",
        put,
    )
    (tmp_path / "high").mkdir()
    assert refused(tmp_path) == (
        f"{tmp_path / 'low'}: holds no TIFF or PNG image",
        "put the images there",
    )


@pytest.mark.parametrize(("kind", "other"), [("low", "high"), ("high", "low")])
def test_an_image_without_partner(tmp_path: Path, kind: str, other: str) -> None:
    folder_of(tmp_path, ["a.tif", "b.tif"])
    touch(tmp_path, f"{kind}/c.tif")
    assert refused(tmp_path) == (
        f"{tmp_path / kind / 'c.tif'}: has no partner 'c' in {tmp_path / other}",
        "add it, or move this image away",
    )


def test_two_images_of_one_name(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.tif", "b.tif"])
    touch(tmp_path, "high/b.png")
    assert refused(tmp_path) == (
        f"{tmp_path / 'high' / 'b.tif'}: another image is called 'b' too, names must differ",
        "move one of them away",
    )


def test_a_single_field_cannot_be_split(tmp_path: Path) -> None:
    assert refused(folder_of(tmp_path, ["a.tif"])) == (
        f"{tmp_path}: only one field of view ('a'), at least two are needed, one of them to "
        "validate on",
        "add images of another field, or a column 'fov' that tells the fields apart",
    )


def test_a_field_in_both_splits(tmp_path: Path) -> None:
    lines = ["a.tif,A.tif,7,train", "b.tif,B.tif,7,val", "c.tif,C.tif,8,train"]
    source = table(tmp_path / "a.csv", "low,high,fov,split", *lines)
    assert refused(source) == (
        f"{source}: field of view '7' is in training and in validation",
        "give all images of one field the same split",
    )


def test_nothing_but_validation(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", "low,high,split", "a.tif,A.tif,val", "b.tif,B.tif,test")
    assert refused(source) == (
        f"{source}: every row is for validation",
        "mark some rows as train",
    )


def test_a_wrong_column_name(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", "Low,high", "a.tif,A.tif")
    assert refused(source) == (
        f"{source}: has no column 'low' (did you mean 'Low'?)",
        "its columns are Low, high",
    )


@pytest.mark.parametrize("line", ["a.tif", "a.tif,"])
def test_a_line_that_is_too_short(tmp_path: Path, line: str) -> None:
    source = table(tmp_path / "a.csv", "low,high", "b.tif,B.tif", line)
    assert refused(source) == (
        f"{source}: line 3 has no 'high'",
        "fill it in, or delete the line",
    )


def test_a_mistyped_split_does_not_become_training(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", "low,high,split", "a.tif,A.tif,train", "b.tif,B.tif,vall")
    assert refused(source) == (
        f"{source}: line 3: split 'vall' is unknown (did you mean 'val'?)",
        "known are train, val, test, or leave it empty",
    )


def test_what_is_no_csv(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    source.write_bytes(b"II*\x00\xff\xfe\x80")
    problem, fix = refused(source)
    assert problem.startswith(f"{source}: is not a CSV file ('utf-8' codec can't decode byte 0xff")
    assert fix == "save it as CSV in UTF-8"


def test_a_csv_may_declare_axes_and_channels(tmp_path: Path) -> None:
    lines = ["a.tif,A.tif,tyx,,2", "b.tif,B.tif,,DAPI,"]
    source = table(tmp_path / "a.csv", "low,high,axes,low_channel,high_channel", *lines)
    declared = [(p.axes, p.low_channel, p.high_channel) for p in find_pairs(source)]
    assert declared == [("tyx", "", "2"), ("", "DAPI", "")]
    pairs = find_pairs(source, axes="zyx", low_channel="GFP")  # options go before the file
    declared = [(p.axes, p.low_channel, p.high_channel) for p in pairs]
    assert declared == [("zyx", "GFP", "2"), ("zyx", "GFP", "")]
    source = table(tmp_path / "b.csv", "low,high,axes", "a.tif,A.tif,xyz", "b.tif,B.tif,xyq")
    assert refused(source)[0] == (
        f"{source}: line 3: axes 'xyq': must be different letters out of t, z, c, y and x, "
        "with y and x"
    )


def test_pairs_to_judge_a_model_on(pair_folder: Path, tmp_path: Path) -> None:
    lines = ["low,high,fov,split", "low/a.tif,high/a.tif,a,train", "low/b.tif,high/b.tif,b,val"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "low/c.tif,high/c.tif,c,test"]))
    for splits, names in (
        (("test",), "c"),
        (("val",), "b"),
        (("train",), "a"),
        (("train", "val", "test"), "abc"),
    ):
        found = find_pairs(tmp_path / "t.csv", pair_folder, splits=splits)
        assert "".join(p.fov for p in found) == names
    (tmp_path / "one.csv").write_text("\n".join([lines[0], lines[1].replace("train", "")]))
    assert len(find_pairs(tmp_path / "one.csv", pair_folder, splits=("train", "val", "test"))) == 1
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"t\.csv: no image is for the test"):
        find_pairs(tmp_path / "t.csv", pair_folder, splits=("test",))
