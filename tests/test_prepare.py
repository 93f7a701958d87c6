"""Preparation: known movements are found, masks are exact, noisy pixels are never touched."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import write_pairs
from scipy.ndimage import affine_transform
from test_cli import mistake, run

from bmz_ddpm.config import AugmentConfig
from bmz_ddpm.data.images import read_image
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.data.patches import PatchSource
from bmz_ddpm.data.planes import load_planes
from bmz_ddpm.data.synthetic import draw_structures
from bmz_ddpm.errors import ConfigError, DataError, MissingDependency
from bmz_ddpm.prepare import examine as examining
from bmz_ddpm.prepare.cut import corners, starts
from bmz_ddpm.prepare.examine import Finding, Views, examine
from bmz_ddpm.prepare.register import Movement, find_movement, move, moved_mask
from bmz_ddpm.prepare.run import Prepared, prepare
from bmz_ddpm.prepare.settings import PrepareSettings
from bmz_ddpm.prepare.sheet import LIMIT, doubtful, draw_tile, sheets
from bmz_ddpm.prepare.similarity import structure
from bmz_ddpm.prepare.store import moved_image, unique_name

SIDE = 192
SIZE = (0.25, 0.1)  # micrometre, y and x


def scene(
    seed: int, shift: tuple[float, float] = (0, 0), rotation: float = 0, photons: float = 20
) -> tuple[np.ndarray, np.ndarray]:
    """A drawn structure with Poisson noise, and clean, to be moved by `shift` and `rotation`.

    Resampled with scipy from a larger picture, so nothing is missing at the borders.
    """
    picture = draw_structures(1, SIDE + 96, seed)[0].astype(float)
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    # a point q of the clean image goes to shift + turn @ q, seen from the middle
    turn = np.array([[c, -s], [s, c]])
    middle = np.full(2, (SIDE + 95) / 2)
    clean = affine_transform(picture, turn, middle - turn @ middle + np.array(shift), order=5)
    inner = (slice(48, -48), slice(48, -48))
    noisy = np.random.default_rng(seed).poisson(np.clip(picture[inner], 0, None) * photons + 0.5)
    return noisy.astype(np.uint16), np.clip(clean[inner] * 1000 + 50, 0, 60000).astype(np.uint16)


def write_scene(folder: Path, name: str, low: np.ndarray, high: np.ndarray, **options: object):  # type: ignore[no-untyped-def]
    for kind, image in (("low", low), ("high", high)):
        path = folder / kind / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, image, resolution=(1 / SIZE[1], 1 / SIZE[0]), **options)
    return Pair(folder / "low" / f"{name}.tif", folder / "high" / f"{name}.tif", name, "train")


def write_imagej(folder: Path, name: str, low: np.ndarray, high: np.ndarray, axes: str = "YX"):  # type: ignore[no-untyped-def]
    metadata = {"axes": axes, "unit": "um"}
    return write_scene(folder, name, low, high, imagej=True, metadata=metadata)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    """Three fields, one of them moved, cut into patches of 64; and one wrong partner."""
    folder = tmp_path_factory.mktemp("prepare")
    write_imagej(folder / "raw", "a", *scene(1, (6.4, -3.3), 1.5))
    write_imagej(folder / "raw", "b", *scene(2))
    write_imagej(folder / "raw", "c", *scene(3, (-2.5, 5.5)))
    write_imagej(folder / "raw", "wrong", scene(4)[0], scene(5)[1])
    settings = PrepareSettings(patch=60)
    return folder, prepare(find_pairs(folder / "raw"), settings, folder / "out")


# -- registration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "shift", "rotation", "photons"),
    [(1, (6.4, -3.3), 1.5, 20), (3, (-11.7, 8.2), -2.0, 20), (6, (0.4, 0.6), 0.3, 5)],
)
def test_known_movements_are_found(
    seed: int, shift: tuple[float, float], rotation: float, photons: float
) -> None:
    low, high = (structure(i[None, None]) for i in scene(seed, shift, rotation, photons))
    found = find_movement(low, high, "rigid")
    assert found is not None
    assert (found.shift_y, found.shift_x) == pytest.approx(shift, abs=0.2)
    assert found.rotation == pytest.approx(rotation, abs=0.1)
    assert find_movement(low, high, "rigid") == found  # always the same


def test_a_shift_is_found_without_rotation() -> None:
    low, high = (structure(i[None, None]) for i in scene(3, (-4.5, 7.3)))
    found = find_movement(low, high, "shift")
    assert found is not None
    assert (found.shift_y, found.shift_x) == pytest.approx((-4.5, 7.3), abs=0.2)
    assert found.rotation == 0
    assert find_movement(low, high, "none") == Movement()


def test_whole_pixels_and_quarter_turns_move_exactly() -> None:
    image = np.random.default_rng(0).uniform(1, 9, (40, 50))
    everywhere = np.ones(image.shape, bool)
    moved = move(image, Movement(3, -5))
    np.testing.assert_allclose(moved[3:, :-5], image[:-3, 5:], atol=1e-9)
    mask = moved_mask(everywhere, Movement(3, -5))
    assert mask[3:, :-5].all()
    assert mask.sum() == 37 * 45
    assert not moved[~mask].any()
    square = image[:, :40]
    np.testing.assert_allclose(move(square, Movement(0, 0, 90)), np.rot90(square), atol=1e-9)
    assert moved_mask(everywhere[:, :40], Movement(0, 0, 90)).all()


def test_the_mask_is_the_area_with_data_and_nothing_else() -> None:
    """Half a pixel of shift leaves one row without both of its neighbours; a hole grows by one."""
    valid = np.ones((30, 30), bool)
    assert moved_mask(valid, Movement(0.5, 0)).sum() == 29 * 30
    valid[10:12, 20] = False
    hole = ~moved_mask(valid, Movement(0, 0.5))
    assert hole[10:12, 20:22].all()
    assert hole.sum() == 30 + 4
    assert moved_mask(valid, Movement()) is valid
    # a movement and its mask agree: where the mask is false, ones do not arrive unchanged
    turned = Movement(1.3, -2.2, 4)
    ones = move(np.ones((30, 30)), turned, smooth=False)
    np.testing.assert_array_equal(ones > 0.5, moved_mask(np.ones((30, 30), bool), turned))


def test_clean_images_stay_sharp() -> None:
    """Half a pixel of shift of a sine of period 4 pixels: linear interpolation halves its power."""
    x = np.arange(64)
    image = np.tile(np.sin(np.pi / 2 * x), (64, 1))
    wanted = np.tile(np.sin(np.pi / 2 * (x - 0.5)), (64, 1))
    inner = (slice(12, -12), slice(12, -12))
    errors = [
        np.abs(move(image, Movement(0, 0.5), smooth)[inner] - wanted[inner]).max()
        for smooth in (True, False)
    ]
    assert errors[1] == pytest.approx(np.sin(np.pi / 4) * (1 - np.cos(np.pi / 4)), rel=1e-3)
    assert errors[0] < 0.3 * errors[1]


def test_padding_from_before_does_not_attract_the_registration(tmp_path: Path) -> None:
    low, high = scene(3, (-4.5, 7.3))
    mask = np.full(high.shape, 255, np.uint8)
    high[:30], mask[:30] = 0, 0
    pair = write_imagej(tmp_path, "a", low, high)
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    finding, views = examine(replace(pair, mask=tmp_path / "mask.tif"), PrepareSettings())
    assert finding.movement.shift_y == pytest.approx(-4.5, abs=0.2)
    assert finding.movement.shift_x == pytest.approx(7.3, abs=0.2)
    assert views is not None
    assert not views.valid[:25].any()
    assert not views.valid[:, :7].any()
    assert views.valid[27:180, 10:].all()


# -- verdicts ------------------------------------------------------------------------------


def test_pairs_are_rejected_with_a_reason(tmp_path: Path) -> None:
    low, high = scene(3, (-9.0, 12.0), -3)
    good = write_imagej(tmp_path, "good", low, high)
    wrong = write_imagej(tmp_path, "wrong", *scene(7, photons=0.1))
    flat = write_imagej(tmp_path, "flat", low, np.full_like(high, 7))
    dark = write_imagej(tmp_path, "dark", np.zeros_like(low), high)
    small = write_imagej(tmp_path, "small", low, high[:-2])
    cut = write_imagej(tmp_path, "cut", low, high)
    cut.low.write_bytes(cut.low.read_bytes()[:100])
    cases = [
        (wrong, {}, "is below 0.35 (--min-similarity)"),
        (good, {"max_shift": 14.5}, "shift of 14.9 pixels is above 14.5 (--max-shift)"),
        (good, {"max_rotation": 2}, "rotation of -3.0 degrees is beyond 2 (--max-rotation)"),
        (good, {"min_overlap": 0.95}, "is below 95% (--min-overlap)"),
        (good, {"channel": 2}, "has 1 channels, --register-channel is 2"),
        (good, {"patch": 256}, "is 192 x 192 pixels, smaller than --patch 256"),
        (flat, {}, "the clean image shows nothing to register"),
        (dark, {}, "the noisy image shows nothing to register"),
        (small, {}, "is 192 x 192 pixels but its partner"),
        (cut, {}, "is not a readable image"),
    ]
    for pair, changes, reason in cases:
        settings = replace(PrepareSettings(), **changes)  # type: ignore[arg-type]
        finding, _ = examine(pair, settings)
        assert finding.rejected
        assert reason in finding.reason
    assert examine(good, PrepareSettings())[0].verdict == "registered"


def test_no_overlap_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK

    def fails(*_: object) -> None:
        raise RuntimeError("all samples map outside")

    monkeypatch.setattr(SimpleITK.ImageRegistrationMethod, "Execute", fails)
    finding, _ = examine(write_imagej(tmp_path, "a", *scene(1)), PrepareSettings())
    assert (finding.verdict, finding.reason) == ("rejected", "registration found no overlap")


def test_a_movement_that_does_not_help_is_not_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = write_imagej(tmp_path, "a", *scene(3))
    monkeypatch.setattr(examining, "find_movement", lambda *_: Movement(4, 0))
    finding, _ = examine(pair, PrepareSettings())
    assert finding.verdict == "unchanged"
    assert finding.reason.startswith("registration made it worse (0.9")
    assert finding.movement == Movement()
    assert finding.before == finding.after > 0.9


def test_what_is_aligned_is_not_interpolated(tmp_path: Path) -> None:
    finding, _ = examine(write_imagej(tmp_path, "a", *scene(9)), PrepareSettings())
    assert (finding.verdict, finding.reason) == ("unchanged", "aligned already")
    assert finding.movement == Movement()


def test_one_channel_may_decide(tmp_path: Path) -> None:
    """The second channels are of another field, the first of the same."""
    low, high = scene(3, (-4.5, 7.3))
    other = scene(5)
    lows, highs = np.stack([low, other[0]]), np.stack([high, scene(4)[1]])
    pair = write_imagej(tmp_path, "a", lows, highs, "CYX")
    first, _ = examine(pair, PrepareSettings(channel=1))
    assert first.movement.shift_x == pytest.approx(7.3, abs=0.2)
    assert examine(pair, PrepareSettings(channel=2))[0].rejected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overlap": 8}, "--overlap 8: no patches are cut"),
        ({"overlap": 64, "patch": 64}, "--overlap 64: must be smaller than --patch 64"),
    ],
)
def test_impossible_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareSettings(**arguments)


# -- patches -------------------------------------------------------------------------------


def test_patches_tile_every_length() -> None:
    """As many as fit, in the middle, each pixel at most once; more often only as asked."""
    for length in range(4, 40):
        for patch in range(1, length + 1):
            for overlap in range(0, patch, 3):
                first = starts(length, patch, overlap)
                assert len(first) == (length - patch) // (patch - overlap) + 1
                assert set(np.diff(first)) <= {patch - overlap}
                before, after = first[0], length - first[-1] - patch
                assert 0 <= before <= after <= before + 1
                assert after + before < patch - overlap
    assert corners((9, 8), 4, 0) == [(0, 0), (0, 4), (4, 0), (4, 4)]
    assert corners((9, 8), None, 0) == [(0, 0)]


def test_patches_are_the_source_bit_by_bit(prepared: tuple[Path, Prepared]) -> None:
    folder, _ = prepared
    rows = list(csv.DictReader((folder / "out/pairs.csv").open()))
    times = {name: np.zeros((SIDE, SIDE), int) for name in "abc"}
    for row in rows:
        source = tifffile.imread(row["source_low"])
        y, x = int(row["y"]), int(row["x"])
        assert row["low"] == f"low/{row['fov']}_y{y:04}_x{x:04}.tif"
        patch = read_image(folder / "out" / row["low"])
        assert patch.dtype == np.uint16
        np.testing.assert_array_equal(patch, source[y : y + 60, x : x + 60])
        times[row["fov"]][y : y + 60, x : x + 60] += 1
        for kind in ("low", "high"):
            image = read_image(folder / "out" / row[kind])
            assert image.attrs["pixel_size"] == pytest.approx(SIZE)
    for counted in times.values():
        assert counted.max() == 1
        assert counted.sum() == 9 * 60**2
        assert counted[6:-6, 6:-6].all()


def test_masks_of_patches_join_to_the_mask_of_the_field(prepared: tuple[Path, Prepared]) -> None:
    folder, done = prepared
    movement = next(f.movement for f in done.findings if f.pair.fov == "a")
    joined = np.zeros((SIDE, SIDE), bool)
    clean = np.zeros((SIDE, SIDE))
    without = 0
    for row in csv.DictReader((folder / "out/pairs.csv").open()):
        if row["fov"] != "a":
            continue
        window = (
            slice(int(row["y"]), int(row["y"]) + 60),
            slice(int(row["x"]), int(row["x"]) + 60),
        )
        without += not row["mask"]
        joined[window] = tifffile.imread(folder / "out" / row["mask"]) > 0 if row["mask"] else True
        clean[window] = tifffile.imread(folder / "out" / row["high"])
        assert float(row["valid"]) == pytest.approx(joined[window].mean(), abs=1e-4)
    inner = (slice(6, -6), slice(6, -6))
    wanted = moved_mask(np.ones((SIDE, SIDE), bool), movement)
    np.testing.assert_array_equal(joined[inner], wanted[inner])
    assert not clean[~joined].any()
    assert (clean[inner][joined[inner]] > 0).all()  # at least 50 counts everywhere
    assert 0 < without < 9


def test_patches_without_clean_data_are_left_out_and_counted(tmp_path: Path) -> None:
    low, high = scene(3)
    mask = np.full(high.shape, 255, np.uint8)
    mask[:70] = 0  # of three rows of patches the first loses all, the second 6 of 64 rows
    pairs = [replace(write_imagej(tmp_path, n, low, high), mask=tmp_path / "m.tif") for n in "ab"]
    tifffile.imwrite(tmp_path / "m.tif", mask)
    pairs[1] = replace(pairs[1], split="val")
    settings = PrepareSettings("none", patch=64, min_valid=0.9, min_overlap=0)
    done = prepare(pairs, settings, tmp_path / "out")
    assert (done.images, done.left_out) == (12, 6)
    assert json.loads((tmp_path / "out/summary.json").read_text())["patches_left_out"] == 6
    done = prepare(pairs, replace(settings, patch=192), tmp_path / "none")
    assert {f.reason for f in done.rejected} == {"no patch has 90% valid pixels (--min-valid)"}


def test_stacks_move_as_one_and_keep_type_and_axes(tmp_path: Path) -> None:
    low, high = scene(3, (-5, 7))
    lows = np.stack([low, low + 3, low // 2]).astype(np.int32)  # a type that ImageJ lacks
    highs = np.stack([high, high + 5, high // 2]).astype(np.float32)
    pair = write_scene(tmp_path, "a", lows, highs, metadata={"axes": "ZYX"}, resolutionunit=3)
    write_scene(tmp_path, "b", lows, highs, metadata={"axes": "ZYX"}, resolutionunit=3)
    done = prepare(find_pairs(tmp_path), PrepareSettings(), tmp_path / "whole")
    movement = done.findings[0].movement
    row = next(iter(csv.DictReader((tmp_path / "whole/pairs.csv").open())))
    stored = read_image(tmp_path / "whole" / row["low"])
    assert stored.dims == ("z", "y", "x")
    assert stored.dtype == np.int32
    np.testing.assert_array_equal(stored, lows)
    clean = tifffile.imread(tmp_path / "whole" / row["high"])
    assert clean.dtype == np.float32
    for plane, source in zip(clean, highs, strict=True):
        np.testing.assert_allclose(plane, move(source, movement), rtol=1e-6)
    loaded = load_planes(Pair(*(tmp_path / "whole" / row[k] for k in ("low", "high")), "a", "",
                              tmp_path / "whole" / row["mask"]))  # fmt: skip
    assert loaded.mask is not None
    assert loaded.mask.shape == (3, 1, SIDE, SIDE)
    # as patches: plane by plane, and each plane with its own partner
    settings = PrepareSettings(register="none", patch=192)
    prepare([pair, replace(pair, split="val")], settings, tmp_path / "cut")
    rows = list(csv.DictReader((tmp_path / "cut/pairs.csv").open()))
    assert [r["plane"] for r in rows] == ["z000", "z001", "z002"] * 2
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cut" / rows[1]["low"]), lows[1])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cut" / rows[1]["high"]), highs[1])


def test_moved_integers_are_rounded_and_cut_off_where_the_type_ends() -> None:
    import xarray as xr

    values = np.zeros((20, 20), np.uint8)
    values[:, 10:] = 255  # B-splines overshoot at an edge
    image = xr.DataArray(values, dims=("y", "x"), attrs={"pixel_size": SIZE})
    moved = moved_image(image, Movement(0, 0.5))
    assert moved.dtype == np.uint8
    assert moved.attrs == image.attrs
    assert moved.values[10, 10] in (127, 128)
    assert moved.values[10, 13:].min() > 240
    assert moved_image(image, Movement()) is image


# -- the whole ------------------------------------------------------------------------------


def test_the_result_can_be_trained_on(prepared: tuple[Path, Prepared]) -> None:
    folder, done = prepared
    assert done.warning is None
    pairs = find_pairs(folder / "out/pairs.csv")
    assert {p.fov for p in pairs} == {"a", "b", "c"}
    assert len(pairs) == done.images == 27
    split = {p.fov: p.split for p in find_pairs(folder / "raw") if p.fov != "wrong"}
    assert {p.fov: p.split for p in pairs} == split
    source = PatchSource(pairs, 32, AugmentConfig(), seed=0)
    assert source.batch(0, 2).cond.shape == (2, 1, 32, 32)


def test_the_report_names_every_pair(prepared: tuple[Path, Prepared]) -> None:
    folder, done = prepared
    shifts = list(csv.DictReader((folder / "out/shifts.csv").open()))
    assert [r["fov"] for r in shifts] == ["a", "b", "c", "wrong"]
    verdicts = [r["verdict"] for r in shifts]
    assert verdicts == ["registered", "unchanged", "registered", "rejected"]
    assert float(shifts[0]["shift_y"]) == pytest.approx(6.4, abs=0.2)
    assert float(shifts[0]["similarity_after"]) > 0.9 > float(shifts[0]["similarity_before"])
    (rejected,) = csv.DictReader((folder / "out/rejected.csv").open())
    assert rejected["low"].endswith("wrong.tif")
    assert "shift of" in rejected["reason"]
    summary = json.loads((folder / "out/summary.json").read_text())
    assert (summary["pairs"], summary["registered"], summary["rejected"]) == (4, 2, 1)
    assert summary["settings"]["patch"] == 60
    assert [p.name for p in done.files] == [
        "pairs.csv", "contact_sheet.png", "rejected.csv", "shifts.csv", "summary.json",
    ]  # fmt: skip
    assert all(p.is_file() for p in done.files)


def test_where_images_agree_the_sheet_has_no_colour() -> None:
    image = structure(scene(3)[1][None, None])
    valid = np.ones(image.shape, bool)
    valid[:, :50] = False
    pair = Pair(Path("a.tif"), Path("b.tif"), "field", "train")
    finding = Finding(pair, Movement(1, 2, 3), 0.5, 0.9, 1.0, "registered")
    panels = {"same": image, "other": -image}
    colourful = {}
    for name, moved in panels.items():
        tile = draw_tile(finding, Views(image, image, moved, valid)).picture
        field = np.asarray(tile)[64:276, 4:216].astype(int)
        assert (field[:, :50] == 128).all()  # no clean data
        colourful[name] = int(np.ptp(field, axis=-1).max())
    assert colourful["same"] == 0
    assert colourful["other"] > 200


def test_the_most_doubtful_pairs_come_first_and_room_is_limited() -> None:
    pair = Pair(Path("a.tif"), Path("b.tif"), "a", "train")
    verdicts = [("registered", 0.9), ("rejected", 0.3), ("registered", 0.5)]
    tiles = [draw_tile(Finding(pair, after=s, verdict=v), None) for v, s in verdicts]
    assert [t.order[1] for t in doubtful(tiles)] == [0.3, 0.5, 0.9]
    assert len(doubtful(tiles * 50)) == LIMIT < 150
    assert len(sheets(tiles * 4, 12)) == 2


def test_names_say_what_they_are_and_differ() -> None:
    def name(fov: str, low: str, taken: set[str]) -> str:
        return unique_name(Finding(Pair(Path(low), Path("h.tif"), fov)), taken)

    taken: set[str] = set()
    assert name("cell_1", "x/cell_1.tif", taken) == "cell_1"
    assert name("cell_1", "y/Cell_1.tif", taken) == "cell_1_Cell_1"
    assert name("cell_1", "z/cell_1.tif", taken) == "cell_1_2"
    assert name("plate 3/A", "7.png", taken) == "plate-3-A_7"


def test_training_that_would_fail_is_announced(tmp_path: Path) -> None:
    pairs = find_pairs(write_pairs(tmp_path / "raw"))
    alone = [p for p in pairs if p.split == "val"]
    done = prepare(alone, PrepareSettings(register="none"), tmp_path / "out")
    assert done.warning is not None
    assert "every row is for validation" in done.warning.problem


# -- nothing is lost -----------------------------------------------------------------------


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    pairs = find_pairs(write_pairs(tmp_path / "raw"))

    def stop(done: int, total: int, extra: str) -> None:
        assert list(tmp_path.glob(".out.*.part"))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(pairs, PrepareSettings(register="none"), tmp_path / "out", stop)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    pairs = find_pairs(write_pairs(tmp_path / "raw"))
    with full_disk(), pytest.raises(DataError, match="could not be written"):
        prepare(pairs, PrepareSettings(register="none"), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_places_and_types_that_cannot_be_used(tmp_path: Path) -> None:
    pairs = find_pairs(write_pairs(tmp_path / "raw"))
    settings = PrepareSettings(register="none")
    (tmp_path / "file").touch()
    for place, message in (("raw", "holds files already"), ("file", "is a file")):
        with pytest.raises(DataError, match=message):
            prepare(pairs, settings, tmp_path / place)
    with pytest.raises(DataError, match="cannot be written"):
        prepare(pairs, settings, tmp_path / "file" / "out")
    huge = tifffile.imread(pairs[0].low).astype(np.uint64)
    tifffile.imwrite(pairs[0].low, huge)
    with pytest.raises(DataError, match="pixel type uint64 is not written"):
        prepare(pairs, settings, tmp_path / "out")
    tifffile.imwrite(pairs[0].low, huge.astype(np.float16))
    prepare(pairs, settings, tmp_path / "out")
    stored = tifffile.imread(tmp_path / "out/low/a.tif")
    np.testing.assert_array_equal(stored, huge.astype(np.float16))


def test_registration_needs_simpleitk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = find_pairs(write_pairs(tmp_path / "raw"))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingDependency, match=r"registration needs SimpleITK.*bmz-ddpm\[prepare"):
        prepare(pairs, PrepareSettings(), tmp_path / "out")
    assert prepare(pairs, PrepareSettings(register="none"), tmp_path / "out").images == 3


def test_the_command(tmp_path: Path) -> None:
    write_pairs(tmp_path / "raw")
    dry = run(tmp_path, "prepare", "raw", "--patch", 16, "--dry-run")
    assert dry.returncode == 0
    assert '"patch": 16' in dry.stdout
    assert dry.stdout.count("raw/low/") == 3
    assert not (tmp_path / "prepared").exists()
    done = run(tmp_path, "prepare", "raw", "--register", "none", "--patch", 16)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "prepared/pairs.csv"
    assert "3 of 3 pairs prepared, 27 images" in done.stderr
    problem, fix = mistake(tmp_path, "prepare", "raw")
    assert problem.startswith("prepared: holds files already")
    assert "choose another --out" in fix


def test_the_command_when_nothing_is_left(tmp_path: Path) -> None:
    write_pairs(tmp_path / "raw")
    done = run(tmp_path, "prepare", "raw", "--register", "none", "--min-similarity", 1, "-o", "out")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("rejected: raw/low/") == 3
    assert "error: all 3 pairs were rejected, out holds only the report." in done.stderr
    assert len(list(csv.DictReader((tmp_path / "out/rejected.csv").open()))) == 3
    assert (tmp_path / "out/contact_sheet.png").is_file()
    assert not (tmp_path / "out/pairs.csv").exists()
