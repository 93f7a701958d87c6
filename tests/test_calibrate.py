"""Intervals: their form, how wide they are made, and what is written about them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import xarray as xr
from scipy.stats import norm

from bmz_ddpm.calibrate.fields import (
    Fields,
    by_field,
    divided,
    predict_all,
    refuse_other_sampler,
)
from bmz_ddpm.calibrate.form import Form, Pixels, fit_form
from bmz_ddpm.calibrate.run import Promise, Row, calibrate, write_results
from bmz_ddpm.config import Calibration
from bmz_ddpm.data.pairs import Pair
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.errors import ConfigError, DataError
from bmz_ddpm.evaluate.journal import Journal
from bmz_ddpm.evaluate.methods import from_folder
from bmz_ddpm.evaluate.prediction import Prediction
from bmz_ddpm.runtime.likeness import traits, unlike

ENDS = (0.0, 255.0)
SETTINGS = SamplerSettings(4, 16, 0.0)


def law(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Expected squared error of the made-up fields: more than std says, and more in the light."""
    return 4 * std**2 + 2 + 60 * (mean / 255) ** 2


def drawn(random: np.random.Generator, count: int, hard: float = 1.0) -> Pixels:
    mean = random.uniform(40, 200, count)
    std = random.choice([0.0, 1.0, 3.0], count)
    truth = mean + hard * np.sqrt(law(mean, std)) * random.standard_normal(count)
    return Pixels(*(v.astype(np.float32) for v in (truth, mean, std)))


def test_module_computes_its_formula() -> None:
    module = Form(2.0, (1.0, 3.0, 5.0), 1.5, 0.5, 10.0, 30.0).module(2.0)
    mean, std = torch.tensor([[[[20.0, 11.0, 29.9]]]]), torch.tensor([[[[1.0, 3.0, 0.0]]]])
    lower, upper = module(mean, std)
    share = (mean - 10) / 20
    width = torch.sqrt(2 * std**2 + 1 + 3 * share + 5 * share**2)
    torch.testing.assert_close(lower, (mean - 3 * width).clamp(10, 30))
    torch.testing.assert_close(upper, (mean + width).clamp(10, 30))
    assert float(lower[..., 1]) == 10  # clipped: 11 − 3·4.4
    assert float(upper[..., 2]) == 30


def test_form_finds_the_law_of_the_error_and_covers_new_pixels() -> None:
    random = np.random.default_rng(0)
    form = fit_form(drawn(random, 300_000), 0.1, ENDS)
    mean, std = np.array([60.0, 190.0, 60.0, 190.0]), np.array([0.0, 0.0, 3.0, 3.0])
    found = form.spread * std**2 + form.floor[0]
    found += form.floor[1] * mean / 255 + form.floor[2] * (mean / 255) ** 2
    np.testing.assert_allclose(found, law(mean, std), rtol=0.03)
    assert form.below == pytest.approx(norm.ppf(0.95), rel=0.02)
    assert form.above == pytest.approx(norm.ppf(0.95), rel=0.02)
    new = drawn(random, 100_000)
    for alpha, scale in ((0.1, 1.0), (norm.sf(2) * 2, 2 / norm.ppf(0.95))):
        for spread in (0.0, 3.0):  # also where all samples agree
            here = new.std == spread
            missed = (form.scores(new) > scale)[here].mean()
            error = 4 * np.sqrt(alpha * (1 - alpha) / here.sum())
            assert abs(missed - alpha) < error + 0.03 * alpha  # of the fit


def test_form_from_few_fields_does_not_depend_on_the_mean() -> None:
    random = np.random.default_rng(0)
    form = fit_form(drawn(random, 50_000), 0.1, ENDS, by_mean=False)
    assert form.floor[1:] == (0, 0)
    assert form.floor[0] > 10  # what the light adds is in the constant
    assert form.spread == pytest.approx(4, rel=0.1)


def test_arms_follow_an_asymmetric_error() -> None:
    random = np.random.default_rng(1)
    mean = np.full(50_000, 100.0)
    truth = mean - random.exponential(5, mean.size)
    form = fit_form(Pixels(truth, mean, np.zeros_like(mean)), 0.1, ENDS)
    width = np.sqrt(form.floor[0] + form.floor[1] * 100 / 255 + form.floor[2] * (100 / 255) ** 2)
    assert form.below * width == pytest.approx(5 * np.log(20), rel=0.02)
    assert form.above == pytest.approx(0.2 * form.below)  # never much shorter than the other


