"""A package in separate environments: stand-ins that are this Python, and ways to fail."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_check import Draft, npy, onnx_bytes, scripts, single
from typer.testing import CliRunner

from bmz_ddpm import environments as making
from bmz_ddpm.check import environments, probe
from bmz_ddpm.check.environments import ENVIRONMENTS, Pins, load_pins, run_in_environments
from bmz_ddpm.check.outcomes import Outcome
from bmz_ddpm.check.package import open_package
from bmz_ddpm.check.report import to_dict, to_text
from bmz_ddpm.check.verdict import check_package
from bmz_ddpm.errors import ConfigError

REPOSITORY = Path(__file__).parent.parent
Fake = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BMZ_DDPM_ENVIRONMENTS", str(folder))
    return folder


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def fake(cache: Path) -> Fake:
    """Make an environment whose interpreter is a shell script; by default this Python."""

    def make(name: str, text: str = f'exec "{sys.executable}" "$@"') -> Path:
        return executable(cache / name / "bin" / "python", text)

    return make


@pytest.fixture
def own_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pins be the versions that are installed here."""
    original = load_pins

    def changed(name: str) -> Pins:
        pins = original(name)
        names = [r.split("==")[0] for r in pins.requirements]
        own = tuple(f"{n}=={metadata.version(n).split('+')[0]}" for n in names)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return dataclasses.replace(pins, python=python, requirements=own)

    monkeypatch.setattr(environments, "load_pins", changed)


def outcomes(path: Path, *names: str, say: Callable[[str], None] = print) -> list[Outcome]:
    return run_in_environments(open_package(path), names, say)


def states(found: list[Outcome]) -> dict[str, str]:
    return {o.what: o.state for o in found}


# --- pins ----------------------------------------------------------------------------------------


def test_pins_are_exact() -> None:
    """Versions that the programs have; a range would let pip choose others."""
    wanted = {
        "zoo": ("3.11", {"torch": "2.5.1", "onnxruntime": "1.20.1", "bioimageio.core": "0.10.4"}),
        "ilastik": ("3.11", {"torch": "2.7.0", "bioimageio.core": "0.10.2"}),
        "fiji": ("3.10", {"torch": "2.0.0", "onnxruntime": "1.12.1"}),
        "fiji-old": ("3.10", {"torch": "1.13.1", "onnxruntime": "1.13.1"}),
    }
    assert set(wanted) == set(ENVIRONMENTS)
    for name, (python, versions) in wanted.items():
        pins = load_pins(name)
        exact = dict(r.split("==") for r in pins.requirements)
        assert pins.python == python
        assert exact == exact | versions


def test_unknown_environment() -> None:
    with pytest.raises(ConfigError) as error:
        load_pins("fiji-odl")
    assert error.value.problem == "--env fiji-odl: unknown (did you mean 'fiji-old'?)"
    assert error.value.fix == "choose zoo, ilastik, fiji, fiji-old"
    with pytest.raises(ConfigError, match="--env fuji: unknown"):
        check_package(Path("not opened"), environments=["zoo", "fuji"])


