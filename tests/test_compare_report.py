"""The report as it is opened: one page that needs nothing else, figures without overlaps."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from conftest import write_pairs
from evaluations import blobs, write_averaging, write_images, write_metrics, write_stack
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_cli import mistake, run

from bmz_ddpm.compare import charts
from bmz_ddpm.compare.calibration import calibration_curve, promised_and_found
from bmz_ddpm.compare.drawing import drawing, require_matplotlib, wrapped
from bmz_ddpm.compare.evaluations import read_evaluations
from bmz_ddpm.compare.measures import MEASURES
from bmz_ddpm.compare.panels import Panel, Strip, figure_of
from bmz_ddpm.compare.pictures import make_gallery
from bmz_ddpm.compare.report import replace_folder, write_report
from bmz_ddpm.compare.table import Comparison, compare
from bmz_ddpm.compare.views import brightest
from bmz_ddpm.errors import DataError, MissingDependency

NAMES = [f"cells_{i:02}.tif" for i in range(12)]
HOSTILE = '<script>alert("x")</script> & $x_1$'
LONG = [
    "DDPM-avg, 15 samples of 200 ancestral steps", "DDPM, a single sample", "CARE",
    "UNet-RCAN with rescaled intensities", "pix2pix_with_an_endless_name_without_any_space",
    "Noise2Void", "BM3D after variance stabilisation", "Gaussian blur, sigma tuned on the clean",
    "Raw",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three evaluations, ours, care and raw, and their report."""
    folder = tmp_path_factory.mktemp("compare")
    write_images(folder / "ours", "ours", 4.0, NAMES, uncertain=True)
    write_averaging(folder / "ours", 9.0, 4.0)
    write_images(folder / "care", HOSTILE, 4.2, NAMES)
    write_images(folder / "raw", "Raw", 17.0, NAMES)
    done = run(folder, "compare", "ours", "care", "raw", "--out", "report", "--pictures", 2)
    (folder / "done.json").write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Return two evaluations without images."""
    return [
        str(write_metrics(tmp_path / name, name, [("f", "i.tif", 0, "mae", value)]))
        for name, value in (("a", 1), ("b", 2))
    ]


class Page(HTMLParser):
    """Collects tags that do not match, ids, and everything that is loaded."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            elif name in ("src", "srcset", "data", "poster"):
                self.loads.append(str(value))
            elif name.endswith("href"):
                self.links.append(str(value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_command_says_what_it_found(place: Path) -> None:
    code, out, err = json.loads((place / "done.json").read_text())
    assert code == 0, err
    assert out.split() == ["report/report.html", "report/table.csv", "report/results.json"]
    assert "ours is the best in" in err
    assert "ours is not the best in:" in err
    assert "averaging 15 instead of 1 sample gains" in err
    assert not [p for p in place.iterdir() if p.name.startswith(".")]


def test_page_is_valid_and_needs_nothing_else(place: Path) -> None:
    text = (place / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.seen.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_inks_of_the_page_are_those_of_its_theme(place: Path) -> None:
    """A figure with a fixed dark ink would vanish on a dark page."""
    text = (place / "report" / "report.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(drawings) == 13 + 2 + 2 + 1  # distributions, averaging, profiles, calibration
    for svg in drawings:
        assert "var(--ink)" in svg
        assert not re.search(r"#(1d2329|5b6670|d6dce1|000000|ffffff)", svg)


def test_every_method_and_number_is_on_the_page(place: Path) -> None:
    text = (place / "report" / "report.html").read_text(encoding="utf-8")
    escaped = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; $x_1$"
    rows = [line for line in text.split("\n") if line.startswith("<tr><th scope")]
    for name in ("ours", escaped, "Raw"):
        assert sum(f"</span>{name}</th>" in row for row in rows) == 5
    with (place / "report" / "table.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 3 * 13
    for row in table:
        measure = MEASURES[row["metric"]]
        if not row["median"]:
            assert row["method"] != "ours"
            continue
        shown = measure.text(float(row["median"]))
        assert (f"<b>{shown}</b>" if row["best"] == "True" else f">{shown}<span") in text
    assert "bar: 1 µm" in text
    assert "Chosen by rule: typical: the median MAE of ours" in text


def test_results_hold_the_same_numbers(place: Path) -> None:
    content = json.loads((place / "report" / "results.json").read_text())
    with (place / "report" / "table.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [str(r["median"] or "") for r in content["results"]] == [r["median"] for r in table]
    assert content["methods"][0]["overconfidence"] == pytest.approx(1.5)
    assert content["methods"][1]["overconfidence"] is None
    assert (content["images"], content["fields"], content["left_out"]) == (12, 6, 0)
    held = [p.relative_to(place / "report") for p in (place / "report").rglob("*.*")]
    assert sorted(content["files"]) == sorted(p.as_posix() for p in held)
    kinds = ("montage", "errors", "profile", "std", "entropy")
    for name in [f"figures/{kind}-{k}.svg" for kind in kinds for k in (1, 2)]:
        assert name in content["files"]


def test_figures_are_files_of_their_own(place: Path) -> None:
    for path in (place / "report" / "figures").iterdir():
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert "var(--" not in path.read_text()


def test_same_inputs_give_the_same_report(tmp_path: Path) -> None:
    write_images(tmp_path / "a", "a", 4.0, NAMES[:2], uncertain=True)
    path = tmp_path / "a" / "metrics.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "metric,value" in line or ",mae," in line))
    contents = []
    for _ in range(2):
        write_report([str(tmp_path / "a")], tmp_path / "out", pictures=1)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")})
    assert contents[0] == contents[1]


def overlaps(figure: Figure) -> list[str]:
    """Return labels that lie on each other or reach over the edge of their figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    drawn = {id(text) for text in shown}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():  # not drawn outside of the axes
                if not axes.axison or not low <= tick.get_loc() <= high:
                    drawn -= {id(tick.label1), id(tick.label2)}
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown if id(t) in drawn]
    wide, tall = figure.bbox.width, figure.bbox.height
    found = [
        f"{text!r} is cut off"
        for text, b in boxes
        if b.x0 < -0.5 or b.y0 < -0.5 or b.x1 > wide + 0.5 or b.y1 > tall + 0.5
    ]
    for (first, a), (second, b) in combinations(boxes, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5:
            found.append(f"{first!r} on {second!r}")
    return found


def test_overlaps_are_found() -> None:
    """A test of the test below."""
    with drawing():
        figure = Figure((2, 1))
        figure.text(0.1, 0.5, "one label")
        assert overlaps(figure) == []
        figure.text(0.2, 0.55, "another")
        figure.text(0.9, 0.1, "over the edge")
        assert overlaps(figure) == ["'over the edge' is cut off", "'one label' on 'another'"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Nine methods with long names, and numbers of different sizes."""
    rng, folders = np.random.default_rng(1), []
    folder = tmp_path_factory.mktemp("many")
    for k, name in enumerate(LONG):
        scales = {"mae": 1e-4, "psnr": 3.0, "nrmse": 3e4, "crps": 1e7}
        rows = [
            (f"f{i}", f"{i}.tif", 0, key, scale * (k + rng.normal()))
            for key, scale in scales.items()
            for i in range(8)
        ]
        folders.append(str(write_metrics(folder / str(k), name, rows)))
    return compare(*read_evaluations(folders))


@pytest.mark.parametrize("metric", ["mae", "psnr", "nrmse", "crps"])
def test_no_labels_overlap_in_distributions(many: Comparison, metric: str) -> None:
    (column,) = (c for c in many.columns if c.measure.key == metric)
    with drawing():
        assert overlaps(charts.distribution(column, LONG)) == []


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e7], ids=str)
@pytest.mark.parametrize("kind", ["averaging", "profiles", "spread_skill"])
def test_no_labels_overlap_in_charts(kind: str, scale: float) -> None:
    rng = np.random.default_rng(1)
    lines = scale * np.sort(np.abs(rng.normal(size=(9, 64))))
    numbered = list(enumerate(LONG))
    with drawing():
        if kind == "averaging":
            curves = [(k, n, {m: [scale * (9 + k / m)] for m in (1, 5, 15)}) for k, n in numbered]
            figure = charts.averaging(MEASURES["psnr"], curves)
        elif kind == "profiles":
            every = [(k, n, lines[k]) for k, n in numbered]
            figure = charts.profiles(every, lines[0], 0.04 * scale, "µm")
        else:
            figure = charts.spread_skill([(k, n, lines[k], 2 * lines[k]) for k, n in numbered])
        assert overlaps(figure) == []


@pytest.mark.parametrize("count", [1, 2, 9])
def test_no_labels_overlap_in_panels(count: int) -> None:
    panels = [Panel(name, np.zeros((40, 50), np.uint8)) for name in LONG[-count:]]
    ends = ("−1.23e+04 counts: too dark", "too bright: +1.23e+04")
    bar = (0.2, "50 pixels (pixel size unknown)")
    with drawing():
        assert overlaps(figure_of(Strip("montage", "", "", panels, bar, 0.5))) == []
        assert overlaps(figure_of(Strip("errors", "", "", panels, scale=("RdBu_r", *ends)))) == []


def test_long_names_take_two_lines() -> None:
    assert wrapped("CARE") == "CARE"
    assert wrapped(LONG[4]) == "pix2pix_with_an_endl\ness_name_without_an…"
    assert wrapped("one two three four five", 10) == "one two\nthree fou…"


def test_profile_runs_through_the_brightest_structure() -> None:
    image = np.zeros((400, 500), np.float32)
    image[330, 20:400] = 50
    image[100, 100] = 200  # one bright pixel is no structure
    window = brightest(image)
    assert (window.height, window.width) == (256, 256)
    assert abs(window.y + window.row - 330) <= 2
    small = brightest(np.eye(3, dtype=np.float32))
    assert (small.y, small.x, small.height, small.width) == (0, 0, 3, 3)


@pytest.mark.parametrize("top", [11, 30, 42, 60, 87, 99, 200, 1000])
def test_labels_of_the_low_strips_have_room(top: float) -> None:
    """A strip of 46 pixels holds three labels."""
    values = np.linspace(0.1 * top, top, 50)
    figure = charts.profiles([(0, "ours", values)], values, 1.0, "pixels")
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert 1 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= 3


def test_clean_image_is_shown_as_it_was_scored(tmp_path: Path) -> None:
    """Files that were rescaled one by one: errors and profiles are those of the scores."""
    folder = write_images(tmp_path / "ours", "ours", 4.0, NAMES[:2], uncertain=True)
    about = json.loads((folder / "evaluation.json").read_text())
    pair = about["pairs"][0]
    low, high = (tifffile.imread(pair[kind]).astype(float) for kind in ("low", "high"))
    gain, offset = np.polyfit(high.ravel(), low.ravel(), 1)
    write_stack(folder / pair["prediction"], gain * high + offset)  # a perfect result
    for match, right in ((True, True), (False, False)):
        about["settings"] = {"match_intensity": match}
        (folder / "evaluation.json").write_text(json.dumps(about))
        gallery = make_gallery(compare(*read_evaluations([str(folder)])), 2)
        (picture,) = (p for p in gallery.pictures if p.title == pair["image"])
        assert np.allclose(picture.lines[0][2], picture.truth, atol=0.01) is right
        assert ("intensities of the noisy one" in picture.why) is match


def test_calibration_finds_the_factor() -> None:
    """A std map that is half as large as the error, of 15 samples."""
    rng = np.random.default_rng(0)
    true = rng.uniform(2, 20, (400, 400))
    clean, mean = np.zeros((400, 400)), true * rng.normal(size=(400, 400))
    std = 0.5 * true * (14 / 16) ** 0.5
    promised, found = calibration_curve([promised_and_found(mean, clean, std, 15)])
    assert len(promised) == 12
    np.testing.assert_allclose(found / promised, 2, rtol=0.05)
    plain = promised_and_found(mean, clean, std, None)
    np.testing.assert_allclose(plain[0].max(), (std**2).max(), rtol=0.01)


def test_stacks_have_a_side_view_and_their_own_plane(tmp_path: Path) -> None:
    for name, error in (("a", 2.0), ("b", 5.0)):
        write_images(tmp_path / name, name, error, ["s.tif"], (4, 40, 50), pixel_size=None)
    comparison = compare(*read_evaluations([str(tmp_path / "a"), str(tmp_path / "b")]))
    (picture,) = make_gallery(comparison, 1).pictures
    assert re.fullmatch(r"s.tif, plane \d", picture.title)
    kinds = {strip.kind: strip for strip in picture.strips}
    assert list(kinds) == ["montage", "errors", "xz"]
    assert [p.pixels.shape for p in kinds["xz"].panels] == [(64, 50)] * 4
    assert "each of the 4 planes is drawn 16 pixels high" in kinds["xz"].remark
    assert kinds["montage"].bar == (pytest.approx(0.2), "10 pixels (pixel size unknown)")
    plane = int(picture.title[-1])
    clean = blobs((4, 40, 50), 0)[plane]
    row = round(kinds["montage"].row * 40 - 0.5)  # type: ignore[operator]
    np.testing.assert_allclose(picture.truth, clean[row], rtol=1e-6)


def test_signed_errors_are_result_minus_clean(tmp_path: Path) -> None:
    """All share one range; the middle of the colour map is no error."""
    clean = blobs((30, 30), 0)
    low, high = (write_stack(tmp_path / f"{k}.tif", clean) for k in ("low", "high"))
    for name, shift in (("up", 2.0), ("down", -2.0), ("none", 0.0)):
        prediction = write_stack(tmp_path / name / "p.tif", clean + shift)
        pair = {"image": "i", "field": "f", "low": low, "high": high, "prediction": prediction}
        write_metrics(tmp_path / name, name, [("f", "i", 0, "mae", abs(shift))], pairs=[pair])
    folders = [str(tmp_path / name) for name in ("up", "down", "none")]
    (picture,) = make_gallery(compare(*read_evaluations(folders)), 4).pictures
    errors = next(strip for strip in picture.strips if strip.kind == "errors")
    assert [set(p.pixels.ravel().tolist()) for p in errors.panels] == [{255}, {0}, {128}]
    assert errors.scale == ("RdBu_r", "−2 counts: too dark", "too bright: +2")


def spoil(folder: Path, **changes: Any) -> None:
    path = folder / "evaluation.json"
    content = json.loads(path.read_text())
    for pair in content["pairs"]:
        pair.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prediction": "gone.tif"}, "b: no prediction in the pictures: B/gone.tif: does not "
                                     "exist."),
        ({"prediction": None}, "b: no prediction in the pictures: s.tif: evaluation.json names no "
                               "prediction."),
        ({"std": "notes.txt"}, "b: no std in the pictures: B/notes.txt: does not exist."),
        ({"prediction": "small.tif"}, "b: no prediction in the pictures: B/small.tif: is 9 x 9 "
                                      "pixels, the clean image 40 x 50."),
    ],
)  # fmt: skip
def test_missing_files_are_notes(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    for name, error in (("a", 2.0), ("b", 5.0)):
        write_images(tmp_path / name, name, error, ["s.tif"], (40, 50))
    write_stack(tmp_path / "b" / "small.tif", np.ones((9, 9)))
    spoil(tmp_path / "b", **changes)
    comparison = compare(*read_evaluations([str(tmp_path / "a"), str(tmp_path / "b")]))
    gallery = make_gallery(comparison, 1)
    assert gallery.notes == [expected.replace("B/", f"{tmp_path}/b/")]
    names = [panel.name for panel in gallery.pictures[0].strips[0].panels]
    assert names == ["noisy", "clean", "a", "b"][: 4 if "std" in changes else 3]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"high": "no.tif"}, "s.tif is not shown: {}/a/no.tif: does not exist."),
        ({"image": "other"}, "s.tif is not shown: s.tif: stands in no evaluation.json."),
        ({"high": "one.tif"}, "s.tif is not shown: {}/a/one.tif: has 1 planes, but no plane 3."),
    ],
)
def test_images_that_cannot_be_shown(tmp_path: Path, change: dict[str, str], expected: str) -> None:
    write_images(tmp_path / "a", "a", 2.0, ["s.tif"], (4, 40, 50))
    write_stack(tmp_path / "a" / "one.tif", np.ones((40, 50)))
    spoil(tmp_path / "a", **change)
    path = tmp_path / "a" / "metrics.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line for line in lines if ",3,mae," in line)]))
    gallery = make_gallery(compare(*read_evaluations([str(tmp_path / "a")])), 1)
    assert (gallery.pictures, gallery.notes) == ([], [expected.format(tmp_path)])