def test_scores_say_which_scale_reaches_the_truth() -> None:
    random = np.random.default_rng(2)
    pixels = drawn(random, 2000)
    outside = replace(pixels, truth=np.where(np.arange(2000) == 7, 300.0, pixels.truth))
    form = Form(1.0, (0.5, 0.0, 1.0), 1.2, 0.7, *ENDS)
    scores = form.scores(outside)
    assert np.isinf(scores[7])
    tensors = torch.from_numpy(pixels.mean), torch.from_numpy(pixels.std)
    for scale in (0.5, 1.0, 4.0):
        lower, upper = (end.numpy() for end in form.module(scale)(*tensors))
        inside = (lower <= outside.truth) & (outside.truth <= upper)
        np.testing.assert_array_equal(inside, scores <= scale)
    none = Form(1.0, (0.0, 0.0, 0.0), 1.0, 1.0, *ENDS)  # a bare multiple of std
    still = Pixels(*(np.array(v, np.float32) for v in ([5, 6], [5, 5], [0, 0])))
    assert none.scores(still).tolist() == [0, np.inf]


@pytest.fixture
def made_up(tmp_path: Path) -> Fields:
    """Thirteen fields of two images, with predictions whose error follows `law`."""
    random = np.random.default_rng(3)
    pairs = []
    for field in range(13):
        hard = np.exp(0.05 * random.standard_normal())
        for image in range(2):
            pixels = drawn(random, 64 * 80, hard)
            low, high = (tmp_path / k / f"{field:02}_{image}.tif" for k in ("low", "high"))
            stacks = {low: pixels.mean + random.normal(0, 10, pixels.mean.size)}
            stacks |= {high: pixels.truth, tmp_path / "out" / low.name: pixels.mean}
            stacks |= {tmp_path / "out" / f"{low.stem}_std.tif": pixels.std}
            for path, values in stacks.items():
                path.parent.mkdir(exist_ok=True)
                tifffile.imwrite(path, values.reshape(64, 80).astype(np.float32))
            pairs.append(Pair(low, high, f"f{field:02}", "test"))
    return Fields(by_field(pairs), from_folder(tmp_path / "out"), False)


def test_calibration_of_made_up_fields(made_up: Fields, tmp_path: Path) -> None:
    found, rows = calibrate(made_up, Promise("field", 0.1, 0.5), SETTINGS.kind, ENDS, fit=4)
    assert (found.fit_fields, found.fields, found.left_out) == (4, 9, True)
    assert found.coverage == pytest.approx(0.9, abs=0.02)
    assert 0.85 < found.worst_coverage < found.best_coverage < 0.95
    # the widths of a normal error, halved above and below
    pixels = np.concatenate(
        [law(p.mean, p.std) for f in made_up.members for p in made_up.pixels(f)]
    )
    best = 2 * norm.ppf(0.95) * np.sqrt(pixels).mean()
    assert found.length == pytest.approx(best, rel=0.06)
    assert found.plain_length < found.length
    assert found.scaled_length is None  # std is zero in a third of the pixels: no multiple does
    assert found.plain_coverage < 0.6
    # the made-up clean pixels are as irregular as noise: 160 / √12, and 10 of the camera
    assert found.noise_low == pytest.approx(np.hypot(160 / np.sqrt(12), 10), rel=0.1)
    assert found.sampler == {
        "num_steps": 4, "num_samples": 16, "eta": 0.0, "spacing": "log_snr", "mirror": True,
        "one_pass": False, "order": 1,
    }  # fmt: skip
    paths = write_results(tmp_path / "report", found, rows)
    report = json.loads(paths[0].read_text())
    assert report.pop("promise").endswith("with a probability of 50%")
    assert Calibration(**report) == found
    with paths[1].open() as stream:
        table = list(csv.DictReader(stream))
    assert [r["field"] for r in table] == [r.field for r in rows]
    assert np.mean([float(r["coverage"]) for r in table]) == pytest.approx(found.coverage, rel=1e-4)


def test_a_stronger_promise_makes_longer_intervals(made_up: Fields) -> None:
    lengths = []
    for promise in (Promise("field", 0.1, 0.5), Promise("field", 0.1, 0.1), Promise("crc", 0.1)):
        found, _ = calibrate(made_up, promise, SETTINGS.kind, ENDS, fit=4)
        lengths.append(found.length)
        if promise.delta == 0.1:  # nine fields are just enough: none may be left out
            assert not found.left_out
            assert found.worst_coverage >= 0.9
    assert lengths[0] < lengths[1] < lengths[2]


def test_fields_that_cannot_be_covered_are_named(made_up: Fields) -> None:
    """no interval between 0 and 120 grey levels keeps the promise: in field 'f… % …"""
    with pytest.raises(DataError, match=r"no interval between 0 and 120 grey levels keeps") as e:
        calibrate(made_up, Promise("field", 0.1, 0.5), SETTINGS.kind, (0.0, 120.0), fit=4)
    assert "of the clean pixels lie outside this range" in e.value.problem
    with pytest.raises(DataError, match="--guarantee rcps: 9 fields of view are left"):
        calibrate(made_up, Promise("rcps"), SETTINGS.kind, ENDS, fit=4)