def test_probe_needs_nothing_of_ours() -> None:
    """It is copied into environments where bmz-ddpm is not installed, with Python 3.10."""
    allowed = {*sys.stdlib_module_names, "numpy", "torch", "onnxruntime", "bioimageio"}
    for path in Path(probe.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, path
            if isinstance(node, ast.Import) or (
                isinstance(node, ast.ImportFrom) and not node.level
            ):
                names = [a.name for a in node.names]
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
                assert {n.split(".")[0] for n in names} <= allowed, path


# --- the real probe in a stand-in ----------------------------------------------------------------


@pytest.mark.usefixtures("own_pins")
def test_differences_are_measured(single: Draft, tmp_path: Path, fake: Fake) -> None:
    """One pixel in 1024 of the test tensor is wrong by 0.25."""
    fake("fiji")
    wrong = np.load(io.BytesIO(single.files["denoised.npy"]))
    wrong[0, 0, 3, 3] += 0.25
    single.files["denoised.npy"] = npy(wrong)
    found = outcomes(single.write(tmp_path / "model.zip"), "fiji")
    assert states(found) == {
        "TorchScript (environment fiji)": "failed",
        "ONNX Runtime (environment fiji)": "failed",
    }
    for outcome in found:
        (measured,) = outcome.measured["outputs"]
        assert measured["largest"] == pytest.approx(0.25, abs=1e-5)
        assert measured["beyond"] == 1 / 1024
        assert outcome.consumers == ("fiji",)
    assert found[0].counts
    assert not found[1].counts  # Fiji takes the TorchScript file
    assert "torch " in found[0].measured["engine"]
    assert "0.10% of denoised differ by more than 1.0e-03 + 1e-03" in found[0].detail


@pytest.mark.usefixtures("own_pins")
def test_zoo_and_ilastik_pass(single: Draft, tmp_path: Path, fake: Fake) -> None:
    fake("zoo")
    fake("ilastik")
    found = outcomes(single.write(tmp_path / "model.zip"), "zoo", "ilastik")
    assert states(found) == {
        "bioimageio test (environment zoo)": "passed",
        "TorchScript (environment zoo)": "passed",
        "ONNX Runtime (environment zoo)": "passed",
        "ilastik's way (environment ilastik)": "passed",
    }
    assert [o.consumers for o in found] == [("zoo",)] * 3 + [("ilastik",)]
    assert "4 blocks of 32 x 32 pixels cover an image of 31 x 31" in found[-1].detail
    assert all(o.measured["outputs"][0]["largest"] == 0 for o in found[1:])


@pytest.mark.usefixtures("own_pins")
def test_what_fiji_does_not_take_does_no_harm(
    single: Draft,
    tmp_path: Path,
    fake: Fake,
) -> None:
    fake("fiji")
    single.files["weights.onnx"] = onnx_bytes(1, first="Add")
    path = single.write(tmp_path / "model.zip")
    report = check_package(path, ["fiji"], environments=["fiji"])
    (verdict,) = (v for v in report.verdicts if v.consumer == "fiji")
    assert [o.state for o in verdict.outcomes] == ["passed", "failed"]
    assert "Fiji does not take these weights" in verdict.outcomes[1].detail
    assert verdict.runs
    ran = to_dict(report)["consumers"]["fiji"]["run"]
    assert [r["counts"] for r in ran] == [True, False]
    assert ran[0]["outputs"][0]["largest"] == 0
    assert "  failed (not counted): ONNX Runtime (environment fiji): " in to_text(report)
    single.rdf["weights"]["torchscript"]["pytorch_version"] = "2.8.0"  # now it takes ONNX
    report = check_package(single.write(path), ["fiji"], environments=["fiji"])
    assert not report.passed


@pytest.mark.usefixtures("own_pins")
def test_preprocessing_is_left_to_the_programs(
    single: Draft,
    tmp_path: Path,
    fake: Fake,
) -> None:
    fake("fiji")
    single.rdf["outputs"][0]["postprocessing"] = [{"id": "clip", "kwargs": {"min": 0, "max": 9}}]
    (torchscript, _) = outcomes(single.write(tmp_path / "model.zip"), "fiji")
    assert torchscript.state == "not run"
    assert "outputs[0] (denoised) is postprocessed by the programs" in torchscript.detail


@pytest.mark.usefixtures("own_pins")
def test_command_shows_it_in_every_report(
    single: Draft,
    tmp_path: Path,
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bmz_ddpm.cli.main import app

    fake("ilastik")
    single.files["denoised.npy"] = npy(np.full((1, 1, 32, 32), 3, np.float32))
    single.write(tmp_path / "model.zip")
    monkeypatch.chdir(tmp_path)
    words = "check model.zip --for ilastik --env ilastik --json r.json --html r.html"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 1
    assert "ilastik 1.4.1 and 1.4.2: does not run\n" in done.stdout
    assert "  failed: ilastik's way (environment ilastik): RuntimeError" in done.stdout
    assert done.stderr == "running in the environment ilastik …\n"
    ilastik = json.loads((tmp_path / "r.json").read_text())["consumers"]["ilastik"]
    (ran,) = ilastik["run"]
    assert (ilastik["runs"], ran["state"]) == (False, "failed")
    page = (tmp_path / "r.html").read_text()
    assert '<p class="answer no">✗ <b>Does not run in:</b> ilastik 1.4.1 and 1.4.2.</p>' in page
    assert "<li>ilastik&#x27;s way (environment ilastik) failed</li>" in page
    assert '<span class="mark no">✗ failed</span>' in page


# --- what can go wrong ---------------------------------------------------------------------------


@pytest.fixture
def model(single: Draft, tmp_path: Path) -> Path:
    return single.write(tmp_path / "model.zip")


def reason(path: Path, name: str = "fiji") -> str:
    (found,) = outcomes(path, name)
    assert (found.what, found.state) == (f"environment {name}", "not run")
    return found.detail


def test_environment_that_does_not_start(model: Path, fake: Fake) -> None:
    python = fake("fiji", "echo boom >&2; exit 3")
    folder = python.parent.parent
    assert reason(model) == (
        f"environment fiji: does not work (boom); to mend it: delete {folder}; it is then made anew"
    )
    python.chmod(0o644)
    assert "does not work (Permission denied)" in reason(model)


def test_environment_with_other_versions(model: Path, fake: Fake) -> None:
    fake("fiji-old")
    text = reason(model, "fiji-old")
    assert "environment fiji-old: does not work (it has python 3.11" in text
    assert "the pins say 3.10)" in text


def test_engine_that_dies_has_failed(model: Path, fake: Fake) -> None:
    """The first run was written down when the second one killed the interpreter."""
    record = {"run": "torchscript", "state": "passed", "detail": "fine"}
    result = json.dumps({"versions": {}, "records": [record], "finished": 1})
    fake("fiji", f"echo '{result}' > result.json; echo Illegal instruction >&2; kill -9 $$")
    first, second = outcomes(model, "fiji")
    assert (first.state, second.state) == ("passed", "failed")
    assert second.what == "ONNX Runtime (environment fiji)"
    assert "the program ended with -9: Illegal instruction" in second.detail


def test_engine_that_hangs(model: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PATIENCE", 0.2)
    fake("fiji", "exec sleep 30")
    assert "does not work (still not done after 0.2 s)" in reason(model)


@pytest.mark.usefixtures("cache")
def test_no_python(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making.shutil, "which", lambda name: None)
    assert reason(model) == (
        "python3.10: was not found; to mend it: install Python 3.10 so that it is on the PATH"
    )


def test_python_is_asked_for_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A python3.10 that answers nothing, as a version manager's does, is not taken."""
    deaf = executable(tmp_path / "a" / "python3.10", "exit 127")
    good = executable(tmp_path / "b" / "python3", "echo 3.10")
    known = {"python3.10": str(deaf), "python3": str(good)}
    monkeypatch.setattr(making.shutil, "which", known.get)
    assert making.find_python("3.10") == str(good)


def stand_in(folder: Path, pip: str) -> Path:
    """An interpreter whose `-m venv FOLDER` makes a venv in which pip does what is said."""
    inner = f'if [ "$2" = pip ]; then {pip}; else exec "{sys.executable}" "$@"; fi'
    made = executable(folder / "inner", inner)
    return executable(folder / "python", f'mkdir -p "$3/bin" && cp "{made}" "$3/bin/python"')


def test_failing_pip_leaves_nothing(
    model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = "echo 'ERROR: No matching distribution for torch' >&2; echo note >&2; exit 1"
    python = str(stand_in(tmp_path / "tools", pip))
    monkeypatch.setattr(making, "find_python", lambda version: python)
    assert reason(model) == (
        "environment fiji: could not be made (ERROR: No matching distribution for torch); "
        "to mend it: is the package index reachable, and is there room? Then repeat"
    )
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("own_pins")
def test_made_once_and_kept(
    model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first use says what it costs; the second one does not call pip."""
    log = tmp_path / "pip.log"
    python = str(stand_in(tmp_path / "tools", f'echo "$@" >> "{log}"'))
    monkeypatch.setattr(making, "find_python", lambda version: python)
    (cache / ".fiji.abc.part" / "bin").mkdir(parents=True)  # left by a computer that was cut off
    (cache / "fiji").mkdir()
    said: list[str] = []
    for _ in range(2):
        found = outcomes(model, "fiji", say=said.append)
        assert {o.state for o in found} == {"passed"}
    assert len(said) == 3
    assert f"making the environment fiji in {cache / 'fiji'} (4.3 GB, several minutes)" in said[0]
    (called,) = log.read_text().splitlines()
    assert f"torch=={metadata.version('torch').split('+')[0]}" in called
    assert {p.name for p in cache.iterdir()} == {"fiji", ".fiji.abc.part"}


def test_no_place_for_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BMZ_DDPM_ENVIRONMENTS", str(tmp_path / "file" / "deeper"))
    monkeypatch.setattr(making, "find_python", lambda version: sys.executable)
    assert "cannot be written (Not a directory); to mend it: set BMZ_DDPM_ENV" in reason(model)


def test_full_disk(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(words: list[str], *_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "find_python", lambda version: sys.executable)
    monkeypatch.setattr(making, "run_command", full)
    assert "cannot be written (No space left on device)" in reason(model)
    assert list(cache.iterdir()) == []


# --- the table -----------------------------------------------------------------------------------


@pytest.fixture
def table() -> Any:
    path = REPOSITORY / "packaging" / "environments" / "table.py"
    spec = importlib.util.spec_from_file_location("environments_table", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_knows_outputs_and_channels(table: Any) -> None:
    """Three outputs, or one with three channels; differences are shares of the range."""
    numbers = {"mean": (0.5, 0.0), "entropy": (0.7, 0.001)}
    parts = [{"largest": a, "beyond": b} for a, b in numbers.values()]
    several = [{"id": n, **p} for n, p in zip(("denoised", "entropy"), parts, strict=True)]
    joint: list[dict[str, Any]] = [{"id": "all", "largest": 0.7, "beyond": 0.0005}]
    joint[0]["channels"] = [{"name": n, **p} for n, p in zip(numbers, parts, strict=True)]
    common = {"run": "onnx", "state": "passed", "engine": "onnxruntime 1", "seconds": 2.04}
    assert table.table([("fiji", common | {"outputs": several})], 250).splitlines() == [
        "| environment | engine | run | result | seconds | denoised | entropy differs in |",
        "|---|---|---|---|---|---|---|",
        "| fiji | onnxruntime 1 | onnx | passed | 2.0 | 2.0e-03 | 0.1000% |",
    ]
    text = table.table([("fiji", common | {"outputs": joint})], 1)
    assert "| all: mean | all: entropy differs in |" in text
    assert text.endswith("| 2.0 | 5.0e-01 | 0.1000% |")


def test_table_goes_between_the_markers(table: Any) -> None:
    text = f"a\n{table.BEGIN}\nold\n{table.END}\nb"
    once = table.replaced(text, ["new"])
    assert once == f"a\n{table.BEGIN}\n\nnew\n\n{table.END}\nb"
    assert table.replaced(once, ["new"]) == once
    with pytest.raises(SystemExit, match="needs <!-- table: begin -->"):
        table.replaced("nothing", ["new"])


# --- the real ones, where they are ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_real_environment(name: str, single: Draft, tmp_path: Path) -> None:
    if not making.python_in(making.cache_folder() / name).exists():
        pytest.skip(f"the environment {name} was not made here")
    found = outcomes(single.write(tmp_path / "model.zip"), name)
    assert {o.state for o in found} == {"passed"}, found