def test_notes_failures_and_settings_are_on_the_page(tmp_path: Path) -> None:
    failed = [{"image": f"<{i}>", "reason": "too small"} for i in range(7)]
    about = {"failed": failed, "notes": ["LPIPS: weights are missing"], "peak": 255.0}
    about |= {
        "model": {"name": "net", "sha256": "0123456789abcdef"},
        "settings": {
            "steps": 4,
            "tile": None,
            "align": True,
            "mirror": False,
            "rescale": [1.25, 3],
        },
    }
    row = ("f", "i.tif", 0, "mae", 1)
    a = write_metrics(tmp_path / "a", "a", [row, ("f", "j.tif", 0, "mae", 3)], **about)
    b = write_metrics(tmp_path / "b", "b", [row])
    _, paths = write_report([str(a), str(b)], tmp_path / "out", pictures=0)
    text = paths[0].read_text()
    assert (
        "<li>1 of 2 images are left out, because not every method has them (b lacks 1).</li>"
        in text
    )
    assert "<li>a: LPIPS: weights are missing</li>" in text
    assert "a: 7 images failed: &lt;0&gt; (too small); " in text
    assert "&lt;4&gt; (too small) and 2 more.</li>" in text
    assert (
        "<td>net, sha256 0123456789ab…</td><td>steps 4, align, rescale 1.25 ± 3</td>"
        "<td>not measured</td><td>255</td>" in text
    )
    assert "<td>no model</td><td>none</td><td>not measured</td><td>unknown</td>" in text
    assert "Instead of p-values: too few fields (1; at least 6 needed)." in text


