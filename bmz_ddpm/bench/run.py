"""One run over everything: passes, samplers, peers, scaling, memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..device import usable_device
from ..diffusion.assemble import SamplerSettings
from ..diffusion.unet import UNet
from ..errors import ConfigError
from ..runtime.tiling import Tiling
from .care import care_of_size, parameters
from .engines import Parts, graph_parts, noise_parts, onnx_call, pass_parts, quiet
from .floor import count_work, measure_ceiling
from .memory import peak_memory
from .peers import peer_parts
from .subject import Subject, open_subject, scratch, shorter, with_length
from .timing import Spread, interleaved, paired_ratio, repeated

#: Called with one line per stage.
Report = Callable[[str], None]
FORMAT = "bmz-ddpm bench 1"
#: Lengths and tiles at which scaling is looked at: (steps, samples, side).
SCALING = ((1, 1, 128), (8, 1, 128), (1, 8, 128), (4, 4, 64), (4, 4, 128), (4, 4, 256))
MEMORY_SAMPLES = (4, 64)
#: Passes that are timed together.
REPEATS = 4


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    tile, halo : int
        In pixels; times per megapixel count the halo.
    rounds : int
        How often every part is timed.
    device : str
    compiled : bool
        Also torch.compile, which takes minutes to start.
    image : int
        Side of the image for the comparison with CARE; 0 for one tile.
    scaling, memory : bool
    """

    tile: int = 256
    halo: int = 32
    rounds: int = 5
    device: str = "cpu"
    compiled: bool = True
    image: int = 0
    scaling: bool = True
    memory: bool = True


def bench(
    path: Path, settings: SamplerSettings, plan: Plan, report: Report = lambda _: None
) -> dict[str, Any]:
    """Measure a checkpoint or package.

    Parameters
    ----------
    path : Path
        Checkpoint (.safetensors) or package.
    settings : SamplerSettings
        For a checkpoint.
    plan : Plan
    report : callable

    Returns
    -------
    dict
        Plain numbers: times in seconds, memory in MiB; what could not be measured is None, with a
        reason under "missing".

    Raises
    ------
    UserError
        If the model, the sampler or the device cannot be used.
    """
    if settings.one_pass:
        raise ConfigError(
            "--profile instant: is one pass, which is measured beside every sampler",
            "choose another profile",
        )
    usable_device(plan.device)
    tiling = Tiling(plan.tile, plan.halo)
    with scratch() as name:
        folder = Path(name)
        report("converting the model")
        subject = open_subject(path, settings, folder)
        result: dict[str, Any] = {
            "format": FORMAT,
            "version": __version__,
            "model": path.name,
            "machine": machine(plan.device),
            "sampler": {
                "steps": subject.steps,
                "samples": subject.samples,
                "samples_per_pass": subject.per_pass,
                "eta": settings.eta,
            },
            "tile": plan.tile,
            "halo": plan.halo,
            "rounds": plan.rounds,
        }
        result |= _times(subject, settings, plan, folder, report)
        result["seconds_per_megapixel"] = {
            engine: times["median"] / tiling.inner**2 * 1e6
            for engine, times in result["graph"].items()
        }
        result["floor"] = _floor(subject, plan, result["pass"])
        report("a U-Net like CARE's beside one pass")
        result["care"] = _care(subject, plan, folder)
        if plan.scaling:
            result["scaling"] = _scaling(subject, settings, plan, folder, report)
        if plan.memory:
            result["memory"] = _memory(subject, settings, plan, folder, report)
    return result


def machine(device: str) -> dict[str, Any]:
    """Describe where it was measured."""
    gpu = torch.device(device).type == "cuda"
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "torch": torch.__version__,
        "busy": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _wait(device: str) -> Callable[[], object]:
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None


def _times(
    subject: Subject, settings: SamplerSettings, plan: Plan, folder: Path, report: Report
) -> dict[str, Any]:
    """Time passes, noise, samplers and other libraries' loops, all in turns."""
    report("preparing every engine")
    groups: dict[str, Parts] = {
        "pass": pass_parts(subject, plan.tile, plan.device, plan.compiled, folder),
        "noise": noise_parts(subject, plan.tile, plan.device, folder),
        "graph": graph_parts(subject, plan.tile, plan.device),
        "peer": peer_parts(subject, plan.tile, plan.device, settings.eta),
    }
    parts = {(g, n): call for g, made in groups.items() for n, call in made.calls.items()}

    def progress(done: int, total: int) -> None:
        report(f"timing, round {done} of {total}")

    # a pass is short beside a sampler: several of them see as much of the machine's unrest
    often = {key: key[0] in ("pass", "noise") and subject.passes >= REPEATS for key in parts}
    calls = {k: repeated(p, REPEATS) if often[k] else p for k, p in parts.items()}
    seconds = interleaved(calls, plan.rounds, wait=_wait(plan.device), report=progress)
    seconds = {k: [s / REPEATS if often[k] else s for s in t] for k, t in seconds.items()}
    result: dict[str, Any] = {
        group: {n: Spread.of(seconds[group, n]).as_dict() for n in made.calls}
        for group, made in groups.items()
    }
    passes = subject.passes / subject.per_pass
    bare, noise = groups["pass"].calls, groups["noise"].calls
    result["overhead"] = {
        n: paired_ratio(seconds["graph", n], seconds["pass", n], passes).as_dict()
        for n in groups["graph"].calls
        if n in bare
    }
    result["noise_share"] = {
        n: paired_ratio(seconds["noise", n], seconds["pass", n]).as_dict()
        for n in noise
        if n in bare
    }
    fastest = min(groups["graph"].calls, key=lambda n: result["graph"][n]["median"])
    result["fastest"] = fastest
    result["against"] = {
        n: paired_ratio(seconds["graph", fastest], seconds["peer", n]).as_dict()
        for n in groups["peer"].calls
    }
    result["missing"] = {g: made.missing for g, made in groups.items() if made.missing}
    return result


