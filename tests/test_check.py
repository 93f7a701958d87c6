"""Two good packages, and one mutation for each rule: the docstring is the expected message."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bmz_ddpm.check.findings import CONSUMERS, RULES, search_all
from bmz_ddpm.check.ilastik import ilastik_tiles
from bmz_ddpm.check.jdll import fiji_tiles, hash_order, string_hash, weights_choice
from bmz_ddpm.check.package import Package, open_package
from bmz_ddpm.check.page import to_html
from bmz_ddpm.check.report import to_text
from bmz_ddpm.check.verdict import Report, check_package
from bmz_ddpm.check.weights_files import libtorch_operators, libtorch_schemas, read_torchscript
from bmz_ddpm.errors import DataError

SIDE, HALO = 32, 8
AUTO = "filled in when the package is written"


def onnx_bytes(outputs: int = 2, opset: int = 17, **nodes: Any) -> bytes:
    """Make y = 2 x (and z = y / 2); `nodes` replaces the operator of a name."""
    shape = [1, 1, SIDE, SIDE]
    two = numpy_helper.from_array(np.float32([2]), "two")
    graph = helper.make_graph(
        [
            helper.make_node(nodes.get("first", "Mul"), ["x", "two"], ["y"]),
            helper.make_node("Div", ["y", "two"], ["z"], domain=nodes.get("domain", "")),
        ],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "yz"[:outputs]],
        [two],
    )
    versions = [helper.make_opsetid("", opset)]
    data: bytes = helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()
    return data


@pytest.fixture(scope="module")
def scripts() -> dict[str, bytes]:
    """TorchScript files: y = 2 x with one or two outputs, and one with a young operator."""
    import torch

    class Double(torch.nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.two = torch.nn.Parameter(torch.full((1,), 2.0))
            self.outputs = outputs

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...] | torch.Tensor:
            y = x * self.two
            return y if self.outputs == 1 else (y, y / self.two)

    class Young(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bicubic")
            return torch.nn.functional.scaled_dot_product_attention(small, small, small)

    def saved(module: torch.jit.ScriptModule) -> bytes:
        stream = io.BytesIO()
        torch.jit.save(module, stream)
        return stream.getvalue()

    x = torch.ones(1, 1, SIDE, SIDE)
    files = {str(n): saved(torch.jit.trace(Double(n), x)) for n in (1, 2)}
    young = torch.jit.script(Young())
    files["young"] = saved(young)
    files["young operators"] = "\n".join(torch.jit.export_opnames(young)).encode()
    return files


def edited(script: bytes, old: str, new: str) -> bytes:
    """Replace text in the code of a TorchScript archive."""
    stream, changes = io.BytesIO(), 0
    with zipfile.ZipFile(io.BytesIO(script)) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".py") and old.encode() in data:
                changes += 1
                data = data.replace(old.encode(), new.encode())
            target.writestr(name, data)
    assert changes
    return stream.getvalue()


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def tif(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG")
    return stream.getvalue()


class Draft:
    """A package that can still be changed."""

    def __init__(self, script: bytes, outputs: int) -> None:
        x = np.random.default_rng(0).uniform(1, 9, (1, 1, SIDE, SIDE)).astype(np.float32)
        images = {"raw": x, "denoised": 2 * x, "std": x}
        self.files = {
            "README.md": b"# Double\n\n## Validation\n\nNone.\n",
            "cover.png": png(100, 50),
            "weights.pt": script,
            "weights.onnx": onnx_bytes(outputs),
        }
        self.files |= {f"{name}.npy": npy(values) for name, values in images.items()}
        self.files |= {f"{name}.tif": tif(values) for name, values in images.items()}
        self.folder = ""
        self.rdf_name = "rdf.yaml"
        self.rdf: dict[str, Any] = {
            "format_version": "0.5.10",
            "type": "model",
            "id": "good-model",
            "name": "Double",
            "description": "twice the image",
            "authors": [{"name": "A. Body"}],
            "maintainers": [{"name": "A. Body", "github_user": "bioimageiobot"}],
            "cite": [{"text": "nobody", "doi": "10.1234/abc"}],
            "license": "MIT",
            "tags": ["denoising"],
            "documentation": "README.md",
            "covers": ["cover.png"],
            "inputs": [self.tensor("raw", {"size": SIDE}, {"size": SIDE})],
            "outputs": [
                self.tensor(name, *({"size": reference(a), "halo": HALO} for a in "yx"))
                for name in ("denoised", "std")[:outputs]
            ],
            "weights": {
                "torchscript": entry("weights.pt") | {"pytorch_version": "2.0.0"},
                "onnx": entry("weights.onnx") | {"opset_version": 17},
            },
            "config": {
                "bioimageio": {
                    "reproducibility_tolerance": [
                        {"output_ids": ["denoised"], "relative_tolerance": 1e-3}
                    ]
                }
            },
        }

    def tensor(self, name: str, y: dict[str, Any], x: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": name,
            "axes": [
                {"type": "batch", "size": 1},
                {"type": "channel", "channel_names": ["fluorescence"]},
                {"type": "space", "id": "y"} | y,
                {"type": "space", "id": "x"} | x,
            ],
            "data": {"type": "float32"},
            "test_tensor": entry(f"{name}.npy"),
            "sample_tensor": entry(f"{name}.tif"),
        }

    def free(self, low: int, step: int) -> None:
        """Let the input have any size min + n step."""
        for axis in self.rdf["inputs"][0]["axes"][2:]:
            axis["size"] = {"min": low, "step": step}
        x = np.ones((1, 1, low, low), np.float32)
        self.files |= dict.fromkeys(("raw.npy", "denoised.npy", "std.npy"), npy(x))

    def contents(self) -> dict[str, bytes]:
        rdf = copy.deepcopy(self.rdf)
        self.fill(rdf)
        text = yaml.safe_dump(rdf, sort_keys=False).encode()
        return {self.folder + k: v for k, v in {self.rdf_name: text, **self.files}.items()}

    def fill(self, value: Any) -> None:
        if isinstance(value, dict):
            if value.get("sha256") == AUTO:
                data = self.files.get(value["source"], b"")
                value["sha256"] = hashlib.sha256(data).hexdigest()
            value = list(value.values())
        for inner in value if isinstance(value, list) else []:
            self.fill(inner)

    def write(self, path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in self.contents().items():
                archive.writestr(name, data)
        return path


def entry(name: str) -> dict[str, Any]:
    return {"source": name, "sha256": AUTO}


def reference(axis: str) -> dict[str, Any]:
    return {"tensor_id": "raw", "axis_id": axis, "offset": 0}


@pytest.fixture
def many(scripts: dict[str, bytes]) -> Draft:
    """A good package with two outputs."""
    return Draft(scripts["2"], 2)


@pytest.fixture
def single(scripts: dict[str, bytes]) -> Draft:
    """A good package with one output."""
    return Draft(scripts["1"], 1)


def verdicts(report: Report) -> dict[str, bool]:
    return {v.consumer: v.runs for v in report.verdicts}


# --- the good ones -------------------------------------------------------------------------------


def test_two_outputs_run_in_fiji_core_and_the_zoo(many: Draft, tmp_path: Path) -> None:
    report = check_package(many.write(tmp_path / "many.zip"))
    assert verdicts(report) == {
        "fiji": True,
        "core": True,
        "zoo": True,
        "ilastik": False,
        "qupath": False,
    }
    assert report.passed
    assert {f.rule for v in report.verdicts for f in v.findings} == {"one-output"}


def test_one_output_runs_everywhere(single: Draft, tmp_path: Path) -> None:
    report = check_package(single.write(tmp_path / "single.zip"))
    assert verdicts(report) == dict.fromkeys(CONSUMERS, True)
    assert all(v.counts and not v.findings for v in report.verdicts)


def test_folder_and_rdf_say_the_same_as_the_zip(single: Draft, tmp_path: Path) -> None:
    for name, data in single.contents().items():
        (tmp_path / name).write_bytes(data)
    for path in (tmp_path, tmp_path / "rdf.yaml"):
        assert verdicts(check_package(path)) == dict.fromkeys(CONSUMERS, True)


def test_format_0_4_is_understood(single: Draft, tmp_path: Path) -> None:
    rdf = single.rdf
    for kind in ("input", "output"):
        (tensor,) = rdf[f"{kind}s"]
        rdf[f"{kind}s"] = [{"name": tensor["id"], "axes": "bcyx", "data_type": "float32"}]
        rdf[f"test_{kind}s"] = [f"{tensor['id']}.npy"]
        rdf[f"sample_{kind}s"] = [f"{tensor['id']}.tif"]
    rdf["format_version"] = "0.4.10"
    rdf["inputs"][0]["shape"] = {"min": [1, 1, 64, 64], "step": [0, 0, 16, 16]}
    scale = {"scale": [1.0] * 4, "offset": [0.0] * 4}
    rdf["outputs"][0] |= {"shape": {"reference_tensor": "raw", **scale}, "halo": [0, 0, 16, 16]}
    package = open_package(single.write(tmp_path / "old.zip"))
    assert {f.rule for f in search_all(package)} == {"whole-image", "off-grid"}
    (y, x) = package.inputs[0].plane
    assert (y.min, y.step, x.min, x.step) == (64, 16, 64, 16)
    assert [a.halo for a in package.outputs[0].plane] == [16, 16]


# --- one rule broken -----------------------------------------------------------------------------

Mutator = Callable[[Draft], None]
MUTATORS: list[Mutator] = []


def mutator(function: Mutator) -> Mutator:
    MUTATORS.append(function)
    return function


@mutator
def format_of_the_future(d: Draft) -> None:
    """format_version: 1.0.0, programs read 0.4.x and 0.5.x"""
    d.rdf["format_version"] = "1.0.0"


@mutator
def newer_format(d: Draft) -> None:
    """format_version: 0.5.14, older readers were tried up to 0.5.10"""
    d.rdf["format_version"] = "0.5.14"


@mutator
def not_a_model(d: Draft) -> None:
    """type: dataset, only models can be run"""
    d.rdf["type"] = "dataset"


@mutator
def in_a_folder(d: Draft) -> None:
    """model/rdf.yaml: lies in a folder inside the package, programs look for rdf.yaml at the top"""
    d.folder = "model/"


@mutator
def other_name(d: Draft) -> None:
    """bioimageio.yaml: is the description's name, Fiji opens only rdf.yaml"""
    d.rdf_name = "bioimageio.yaml"


