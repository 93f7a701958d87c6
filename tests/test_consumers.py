"""What people run inside other programs matches the packages it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bmz_ddpm.export.onnx import INPUT
from bmz_ddpm.package.profiles import CORE, ILASTIK
from bmz_ddpm.package.rdf import tolerances

CONSUMERS = Path(__file__).parent.parent / "packaging" / "consumers"
MACRO = (CONSUMERS / "fiji" / "check_model.ijm").read_text(encoding="utf-8")
BATCH = (CONSUMERS / "fiji" / "denoise_folder.groovy").read_text(encoding="utf-8")
QUPATH = (CONSUMERS / "qupath" / "denoise_image.groovy").read_text(encoding="utf-8")
#: What deepImageJ's command takes when it runs without a window.
PARAMETERS = ["model_path", "input_path", "output_folder", "display_output"]


def array(name: str) -> list[str]:
    """Elements of a constant in the macro."""
    found = re.search(rf"^{name} = newArray\((.*)\);$", MACRO, flags=re.M)
    assert found, name
    return [part.strip().strip('"') for part in found[1].split(",")]


def test_the_macro_compares_all_outputs_in_order() -> None:
    assert array("OUTPUTS") == [output.id for output in CORE.outputs]


def test_the_macro_allows_what_the_package_allows() -> None:
    """For an 8-bit model; the limits are in grey levels."""
    allowed = {name: entry for entry in tolerances(CORE, 255.0) for name in entry["output_ids"]}
    for column, key in (
        ("ABSOLUTE", "absolute_tolerance"),
        ("RELATIVE", "relative_tolerance"),
        ("MISMATCHED", "mismatched_elements_per_million"),
    ):
        found = [float(value) for value in array(column)]
        expected = [allowed[name][key] for name in array("OUTPUTS")]
        assert found == pytest.approx(expected, rel=1e-12), column


@pytest.mark.parametrize("script", [MACRO, BATCH], ids=["macro", "groovy"])
def test_deepimagej_gets_its_parameters(script: str) -> None:
    call = script[script.index('"DeepImageJ Run"') :]
    call = call[: call.index("display_output=null") + len("display_output=null")]
    assert re.findall(r"(\w+)=", call) == PARAMETERS
    assert call.count("[") == call.count("]") == 3  # paths with spaces


def test_the_readme_of_a_package_shows_the_same_call() -> None:
    import bmz_ddpm.package as package

    text = (Path(package.__file__).parent / "templates" / "run_core.md").read_text("utf-8")
    call = next(line for line in text.splitlines() if "DeepImageJ Run" in line and "(" in line)
    assert re.findall(r"(\w+)=", call) == PARAMETERS


def test_the_macro_reads_files_that_are_in_the_package() -> None:
    names = re.findall(r'"/(sample_\w*)(?:\.tif|")', MACRO)
    assert names == [f"sample_{INPUT}", "sample_"]
    assert 'model + "/rdf.yaml"' in MACRO


def test_braces_and_brackets_are_balanced() -> None:
    """As much of the syntax as can be seen without the programs."""
    for script in (MACRO, BATCH, QUPATH):
        code = re.sub(r"//.*", "", script)
        for left, right in ("()", "{}"):
            assert code.count(left) == code.count(right)


def test_qupath_expects_the_channels_of_the_package() -> None:
    found = re.search(r"def expected = \[(.*)\]", QUPATH)
    assert found
    channels = [part.strip().strip('"') for part in found[1].split(",")]
    assert channels == ILASTIK.outputs[0].channel_names(["fluorescence"])


IMAGEJ = Path("/usr/share/java/ij.jar")
#: Stands in for deepImageJ: hands out the package's sample outputs, raised by what SPOIL holds.
STAND_IN = """
options = call("ij.Macro.getOptions");
model = substring(options, indexOf(options, "model_path=[") + 12, indexOf(options, "] input_path"));
out = substring(options, indexOf(options, "output_folder=[") + 15, indexOf(options, "] display"));
names = newArray("denoised", "std", "entropy");
for (i = 0; i < names.length; i++) {
    open(model + "/sample_" + names[i] + ".tif");
    if (File.exists(model + "/SPOIL")) run("Add...", "value=0.1");
    saveAs("Tiff", out + "/sample_raw_" + names[i] + ".tif");
    close();
}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("spoilt", "last"), [(False, "passed"), (True, "failed")])
def test_the_macro_runs_in_imagej(tmp_path: Path, spoilt: bool, last: str) -> None:
    """The real macro in the real ImageJ 1.x, with a stand-in for deepImageJ's command."""
    if not IMAGEJ.exists() or not shutil.which("xvfb-run"):
        pytest.skip("ImageJ is not installed: apt-get install imagej xvfb")
    model = tmp_path / "model"
    for folder in ("model", "plugins", "out"):
        (tmp_path / folder).mkdir()
    (model / "rdf.yaml").touch()
    (tmp_path / "plugins" / "DeepImageJ_Run.ijm").write_text(STAND_IN)
    image = np.random.default_rng(0).uniform(0, 9, (32, 32)).astype(np.float32)
    for name in ("raw", "denoised", "std", "entropy"):
        tifffile.imwrite(model / f"sample_{name}.tif", image, imagej=True)
    if spoilt:
        (model / "SPOIL").touch()
    java = ["java", f"-Dplugins.dir={tmp_path}", "-jar", str(IMAGEJ), "-ijpath", str(tmp_path)]
    macro = ["-batch", str(CONSUMERS / "fiji" / "check_model.ijm"), f"{model} {tmp_path / 'out'}"]
    done = subprocess.run(
        ["xvfb-run", "-a", *java, *macro],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    lines = done.stdout.strip().splitlines()
    over = 32 * 32 if spoilt else 0
    assert lines[-1] == last, done.stdout + done.stderr
    assert len(lines) == 5
    for name, line in zip(("denoised", "std", "entropy"), lines[1:4], strict=True):
        assert line.startswith(f"{name}: largest difference 0.{'1' if spoilt else '0'}")
        assert f", {over} of 1024 pixels over the limit, " in line
