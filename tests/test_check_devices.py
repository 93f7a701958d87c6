"""--device: what is said without a GPU, and the way up to its border with other devices."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_check import Draft, command, npy, scripts, single

from bmz_ddpm import device as devices_here
from bmz_ddpm.check.devices import run_on_device
from bmz_ddpm.check.job import job_of
from bmz_ddpm.check.outcomes import Outcome
from bmz_ddpm.check.package import open_package
from bmz_ddpm.check.probe import engines
from bmz_ddpm.check.verdict import check_package
from bmz_ddpm.errors import ConfigError


@pytest.fixture
def model(single: Draft, tmp_path: Path) -> Path:
    return single.write(tmp_path / "model.zip")


def outcomes(path: Path, device: str) -> dict[str, Outcome]:
    return {o.what: o for o in run_on_device(open_package(path), device)}


def test_without_a_gpu_nothing_has_passed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one, also where the tests run on one with."""
    import onnxruntime

    def unusable(name: str) -> None:
        raise ConfigError("x", "y") from RuntimeError("Found no NVIDIA driver\nmore")

    monkeypatch.setattr(devices_here, "usable_device", unusable)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found = outcomes(model, "cuda")
    assert {o.state for o in found.values()} == {"not run"}
    assert found["TorchScript on cuda"].detail == "no CUDA device here (Found no NVIDIA driver)"
    assert "has no CUDAExecutionProvider here" in found["ONNX Runtime on cuda"].detail
    assert "no CUDA device here" in found["bioimageio.core on cuda (torchscript)"].detail
    assert check_package(model, device="cuda").passed


def test_the_same_device_agrees_exactly(model: Path) -> None:
    """With the CPU as the device, every step but the GPU itself is taken."""
    found = outcomes(model, "cpu")
    assert {o.state for o in found.values()} == {"passed"}
    assert set(found) == {
        "TorchScript on cpu",
        "ONNX Runtime on cpu",
        "bioimageio.core on cpu (torchscript)",
    }
    detail = found["TorchScript on cpu"].detail
    assert "s after a warm-up run; largest difference from the test tensors: denoised 0" in detail
    assert detail.endswith("largest difference from the CPU: denoised 0 (within the tolerance)")
    assert found["TorchScript on cpu"].measured["seconds"] > 0


def test_device_that_cannot_compute_has_failed(model: Path) -> None:
    """Tensors on "meta" have no values: torch accepts the device, and then gives up."""
    found = outcomes(model, "meta")
    assert found["TorchScript on meta"].state == "failed"
    assert "Error: " in found["TorchScript on meta"].detail
    assert found["ONNX Runtime on meta"].detail == "ONNX Runtime is not tried on meta"
    assert not check_package(model, ["fiji"], device="meta").passed


def test_difference_from_the_cpu_is_a_failure(
    single: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test tensor is in the middle: each is within the tolerance of it, not of the other."""
    raw = np.load(io.BytesIO(single.files["raw.npy"]))
    tolerance = {"absolute_tolerance": 0.01, "relative_tolerance": 0.0}
    single.rdf["config"]["bioimageio"]["reproducibility_tolerance"] = [tolerance]
    single.files["denoised.npy"] = npy(2 * raw)

    def load(job: Any, device: str) -> Any:
        sign = 1 if device == "cpu" else -1

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [2 * arrays[0] + np.float32(sign * 0.008)]

        return run

    monkeypatch.setattr(engines, "load_torchscript", load)
    monkeypatch.setattr(devices_here, "usable_device", lambda name: None)
    path = single.write(tmp_path / "model.zip")
    found = outcomes(path, "cuda")["TorchScript on cuda"]
    assert found.state == "failed"
    assert "the test tensors: denoised 8.0e-03 (within the tolerance)" in found.detail
    assert "the CPU: denoised 1.6e-02; 100.00% of denoised differ by more than" in found.detail


def test_provider_that_falls_back_was_not_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu without a driver lists CUDA, and then quietly takes the CPU."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    found = outcomes(model, "cuda")["ONNX Runtime on cuda"]
    assert found.state == "not run"
    assert found.detail == "onnxruntime could not start CUDAExecutionProvider here"


def test_tolerance_is_stricter_where_none_is_declared(single: Draft, tmp_path: Path) -> None:
    """1.5e-4 of the range and 1e-4 of the value, for 0..100 grey levels."""
    del single.rdf["config"]["bioimageio"]
    single.rdf["config"]["bmz_ddpm"] = {"intensity": {"low": 0.0, "high": 100.0}}
    package = open_package(single.write(tmp_path / "model.zip"))
    with job_of(package, strict=True) as job:
        (only,) = job["tolerances"]
    assert (only["relative"], only["per_million"]) == (1e-4, 0)
    assert only["absolute"] == pytest.approx(0.015)
    with job_of(package) as job:
        (usual,) = job["tolerances"]
    assert (usual["relative"], usual["absolute"], usual["per_million"]) == (1e-3, 1e-3, 100)


def test_mistakes(model: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_package(model, device="gpu")
    assert error.value.problem == "--device gpu: is no device of torch"
    assert error.value.fix == "use cuda, cuda:1, mps or cpu"
    done = command(model.parent, "model.zip", "--device", "cuda")
    assert done.returncode == 1
    assert done.stderr == "error: --device cuda: nothing is run.\nfix:   add --run.\n"