@mutator
def documentation_with_hash(d: Draft) -> None:
    """documentation: is a dict, these programs understand only a plain file name"""
    d.rdf["documentation"] = entry("README.md")


@mutator
def covers_with_hash(d: Draft) -> None:
    """covers: is not a list of plain file names, these programs understand nothing else"""
    d.rdf["covers"] = [entry("cover.png")]


@mutator
def no_id(d: Draft) -> None:
    """id: is missing while there is a config block, Fiji then stops with a NullPointerException"""
    del d.rdf["id"]


@mutator
def deepimagej_block(d: Draft) -> None:
    """config.deepimagej: does not say allow_tiling: true, Fiji then cuts no tiles"""
    d.rdf["config"]["deepimagej"] = {"allow_tiling": False}


@mutator
def run_mode(d: Draft) -> None:
    """run_mode: is set, no program here follows it"""
    d.rdf["run_mode"] = {"name": "deepimagej"}


@mutator
def odd_letters(d: Draft) -> None:
    """name: Double/µ, only letters, digits, spaces and _ + - ( ) are allowed"""
    d.rdf["name"] = "Double/µ"


@mutator
def no_tags(d: Draft) -> None:
    """tags: is missing, the zoo's page shows it"""
    del d.rdf["tags"]


@mutator
def nobody(d: Draft) -> None:
    """maintainers: nobody has a github_user, the zoo wants one person it can reach"""
    del d.rdf["maintainers"]


