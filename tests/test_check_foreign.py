"""What packages of other tools have that ours have not: look-alikes, with the expected findings.

The packages themselves, and what really ran, are in `packaging/consumers/foreign_packages.md`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_check import Draft, add_state_dict, edited, entry, npy, scripts

from bmz_ddpm.check.architecture import libraries
from bmz_ddpm.check.findings import Finding, search_all
from bmz_ddpm.check.package import open_package
from bmz_ddpm.check.tensors import read_tensors
from bmz_ddpm.check.verdict import check_package
from bmz_ddpm.check.weights_files import read_torchscript
from bmz_ddpm.errors import DataError

__all__ = ["scripts"]  # a fixture

Mutator = Callable[[Draft], None]
MUTATORS: list[Mutator] = []


def mutator(function: Mutator) -> Mutator:
    MUTATORS.append(function)
    return function


@pytest.fixture
def single(scripts: dict[str, bytes]) -> Draft:
    """A good package with one output."""
    return Draft(scripts["1"], 1)


def findings(draft: Draft, path: Path) -> list[Finding]:
    return search_all(open_package(draft.write(path)))


def messages(draft: Draft, path: Path) -> set[str]:
    return {f.message for f in findings(draft, path)}


def verdict(draft: Draft, path: Path) -> set[str]:
    """Return the programs that run it."""
    return {v.consumer for v in check_package(draft.write(path)).verdicts if v.runs}


# --- one message each ----------------------------------------------------------------------------


@mutator
def short_name(d: Draft) -> None:
    """name: has 4 letters, 5 to 128 are allowed"""
    d.rdf["name"] = "UNet"


@mutator
def long_name(d: Draft) -> None:
    """name: has 129 letters, 5 to 128 are allowed"""
    d.rdf["name"] = "U" * 129


@mutator
def invented_step(d: Draft) -> None:
    """outputs[0] (denoised): denormalize is no processing step,
    descriptions with unknown steps are refused"""
    d.rdf["outputs"][0]["postprocessing"] = [{"id": "denormalize"}]


@mutator
def new_step(d: Draft) -> None:
    """outputs[0] (denoised): cellpose_flow_dynamics,
    ilastik's bioimageio.core 0.10 refuses a description with this step"""
    d.rdf["outputs"][0]["postprocessing"] = [{"id": "cellpose_flow_dynamics"}]


@mutator
def tensor_of_another_size(d: Draft) -> None:
    """denoised.npy: has the shape 1 x 2 x 32 x 32,
    the axes of outputs[0] (denoised) do not allow it"""
    d.files["denoised.npy"] = npy(np.ones((1, 2, 32, 32), np.float32))


@mutator
def tensor_without_batch(d: Draft) -> None:
    """raw.npy: has the shape 32 x 32, the axes of inputs[0] (raw) do not allow it"""
    d.files["raw.npy"] = npy(np.ones((32, 32), np.float32))


@mutator
def tensor_that_is_a_pickle(d: Draft) -> None:
    """raw.npy: cannot be read, it is a .npy file"""
    d.files["raw.npy"] = npy(np.array([None]))


@mutator
def empty_input(d: Draft) -> None:
    """raw.npy: holds no value above 0.0001, a test on it shows nothing and is refused"""
    d.files["raw.npy"] = npy(np.zeros((1, 1, 32, 32), np.float32))


@mutator
def half_the_size(d: Draft) -> None:
    """outputs[0] (denoised), axis x: size 16, Fiji cannot tell the size of the result from it"""
    d.rdf["outputs"][0]["axes"][3]["size"] = 16
    d.files["denoised.npy"] = npy(np.ones((1, 1, 32, 16), np.float32))


#: Expected besides, and tested elsewhere.
BESIDES = {"processing-fiji", "output-size"}


@pytest.mark.parametrize("mutate", MUTATORS, ids=lambda m: m.__name__)
def test_message(mutate: Mutator, single: Draft, tmp_path: Path) -> None:
    mutate(single)
    found = [f for f in findings(single, tmp_path / "model.zip") if f.rule not in BESIDES]
    assert [f.message for f in found] == [" ".join((mutate.__doc__ or "").split())]
    assert found[0].fix


# --- CAREamics, BiaPy: a state dict and a library ------------------------------------------------


def built_by(draft: Draft, library: str) -> None:
    """Leave only a state dict whose network a library builds."""
    add_state_dict(draft)
    for name in ("torchscript", "onnx"):
        del draft.rdf["weights"][name]
    architecture = {"import_from": f"{library}.models.unet", "callable": "UNet"}
    draft.rdf["weights"]["pytorch_state_dict"]["architecture"] = architecture


