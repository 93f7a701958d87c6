"""Blocks and comparisons of the probe, against what they must be."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from test_check import Draft, many, npy, places, scripts, single

from bmz_ddpm.check.job import job_of
from bmz_ddpm.check.package import Package, open_package
from bmz_ddpm.check.probe import core, records
from bmz_ddpm.check.probe.blocks import mirrored, predict_by_blocks
from bmz_ddpm.check.probe.compare import NotRun, compare, in_words, tolerance_of
from bmz_ddpm.check.verdict import check_package

AXES = ["batch", "channel", "y", "x"]


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, shape)


@pytest.mark.parametrize("size", [(31, 45), (12, 9), (8, 64)])
def test_blocks_of_a_filter_are_the_filter(size: tuple[int, int]) -> None:
    """A 5 x 5 mean needs a halo of 2; with mirrored borders the whole image is scipy's answer."""
    whole = image(1, 1, *size)
    plan = {"tile": [14, 11], "halo": [2, 2]}

    def smooth(block: np.ndarray) -> list[np.ndarray]:
        assert block.shape[2:] == (14, 11)
        return [ndimage.uniform_filter(block, (1, 1, 5, 5), mode="constant"), block[:, 0]]

    output_axes = [AXES, ["batch", "y", "x"]]
    count, (smoothed, same) = predict_by_blocks(smooth, whole, AXES, plan, output_axes)
    np.testing.assert_allclose(smoothed, ndimage.uniform_filter(whole, (1, 1, 5, 5)), atol=1e-12)
    np.testing.assert_array_equal(same, whole[:, 0])
    assert count == -(-size[0] // 10) * -(-size[1] // 7)


def test_blocks_with_a_wrong_result() -> None:
    plan: Any = {"tile": [8, 8], "halo": [1, 1]}

    def predict(change: Any) -> None:
        predict_by_blocks(lambda b: [change(b)], image(1, 1, 9, 9), AXES, plan, [AXES])

    with pytest.raises(ValueError, match=r"a block of \(8, 8\) pixels gives \(1, 1, 6, 8\)"):
        predict(lambda block: block[:, :, 1:-1])
    with pytest.raises(ValueError, match="hold NaN or infinity, or do not cover the image"):
        predict(lambda block: np.full_like(block, np.inf))


def test_mirrored_grows_and_crops() -> None:
    """abc becomes abccb; a side that is too long is cut."""
    small = np.array([[[[1, 2, 3], [4, 5, 6]]]])
    grown = mirrored(small, AXES, [1, 5])
    np.testing.assert_array_equal(grown, [[[[1, 2, 3, 3, 2]]]])


def test_named_channels_are_measured_apart(tmp_path: Path) -> None:
    expected = np.zeros((1, 3, 4, 5), np.float32)
    np.save(tmp_path / "e.npy", expected)
    job = {
        "outputs": [
            {
                "id": "all",
                "place": "outputs[0] (all)",
                "channel_axis": 1,
                "channels": ["mean", "std", "entropy"],
                "expected": str(tmp_path / "e.npy"),
            }
        ],
        "tolerances": [
            {
                "weights_formats": ["onnx"],
                "output_ids": [],
                "relative": 0.0,
                "absolute": 9.0,
                "per_million": 0.0,
            },
            {
                "weights_formats": [],
                "output_ids": ["all"],
                "relative": 0.0,
                "absolute": 0.1,
                "per_million": 16_667.0,
            },
        ],
    }
    result = expected.copy()
    result[0, 1, 2, 3] = 0.5
    result[0, 2] = 0.01
    (entry,) = compare(job, [result], "torchscript")
    assert [c["name"] for c in entry["channels"]] == ["mean", "std", "entropy"]
    assert [round(c["largest"], 6) for c in entry["channels"]] == [0, 0.5, 0.01]
    assert [c["beyond"] for c in entry["channels"]] == [0, 1 / 20, 0]
    assert entry["within"]  # 1 of 60 elements is 16667 in a million
    assert in_words([entry]).startswith(
        "largest difference from the test tensors: mean 0, std 5.0e-01, entropy 1.0e-02"
    )
    result[0, 1, 2, 2] = 0.5
    (entry,) = compare(job, [result], "torchscript")
    assert not entry["within"]
    assert compare(job, [result], "onnx")[0]["within"]
    with pytest.raises(ValueError, match=r"returns 2 outputs, rdf\.yaml names 1"):
        compare(job, [result, result], "onnx")
    with pytest.raises(ValueError, match=r"has the shape \(3, 4, 5\), its test tensor \(1, 3"):
        compare(job, [result[0]], "onnx")
    with pytest.raises(ValueError, match=r"outputs\[0\] \(all\) holds NaN"):
        compare(job, [result * np.nan], "onnx")
    with pytest.raises(ValueError, match="a job ends with a tolerance for everything"):
        tolerance_of({"tolerances": []}, "all", "onnx")
    assert "has no test tensors" in in_words([{"id": "all"}])


def test_ilastik_is_tried_by_blocks(single: Draft, tmp_path: Path) -> None:
    """bioimageio.core predicts the whole test tensor, and four tiles of 32 with a halo of 8."""
    report = check_package(single.write(tmp_path / "model.zip"), run=True)
    (verdict,) = (v for v in report.verdicts if v.consumer == "ilastik")
    (outcome,) = (o for o in verdict.outcomes if o.what.startswith("ilastik's way"))
    assert outcome.detail.endswith(
        "4 blocks of 32 x 32 pixels cover an image of 31 x 31, all values are finite"
    )


def test_blocks_that_cannot_be_tried(single: Draft, tmp_path: Path) -> None:
    def said() -> object:
        with job_of(open_package(single.write(tmp_path / "model.zip"))) as job:
            return job["blocks"]

    assert said() == {"tile": [32, 32], "halo": [8, 8], "image": [31, 31]}
    single.free(64, 16)
    assert said() == {"tile": [512, 512], "halo": [8, 8], "image": [991, 991]}
    single.rdf["outputs"][0]["axes"][3]["halo"] = 256
    assert said() == "the tile has 512 pixels in x, the halo on both sides 512"
    single.rdf["outputs"][0]["axes"].pop()
    assert said() == "outputs[0] (denoised) has not the axes y and x"
    single.rdf["inputs"] *= 2
    assert said() == "blocks need exactly one input with the axes y and x"


def test_range_of_the_outputs(many: Draft, tmp_path: Path) -> None:
    """What the package says; else what the first test tensor spans; 1 for outputs in 0..1."""

    def span() -> float:
        with job_of(open_package(many.write(tmp_path / "model.zip"))) as job:
            return float(job["span"])

    denoised = np.load(io.BytesIO(many.files["denoised.npy"]))
    assert span() == pytest.approx(denoised.max() - denoised.min())
    many.rdf["config"]["bmz_ddpm"] = {"intensity": {"low": 5.0, "high": 260.0}}
    assert span() == 255
    for name in ("denoised", "std"):
        many.files[f"{name}.npy"] = npy(denoised / 100)
    assert span() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"type": "nonsense"}}, "inputs[0] (raw) is of the unknown type nonsense"),
        ({"test_tensor": {"source": "README.md"}}, "inputs[0] (raw) has no test tensor"),
        ({"preprocessing": [{"id": "scale_range"}]}, "inputs[0] (raw) is preprocessed"),
    ],
)
def test_no_input_for_the_engines(
    change: dict[str, Any], reason: str, single: Draft, tmp_path: Path
) -> None:
    single.rdf["inputs"][0] |= change
    with job_of(open_package(single.write(tmp_path / "model.zip"))) as job:
        assert job["no_inputs"].startswith(reason)
        assert job["inputs"] == []