@mutator
def no_validation(d: Draft) -> None:
    """README.md: has no heading with the word Validation,
    the zoo wants to know how the results were checked"""
    d.files["README.md"] = b"# Double\n\nvalidation was done\n"


@mutator
def wide_tolerance(d: Draft) -> None:
    """reproducibility_tolerance[0].relative_tolerance: 0.05, at most 0.01 is allowed"""
    d.rdf["config"]["bioimageio"]["reproducibility_tolerance"][0]["relative_tolerance"] = 0.05


@mutator
def tolerance_beyond_ilastiks(d: Draft) -> None:
    """reproducibility_tolerance[0].mismatched_elements_per_million: 3000, ilastik 1.4.2 allows at
    most 1000"""
    tolerance = d.rdf["config"]["bioimageio"]["reproducibility_tolerance"][0]
    tolerance["mismatched_elements_per_million"] = 3000


@mutator
def tolerance_of_nothing(d: Draft) -> None:
    """reproducibility_tolerance[0].output_ids: mean, the outputs are denoised"""
    d.rdf["config"]["bioimageio"]["reproducibility_tolerance"][0]["output_ids"] = ["mean"]


@mutator
def missing_file(d: Draft) -> None:
    """inputs[0].sample_tensor: raw.tif, this file is not in the package"""
    del d.files["raw.tif"]


@mutator
def missing_weights(d: Draft) -> None:
    """weights.onnx: weights.onnx, this file is not in the package"""
    del d.files["weights.onnx"]


@mutator
def file_on_the_web(d: Draft) -> None:
    """inputs[0].sample_tensor: https://example.org/raw.tif, it is on the web and was not checked"""
    d.rdf["inputs"][0]["sample_tensor"] = {"source": "https://example.org/raw.tif"}


@mutator
def changed_file(d: Draft) -> None:
    """weights.onnx: weights.onnx, its content does not match the sha256 in rdf.yaml"""
    d.rdf["weights"]["onnx"]["sha256"] = "0" * 64


@mutator
def no_hash(d: Draft) -> None:
    """weights.onnx: has no sha256, a damaged download would not be noticed"""
    del d.rdf["weights"]["onnx"]["sha256"]


@mutator
def cover_of_another_kind(d: Draft) -> None:
    """covers: cover.webp, the zoo shows .png and .jpg"""
    d.rdf["covers"], d.files["cover.webp"] = ["cover.webp"], d.files.pop("cover.png")


@mutator
def heavy_cover(d: Draft) -> None:
    """cover.png: has 600 KB, a cover has less than 500 KB"""
    d.files["cover.png"] = d.files["cover.png"].ljust(600_000, b"\0")


@mutator
def tall_cover(d: Draft) -> None:
    """cover.png: has 100 x 70 pixels, width to height is 2:1 or 1:1"""
    d.files["cover.png"] = png(100, 70)


@mutator
def broken_cover(d: Draft) -> None:
    """cover.png: cannot be opened, a cover is a picture"""
    d.files["cover.png"] = b"no picture"