def test_a_library_that_nobody_has(single: Draft, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    built_by(single, "monai")
    assert verdict(single, path) == set()
    text = "weights.pytorch_state_dict.architecture: needs monai, "
    assert {m for m in messages(single, path) if m.startswith(text)} == {
        f"{text}{p} does not bring this along"
        for p in ("bioimageio.core", "ilastik", "the zoo's BioEngine")
    }


def test_bioengine_has_careamics(single: Draft, tmp_path: Path) -> None:
    built_by(single, "careamics")
    assert verdict(single, tmp_path / "model.zip") == {"zoo"}


def test_torchscript_beside_it_saves_the_package(single: Draft, tmp_path: Path) -> None:
    add_state_dict(single)
    single.files["architecture.py"] = b"import monai\n"
    assert verdict(single, tmp_path / "model.zip") == {"fiji", "ilastik", "core", "qupath", "zoo"}
    warned = [f for f in findings(single, tmp_path / "model.zip") if "architecture" in f.rule]
    assert [set(f.severity.values()) for f in warned] == [{"warns"}] * 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os, torch.nn as nn\nfrom numpy import array", {"torch", "numpy"}),
        ("from torchvision.ops.misc import Permute", {"torchvision"}),
        ("try:\n    import monai\nexcept ImportError:\n    monai = None", set()),
        ("def f():\n    import monai", set()),
        ("this is no Python", set()),
    ],
)
def test_imports_of_an_architecture(
    code: str, expected: set[str], single: Draft, tmp_path: Path
) -> None:
    add_state_dict(single)
    single.files["architecture.py"] = code.encode()
    assert libraries(open_package(single.write(tmp_path / "model.zip"))) == expected


def test_torchvision_is_an_extra_of_core(single: Draft, tmp_path: Path) -> None:
    """BiaPy's model.py imports it; ilastik and BioEngine have it."""
    add_state_dict(single)
    single.files["architecture.py"] = b"from torchvision.ops.misc import Permute\n"
    (found,) = findings(single, tmp_path / "model.zip")
    assert (found.rule, dict(found.severity)) == ("architecture-torchvision", {"core": "warns"})


def test_fixed_sizes_of_input_and_output(single: Draft, tmp_path: Path) -> None:
    """CAREamics repeats the input's size: Fiji can scale that, bioimageio.core cannot."""
    for axis in single.rdf["outputs"][0]["axes"][2:]:
        axis["size"] = 32
    found = findings(single, tmp_path / "model.zip")
    assert {f.rule for f in found} == {"output-size"}
    assert "fiji" in verdict(single, tmp_path / "model.zip")
    single.free(64, 16)
    rules = [f.rule for f in findings(single, tmp_path / "model.zip")]
    assert rules.count("output-size-fiji") == 2


# --- InstanSeg: scripted code --------------------------------------------------------------------


