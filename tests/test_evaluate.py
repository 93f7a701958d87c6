"""Scoring many pairs: what is written, resuming, failures, memory."""

from __future__ import annotations

import csv
import gc
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr
from conftest import write_pairs
from test_sampler import gaussian_sampler

from bmz_ddpm.compare.evaluations import read_evaluations
from bmz_ddpm.compare.table import compare
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.errors import ConfigError, DataError, MissingDependency
from bmz_ddpm.evaluate.averaging import fit_averaging
from bmz_ddpm.evaluate.averaging_curve import averaging_curve
from bmz_ddpm.evaluate.images import distribution, image_names, peak_of
from bmz_ddpm.evaluate.journal import Journal, fingerprint
from bmz_ddpm.evaluate.methods import from_backend, from_baseline, from_folder, recording
from bmz_ddpm.evaluate.metrics import mae, psnr
from bmz_ddpm.evaluate.prediction import Prediction, as_planes
from bmz_ddpm.evaluate.results import append_rows, medians, read_rows
from bmz_ddpm.evaluate.run import Evaluation, Scoring, evaluate
from bmz_ddpm.evaluate.scores import METRICS, score_plane
from bmz_ddpm.runtime.backends import torch_backend
from bmz_ddpm.runtime.tiling import Tiling

ALL = ("train", "val", "test")


def raw(settings: dict[str, Any] | None = None) -> Evaluation:
    return Evaluation("raw", from_baseline("raw", 65535), None, settings or {"baseline": "raw"})