def test_infinite_values_are_written_and_drawn(tmp_path: Path) -> None:
    folders = [
        str(write_metrics(tmp_path / n, n, [(f"f{i}", f"{i}", 0, "psnr", v) for i in range(8)]))
        for n, v in (("a", "inf"), ("b", 30.0))
    ]
    _, paths = write_report(folders, tmp_path / "out", pictures=0)
    assert "<b>∞</b>" in paths[0].read_text()
    results = json.loads(paths[2].read_text())["results"]
    assert results[0]["median"] == "infinite"
    assert (results[1]["wilcoxon_p"], results[1]["remark"]) == (None, "")


def test_an_older_report_is_replaced_and_nothing_else(two: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_report(two, out, pictures=0)
    write_report([f"<new>={two[0]}", two[1]], out, pictures=0)
    assert "&lt;new&gt; compared with 1 other method" in (out / "report.html").read_text()
    (out / "figures" / "mine.txt").write_text("my notes")
    with pytest.raises(DataError, match=r"holds figures/mine\.txt, which is no part of a report"):
        write_report(two, out, pictures=0)
    assert "&lt;new&gt;" in (out / "report.html").read_text()
    for content in ("{", '{"format": "other", "files": ["report.html"]}', "[]"):
        shutil.rmtree(out)
        out.mkdir()
        (out / "results.json").write_text(content)
        with pytest.raises(DataError, match=r"holds results\.json, which is no part"):
            write_report(two, out, pictures=0)
    with pytest.raises(DataError, match=r"metrics\.csv: is a file, expected a folder"):
        write_report(two, Path(two[0]) / "metrics.csv")


def test_full_disk_leaves_the_older_report(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    out = tmp_path / "out"
    replace_folder(out, {"a.csv": "older", "figures/b.svg": "<svg/>"})
    with full_disk(), pytest.raises(DataError, match=r"out: could not be written \(No space left"):
        replace_folder(out, {"a.csv": "newer"})
    assert {p.name: p.read_text() for p in out.rglob("*.*")} == {
        "a.csv": "older",
        "b.svg": "<svg/>",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency) as caught:
        require_matplotlib()
    assert caught.value.problem == "bmz-ddpm compare needs matplotlib, which is not installed"
    assert caught.value.fix == "pip install 'bmz-ddpm[evaluate]'"


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs")
    problem, fix = mistake(tmp_path, "compare", "pairs", "--out", "report")
    assert problem.startswith("pairs/evaluation.json: cannot be read")
    assert fix == "name a folder that evaluate wrote."
    assert not (tmp_path / "report").exists()
