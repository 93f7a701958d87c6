"""The tree keeps its shape: who imports whom, how long files are, what must not exist."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bmz_ddpm

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "bmz_ddpm"
RANK = {
    "errors": 0,
    "axes": 0,
    "config": 0,
    "about": 0,
    "files": 0,
    "device": 0,
    "environments": 0,
    "data": 1,
    "display": 1,
    "diffusion": 1,
    "prepare": 2,
    "train": 2,
    "distill": 3,
    "runtime": 3,
}
RANK |= {
    "export": 4,
    "evaluate": 4,
    "baselines": 5,
    "calibrate": 5,
    "compare": 5,
    "package": 6,
    "bench": 7,
    "predict": 7,
}
RANK |= {"upload": 8, "cli": 9, "napari": 10}
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
#: Only this module may import that library.
OWNERS = {
    "onnxruntime": {"runtime/backends.py", "check/probe/engines.py"},
    "tifffile": {"data/images.py", "data/lazy.py", "data/tiff_write.py", "package/tensors.py"},
    "bioimageio": {"package/build.py", "check/probe/core.py"},
    "platformdirs": {"environments.py"},
    "scipy": {"evaluate", "calibrate/", "data/synthetic.py", "prepare/similarity.py"},
    "skimage": {"evaluate/prediction.py"},
    "torchmetrics": {"evaluate"},
    "microssim": {"evaluate/perceptual.py"},
    "SimpleITK": {"prepare/register.py"},
    "zarr": {"data/", "predict/"},
    "dask": {"data/lazy.py"},
    "distributed": {"predict/workers.py"},
    "matplotlib": {"compare/", "bench/plot.py"},
    "diffusers": {"bench/peers.py"},
    "monai": {"bench/peers.py"},
    "typer": {"cli"},
    "bm3d": {"evaluate/classical.py"},
    "careamics": {"baselines/careamics_runner.py"},
    "httpx": {"upload/client.py"},
    "napari": {"napari/"},
    "qtpy": {"napari/"},
    "lightning_fabric": {"train/engine.py"},
}


def imports(path: Path) -> list[tuple[str, int]]:
    """Imported names, with the level of relative imports resolved to our folders."""
    found = []
    here = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            module = [*base, *(node.module or "").split(".")]
            names = [m for m in module if m] or [alias.name for alias in node.names]
            found.append((".".join(names), node.level))
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", 0))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_what_stands_to_its_left(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name, level in imports(path):
        top = name.split(".")[0]
        if level and top in RANK and own in RANK:
            allowed = top == own or RANK[top] < RANK[own] or RANK[top] == RANK[own] == 0
            assert allowed, f"{path}: {own} must not import {top}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_have_one_home(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    for name, level in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        if owners and not level:
            assert any(relative.startswith(owner) for owner in owners), f"{relative}: {name}"


def test_modules_and_functions_stay_short() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 310, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                length = (node.end_lineno or 0) - node.lineno - len(docstring.splitlines())
                assert length <= 60, f"{path}: {node.name} has {length} lines"


def test_packaging_is_no_python_package() -> None:
    """It would hide PyPI's `packaging`, which bioimageio.spec imports."""
    assert not (REPOSITORY / "packaging" / "__init__.py").exists()


def test_every_folder_is_installed() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {p.parent.relative_to(REPOSITORY) for p in PACKAGE.rglob("__init__.py")}
    assert listed == {".".join(f.parts) for f in folders}


def test_public_names_exist_and_are_documented() -> None:
    for name in bmz_ddpm.__all__:
        value = getattr(bmz_ddpm, name)
        assert name == "__version__" or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bmz_ddpm.nonsense  # noqa: B018


def test_public_functions_have_docstrings() -> None:
    missing = [
        f"{path.name}: {node.name}"
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing


def test_help_needs_no_heavy_import() -> None:
    heavy = ("torch", "xarray", "onnx", "pydantic", "numpy", "httpx")
    heavy += ("SimpleITK", "zarr", "matplotlib", "napari", "qtpy", "dask", "distributed")
    code = f"import sys, bmz_ddpm.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_error_tree_is_the_documented_one() -> None:
    from bmz_ddpm import errors

    for name in errors.__all__:
        assert name == "did_you_mean" or name in (errors.__doc__ or "")
        if name != "did_you_mean":
            assert issubclass(getattr(errors, name), errors.UserError)


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_style_and_types(command: list[str]) -> None:
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run([program, *command[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
