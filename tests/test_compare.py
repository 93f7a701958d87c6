"""The numbers: medians, stars, paired tests, which images count; and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import COLUMNS, write_metrics
from scipy.stats import median_test, wilcoxon

from bmz_ddpm.compare.choice import choose
from bmz_ddpm.compare.evaluations import read_evaluations
from bmz_ddpm.compare.measures import MEASURES, measure_of
from bmz_ddpm.compare.results import to_csv
from bmz_ddpm.compare.table import Column, Comparison, compare
from bmz_ddpm.compare.words import averaging_lines, verdict
from bmz_ddpm.errors import ConfigError, DataError

IMAGES = 30
FIELDS = np.arange(IMAGES) // 3
RNG = np.random.default_rng(5)
#: Values of three methods: good at MAE, good at LPIPS, good at nothing.
VALUES = {
    "ours": {"mae": RNG.normal(3, 0.5, IMAGES), "lpips": RNG.normal(0.3, 0.02, IMAGES)},
    "care": {"mae": RNG.normal(3.2, 0.5, IMAGES), "lpips": RNG.normal(0.2, 0.02, IMAGES)},
    "blur": {"mae": RNG.normal(6, 0.5, IMAGES), "lpips": RNG.normal(0.5, 0.02, IMAGES)},
}


def rows(values: dict[str, Any], fields: Any = FIELDS) -> list[tuple[Any, ...]]:
    return [
        (f"f{fields[i]}", f"{i}.tif", 0, metric, value)
        for metric, column in values.items()
        for i, value in enumerate(column)
    ]


def table(folder: Path, methods: dict[str, Any], against: str | None = None) -> Comparison:
    folders = [
        str(write_metrics(folder / name, name, rows(values))) for name, values in methods.items()
    ]
    return compare(*read_evaluations(folders), against)


def column(comparison: Comparison, metric: str) -> Column:
    return next(c for c in comparison.columns if c.measure.key == metric)


def refused(*arguments: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        compare(*read_evaluations([str(a) for a in arguments]))
    return caught.value.problem


def test_medians_and_the_best(tmp_path: Path) -> None:
    comparison = table(tmp_path, VALUES)
    for metric, winner in (("mae", "ours"), ("lpips", "care")):
        found = column(comparison, metric)
        for name, cell in zip(comparison.names, found.cells, strict=True):
            assert cell.median == np.median(VALUES[name][metric])
            assert cell.best == (name == winner)
    assert (comparison.images, comparison.fields, comparison.left_out) == (30, 10, 0)


@pytest.mark.parametrize("against", [None, "blur"])
def test_statistics_are_those_of_scipy(tmp_path: Path, against: str | None) -> None:
    comparison = table(tmp_path, VALUES, against)
    for metric in ("mae", "lpips"):
        found = column(comparison, metric)
        assert found.against is not None
        reference = comparison.names[found.against]
        assert reference == (against or {"mae": "ours", "lpips": "care"}[metric])
        base = VALUES[reference][metric]
        for name, cell in zip(comparison.names, found.cells, strict=True):
            if name == reference:
                assert cell.mood is None
                continue
            own = VALUES[name][metric]
            assert cell.mood is not None
            assert cell.paired is not None
            assert cell.mood.p == median_test(own, base).pvalue
            means = [(own - base)[f == FIELDS].mean() for f in range(10)]
            assert cell.paired.p == pytest.approx(wilcoxon(means).pvalue)
            assert cell.paired.difference == pytest.approx(np.mean(means))


def test_too_few_fields_give_no_p_value(tmp_path: Path) -> None:
    fields = np.arange(IMAGES) % 3
    folders = [write_metrics(tmp_path / n, n, rows(v, fields)) for n, v in VALUES.items()]
    comparison = compare(*read_evaluations([str(f) for f in folders]))
    paired = column(comparison, "mae").cells[2].paired
    assert paired is not None
    assert (paired.fields, paired.low, paired.high, paired.p) == (3, None, None, None)
    assert "too few fields (3; at least 6 needed)" in verdict(comparison)[-1]
    assert to_csv(comparison).count("too few fields (3; at least 6 needed)") == 4


def test_verdict_says_plainly_where_the_first_method_loses(tmp_path: Path) -> None:
    lost = (
        f"{np.median(VALUES['care']['lpips']):.3f}, here {np.median(VALUES['ours']['lpips']):.3f}"
    )
    lines = verdict(table(tmp_path / "a", VALUES))
    assert lines[0] == f"ours is not the best in: LPIPS (care {lost})."
    assert lines[1] == "ours is the best in 1 of 2 measures: MAE."
    assert lines[2] == "30 images from 10 fields of view: enough for a paired test by field."
    mae = {name: {"mae": values["mae"]} for name, values in VALUES.items()}
    assert verdict(table(tmp_path / "b", mae))[0] == "ours is the best in the only measure: MAE."
    alone = verdict(table(tmp_path / "c", {"ours": VALUES["ours"]}))
    assert alone == ["Only ours was evaluated: there is nothing to compare it with."]


def test_only_common_images_are_compared(tmp_path: Path) -> None:
    short = {"mae": VALUES["care"]["mae"][:20]}
    comparison = table(tmp_path, {"ours": VALUES["ours"], "care": short})
    assert (comparison.images, comparison.left_out) == (20, 10)
    assert column(comparison, "mae").cells[0].median == np.median(VALUES["ours"]["mae"][:20])
    assert comparison.notes == [
        "10 of 30 images are left out, because not every method has them (care lacks 10)."
    ]
    lpips = column(comparison, "lpips")
    assert np.isnan(lpips.cells[1].median)
    assert lpips.present == [0]


def test_an_image_without_a_value_is_left_out_of_that_measure_only(tmp_path: Path) -> None:
    care = {"mae": list(VALUES["care"]["mae"]), "lpips": ["", "nan", *VALUES["care"]["lpips"][2:]]}
    comparison = table(tmp_path, {"ours": VALUES["ours"], "care": care})
    assert len(column(comparison, "mae").items) == 30
    assert column(comparison, "lpips").cells[0].median == np.median(VALUES["ours"]["lpips"][2:])
    assert comparison.notes == [
        "LPIPS: 2 of 30 images have no value for some method and are left out of this measure."
    ]


def test_order_of_rows_and_extra_columns_do_not_matter(tmp_path: Path) -> None:
    folder = write_metrics(tmp_path / "ours", "ours", rows(VALUES["ours"]))
    with (folder / "metrics.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["comment", *reversed(COLUMNS)], restval="x, y")
        writer.writeheader()
        writer.writerows(reversed(lines))
    other = write_metrics(tmp_path / "care", "care", rows(VALUES["care"]))
    comparison = compare(*read_evaluations([str(other), str(folder)]))
    found = [cell.median for cell in column(comparison, "mae").cells]
    assert found == [np.median(VALUES[name]["mae"]) for name in ("care", "ours")]


def test_measures_with_a_target_and_unknown_ones(tmp_path: Path) -> None:
    values = {
        "a": {"spread_skill": [0.4, 0.5], "coverage_90": [0.99, 0.98], "sharpness": [1, 2]},
        "b": {"spread_skill": [1.2, 1.1], "coverage_90": [0.85, 0.88], "sharpness": [9, 9]},
    }
    comparison = table(tmp_path, values)
    assert [c.measure.key for c in comparison.columns] == [
        "spread_skill", "coverage_90", "sharpness",
    ]  # fmt: skip
    assert [c.best for c in comparison.columns] == [1, 1, None]
    assert comparison.columns[2].against is None
    assert measure_of("sharpness").title == "sharpness"
    assert MEASURES["spread_skill"].title == "Spread/skill → 1"
    assert MEASURES["psnr"].title == "PSNR (dB) ↑"


@pytest.mark.parametrize(("unit", "shown"), [("micrometre", "µm"), ("pixel", "pixels")])
def test_the_resolution_has_a_unit(tmp_path: Path, unit: str, shown: str) -> None:
    row = [("f", "1.tif", 0, "resolution", 0.3), ("f", "1.tif", 0, "mae", 1)]
    names = ("a", "b")
    folders = [str(write_metrics(tmp_path / n, n, row, resolution_unit=unit)) for n in names]
    comparison = compare(*read_evaluations(folders))
    assert column(comparison, "resolution").measure.title == f"Resolution ({shown})"
    other = str(write_metrics(tmp_path / "c", "c", row))
    mixed = compare(*read_evaluations([*folders, other]))
    assert [c.measure.key for c in mixed.columns] == ["mae"]
    assert mixed.notes == [
        f"Resolution is left out, because its units differ: a {unit}, b {unit}, c unknown."
    ]


def test_nobody_wins_alone(tmp_path: Path) -> None:
    comparison = table(tmp_path, {"ours": {"mae": [2], "crps": [1]}, "care": {"mae": [1]}})
    assert column(comparison, "crps").best is None
    assert verdict(comparison)[0] == "ours is not the best in: MAE (care 1.00, here 2.00)."
    assert len(verdict(comparison)) == 2


def test_numbers_are_printed_as_numbers() -> None:
    text = MEASURES["psnr"].text
    assert [text(v) for v in (-1.005, np.nan, np.inf, -np.inf)] == ["−1.00", "n/a", "∞", "−∞"]
    assert [text(v, sign=True) for v in (0.5, -0.5)] == ["+0.50", "−0.50"]


def test_images_are_chosen_by_rank(tmp_path: Path) -> None:
    comparison = table(tmp_path, {"ours": {"mae": [5, 1, 4, 2, 3]}, "care": {"mae": [1] * 5}})
    chosen = choose(comparison, 3)
    assert [comparison.items[c.item][0] for c in chosen] == ["4.tif", "1.tif", "0.tif"]
    assert chosen[0].why == "typical: the median MAE of ours (3.00)"
    assert [c.why.split(" MAE")[0] for c in chosen[1:]] == ["the best", "the worst"]
    assert len({c.item for c in choose(comparison, 9)}) == 5


def test_averaging_in_words(tmp_path: Path) -> None:
    """The errors are means over images: 100 of one sample is 150 and 50."""
    folders = {}
    for name, values in {
        "sure": "1,mse,150\n1,mse,50\n15,mse,75.86", "fine": "1,mse,2\n15,mse,1.0667",
        "wide": "1,mse,100\n15,mse,25.12", "idle": "1,mse,100\n15,mse,102.33",
        "none": "4,mse,30\n8,mse,\n8,mse,nan", "zero": "1,mse,1\n2,mse,0",
        "other": "1,psnr,30\n15,psnr,31",
    }.items():  # fmt: skip
        folders[name] = write_metrics(tmp_path / name, name, rows(VALUES["ours"]))
        (folders[name] / "averaging.csv").write_text(f"samples,metric,value\n{values}\n")
    lines = averaging_lines(compare(*read_evaluations([str(f) for f in folders.values()])))
    assert len(lines) == 4
    start = "sure: averaging 15 instead of 1 sample gains 1.20 dB, "
    assert lines[0] == start + "so its std maps are over-confident: 1.69 times too small."
    assert lines[1].endswith("gains 2.73 dB, so its std maps are calibrated (factor 1.00).")
    assert "so its std maps are too large:" in lines[2]
    assert lines[3].endswith("gains −0.10 dB, so nothing: the samples hardly differ.")


def test_what_evaluations_are_refused(tmp_path: Path) -> None:
    good = write_metrics(tmp_path / "good", "ours", rows(VALUES["ours"]))
    assert refused(tmp_path / "no").endswith(
        "no: is no folder, expected what bmz-ddpm evaluate wrote"
    )
    (tmp_path / "empty").mkdir()
    assert "evaluation.json: cannot be read (No such file" in refused(tmp_path / "empty")
    twin = write_metrics(tmp_path / "twin", "ours", rows(VALUES["ours"]))
    assert "its method 'ours' is also that of" in refused(good, twin)
    assert len(compare(*read_evaluations([str(good), f"other={twin}"])).names) == 2
    nameless = write_metrics(tmp_path / "nameless", " \n", [])
    assert "its method has no name" in refused(nameless)
    elsewhere = write_metrics(tmp_path / "x", "x", [("f", "z.tif", 0, "mae", 1)])
    assert "ours, x: have no image in common" in refused(good, elsewhere)
    hollow = write_metrics(tmp_path / "hollow", "hollow", [("f", "1.tif", 0, "mae", "")])
    assert "hollow: have no values in metrics.csv" in refused(hollow)
    moved = write_metrics(tmp_path / "moved", "moved", [("other", "1.tif", 0, "mae", 1)])
    expected = "moved/metrics.csv: line 2: field of 1.tif is 'other', but elsewhere 'f0'"
    assert refused(good, moved).endswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "evaluation.json: is damaged"),
        ("[]", "evaluation.json: format is None, expected 'bmz-ddpm evaluation 1'"),
        ('{"format": "2"}', "evaluation.json: format is '2', expected 'bmz-ddpm evaluation 1'"),
        ('{"format": "bmz-ddpm evaluation 1"}', "evaluation.json: method: Field required"),
    ],
)
def test_damaged_descriptions(tmp_path: Path, content: str, expected: str) -> None:
    folder = write_metrics(tmp_path / "a", "a", [])
    (folder / "evaluation.json").write_text(content)
    assert expected in refused(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "has no column method, field, image, plane, metric, value, it needs method, field"),
        (b"method,field,image,plane,metric\n", "has no column value, it needs"),
        (b"\n".join([b",".join(c.encode() for c in COLUMNS), b"a,f,i"]), "line 2 has 3 values"),
        (b"\xff\xfe", "is no table of text"),
        (b"%s\na,f,i,0,mae,much\n", "line 2: could not convert string to float: 'much'"),
        (b"%s\nb,f,i,0,mae,1\n", "line 2: method is 'b', evaluation.json says 'a'"),
        (b"%s\na,f,i,0,mae,1\na,f,i,0,mae,2\n", "line 3: mae of i, plane 0, stands there twice"),
    ],
)
def test_damaged_tables(tmp_path: Path, content: bytes, expected: str) -> None:
    folder = write_metrics(tmp_path / "a", "a", [])
    header = ",".join(COLUMNS).encode()
    (folder / "metrics.csv").write_bytes(content.replace(b"%s", header))
    assert expected in refused(folder)


@pytest.mark.parametrize(
    ("row", "expected"),
    [("0,psnr,1", "samples is 0, must be at least 1"), ("few,psnr,1", "invalid literal for int")],
)
def test_damaged_averaging(tmp_path: Path, row: str, expected: str) -> None:
    folder = write_metrics(tmp_path / "a", "a", rows(VALUES["ours"]))
    (folder / "averaging.csv").write_text(f"samples,metric,value\n{row}\n")
    assert expected in refused(folder)


def test_unknown_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, VALUES, "car")
    assert caught.value.problem == "--against car: is no method here (did you mean 'care'?)"
    assert caught.value.fix == "choose ours, care, blur"


def test_names_lose_what_cannot_be_drawn(tmp_path: Path) -> None:
    folder = write_metrics(tmp_path / "a", "two\nlines\x07", [])
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["method"] == "two\nlines\x07"
    (folder / "metrics.csv").write_text(",".join(COLUMNS) + "\n")
    assert read_evaluations([str(folder)])[0][0].name == "two lines�"
