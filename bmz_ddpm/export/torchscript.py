"""A sampler, or a student, to TorchScript that libtorch 1.13.1 and 2.0.0 load."""

from __future__ import annotations

import copy
import hashlib
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ..diffusion.interval import Calibrated
from ..diffusion.one_pass import OnePass, StackedOnePass
from ..diffusion.sampler import DiffusionSampler, StackedSampler
from ..files import write_bytes

#: Everything that can be exported.
Module = DiffusionSampler | StackedSampler | OnePass | StackedOnePass | Calibrated


def to_torchscript(sampler: Module) -> torch.jit.ScriptModule:
    """Script the sampler around a traced network.

    The U-Net is traced (its Python lists and loops disappear, sizes stay free), everything
    else is scripted (the loops stay loops, so the file does not grow with steps or samples).
    Nothing is frozen: freezing unrolls the loops and leaves no parameters to move to a GPU.

    Parameters
    ----------
    sampler : Module
        A `DiffusionSampler` or `OnePass`, plain, stacked or calibrated; configured, on the CPU.
        It is not changed.
    """
    module = copy.deepcopy(sampler)
    wrapped = isinstance(module, StackedSampler | StackedOnePass | Calibrated)
    inner: Any = module.sampler if wrapped else module
    unet = inner.unet
    side = 4 * unet.multiple
    x_t = torch.zeros(2, inner.out_channels, side, side)
    cond = torch.zeros(2, inner.in_channels, side, side)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, but it is what Fiji reads
        traced = torch.jit.trace(unet, (x_t, cond, inner.modulation[:1]), check_trace=False)
        inner.unet = traced
        return torch.jit.script(module)


def save_torchscript(scripted: torch.jit.ScriptModule, path: Path) -> None:
    """Write the file; it appears only when it is complete.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(scripted, stream)
    write_bytes(path, anonymous(stream.getvalue()))


def anonymous(archive: bytes) -> bytes:
    """Return a TorchScript archive without the paths of our source files.

    They lie in records that only serve error messages, and tell where on the author's computer
    the model was exported: nobody's business, and all in which two exports of a model differ.
    The identification number, a hash of all records, is computed anew.
    """
    with zipfile.ZipFile(BytesIO(archive)) as old:
        records = {n: old.read(n) for n in old.namelist() if not n.endswith(".debug_pkl")}
    number = next(n for n in records if n.endswith("/.data/serialization_id"))
    del records[number]
    hashed = hashlib.sha256(b"".join(k.encode() + v for k, v in records.items())).digest()
    records[number] = f"{int.from_bytes(hashed[:16]):040d}".encode()
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as new:  # stored, not compressed: libtorch reads no other
        for name, data in records.items():
            new.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()