@mutator
def two_inputs(d: Draft) -> None:
    """inputs: 2, only one is possible"""
    d.rdf["inputs"].append(d.rdf["inputs"][0] | {"id": "second"})


@mutator
def two_outputs(d: Draft) -> None:
    """outputs: 2, only one is possible"""
    d.rdf["outputs"].append(d.rdf["outputs"][0] | {"id": "std"})


@mutator
def no_outputs(d: Draft) -> None:
    """outputs: none, a model has at least one"""
    d.rdf["outputs"] = []
    del d.rdf["config"]


@mutator
def time_axis(d: Draft) -> None:
    """inputs[0] (raw), axis time: type time, only batch, channel, z, y and x are understood"""
    d.rdf["inputs"][0]["axes"][0] = {"type": "time", "size": 1}


@mutator
def nameless_channels(d: Draft) -> None:
    """inputs[0] (raw), axis channel: has no channel_names,
    the number of channels follows from them"""
    d.rdf["inputs"][0]["axes"][1] = {"type": "channel", "size": 1}


@mutator
def other_axis_order(d: Draft) -> None:
    """outputs[0] (denoised), axes: batch, y, x, channel,
    ilastik needs the order of the input: batch, channel, y, x"""
    axes = d.rdf["outputs"][0]["axes"]
    axes.append(axes.pop(1))


@mutator
def bytes_out(d: Draft) -> None:
    """outputs[0] (denoised): data type uint8, only float32 is known to work everywhere"""
    d.rdf["outputs"][0]["data"]["type"] = "uint8"


@mutator
def no_test_tensor(d: Draft) -> None:
    """inputs[0] (raw): has no test_tensor, the model is tested on it"""
    del d.rdf["inputs"][0]["test_tensor"]


@mutator
def no_sample_tensor(d: Draft) -> None:
    """outputs[0] (denoised): has no sample_tensor, the zoo wants an example image"""
    del d.rdf["outputs"][0]["sample_tensor"]


@mutator
def empty_result(d: Draft) -> None:
    """denoised.npy: holds no value above 0.0001, a test on it shows nothing and is refused"""
    d.files["denoised.npy"] = npy(np.zeros((1, 1, SIDE, SIDE), np.float32))


@mutator
def statistics_of_the_image(d: Draft) -> None:
    """inputs[0] (raw): zero_mean_unit_variance is computed from the image at hand,
    tiles, planes and programs will differ"""
    d.rdf["inputs"][0]["preprocessing"] = [{"id": "zero_mean_unit_variance"}]


@mutator
def scaled_by_the_program(d: Draft) -> None:
    """outputs[0] (denoised): scale_linear is done by the program,
    Fiji does some of these steps differently"""
    d.rdf["outputs"][0]["postprocessing"] = [{"id": "scale_linear", "kwargs": {"gain": 2.0}}]


@mutator
def no_halo(d: Draft) -> None:
    """outputs[0] (denoised): has no halo, seams can show between tiles"""
    for axis in d.rdf["outputs"][0]["axes"][2:]:
        del axis["halo"]


@mutator
def halo_eats_the_tile(d: Draft) -> None:
    """inputs[0] (raw), axis y: 32 pixels, the halo of 16 on both sides leaves nothing"""
    d.rdf["outputs"][0]["axes"][2]["halo"] = 16


@mutator
def fixed_output(d: Draft) -> None:
    """outputs[0] (denoised), axis x: size 32, images larger than a tile do not fit"""
    d.rdf["outputs"][0]["axes"][3]["size"] = SIDE


@mutator
def reference_to_nothing(d: Draft) -> None:
    """outputs[0] (denoised), axis y: follows image y, there is no such axis"""
    d.rdf["outputs"][0]["axes"][2]["size"]["tensor_id"] = "image"


@mutator
def no_weights(d: Draft) -> None:
    """weights: none, there is nothing to run"""
    d.rdf["weights"] = {}


@mutator
def version_that_chooses_onnx(d: Draft) -> None:
    """weights.torchscript.pytorch_version: 2.7.1, with this version Fiji takes onnx,
    which never uses the GPU"""
    d.rdf["weights"]["torchscript"]["pytorch_version"] = "2.7.1"


@mutator
def onnx_without_opset(d: Draft) -> None:
    """weights.onnx: has no opset_version, format 0.5 asks for it"""
    del d.rdf["weights"]["onnx"]["opset_version"]


@mutator
def state_dict_alone(d: Draft) -> None:
    """weights.pytorch_state_dict: has no architecture, the numbers alone cannot be run"""
    add_state_dict(d)
    del d.rdf["weights"]["pytorch_state_dict"]["architecture"]


@mutator
def no_parent(d: Draft) -> None:
    """weights.onnx: has no parent, the zoo wants to know what it was converted from"""
    add_state_dict(d)
    del d.rdf["weights"]["onnx"]["parent"]