def test_folder_keeps_its_files(single: Draft, tmp_path: Path) -> None:
    """An ONNX file of a folder is opened where it lies, for there may be others beside it."""
    for name, data in single.contents().items():
        (tmp_path / name).write_bytes(data)
    with job_of(open_package(tmp_path / "rdf.yaml")) as job:
        assert job["weights"]["onnx"] == str((tmp_path / "weights.onnx").resolve())
        assert job["package"] == str((tmp_path / "rdf.yaml").resolve())


def test_no_value_in_an_rdf_can_crash_a_job(many: Draft, tmp_path: Path) -> None:
    """Every value in turn becomes something that it should not be; JSON must take the job."""
    many.rdf["config"]["bmz_ddpm"] = {"intensity": {"low": 0.0, "high": 9.0}}
    for name, data in many.contents().items():
        (tmp_path / name).write_bytes(data)
    good = open_package(tmp_path).rdf
    for *way, last in places(good):
        for wrong in (None, 0, "x", "a\0b", [], {}, [1, ["y"], {"z": 1}]):
            rdf = copy.deepcopy(good)
            inner = rdf
            for key in way:
                inner = inner[key]
            inner[last] = wrong
            with job_of(Package(tmp_path, "rdf.yaml", rdf)) as job:
                json.dumps(job, allow_nan=False)
                assert tolerance_of(job, "denoised", "onnx")


