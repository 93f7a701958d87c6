"""The check of zoo_models sees every change but rounding."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

REPOSITORY = Path(__file__).parent.parent
MODELS = REPOSITORY / "zoo_models"
SCRIPT = REPOSITORY / "packaging" / "zoo_models.py"


@pytest.fixture(scope="module")
def zoo() -> ModuleType:
    """packaging/zoo_models.py; its folder is no package."""
    spec = importlib.util.spec_from_file_location("zoo_models", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RDF = {
    "name": "model",
    "outputs": [{"id": "denoised", "test_tensor": {"source": "test_denoised.npy", "sha256": "a"}}],
    "weights": {"onnx": {"source": "weights.onnx", "sha256": "b"}},
    "config": {
        "bioimageio": {
            "reproducibility_tolerance": [
                {
                    "output_ids": ["denoised"],
                    "relative_tolerance": 1e-4,
                    "absolute_tolerance": 0.04,
                    "mismatched_elements_per_million": 0,
                }
            ]
        },
        "bmz_ddpm": {"measured": {"validation": {"psnr": 31.5, "tiny": 2e-7, "excess": 3e-4}}},
    },
}


def changed(*path: object, value: object) -> dict:
    """RDF with another value in one place."""
    copy = yaml.safe_load(yaml.safe_dump(RDF))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def test_an_equal_rdf_and_rounding_pass(zoo: ModuleType) -> None:
    validation = ("config", "bmz_ddpm", "measured", "validation")
    assert zoo.tree_difference(RDF, changed("name", value="model")) == ""
    assert zoo.tree_difference(RDF, changed(*validation, "psnr", value=31.6)) == ""
    assert zoo.tree_difference(RDF, changed(*validation, "tiny", value=9e-7)) == ""
    assert zoo.tree_difference(RDF, changed(*validation, "excess", value=2e-4)) == ""
    assert "excess" in zoo.tree_difference(RDF, changed(*validation, "excess", value=0.02))
    hashed = ("outputs", 0, "test_tensor", "sha256")
    assert zoo.tree_difference(RDF, changed(*hashed, value="other")) == ""


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("name",), "another", "name is model, now another"),
        (("weights", "onnx", "sha256"), "c", "weights.onnx.sha256 is b, now c"),
        (
            ("config", "bmz_ddpm", "measured", "validation", "psnr"),
            30.0,
            "config.bmz_ddpm.measured.validation.psnr is 31.5, now 30.0",
        ),
        (
            ("outputs", 0, "test_tensor", "source"),
            "x.npy",
            "outputs[0].test_tensor.source is test_",
        ),
        (("outputs",), [], "outputs is [{"),
    ],
)
def test_a_changed_rdf_is_seen(zoo: ModuleType, path: tuple, value: object, message: str) -> None:
    assert zoo.tree_difference(RDF, changed(*path, value=value)).startswith(message)


def test_figures_in_texts_may_round(zoo: ModuleType) -> None:
    text = "| noisy | 12.04 | 22.22 |, 1,234 billion, 2.4e-07 in 256 x 256"
    assert zoo.text_difference(text, text.replace("22.22", "22.23")) == ""
    assert zoo.text_difference(text, text.replace("2.4e-07", "3.1e-07")) == ""
    assert zoo.text_difference(text, text.replace("22.22", "23.22")) == "says 22.22, now 23.22"
    assert zoo.text_difference(text, text.replace("1,234", "1,334")) == "says 1,234, now 1,334"
    assert zoo.text_difference(text, text.replace("256 x 256", "512 x 256")) == "says 256, now 512"
    assert zoo.text_difference(text, text.replace("noisy", "raw")) == "has another text"


def saved(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


def test_tensors_within_the_tolerance_of_the_rdf(zoo: ModuleType) -> None:
    image = np.linspace(0, 100, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    close, far = image.copy(), image.copy()
    close[0, 0, 0, 0] += 0.03
    far[0, 0, 0, 0] += 0.06
    folder = {"rdf.yaml": yaml.safe_dump(RDF).encode()}

    def compared(name: str, other: np.ndarray) -> str:
        return zoo.difference(name, saved(image), saved(other), folder)

    assert compared("test_denoised.npy", close) == ""
    assert compared("test_denoised.npy", far) == "holds another image"
    assert compared("test_denoised.npy", image[..., :4]) == "holds another image"
    assert compared("test_raw.npy", close) == "holds another image"  # the input is no result


def test_pictures(zoo: ModuleType) -> None:
    def png(grey: int, side: int = 8) -> bytes:
        stream = io.BytesIO()
        Image.new("L", (side, side), grey).save(stream, "PNG")
        return stream.getvalue()

    assert zoo.difference("cover.png", png(100), png(102), {}) == ""
    assert zoo.difference("cover.png", png(100), png(103), {}) == "shows another picture"
    assert zoo.difference("cover.png", png(100), png(100, 9), {}) == "shows another picture"
    assert zoo.difference("architecture.py", b"a", b"b", {}) == "differs"


@pytest.mark.parametrize("rdf_path", sorted(MODELS.glob("*/*/rdf.yaml")), ids=str)
def test_shipped_packages_are_whole_but_for_the_weights(rdf_path: Path) -> None:
    """Every file that rdf.yaml names is there with its hash; only the weights are not in git."""
    import hashlib

    from bmz_ddpm.check.package import open_package

    missing = set()
    for _, name, sha in open_package(rdf_path).sources():
        path = rdf_path.parent / name
        if not path.exists():
            missing.add(name)
        elif sha:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha, name
    assert missing <= {"state_dict.pth", "weights.pt", "weights.onnx"}
    assert len(missing) >= 2


def test_both_packages_of_every_model_are_shipped() -> None:
    for checkpoint in MODELS.glob("*/checkpoint.safetensors"):
        for profile in ("core", "ilastik"):
            assert (checkpoint.parent / profile / "rdf.yaml").is_file()
