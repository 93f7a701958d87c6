"""Build the packages in zoo_models from their checkpoints and recipes, or check them.

Usage: python packaging/zoo_models.py [--check] [NAME …]

For every zoo_models/NAME/checkpoint.safetensors and packaging/recipes/NAME/about.toml this exports
three packages (zoo_models/NAME/NAME.zip, NAME-ilastik.zip and the one-pass student's
NAME-instant.zip, not in git) and unpacks them, without the weights, into zoo_models/NAME/core,
ilastik and instant (in git; rdf.yaml there holds the SHA-256 of the weights). With --check nothing
is written: what would be is compared with what is there, and the exit code is 1 if a file differs.

Weights, sources and settings must be equal byte for byte. Images and measured figures are
computed anew and may differ by rounding where the processor is another one: tensors by what
rdf.yaml allows engines, pictures by 2 grey levels, figures by 1 %.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tifffile
import yaml
from PIL import Image

REPOSITORY = Path(__file__).parent.parent
MODELS, RECIPES = REPOSITORY / "zoo_models", REPOSITORY / "packaging" / "recipes"
WEIGHTS = {"state_dict.pth", "weights.pt", "weights.onnx"}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")


def export(name: str, folder: Path) -> dict[str, Path]:
    """Export all packages of a model as a user would; return folder to .zip."""
    program = str(Path(sys.executable).parent / "bmz-ddpm")
    out = folder / f"{name}.zip"
    checkpoint, about = MODELS / name / "checkpoint.safetensors", RECIPES / name / "about.toml"
    instant = folder / f"{name}-instant.zip"
    command = [program, "export", str(checkpoint), "--about", str(about)]
    for options in (
        ["--out", str(out), "--for", "fiji", "--for", "ilastik"],
        ["--out", str(instant), "--profile", "instant"],
    ):
        # its stdout names files in a temporary folder
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    return {"core": out, "ilastik": folder / f"{name}-ilastik.zip", "instant": instant}


def contents(package: Path) -> dict[str, bytes]:
    """Read all files of a package but the weights."""
    with zipfile.ZipFile(package) as archive:
        return {n: archive.read(n) for n in sorted(archive.namelist()) if n not in WEIGHTS}


def write(name: str, packages: dict[str, Path]) -> None:
    """Replace what is in zoo_models."""
    for profile, package in packages.items():
        target = MODELS / name / profile
        fresh = MODELS / name / f".{profile}.part"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for file, data in contents(package).items():
            (fresh / file).write_bytes(data)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        shutil.move(package, MODELS / name / package.name)
        print(target)
        print(MODELS / name / package.name)


def differences(name: str, packages: dict[str, Path]) -> list[str]:
    """Return a line for each file in zoo_models that is not what was exported."""
    found = []
    for profile, package in packages.items():
        folder = MODELS / name / profile
        new = contents(package)
        old = {p.name: p.read_bytes() for p in sorted(folder.glob("*"))}
        found += [f"{folder / n}: is missing" for n in new.keys() - old.keys()]
        found += [f"{folder / n}: is no longer exported" for n in old.keys() - new.keys()]
        for file in sorted(new.keys() & old.keys()):
            reason = "" if new[file] == old[file] else difference(file, old[file], new[file], old)
            if reason:
                found.append(f"{folder / file}: {reason}")
    return found


def difference(file: str, old: bytes, new: bytes, folder: dict[str, bytes]) -> str:
    """Say how two versions of a file differ; "" if it is rounding."""
    if file.endswith((".npy", ".tif")):
        return tensor_difference(file, old, new, yaml.safe_load(folder["rdf.yaml"]))
    if file.endswith(".png"):
        a, b = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (old, new))
        return "shows another picture" if a.shape != b.shape or abs(a - b).max() > 2 else ""
    if file == "rdf.yaml":
        return tree_difference(yaml.safe_load(old), yaml.safe_load(new))
    return text_difference(old.decode(), new.decode()) if file == "README.md" else "differs"


def tensor_difference(file: str, old: bytes, new: bytes, rdf: dict) -> str:
    """Compare within the tolerance that rdf.yaml states for this output."""
    read = np.load if file.endswith(".npy") else tifffile.imread
    a, b = (read(io.BytesIO(data)).astype(float) for data in (old, new))
    output = Path(file).stem.split("_", 1)[1]
    allowed = rdf["config"]["bioimageio"]["reproducibility_tolerance"]
    limit = next((t for t in allowed if output in t["output_ids"]), None)
    if a.shape != b.shape or limit is None:  # the input has no tolerance
        return "holds another image"
    over = abs(a - b) > limit["absolute_tolerance"] + limit["relative_tolerance"] * abs(a)
    share = limit["mismatched_elements_per_million"]
    return "holds another image" if over.mean() * 1e6 > share else ""


def tree_difference(old: object, new: object, place: str = "") -> str:
    """Compare two rdfs: hashes of computed files may differ, measured figures by 1 %."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        computed = str(old.get("source", "")).endswith((".npy", ".tif"))
        for key in old:
            if not (computed and key == "sha256"):
                reason = tree_difference(old[key], new[key], f"{place}.{key}")
                if reason:
                    return reason
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = (
            tree_difference(a, b, f"{place}[{i}]")
            for i, (a, b) in enumerate(zip(old, new, strict=True))
        )
        return next((reason for reason in parts if reason), "")
    if ".measured." in place and isinstance(old, float) and isinstance(new, float):
        # a share of what engines may differ by: other threads round otherwise, far below it
        rounding = place.endswith(".excess") and max(old, new) < 0.01
        return "" if rounding or alike(old, new) else f"{place[1:]} is {old}, now {new}"
    return "" if old == new else f"{place[1:]} is {old}, now {new}"


def text_difference(old: str, new: str) -> str:
    """Compare two texts: equal but for figures, which may differ by 1 %."""
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return "has another text"
    for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
        if not alike(*(float(n.replace(",", "")) for n in (a, b))):
            return f"says {a}, now {b}"
    return ""


def alike(old: float, new: float) -> bool:
    """Within 1 %, or both far below what engines may differ by."""
    return abs(old - new) <= 0.01 * abs(old) or max(abs(old), abs(new)) < 1e-5


def main() -> int:
    """Build or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    names = options.names or sorted(p.parent.name for p in MODELS.glob("*/checkpoint.safetensors"))
    found = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as folder:
            packages = export(name, Path(folder))
            if options.check:
                found += differences(name, packages)
            else:
                write(name, packages)
    for line in found:
        print(f"differs: {line}")
    if options.check:
        print(f"{len(names)} models, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