def table(out: Path) -> dict[tuple[str, int, str], str]:
    with (out / "metrics.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        assert reader.fieldnames == ["method", "field", "image", "plane", "metric", "value"]
        return {(r["image"], int(r["plane"]), r["metric"]): r["value"] for r in reader}


def test_every_measure_of_every_image_has_a_row(pair_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pairs = find_pairs(pair_folder, splits=ALL)
    assert evaluate(pairs, raw(), Scoring(400.0), out) == []
    rows = table(out)
    assert set(rows) == {(n, 0, m) for n in "abc" for m in METRICS}
    truth = tifffile.imread(pair_folder / "high" / "b.tif").astype(float)
    noisy = tifffile.imread(pair_folder / "low" / "b.tif").clip(0, 400)
    assert float(rows["b", 0, "mae"]) == pytest.approx(mae(truth, noisy), rel=1e-6)
    assert float(rows["b", 0, "psnr"]) == pytest.approx(psnr(truth, noisy, 400), rel=1e-6)
    assert rows["b", 0, "ms_ssim"] == ""
    report = json.loads((out / "evaluation.json").read_text())
    assert report["format"] == "bmz-ddpm evaluation 1"
    assert (report["method"], report["model"], report["peak"]) == ("raw", None, 400)
    assert report["failed"] == []
    assert [p["image"] for p in report["pairs"]] == ["a", "b", "c"]
    assert report["seconds_per_megapixel"] > 0
    assert any(n.startswith("ms_ssim: n/a for 3 of 3 images: MS-SSIM: the image has 48 x 56")
               for n in report["notes"])  # fmt: skip
    for pair in report["pairs"]:
        assert Path(pair["low"]).is_file()
        saved = tifffile.imread(out / pair["prediction"])
        assert saved.dtype == np.float32
        kept = tifffile.imread(pair["low"]).clip(0, 400)
        np.testing.assert_array_equal(saved, kept)


def test_medians_are_those_of_the_images(pair_folder: Path, tmp_path: Path) -> None:
    evaluate(find_pairs(pair_folder, splits=ALL), raw(), Scoring(65535.0), tmp_path / "out")
    path = tmp_path / "out" / "metrics.csv"
    values = [row.value for row in read_rows(path) if row.metric == "mae"]
    assert medians(path)["mae"] == (pytest.approx(np.median(values)), 3, 3)
    value, images, fields = medians(path)["crps"]
    assert (np.isnan(value), images, fields) == (True, 0, 0)


def test_planes_of_a_stack_are_scored_and_counted_singly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(50, 200, (3, 40, 44)).astype(np.uint8)
    for kind, values in (("low", clean + np.uint8(5)), ("high", clean)):
        (tmp_path / kind).mkdir()
        values = values + (np.arange(3, dtype=np.uint8)[:, None, None] if kind == "low" else 0)
        tifffile.imwrite(tmp_path / kind / "s.tif", values.astype(np.uint8), imagej=True,
                         metadata={"axes": "ZYX"})  # fmt: skip
    evaluate(find_pairs(tmp_path, splits=ALL), raw(), Scoring(255.0), tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [float(rows["s", plane, "mae"]) for plane in range(3)] == [5, 6, 7]
    assert medians(tmp_path / "out" / "metrics.csv")["mae"] == (6.0, 3, 1)
    compared = compare(*read_evaluations([str(tmp_path / "out")]))
    (mae_column,) = (c for c in compared.columns if c.measure.key == "mae")
    assert (mae_column.cells[0].median, compared.images, compared.fields) == (6.0, 3, 1)
    assert tifffile.imread(tmp_path / "out" / "predictions" / "s.tif").shape == (3, 40, 44)


class Counting:
    """The raw image, and which images were asked for; one of them breaks everything."""

    def __init__(self, breaks: str = "") -> None:
        self.asked: list[str] = []
        self.breaks = breaks

    def __call__(self, name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        self.asked.append(name)
        if name == self.breaks:
            raise KeyboardInterrupt
        return Prediction(as_planes(low))


def test_an_interrupted_evaluation_goes_on_where_it_was(pair_folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(pair_folder, splits=ALL)
    out, whole = tmp_path / "out", tmp_path / "whole"
    scoring = Scoring(65535.0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(pairs, Evaluation("m", Counting("b"), None, {}), scoring, out)
    with (out / "metrics.csv").open("a") as stream:  # killed while b was written down
        stream.write("m,b,b,0,mae,999\nm,b,b,0,ps")
    second = Counting()
    evaluate(pairs, Evaluation("m", second, None, {}), scoring, out)
    assert second.asked == ["b", "c"]
    third = Counting()
    evaluate(pairs, Evaluation("m", third, None, {}), scoring, out)
    assert third.asked == []
    evaluate(pairs, Evaluation("m", Counting(), None, {}), scoring, whole)
    assert (out / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_other_settings_do_not_mix(pair_folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(pair_folder, splits=ALL)
    evaluate(pairs, raw({"samples": 4}), Scoring(65535.0), tmp_path)
    with pytest.raises(ConfigError, match="holds an evaluation with samples = 4, now it is 16"):
        evaluate(pairs, raw({"samples": 16}), Scoring(65535.0), tmp_path)
    with pytest.raises(ConfigError, match="with align = False, now it is True"):
        evaluate(pairs, raw({"samples": 4}), Scoring(65535.0, align=True), tmp_path)


def test_a_journal_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "images.jsonl").write_text("not json\n")
    with pytest.raises(DataError, match=r"images\.jsonl: cannot be read"):
        Journal(tmp_path / "images.jsonl", {})
    with pytest.raises(DataError, match=r"images\.jsonl: could not be written"):
        Journal(tmp_path / "images.jsonl" / "images.jsonl", {})


def test_a_broken_prediction_is_named_and_the_rest_finished(
    pair_folder: Path, tmp_path: Path
) -> None:
    theirs, out = tmp_path / "theirs", tmp_path / "out"
    theirs.mkdir()
    for name in "abc":
        (theirs / f"{name}.tif").write_bytes((pair_folder / "low" / f"{name}.tif").read_bytes())
    (theirs / "a.tif").write_bytes((theirs / "a.tif").read_bytes()[:200])
    (theirs / "b.tif").unlink()
    tifffile.imwrite(theirs / "b_denoised.tif", np.zeros((48, 20), np.float32))
    evaluation = Evaluation("theirs", from_folder(theirs), None, {"predictions": "theirs"})
    pairs = find_pairs(pair_folder, splits=ALL)
    failed = evaluate(pairs, evaluation, Scoring(65535.0, keep_images=False), out)
    assert [f["image"] for f in failed] == ["a", "b"]
    assert f"{theirs / 'a.tif'}: is not a readable image" in failed[0]["reason"]
    assert "has 1 planes of 48 x 20 pixels, the clean image" in failed[1]["reason"]
    report = json.loads((out / "evaluation.json").read_text())
    assert report["failed"] == failed
    assert [p["prediction"] for p in report["pairs"]] == [str(theirs / "c.tif")]
    assert report["seconds_per_megapixel"] is None
    assert {key[0] for key in table(out)} == {"c"}
    (theirs / "a.tif").write_bytes((pair_folder / "low" / "a.tif").read_bytes())
    assert len(evaluate(pairs, evaluation, Scoring(65535.0, keep_images=False), out)) == 1


def test_what_is_wrong_with_every_image_is_said_once(pair_folder: Path, tmp_path: Path) -> None:
    def method(*_: object) -> Prediction:
        raise MissingDependency("bm3d", "evaluate", "the BM3D baseline")

    pairs = find_pairs(pair_folder, splits=ALL)
    with pytest.raises(MissingDependency, match="needs bm3d"):
        evaluate(pairs, Evaluation("bm3d", method, None, {}), Scoring(255.0), tmp_path)


def test_folders_without_predictions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: is no folder"):
        from_folder(tmp_path / "nowhere")
    image = xr.DataArray(np.zeros((4, 4)), dims=("y", "x"))
    with pytest.raises(DataError, match=r"holds no prediction 'a\.tif' or 'a_denoised\.tif'"):
        from_folder(tmp_path)("a", image, image)


def test_a_baseline_needs_pairs_of_one_size() -> None:
    image = xr.DataArray(np.zeros((4, 4)), dims=("y", "x"))
    with pytest.raises(DataError, match="noisy and clean image differ in size"):
        from_baseline("gaussian", 255)("a", image, image[:3])


def test_the_tuned_blur_beats_the_raw_image_with_16_bits(pair_folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(pair_folder, splits=ALL)
    blur = Evaluation("blur", from_baseline("gaussian", 65535), None, {})
    evaluate(pairs, blur, Scoring(65535.0, keep_images=False), tmp_path / "blur")
    evaluate(pairs, raw(), Scoring(65535.0, keep_images=False), tmp_path / "raw")
    better, worse = (medians(tmp_path / n / "metrics.csv")["psnr"][0] for n in ("blur", "raw"))
    assert better > worse + 3


def test_rescaling_and_alignment_undo_what_was_done(tmp_path: Path) -> None:
    """The prediction is the truth, darker, flatter and shifted by one and a half pixels."""
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng(0)
    big = gaussian_filter(rng.uniform(size=(120, 120)), 3)
    big = (big - big.min()) / np.ptp(big) * 200 + 20
    for kind in ("low", "high"):
        (tmp_path / kind).mkdir()
        tifffile.imwrite(tmp_path / kind / "a.tif", big[20:100, 20:100].astype(np.float32))
    moved = shift(big, (1.5, -1.5), order=5)[20:100, 20:100] * 0.4 + 30
    (tmp_path / "p").mkdir()
    tifffile.imwrite(tmp_path / "p" / "a.tif", moved.astype(np.float32))
    pairs = find_pairs(tmp_path, splits=ALL)
    evaluation = Evaluation("p", from_folder(tmp_path / "p"), None, {})
    plain = Scoring(255.0, keep_images=False)
    training = [replace(pair, split="train") for pair in pairs]
    both = Scoring(255.0, align=True, rescale=distribution(training))
    evaluate(pairs, evaluation, plain, tmp_path / "plain")
    evaluate(pairs, evaluation, both, tmp_path / "both")
    before, after = (medians(tmp_path / n / "metrics.csv") for n in ("plain", "both"))
    assert before["psnr"][0] < 15
    assert after["psnr"][0] > 35
    assert after["pearson"][0] > 0.999
    report = json.loads((tmp_path / "both" / "evaluation.json").read_text())
    np.testing.assert_allclose(report["pairs"][0]["shift"], [[-1.5, 1.5]], atol=0.06)


def test_pixels_outside_the_mask_do_not_count() -> None:
    y, x = np.mgrid[:64, :64]
    truth = (100 + 50 * np.sin(y / 2) * np.cos(x / 3)).astype(np.float32)
    truth += np.random.default_rng(0).normal(size=truth.shape).astype(np.float32)
    image = truth + 3
    image[:, 40:] = 0
    image[10, 10] = 0
    valid = np.ones(truth.shape, bool)
    valid[:, 40:] = False
    valid[10, 10] = False
    values, _ = score_plane(truth, Prediction(image[None]), 0, 300.0, 1.0, valid)
    assert values["mae"] == pytest.approx(3, abs=1e-4)
    assert values["pearson"] == pytest.approx(1)
    assert values["resolution_ratio"] == pytest.approx(1, abs=0.01)


def test_a_mask_of_a_pair_is_used(pair_folder: Path, tmp_path: Path) -> None:
    mask = np.zeros((48, 56), np.uint8)
    mask[:, :30] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    pair = Pair(pair_folder / "low" / "a.tif", pair_folder / "high" / "a.tif", "a",
                mask=tmp_path / "mask.tif")  # fmt: skip
    evaluate([pair], raw(), Scoring(65535.0), tmp_path / "out")
    low, high = (tifffile.imread(p).astype(float)[:, :30] for p in (pair.low, pair.high))
    rows = table(tmp_path / "out")
    assert float(rows["a", 0, "mae"]) == pytest.approx(np.abs(low - high).mean(), rel=1e-6)


def test_spread_needs_a_number_of_samples() -> None:
    truth = np.ones((8, 8))
    std = np.ones((1, 8, 8), np.float32)
    unknown = score_plane(truth, Prediction(std, std), 0, 2.0, None)[1]
    assert "not of how many samples" in unknown["spread_skill"]
    single = score_plane(truth, Prediction(std, std, count=1), 0, 2.0, None)[1]
    assert single["coverage_90"] == "one sample has no spread"
    assert "the pixel size is unknown" in single["resolution"]
    assert "needs the single samples" in single["crps"]


@pytest.mark.parametrize(("kind", "peak"), [("uint8", 255), ("uint16", 65535)])
def test_the_peak_is_that_of_the_pixel_type(tmp_path: Path, kind: str, peak: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), kind))
    pair = Pair(tmp_path / "a.tif", tmp_path / "a.tif", "a")
    assert peak_of([pair], None) == peak
    assert peak_of([pair], 4095) == 4095
    with pytest.raises(ConfigError, match=r"--peak 0: must be positive"):
        peak_of([pair], 0)


def test_no_training_images_to_rescale_to() -> None:
    with pytest.raises(ConfigError, match="--rescale: no pair is for training"):
        distribution([Pair(Path("a.tif"), Path("b.tif"), "f", "val")])


def test_only_valid_pixels_of_training_images_decide_the_rescaling(tmp_path: Path) -> None:
    clean, mask = np.full((40, 40), 9, np.uint8), np.ones((40, 40), np.uint8)
    clean[:, 20:], clean[:, 30:], mask[:, 30:] = 5, 255, 0
    for name, values in (("clean", clean), ("mask", mask), ("other", clean * 0)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
    paths = [tmp_path / f"{name}.tif" for name in ("clean", "clean", "other", "mask")]
    pairs = [
        Pair(paths[0], paths[1], "f", "train", mask=paths[3]),
        Pair(paths[0], paths[2], "g", "val"),
    ]
    share = 2 / 3  # 20 columns of 9, 10 of 5
    assert distribution(pairs) == pytest.approx((5 + 4 * share, 4 * (share * (1 - share)) ** 0.5))


def test_a_pair_is_read_with_its_axes_channels_and_pixel_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    both = rng.integers(0, 200, (2, 40, 44)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "both.tif", both)
    path = tmp_path / "both.tif"
    pair = Pair(path, path, "f", axes="cyx", low_channel="1", high_channel="2",
                pixel_size=(0.1, 0.1))  # fmt: skip
    assert evaluate([pair], raw(), Scoring(255.0), tmp_path / "out") == []
    rows = table(tmp_path / "out")
    difference = both[0].astype(float) - both[1]
    assert float(rows["both", 0, "mae"]) == pytest.approx(np.abs(difference).mean(), rel=1e-6)
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["resolution_unit"] == "micrometre"


def test_float_images_have_no_peak(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.float32))
    with pytest.raises(ConfigError, match="has pixel type float32, which has no largest value"):
        peak_of([Pair(tmp_path / "a.tif", tmp_path / "a.tif", "a")], None)


def test_names_tell_images_apart() -> None:
    def pair(low: str) -> Pair:
        return Pair(Path(low), Path("clean.tif"), "f")

    assert image_names([pair("x/1.tif"), pair("x/2.tif")]) == ["1", "2"]
    assert image_names([pair("d/x/1.tif"), pair("d/y/1.tif")]) == ["x_1", "y_1"]
    with pytest.raises(DataError, match=r"1\.tif: is listed twice"):
        image_names([pair("x/1.tif"), pair("x/1.tif")])


def test_a_table_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"is no table of bmz-ddpm evaluate, its columns must be"):
        list(read_rows(tmp_path / "t.csv"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path / "missing.csv"))


def test_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.csv: could not be written"):
        append_rows(tmp_path / "none" / "metrics.csv", [])


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Ten times the images, written down row by row: the peak stays, within 1.5 kB per image."""
    write_pairs(tmp_path / "one", "a", (40, 40))
    low, high = (tmp_path / "one" / kind / "a.tif" for kind in ("low", "high"))

    def peak(count: int) -> int:
        pairs = [Pair(tmp_path / f"{i}.tif", high, f"f{i}") for i in range(count)]
        for pair in pairs:
            pair.low.write_bytes(low.read_bytes())
        tracemalloc.start()
        scoring, out = Scoring(65535.0, keep_images=False), tmp_path / f"out{count}"
        # otherwise the peak depends on when Python next looks for garbage
        evaluate(pairs, raw(), scoring, out, collect)
        medians(tmp_path / f"out{count}" / "metrics.csv")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    def collect(*_: object) -> None:
        gc.collect()

    peak(3)  # imports and caches
    gc.freeze()  # so that collecting is quick
    few, many = peak(6), peak(60)
    gc.unfreeze()
    assert many - few < 54 * 1500
    rows = (tmp_path / "out60" / "metrics.csv").read_text().count("\n")
    assert rows == 1 + 60 * len(METRICS)


def test_recorded_samples_are_those_of_the_result() -> None:
    """Through tiles and planes; the result is the same as without recording."""
    rng = np.random.default_rng(0)
    image = xr.DataArray(rng.poisson(15, (2, 70, 90)).astype(np.float32), dims=("z", "y", "x"))
    plain = from_backend(torch_backend(gaussian_sampler(2, 4, 0.0)), Tiling(96, 32), 32, 1, 4)
    recorded = from_backend(
        recording(gaussian_sampler(2, 4, 0.0)), Tiling(96, 32), 32, 1, 4, recorded=True
    )
    expected, found = plain("a", image, image), recorded("a", image, image)
    assert found.samples is not None
    assert found.samples.shape == (4, 2, 70, 90)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.std, expected.std)
    np.testing.assert_array_equal(found.entropy, expected.entropy)
    np.testing.assert_allclose(found.samples.mean(0), found.mean, atol=1e-3)
    np.testing.assert_allclose(found.samples.std(0), found.std, atol=1e-3)
    whole = from_backend(recording(gaussian_sampler(2, 4, 0.0)), None, 32, 1, 4, recorded=True)
    assert whole("a", image, image).mean.shape == (2, 70, 90)


def test_the_averaging_law_is_recovered() -> None:
    """MSE = B + V/N; the paper's 1.20, 1.78, 0.35 and 2.00 dB are ratios of 0.59 to 0.81."""
    fit = fit_averaging((1, 2, 4, 15), [30 + 12 / n for n in (1, 2, 4, 15)])
    assert (fit.bias, fit.variance) == (pytest.approx(30), pytest.approx(12))
    assert fit.overconfidence == pytest.approx(np.sqrt(30 / 12))
    for gain, ratio in ((1.20, 0.59), (1.78, 0.75), (0.35, 0.30), (2.00, 0.81), (2.73, 1.0)):
        factor = 10 ** (gain / 10)
        variance = (factor - 1) / (1 - factor / 15)
        fit = fit_averaging((1, 15), [1 + variance, 1 + variance / 15])
        assert fit.gain_db == pytest.approx(gain)
        assert fit.spread_over_error == pytest.approx(ratio, abs=0.01)
    assert fit_averaging((1, 15), [1.0, 1.0]).overconfidence == float("inf")


def test_the_curve_of_samples_with_known_spread(pair_folder: Path, tmp_path: Path) -> None:
    """Samples scatter by 20 around the truth plus 10: B = 100, V = 400."""

    def method(name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        rng = np.random.default_rng(0)
        center = as_planes(high) + 10
        samples = center + 20 * rng.normal(size=(15, *center.shape))
        return Prediction(samples.mean(0), samples=samples, count=15)

    pairs = find_pairs(pair_folder, splits=ALL)
    fit = averaging_curve(pairs, method, tmp_path, peak=65535.0, crop=40)
    assert fit is not None
    assert fit.bias == pytest.approx(100, rel=0.1)
    assert fit.variance == pytest.approx(400, rel=0.05)
    with (tmp_path / "averaging.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "samples", "metric", "value"]
    assert [r["image"] for r in rows if (r["samples"], r["metric"]) == ("1", "mse")] == list("abc")
    psnrs = [(int(r["samples"]), float(r["value"])) for r in rows if r["metric"] == "psnr"]
    assert [n for n, _ in psnrs] == [1, 2, 4, 8, 15] * 3
    assert [v for _, v in psnrs[:5]] == sorted(v for _, v in psnrs[:5])


def test_fingerprints_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "rdf.yaml").write_text("a")
    (tmp_path / "m.zip").write_bytes(b"abc")
    assert fingerprint(tmp_path / "m.zip").startswith("ba7816bf")  # FIPS 180, appendix B.1
    folder = fingerprint(tmp_path / "p")
    assert fingerprint(tmp_path / "p" / "rdf.yaml") == folder
    (tmp_path / "p" / "weights").write_text("b")
    assert fingerprint(tmp_path / "p") != folder