@mutator
def dependencies(d: Draft) -> None:
    """weights.pytorch_state_dict.dependencies: is set,
    the zoo tests such a model but does not offer it for running"""
    add_state_dict(d)
    d.files["environment.yaml"] = b"dependencies: [monai]\n"
    d.rdf["weights"]["pytorch_state_dict"]["dependencies"] = entry("environment.yaml")


@mutator
def dependencies_of_torchscript(d: Draft) -> None:
    """weights.torchscript.dependencies: is set, only pytorch_state_dict may have dependencies"""
    d.files["environment.yaml"] = b"dependencies: [monai]\n"
    d.rdf["weights"]["torchscript"]["dependencies"] = entry("environment.yaml")


@mutator
def two_pts(d: Draft) -> None:
    """weights.torchscript.source: weights.pt.pt, Fiji wants '.pt' once, at the end"""
    d.files["weights.pt.pt"] = d.files.pop("weights.pt")
    d.rdf["weights"]["torchscript"]["source"] = "weights.pt.pt"


@mutator
def no_program(d: Draft) -> None:
    """weights.pt: holds no program, a TorchScript file is written by torch.jit.save"""
    d.files["weights.pt"] = b"not a zip"


@mutator
def young_operator(d: Draft) -> None:
    """torchscript: uses aten::scaled_dot_product_attention,
    libtorch 1.13.1 and 2.0.0 do not both know it, so the file does not load"""
    d.files["weights.pt"] = edited(
        d.files["weights.pt"], "torch.mul(", "torch.scaled_dot_product_attention("
    )


@mutator
def frozen(d: Draft) -> None:
    """torchscript: has 0 parameters (was it frozen?), its numbers cannot be moved to a GPU"""
    d.files["weights.pt"] = edited(d.files["weights.pt"], '["two", ]', "[]")


@mutator
def needs_cuda(d: Draft) -> None:
    """torchscript: names the device cuda:0, it fails on a computer without this GPU"""
    d.files["weights.pt"] = edited(
        d.files["weights.pt"], "torch.mul(", 'torch.to(torch.device("cuda:0"), '
    )


@mutator
def stays_on_the_cpu(d: Draft) -> None:
    """torchscript: names the device cpu, it can fail on a GPU"""
    d.files["weights.pt"] = edited(
        d.files["weights.pt"], "torch.mul(", 'torch.to(torch.device("cpu"), '
    )


@mutator
def draws(d: Draft) -> None:
    """torchscript: draws random numbers (aten::randn_like),
    the tests compare results that are never twice the same"""
    d.files["weights.pt"] = edited(d.files["weights.pt"], "torch.mul(", "torch.randn_like(")


@mutator
def no_onnx(d: Draft) -> None:
    """weights.onnx: is no ONNX file, it cannot be read"""
    d.files["weights.onnx"] = b"\xff\xff no"


@mutator
def new_opset(d: Draft) -> None:
    """onnx: opset 18, Fiji's ONNX Runtime reads up to 17"""
    d.files["weights.onnx"] = onnx_bytes(opset=18)
    d.rdf["weights"]["onnx"]["opset_version"] = 18


@mutator
def other_opset(d: Draft) -> None:
    """weights.onnx.opset_version: 17, the file says 16"""
    d.files["weights.onnx"] = onnx_bytes(opset=16)


@mutator
def new_ir(d: Draft) -> None:
    """onnx: IR version 10, Fiji's ONNX Runtime reads up to 8"""
    model = onnx.load_from_string(d.files["weights.onnx"])
    model.ir_version = 10
    d.files["weights.onnx"] = model.SerializeToString()


@mutator
def bitwise(d: Draft) -> None:
    """onnx: uses BitwiseAnd, Fiji's ONNX Runtime does not know it"""
    d.files["weights.onnx"] = onnx_bytes(first="BitwiseAnd")


@mutator
def own_operator(d: Draft) -> None:
    """onnx: uses com.example, Fiji's ONNX Runtime does not know it"""
    d.files["weights.onnx"] = onnx_bytes(domain="com.example")


@mutator
def random_onnx(d: Draft) -> None:
    """onnx: draws random numbers (RandomNormalLike),
    the tests compare results that are never twice the same"""
    d.files["weights.onnx"] = onnx_bytes(first="RandomNormalLike")


@mutator
def two_files(d: Draft) -> None:
    """onnx: keeps weights in a second file, it is not found by these programs"""
    model = onnx.load_from_string(d.files["weights.onnx"])
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    d.files["weights.onnx"] = model.SerializeToString()


def add_state_dict(d: Draft) -> None:
    d.files |= {"state_dict.pth": b"numbers", "architecture.py": b"import torch\n"}
    architecture = entry("architecture.py") | {"callable": "Double"}
    for weights in d.rdf["weights"].values():
        weights["parent"] = "pytorch_state_dict"
    d.rdf["weights"]["pytorch_state_dict"] = entry("state_dict.pth") | {
        "pytorch_version": "2.0.0",
        "architecture": architecture,
    }


#: Broken together with the rule in question, by nature: one thing breaks both.
ALSO = {"time_axis": {"same-axis-order"}, "other_axis_order": {"test-tensor-shape"}}


