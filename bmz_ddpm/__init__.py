"""Conditional diffusion denoisers for microscopy, from images to other people's programs.

The public names are loaded when first used, so that importing the package is quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CORE": "bmz_ddpm.package.profiles",
    "Checkpoint": "bmz_ddpm.train.checkpoint",
    "ILASTIK": "bmz_ddpm.package.profiles",
    "SamplerSettings": "bmz_ddpm.diffusion.assemble",
    "Tiling": "bmz_ddpm.runtime.tiling",
    "Trainer": "bmz_ddpm.train.fit",
    "denoise": "bmz_ddpm.runtime.predictor",
    "Job": "bmz_ddpm.package.job",
    "export_packages": "bmz_ddpm.package.build",
    "find_pairs": "bmz_ddpm.data.pairs",
    "load_model": "bmz_ddpm.package.load",
    "read_image": "bmz_ddpm.data.images",
    "write_tiff": "bmz_ddpm.data.images",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bmz_ddpm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
