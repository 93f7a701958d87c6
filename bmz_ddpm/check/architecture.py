"""What the Python code of a network needs, read without running it."""

from __future__ import annotations

import ast
import sys
from typing import Any

from .package import Package, mapping

#: Installed wherever bioimageio.core is.
WITH_CORE = {"torch", "numpy", "scipy", "xarray", "bioimageio", "tqdm", "typing_extensions"}
WITH_CORE |= {"imageio", "loguru", "packaging", "pydantic", "tifffile"}
#: An extra of bioimageio.core; ilastik and BioEngine have it.
TORCHVISION = "torchvision"
#: Also in ilastik.
WITH_ILASTIK = WITH_CORE | {TORCHVISION, "h5py", "pandas", "skimage", "sklearn"}
#: Also in the environment in which BioEngine serves models.
WITH_ZOO = WITH_CORE | {TORCHVISION, "tensorflow", "careamics", "cellpose", "stardist"}
WITH_ZOO |= {"onnxruntime"}


def libraries(package: Package) -> set[str]:
    """Return the libraries that the state dict's network is built with.

    Those of Python are left out, and everything behind an if or try, which may not be needed.
    """
    entry = package.weights.get("pytorch_state_dict", {})
    names = _imported(architecture_code(package))
    described = mapping(entry.get("architecture"))
    if isinstance(described.get("import_from"), str):
        names.append(described["import_from"])
    if isinstance(entry.get("architecture"), str) and ".py:" not in entry["architecture"]:
        names.append(entry["architecture"])  # as in format 0.4: module.Class
    return {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {""}


def architecture_code(package: Package) -> bytes | None:
    """Return the network's Python file; None where there is none."""
    source = architecture_source(package.weights.get("pytorch_state_dict", {}))
    return package.read(source) if source and "://" not in source else None


def architecture_source(entry: dict[str, Any]) -> str | None:
    """Return the name of the network's Python file; format 0.4 writes unet.py:UNet."""
    architecture = entry.get("architecture")
    if isinstance(architecture, str):
        return architecture.rsplit(":", 1)[0] if ".py:" in architecture else None
    source = mapping(architecture).get("source")
    return source if isinstance(source, str) else None


def _imported(code: bytes | None) -> list[str]:
    try:
        tree = ast.parse(code or b"")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." * node.level) + (node.module or ""))
    return found