@pytest.mark.parametrize("mutate", MUTATORS, ids=lambda m: m.__name__)
def test_one_broken_rule_is_the_one_found(mutate: Mutator, single: Draft, tmp_path: Path) -> None:
    mutate(single)
    also = ALSO.get(mutate.__name__, ())
    package = open_package(single.write(tmp_path / "model.zip"))
    found = [f for f in search_all(package) if f.rule not in also]
    assert [f.message for f in found] == [" ".join((mutate.__doc__ or "").split())]
    assert found[0].fix


def several(draft: Draft, path: Path) -> list[str]:
    return [f.rule for f in search_all(open_package(draft.write(path)))]


def test_sizes_that_break_several_rules(single: Draft, tmp_path: Path) -> None:
    """A free size is never alone: Fiji sends the whole image."""
    path = tmp_path / "model.zip"
    single.free(64, 1)
    assert several(single, path) == ["whole-image"]
    single.free(16, 1)
    assert several(single, path) == ["whole-image", "min-as-shape", "min-as-shape"]
    single.free(64, 16)
    assert several(single, path) == ["whole-image", "off-grid", "off-grid"]
    single.free(72, 16)
    assert several(single, path).count("min-and-step") == 2
    assert "use min 80" in [f.fix for f in search_all(open_package(path))]


def test_weights_that_break_several_rules(single: Draft, tmp_path: Path) -> None:
    weights, path = single.rdf["weights"], tmp_path / "model.zip"
    torchscript, onnx_entry = weights.pop("torchscript"), weights["onnx"]
    assert several(single, path) == ["weights-ilastik"]
    single.files["weights.onnx"] = onnx_bytes(opset=21)
    onnx_entry["opset_version"] = 21
    found = {"weights-ilastik", "onnx-opset", "onnx-opset-zoo"}
    assert set(several(single, path)) == found
    weights.clear()
    weights["keras_hdf5"] = onnx_entry
    assert several(single, path) == ["weights-fiji", "weights-ilastik", "weights-qupath"]
    weights.clear()
    weights["torchscript"] = {k: v for k, v in torchscript.items() if k != "pytorch_version"}
    assert several(single, path) == ["pytorch-version"]
    single.rdf["outputs"][0]["postprocessing"] = [{"id": "scale_mean_variance"}]
    assert "processing-crash" in several(single, path)
    single.rdf["outputs"][0]["axes"].pop(1)
    assert "batch-and-channel" in several(single, path)


def test_every_rule_is_broken_once() -> None:
    """Every name of a rule is either behind a mutator's message or spelt out above."""
    source = Path(__file__).read_text(encoding="utf-8")
    spelt = {name for name in RULES if f'"{name}"' in source}
    assert len(RULES) - len(spelt) <= len(MUTATORS)
    assert len(MUTATORS) >= 30


def test_missing_files_block_only_those_who_read_them(single: Draft, tmp_path: Path) -> None:
    del single.files["cover.png"]
    path = single.write(tmp_path / "model.zip")
    blocked = {k for k, runs in verdicts(check_package(path)).items() if not runs}
    assert blocked == {"core", "ilastik", "zoo"}
    del single.files["weights.pt"]
    path = single.write(tmp_path / "model.zip")
    assert not any(verdicts(check_package(path)).values())


def test_what_fiji_does_not_use_only_warns(single: Draft, tmp_path: Path) -> None:
    """Fiji takes TorchScript here, so a new ONNX opset does no harm."""
    new_opset(single)
    (finding,) = search_all(open_package(single.write(tmp_path / "model.zip")))
    assert finding.severity == {"fiji": "warns"}
    single.rdf["weights"]["torchscript"]["pytorch_version"] = "2.13.0"
    findings = search_all(open_package(single.write(tmp_path / "model.zip")))
    assert {f.rule: f.severity["fiji"] for f in findings} == {
        "fiji-takes-onnx": "warns",
        "onnx-opset": "blocks",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": 3, "outputs": [None]},
        {"weights": ["onnx"], "config": 7},
        {"inputs": [{"axes": [1, {"type": "space"}]}], "covers": [4]},
        {"documentation": 5, "authors": "me", "maintainers": [1]},
        {"outputs": [{"axes": "bcyx", "shape": [1]}]},
    ],
)
def test_nonsense_is_reported_and_nothing_crashes(
    change: dict[str, Any], single: Draft, tmp_path: Path
) -> None:
    single.rdf |= change
    report = check_package(single.write(tmp_path / "model.zip"))
    assert not report.passed
    assert "does not run" in to_text(report)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside an rdf."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    return [p for k in keys for p in [(*at, k), *places(value[k], (*at, k))]]