def _floor(subject: Subject, plan: Plan, passes: dict[str, Any]) -> dict[str, Any] | None:
    if subject.sampler is None:
        return None
    work = count_work(subject.sampler.unet, subject.bare_inputs(plan.tile))
    ceiling = measure_ceiling(plan.device)
    floor = ceiling.floor(work)
    shares = {n: floor / t["median"] for n, t in passes.items()}
    result = {
        "gflop_per_pass": work.flops / 1e9,
        "megabytes_per_pass": work.bytes / 1e6,
        "measured_gflops": ceiling.flops / 1e9,
        "measured_gigabytes_per_second": ceiling.bytes / 1e9,
        "seconds": floor,
        "share": shares,
    }
    if "bfloat16" in passes:
        half = measure_ceiling(plan.device, torch.bfloat16)
        result["measured_gflops_bfloat16"] = half.flops / 1e9
        for name in passes.keys() & {"bfloat16", "bfloat16_graph"}:
            shares[name] = work.flops / half.flops / passes[name]["median"]
    return result


def _care(subject: Subject, plan: Plan, folder: Path) -> dict[str, Any] | None:
    """One pass with two output channels per channel beside CARE's U-Net of as many parameters."""
    if subject.checkpoint is None:
        return None
    config = subject.checkpoint.config
    c_in, c_out = config.in_channels, 2 * config.out_channels
    network = config.network | {"dropout": 0.0, "statistics": 2, "folded": True}
    ours = UNet(c_in, config.out_channels, **network).eval()
    care = care_of_size(c_in, c_out, parameters(ours))
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, c_in, plan.tile, plan.tile, generator=random)
    x_t = torch.zeros(1, config.out_channels, plan.tile, plan.tile)
    row = torch.ones(1, sum(ours.block_widths))
    calls = {
        "one_pass_onnx": onnx_call(ours, (x_t, image, row), folder / "one_pass.onnx", "cpu"),
        "care_onnx": onnx_call(care, (image,), folder / "care.onnx", "cpu"),
        "one_pass_torch": quiet(lambda: ours(x_t, image, row)),
        "care_torch": quiet(lambda: care(image)),
    }
    seconds = interleaved(calls, plan.rounds)
    inner = plan.tile - 2 * plan.halo
    tiles = (-(-plan.image // inner)) ** 2 if plan.image else 1
    result: dict[str, Any] = {
        "parameters": {"one_pass": parameters(ours), "care": parameters(care)},
        "image": plan.image or plan.tile,
        "tiles": tiles,
        "seconds": {
            n: {k: v * (tiles if k != "count" else 1) for k, v in Spread.of(s).as_dict().items()}
            for n, s in seconds.items()
        },
    }
    result["ratio"] = {
        e: paired_ratio(seconds[f"one_pass_{e}"], seconds[f"care_{e}"]).as_dict()
        for e in ("onnx", "torch")
    }
    return result


def _scaling(
    subject: Subject, settings: SamplerSettings, plan: Plan, folder: Path, report: Report
) -> list[dict[str, Any]] | None:
    """Time, size and load time at other lengths and tiles."""
    if subject.checkpoint is None:
        return None
    rows = []
    made: dict[tuple[int, int], Subject] = {}
    for steps, samples, side in SCALING:
        report(f"scaling: {steps} steps, {samples} samples, tile {side}")
        if (steps, samples) not in made:
            place = folder / f"{steps}x{samples}"
            made[steps, samples] = with_length(subject, shorter(settings, steps, samples), place)
        one = made[steps, samples]
        start = time.perf_counter()
        parts = graph_parts(one, side, plan.device)
        load = time.perf_counter() - start
        parts.calls.pop("eager")
        seconds = interleaved(parts.calls, max(3, plan.rounds // 2), wait=_wait(plan.device))
        rows.append(
            {
                "steps": steps,
                "samples": samples,
                "side": side,
                "seconds": {n: Spread.of(s).as_dict() for n, s in seconds.items()},
                "file_bytes": {n: p.stat().st_size for n, p in one.files.items()},
                "load_and_first_run_seconds": load,
            }
        )
    return rows


def _memory(
    subject: Subject, settings: SamplerSettings, plan: Plan, folder: Path, report: Report
) -> list[dict[str, Any]] | None:
    """Peak memory of few and many samples of one step, each in a process of its own."""
    if subject.checkpoint is None:
        return None
    rows = []
    for samples in MEMORY_SAMPLES:
        report(f"memory of {samples} samples")
        place = folder / f"memory{samples}"
        one = with_length(subject, shorter(settings, 1, samples), place)
        for engine, path in one.files.items():
            loaded, peak = peak_memory(
                path, plan.tile, subject.in_channels, torch.get_num_threads()
            )
            rows.append({"engine": engine, "samples": samples, "loaded": loaded, "peak": peak})
    return rows
