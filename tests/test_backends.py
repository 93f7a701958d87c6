"""Engines: what is missing is said, and how to get it."""

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bmz_ddpm.errors import CheckpointError, ConfigError, MissingDependency
from bmz_ddpm.runtime.backends import onnx_backend, torch_backend, torchscript_backend


def test_missing_onnxruntime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency) as caught:
        onnx_backend(Path("model.onnx"))
    assert caught.value.problem == "running an ONNX model needs onnxruntime, which is not installed"
    assert caught.value.fix == "pip install 'bmz-ddpm[onnx]'"


def test_two_onnxruntimes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(name=name))
    with pytest.raises(ConfigError, match="onnxruntime and onnxruntime-gpu: both are installed"):
        onnx_backend(Path("model.onnx"))


def test_missing_files() -> None:
    with pytest.raises(CheckpointError, match=r"no\.onnx: does not exist"):
        onnx_backend(Path("no.onnx"))
    with pytest.raises(CheckpointError, match=r"no\.pt: does not exist"):
        torchscript_backend(Path("no.pt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device cuda: cannot be used"):
        torch_backend(torch.nn.Identity(), "cuda")
    (tmp_path / "a.onnx").write_text("")
    with pytest.raises(ConfigError, match="--device cuda: the installed onnxruntime has no CUDA"):
        onnx_backend(tmp_path / "a.onnx", "cuda")