def test_formats_without_an_engine_are_left_out(
    single: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow is not installed: the others are tested one by one, and that is said."""
    monkeypatch.setattr(core, "find_spec", lambda name: name != "tensorflow")
    with job_of(open_package(single.write(tmp_path / "model.zip"))) as job:
        record = core.run_test(job | {"formats": ["keras_hdf5", "torchscript"]})
        assert record["detail"].startswith("torchscript agree with the test tensors (bioimageio")
        assert record["detail"].endswith("; no engine for keras_hdf5 is installed")
        for formats in (["tensorflow_js"], ["keras_hdf5"]):
            with pytest.raises(NotRun, match=f"no engine for {formats[0]} is installed"):
                core.run_test(job | {"formats": formats})
            with pytest.raises(NotRun, match=f"no engine for {formats[0]} is installed"):
                core.run_core(job | {"formats": formats}, formats[0])


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ("ModuleNotFoundError: No module named 'careamics'", "careamics is not installed"),
        ("Failed to import model.py: No module named 'torchvision.ops'", "torchvision.ops is not"),
        ("ConnectError: [Errno -2] Name or service not known", "it asks the network"),
        ("Temporary failure in name resolution", "it asks the network"),
    ],
)
def test_what_this_computer_lacks_is_no_failure_of_the_package(error: str, detail: str) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError(error)

    record = records.attempt("core", fail)
    assert record["state"] == "not run"
    assert record["detail"].startswith(detail)


def test_other_errors_are_failures() -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    assert records.attempt("core", fail)["state"] == "failed"


def test_operators_that_cannot_be_listed(
    single: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts with a context manager run in old libtorch, but torch cannot list their operators."""

    def refuse(module: object) -> list[str]:
        raise RuntimeError("ENTER is not supported in mobile module.\nmore")

    monkeypatch.setattr(torch.jit, "export_opnames", refuse)
    report = check_package(single.write(tmp_path / "model.zip"), run=True)
    outcomes = {o.what: o for v in report.verdicts for o in v.outcomes}
    assert outcomes["TorchScript"].state == "passed"
    assert outcomes["TorchScript's operators"].state == "not run"
    assert "ENTER is not supported" in outcomes["TorchScript's operators"].detail


def test_operators_unknown_to_old_libtorch_concern_fiji_alone(
    single: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libtorch 1.13.1 and 2.0.0 do not both know aten::new"""
    monkeypatch.setattr(
        torch.jit, "export_opnames", lambda module: ["aten::new", "aten::mul.Tensor"]
    )
    report = check_package(single.write(tmp_path / "model.zip"), run=True)
    failed = {
        v.consumer: o.detail for v in report.verdicts for o in v.outcomes if o.state == "failed"
    }
    assert list(failed) == ["fiji"]
    assert failed["fiji"].endswith("libtorch 1.13.1 and 2.0.0 do not both know aten::new")