def test_no_value_in_an_rdf_can_crash_a_rule(many: Draft, tmp_path: Path) -> None:
    """Every value in turn is removed, or becomes something that it should not be."""
    many.files["weights.pt"] = b"short"  # quick to read
    add_state_dict(many)
    for name, data in many.contents().items():
        (tmp_path / name).write_bytes(data)
    good = open_package(tmp_path).rdf
    for *way, last in places(good):
        for wrong in (None, 0, "x", "a\0b", "../x", [], {}, [1, ["y"], {"z": 1}]):
            rdf = copy.deepcopy(good)
            inner = rdf
            for key in way:
                inner = inner[key]
            inner[last] = wrong
            package = Package(tmp_path, "rdf.yaml", rdf)
            assert all(f.fix for f in search_all(package))
            for tiles in (fiji_tiles, ilastik_tiles):
                tiles(package, (63, 100))


# --- Java and tiles ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"), [("", 0), ("a", 97), ("hello", 99162322), ("é𝄞 torch", 993412015)]
)
def test_java_hash(text: str, value: int) -> None:
    """Values printed by Java's own String.hashCode."""
    assert string_hash(text) == value


def test_java_order() -> None:
    """As java.util.HashMap of Java 17 listed these keys."""
    keys = ["keras_hdf5_v2.4", "onnx_v15", "torchscript_v2.3.1"]
    first = "tensorflow_saved_model_bundle_v2.11.0"
    assert hash_order([*keys, first]) == [first, *reversed(keys)]


@pytest.mark.parametrize(
    ("version", "choice"),
    [("2.0.0", "torchscript"), ("2.0.0+cpu", "torchscript"), (None, "onnx")]
    + [(v, "onnx") for v in ("1.13.1", "2.7.1", "2.8.0", "2.13.0")],
)
def test_weights_that_fiji_takes(
    version: str | None, choice: str, single: Draft, tmp_path: Path
) -> None:
    """Observed in Fiji's library; without a version it takes 1.13.1."""
    add_state_dict(single)
    for name in ("torchscript", "pytorch_state_dict"):
        single.rdf["weights"][name]["pytorch_version"] = version
    assert weights_choice(open_package(single.write(tmp_path / "model.zip"))) == choice


def tiled(draft: Draft, path: Path) -> Package:
    return open_package(draft.write(path))


def test_tiles_of_fiji(single: Draft, tmp_path: Path) -> None:
    package = tiled(single, tmp_path / "fixed.zip")
    fixed = {size: fiji_tiles(package, size) for size in ((10, 11), (11, 11), (33, 48), (64, 65))}
    assert all(p is not None and p.tile == (32, 32) for p in fixed.values())
    refused = [bool(p and p.refused) for p in fixed.values()]
    assert refused == [True, False, False, False]  # 3 x 10 < 32 <= 3 x 11
    assert [p.count for p in fixed.values() if p] == [1, 1, 9, 20]  # 16 pixels are kept of a tile
    single.free(64, 16)
    free = fiji_tiles(tiled(single, tmp_path / "free.zip"), (100, 1000))
    assert free is not None
    assert free.tile == (112, 1008)  # (size + 16) rounded down to a multiple of 16


def test_tiles_of_ilastik(single: Draft, tmp_path: Path) -> None:
    plan = ilastik_tiles(tiled(single, tmp_path / "fixed.zip"), (64, 64))
    assert plan is not None
    assert (plan.tile, plan.count) == ((32, 32), 16)
    single.free(64, 20)
    plan = ilastik_tiles(tiled(single, tmp_path / "free.zip"), (100, 900))
    assert plan is not None
    assert (plan.tile, plan.count) == ((524, 524), 2)  # the first 64 + 20 n from 512


def test_operators_are_read_without_torch(scripts: dict[str, bytes]) -> None:
    """The text of the archive gives the same unknown operators as torch does."""
    script = read_torchscript(scripts["young"])
    assert script is not None
    used = set(scripts["young operators"].decode().split())
    unknown = {name.split(".")[0] for name in used - libtorch_schemas()}
    assert "aten::scaled_dot_product_attention" in unknown
    assert script.operators - libtorch_operators() == unknown


# --- a user's mistakes, and the command ----------------------------------------------------------


def mistake(path: Path) -> str:
    with pytest.raises(DataError) as error:
        check_package(path)
    assert error.value.fix
    return error.value.problem