def scripted(code: str) -> bytes:
    """Return an archive that has this code, as torch.jit.save would write it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/code/__torch__.py", code)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("code", "devices"),
    [
        ('def f(device: Device=torch.device("cuda")) -> Tensor:', set()),
        ('def f(device: Optional[Device]=torch.device("cuda:1")) -> Tensor:', set()),
        ('if torch.eq(_0, "cuda"):', set()),
        ('x = torch.zeros(s, device=torch.device("cuda"))', {"cuda"}),
        ('x = torch.to(y, torch.device("cuda:0"))', {"cuda:0"}),
    ],
)
def test_only_a_device_that_is_used_counts(code: str, devices: set[str]) -> None:
    script = read_torchscript(scripted(code))
    assert script is not None
    assert script.devices == devices


def test_operators_of_other_libraries(single: Draft, tmp_path: Path) -> None:
    """Seen with torchvision 0.29: no PyTorch loads the file unless torchvision is imported."""
    files, path = single.files, tmp_path / "model.zip"
    files["weights.pt"] = edited(files["weights.pt"], "torch.mul(", "ops.torchvision.nms(")
    assert messages(single, path) == {
        "torchscript: uses torchvision::nms, libtorch 1.13.1 and 2.0.0 do not both know it, "
        "so the file does not load",
        "torchscript: uses torchvision::nms, PyTorch 2.5.1 and 2.7.0 do not both know it, so the "
        "file does not load",
        "torchscript: uses torchvision::nms, PyTorch alone does not know it, so the file does "
        "not load",
    }
    assert verdict(single, path) == {"core", "zoo"}  # they have onnx
    del single.rdf["weights"]["onnx"]
    assert verdict(single, path) == set()


@pytest.mark.parametrize(
    ("operator", "runs"),
    [
        # Interpolation scripted by torch 2.13: nothing but bioimageio.core with a new torch.
        ("_upsample_lanczos2d_aa", {"core", "qupath"}),
        ("_batch_norm_with_update", {"core", "qupath", "ilastik", "zoo"}),
    ],
)
def test_operators_of_a_later_torch(
    operator: str, runs: set[str], single: Draft, tmp_path: Path
) -> None:
    files, path = single.files, tmp_path / "model.zip"
    files["weights.pt"] = edited(files["weights.pt"], "torch.mul(", f"torch.{operator}(")
    del single.rdf["weights"]["onnx"]
    assert verdict(single, path) == runs
    add_state_dict(single)
    assert verdict(single, path) == runs | {"zoo"}


@pytest.mark.parametrize("name", ["prim.min", "prim.is_mps", "quantized.add"])
def test_operators_of_libtorch(name: str, single: Draft, tmp_path: Path) -> None:
    files = single.files
    files["weights.pt"] = edited(files["weights.pt"], "torch.mul(", f"ops.{name}(")
    assert messages(single, tmp_path / "model.zip") == set()


# --- format 0.4 ----------------------------------------------------------------------------------


def old_output(scale: list[Any], offset: list[Any]) -> Any:
    shape = {"reference_tensor": "raw", "scale": scale, "offset": offset}
    return read_tensors({"outputs": [{"name": "p", "axes": "bcyx", "shape": shape}]})[0].axes


@pytest.mark.parametrize("none", [0, 0.0, None])
def test_old_outputs_with_a_size_of_their_own(none: float | None) -> None:
    """Scale 0 means that the axis follows no input and has the size 2 offset."""
    axes = old_output([1, none, 1, 1], [0, 1.5, 0, 0])
    assert (axes[1].size, axes[1].reference) == (3, None)
    assert axes[2].reference == ("raw", "y")


def test_nonsense_in_an_old_shape() -> None:
    for offset in (float("nan"), float("inf"), "x", None, [1]):
        assert old_output([1, 0, 1, 1], [0, offset, 0, 0])[1].size is None


def test_constants_of_format_0_4_are_no_statistics(single: Draft, tmp_path: Path) -> None:
    kwargs = {"mode": "fixed", "axes": "yx", "mean": [1.0], "std": [2.0]}
    step = {"name": "zero_mean_unit_variance", "kwargs": kwargs}
    single.rdf["inputs"][0]["preprocessing"] = [step]
    assert {f.rule for f in findings(single, tmp_path / "model.zip")} == {"processing-fiji"}


def test_files_that_format_0_4_names_in_its_own_way(single: Draft, tmp_path: Path) -> None:
    add_state_dict(single)
    single.rdf["weights"]["pytorch_state_dict"] |= {
        "architecture": "unet.py:UNet",
        "architecture_sha256": "0" * 64,
        "dependencies": "conda:environment.yaml",
    }
    single.rdf["attachments"] = {"files": ["macro.ijm"]}
    path = tmp_path / "model.zip"
    found = {f.message for f in findings(single, path) if f.rule == "file-missing"}
    assert found == {
        "attachments.files[0]: macro.ijm, this file is not in the package",
        "weights.pytorch_state_dict.architecture: unet.py, this file is not in the package",
        "weights.pytorch_state_dict.dependencies: environment.yaml, this file is not in the "
        "package",
    }
    assert verdict(single, path) == {"fiji", "qupath"}
    single.files |= {"macro.ijm": b"", "environment.yaml": b"", "unet.py": b"import monai"}
    assert "sha256" in {f.rule for f in findings(single, path)}
    assert libraries(open_package(path)) == {"monai"}


def test_a_missing_architecture_does_not_concern_fiji(single: Draft, tmp_path: Path) -> None:
    add_state_dict(single)
    del single.files["architecture.py"]
    assert verdict(single, tmp_path / "model.zip") == {"fiji", "qupath"}


def test_yaml_with_a_header_is_read(single: Draft, tmp_path: Path) -> None:
    """bioimageio.spec begins the file with %YAML 1.2."""
    for name, data in single.contents().items():
        (tmp_path / name).write_bytes(data)
    rdf = tmp_path / "rdf.yaml"
    rdf.write_bytes(b"%YAML 1.2\n---\n" + rdf.read_bytes())
    assert search_all(open_package(tmp_path)) == []


def test_entries_without_a_hash(single: Draft, tmp_path: Path) -> None:
    """bioimageio.spec writes `dependencies:` with nothing behind it."""
    add_state_dict(single)
    single.rdf["weights"]["pytorch_state_dict"]["dependencies"] = None
    single.rdf |= {"training_data": None, "version": None, "git_repo": None}
    single.rdf["attachments"] = [entry("README.md")]
    assert findings(single, tmp_path / "model.zip") == []


# --- damaged files -------------------------------------------------------------------------------


def with_a_damaged_name(archive: bytes) -> bytes:
    """Break the first file name in the list at the end of a zip file: it is no UTF-8 any more."""
    end = archive.rindex(b"PK\5\6")
    start = int.from_bytes(archive[end + 16 : end + 20], "little")
    flags = start + 8  # says that names are UTF-8
    changed = bytearray(archive)
    changed[flags : flags + 2] = b"\x00\x08"
    changed[start + 46] = 0xB7
    return bytes(changed)


def test_damaged_names_inside_weights(single: Draft, tmp_path: Path) -> None:
    single.files["weights.pt"] = with_a_damaged_name(single.files["weights.pt"])
    assert messages(single, tmp_path / "model.zip") == {
        "weights.pt: holds no program, a TorchScript file is written by torch.jit.save"
    }


def test_damaged_names_inside_a_package(single: Draft, tmp_path: Path) -> None:
    path = single.write(tmp_path / "model.zip")
    path.write_bytes(with_a_damaged_name(path.read_bytes()))
    with pytest.raises(DataError, match="is not a readable zip file"):
        open_package(path)