def test_std_is_needed_and_sizes_must_agree(made_up: Fields, tmp_path: Path) -> None:
    """03_0.tif: has no std beside it (03_0_std.tif)"""
    (tmp_path / "out" / "03_0_std.tif").unlink()
    with pytest.raises(DataError, match=r"03_0\.tif: has no std beside it \(03_0_std\.tif\)"):
        list(made_up.pixels("f03"))
    tifffile.imwrite(tmp_path / "out" / "04_0_std.tif", np.zeros((9, 9), np.float32))
    with pytest.raises(DataError, match=r"the prediction is \(1, 64, 80\) and its std \(1, 9, 9\)"):
        list(made_up.pixels("f04"))


def test_masked_pixels_do_not_count(made_up: Fields, tmp_path: Path) -> None:
    mask = np.zeros((64, 80), np.uint8)
    mask[:10] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    name, pair = made_up.members["f05"][0]
    members = {"f05": [(name, replace(pair, mask=tmp_path / "mask.tif"))]}
    (pixels,) = replace(made_up, members=members).pixels("f05")
    whole = next(iter(made_up.pixels("f05")))
    np.testing.assert_array_equal(pixels.truth, whole.truth[: 10 * 80])


def test_which_fields_the_form_is_fitted_to() -> None:
    names = [f"field {i}" for i in range(10)]
    first, rest = divided(names, None, 0)
    assert (len(first), len(rest)) == (2, 8)
    assert sorted(first + rest) == names
    assert divided(names[::-1], None, 0) == (first, rest)
    assert {tuple(divided(names, 2, seed)[0]) for seed in range(9)} > {tuple(first)}
    with pytest.raises(DataError, match="1 fields of view: 1 are taken to fit the form") as caught:
        divided(["a"], None, 0)
    assert caught.value.fix == "add fields that the model has not seen"
    with pytest.raises(DataError, match="none is left") as caught:
        divided(names, 10, 0)
    assert caught.value.fix.endswith("or choose a smaller --fit")


def test_predictions_are_made_once(made_up: Fields, tmp_path: Path) -> None:
    calls: list[str] = []

    def method(name: str, low: xr.DataArray, high: xr.DataArray) -> Prediction:
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return Prediction(low.values[None], 0 * low.values[None])

    folder = tmp_path / "again"
    for _ in range(2):
        journal = Journal(folder / "images.jsonl", {})
        try:
            predict_all(made_up.members, method, journal, folder / "predictions", lambda *_: None)
        except KeyboardInterrupt:
            assert len(calls) == 5
    assert len(calls) == 27  # 26 images, one of them begun twice
    assert len(list((folder / "predictions").iterdir())) == 52


def test_predictions_of_another_sampler_are_refused(tmp_path: Path) -> None:
    """…: these predictions were made with steps = 8, the intervals would be for steps = 4"""
    folder = tmp_path / "predictions"
    refuse_other_sampler(folder, SETTINGS)
    for settings, text in (
        ({"steps": 8}, "steps = 8, the intervals would be for steps = 4"),
        ({"steps": 4, "samples": 2}, "samples = 2, the intervals would be for samples = 16"),
        ({"align": True}, "align = True, the intervals would be for align = False"),
    ):
        (tmp_path / "evaluation.json").write_text(json.dumps({"settings": settings}))
        with pytest.raises(ConfigError, match=f"these predictions were made with {text}"):
            refuse_other_sampler(folder, SETTINGS)
    (tmp_path / "evaluation.json").write_text('{"settings": {"samples": 16, "rescale": null}}')
    refuse_other_sampler(folder, SETTINGS)


def test_noise_level_and_range_of_an_image() -> None:
    """White noise of 5 counts on a slope and an edge, which the mask does not see."""
    y, x = np.mgrid[:200, :200]
    plane = 0.3 * y + 0.2 * x + 50 * (x > 100) + np.random.default_rng(0).normal(0, 5, (200, 200))
    found = traits(plane[None])
    assert found.noise == pytest.approx(5, rel=0.03)
    assert (found.low, found.high) == tuple(np.percentile(plane, [0.1, 99.9]))
    assert np.isnan(traits(np.zeros((1, 2, 9))).noise)


def test_images_unlike_the_calibration_images_are_noticed(made_up: Fields) -> None:
    found, _ = calibrate(made_up, Promise("field", 0.1, 0.5), SETTINGS.kind, ENDS, fit=4)
    pair = made_up.members["f01"][0][1]
    like = xr.DataArray(tifffile.imread(pair.low), dims=("y", "x"))
    assert unlike(like, "a.tif", found) == []
    bright = unlike(like + 150, "a.tif", found)
    assert len(bright) == 1
    assert bright[0].startswith("a.tif: has grey levels ")
    assert bright[0].endswith(": its intervals may not cover what they promise")
    assert "a.tif: is darker than all calibration images" in unlike(like * 0.3, "a.tif", found)[0]
    noisy = like + np.random.default_rng(1).normal(0, 60, like.shape)
    assert "has a noise level of " in unlike(noisy, "a.tif", found)[-1]


def test_row_holds_what_the_table_says() -> None:
    assert list(Row.__annotations__) == [
        "field", "coverage", "length", "plain_coverage", "plain_length",
    ]  # fmt: skip