def test_packages_that_cannot_be_opened(single: Draft, tmp_path: Path) -> None:
    assert "does not exist" in mistake(tmp_path / "nothing.zip")
    plain = tmp_path / "plain.zip"
    plain.write_bytes(b"no zip")
    assert "is not a readable zip file" in mistake(plain)
    whole = single.write(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:1000])
    assert "is not a readable zip file" in mistake(tmp_path / "cut.zip")
    inner = whole.rindex(b"PK\5\6", 0, whole.rindex(b"PK\5\6")) + 22  # the end of weights.pt
    (tmp_path / "cut.zip").write_bytes(whole[:inner])
    assert "holds no rdf.yaml" in mistake(tmp_path / "cut.zip")
    damaged = whole.replace(b"## Validation", b"## Volidation", 1)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    assert "README.md cannot be unpacked" in mistake(tmp_path / "damaged.zip")
    (tmp_path / "empty").mkdir()
    assert "holds no rdf.yaml" in mistake(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "holds no rdf.yaml" in mistake(tmp_path / "other.zip")
    rdf = tmp_path / "rdf.yaml"
    rdf.write_text("a: [1, 2")
    assert "rdf.yaml is not valid YAML" in mistake(rdf)
    rdf.write_text("- 1")
    assert "holds no mapping but a list" in mistake(rdf)
    rdf.write_bytes(b"\xff\xfe\x00")
    assert "is not valid YAML" in mistake(rdf)


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from bmz_ddpm.cli.main import main; main()"
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, "check", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_command(many: Draft, tmp_path: Path) -> None:
    many.write(tmp_path / "many.zip")
    done = command(tmp_path, "many.zip", "--json", "r.json", "--html", "r.html", "--size", "9x50")
    assert done.returncode == 0, done.stderr
    assert "Fiji (deepImageJ 3.1, JDLL 0.6.1): runs\n" in done.stdout
    assert "ilastik 1.4.1 and 1.4.2: does not run (not counted)" in done.stdout
    assert "image of 9 x 50 pixels: refused, y has 9 pixels" in done.stdout
    assert "Nothing was run" in done.stdout
    assert done.stdout.endswith("r.json\nr.html\n")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"] is True
    assert report["consumers"]["ilastik"]["findings"][0]["rule"] == "one-output"
    page = (tmp_path / "r.html").read_text()
    assert "outputs: 2, only one is possible" in page
    assert "http" not in page  # needs no other file


def test_exit_code_follows_those_that_count(many: Draft, tmp_path: Path) -> None:
    many.write(tmp_path / "many.zip")
    done = command(tmp_path, "many.zip", "--for", "fiji", "--for", "ilastik")
    assert done.returncode == 1
    assert "because: outputs: 2, only one is possible [one-output]" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("model.zip", "--for", "ilastic"), "--for ilastic: unknown (did you mean 'ilastik'?)"),
        (("model.zip", "--size", "12"), "--size 12: is no size"),
        (("model.zip",), "model.zip: does not exist"),
    ],
)
def test_mistakes_end_in_two_lines(tmp_path: Path, arguments: tuple[str], problem: str) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == f"error: {problem}."
    assert second.startswith("fix:   ")


def test_static_rules_need_no_torch(single: Draft, tmp_path: Path) -> None:
    path = single.write(tmp_path / "model.zip")
    code = (
        "import sys, pathlib; from bmz_ddpm.check.verdict import check_package\n"
        f"report = check_package(pathlib.Path({str(path)!r}))\n"
        "heavy = ('torch', 'onnxruntime', 'bioimageio')\n"
        "print(report.passed, [m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_page_escapes_what_the_package_says(single: Draft, tmp_path: Path) -> None:
    single.rdf["format_version"] = "<script>alert(1)</script>"
    single.rdf["name"] = "Double <b>"
    page = to_html(check_package(single.write(tmp_path / "model.zip")))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Double &lt;b&gt;" in page


# --- really run ----------------------------------------------------------------------------------


def states(report: Report) -> dict[str, str]:
    return {o.what: o.state for v in report.verdicts for o in v.outcomes}


DESKTOP = dict.fromkeys(("Fiji itself", "ilastik itself", "QuPath itself"), "not run")
DESKTOP |= {"BioEngine": "not run"}


def test_run_of_a_good_package(single: Draft, tmp_path: Path) -> None:
    report = check_package(single.write(tmp_path / "model.zip"), run=True)
    text = to_text(report)
    assert states(report) == DESKTOP | {
        "bioimageio test": "passed",
        "ilastik's way through bioimageio.core": "passed",
        "ONNX Runtime": "passed",
        "TorchScript": "passed",
        "TorchScript's operators": "passed",
    }, text
    assert report.passed
    assert "not run: Fiji itself" in text


def test_run_of_bad_weights(single: Draft, tmp_path: Path) -> None:
    """No rule is broken, but the results are not those of the test tensors."""
    single.files["denoised.npy"] = npy(np.full((1, 1, SIDE, SIDE), 3, np.float32))
    report = check_package(single.write(tmp_path / "model.zip"), run=True)
    assert states(report)["bioimageio test"] == states(report)["TorchScript"] == "failed"
    assert not any(verdicts(report).values())
    assert all(not v.blocking for v in report.verdicts)


def test_a_package_may_name_its_programs(single: Draft, tmp_path: Path) -> None:
    """config.bmz_ddpm.consumers decides whose verdict counts; what is unknown there does not."""
    single.rdf["config"]["bmz_ddpm"] = {"consumers": ["ilastik", "qupath", "toaster"]}
    report = check_package(single.write(tmp_path / "model.zip"))
    assert {v.consumer for v in report.verdicts if v.counts} == {"ilastik", "qupath"}
    single.rdf["config"]["bmz_ddpm"] = {"consumers": "fiji"}
    report = check_package(single.write(tmp_path / "again.zip"))
    assert all(v.counts for v in report.verdicts)
