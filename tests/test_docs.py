"""The commands in the README work as printed, and nothing is left undocumented."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- test -->\n```\n(.*?)```", README, flags=re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the README's commands use; DATA holds stand-ins for the training images."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("packaging", "zoo_models"):
        shutil.copytree(REPOSITORY / name, folder / name)
    table = (folder / "packaging/recipes/fmd-confocal/pairs.csv").read_text().splitlines()[1:]
    for line in table:
        for name in line.split(",")[:2]:
            path = folder / "DATA" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder


def test_readme_commands(workplace: Path) -> None:
    """In order, as one user would type them."""
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-ec", block], cwd=workplace, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, block + done.stdout[-2000:] + done.stderr[-2000:]
    results = {p.name for p in (workplace / "result").iterdir()}
    assert results == {"denoised.tif", "std.tif", "entropy.tif"}
    assert len(list((workplace / "denoised").iterdir())) == 4


def test_every_command_is_in_the_readme() -> None:
    for verb in (REPOSITORY / "bmz_ddpm" / "cli").glob("*.py"):
        if verb.stem not in ("__init__", "main", "progress") and "option" not in verb.stem:
            assert f"bmz-ddpm {verb.stem} " in README


def test_every_extra_is_in_the_readme() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"]:
        assert f"| `{extra}` |" in README


def test_links_lead_somewhere() -> None:
    for document in REPOSITORY.glob("**/README.md"):
        if any(part.startswith(".") or part == "templates" for part in document.parts):
            continue
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document}: {target}"


def test_the_project_stands_alone() -> None:
    """No file mentions a place outside the repository."""
    outside = "/" + "work/", "../" + "shared", "." + "library"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n"):
        path = REPOSITORY / name
        if path.suffix in {".py", ".md", ".toml", ".csv", ".txt", ".yaml", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [o for o in outside if o in text], name
