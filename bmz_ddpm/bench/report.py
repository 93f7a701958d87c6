"""What was measured, as text, JSON and a figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..files import write_bytes
from .engines import ENGINES

#: What peers and CARE's parts are called.
NAMES = ENGINES | {
    "diffusers": "diffusers, scheduler loop",
    "monai": "MONAI, DiffusionInferer",
    "one_pass_onnx": "one pass, ONNX Runtime",
    "care_onnx": "CARE-like U-Net, ONNX Runtime",
    "one_pass_torch": "one pass, PyTorch",
    "care_torch": "CARE-like U-Net, PyTorch",
}


def write_results(result: dict[str, Any], out: Path) -> list[Path]:
    """Write bench.txt, bench.json and, where matplotlib is installed, bench.svg and bench.png.

    Raises
    ------
    DataError
        If a file cannot be written.
    """
    files = {"bench.txt": text(result).encode(), "bench.json": as_json(result)}
    if find_spec("matplotlib") is not None:
        from .plot import figures

        files |= figures(result)
    for name, data in files.items():
        write_bytes(out / name, data)
    return [out / name for name in files]


def as_json(result: dict[str, Any]) -> bytes:
    """Return the result as JSON, with four digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        if isinstance(value, list):
            return [rounded(v) for v in value]
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return (json.dumps(rounded(result), indent=1, allow_nan=False) + "\n").encode()


def text(result: dict[str, Any]) -> str:
    """Return the result as a page of text."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[str]:
    machine, sampler = result["machine"], result["sampler"]
    yield f"{result['model']}: {sampler['steps']} steps x {sampler['samples']} samples"
    yield f"Tiles of {result['tile']} pixels, halo {result['halo']}"
    yield (
        f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"load {machine['busy']}"
    )
    yield f"Medians of {result['rounds']} rounds in turns, quartiles in brackets"
    yield from _table("One pass through the network", result["pass"], 1e3, "ms")
    yield from _table("Noise of one step", result["noise"], 1e3, "ms")
    yield from _table("Noise as a share of a pass", result["noise_share"], 100, "%")
    yield from _table("The whole sampler on one tile", result["graph"], 1, "s")
    yield from _table("The whole sampler / bare passes, same engine", result["overhead"], 1, "")
    yield from _table("Other libraries' loops, same network, PyTorch", result["peer"], 1, "s")
    title = f"{NAMES[result['fastest']]} / that loop"
    yield from _table(title, result["against"], 1, "")
    yield from ("", "Seconds per megapixel, halo included")
    for name, value in result["seconds_per_megapixel"].items():
        yield f"  {NAMES[name]:36} {value:9.1f}"
    yield from _floor(result["floor"])
    yield from _care(result["care"])
    yield from _scaling(result.get("scaling"))
    yield from _memory(result.get("memory"))
    for group, reasons in result["missing"].items():
        for name, reason in reasons.items():
            yield f"n/a: {NAMES[name]} ({group}): {reason}"


def _table(title: str, rows: dict[str, Any], factor: float, unit: str) -> Iterator[str]:
    yield from ("", title)
    for name, row in rows.items():
        low, median, high = (factor * row[k] for k in ("low", "median", "high"))
        yield f"  {NAMES[name]:36} {median:9.3f} {unit:2}  [{low:.3f} to {high:.3f}]"
    if not rows:
        yield "  n/a"


def _floor(floor: dict[str, Any] | None) -> Iterator[str]:
    if floor is None:
        return
    yield ""
    yield (
        f"Floor of one pass: {floor['gflop_per_pass']:.2f} GFLOP and "
        f"{floor['megabytes_per_pass']:.0f} MB take at least {floor['seconds']:.4f} s here, with "
        f"{floor['measured_gflops']:.0f} GFLOP/s and "
        f"{floor['measured_gigabytes_per_second']:.0f} GB/s"
    )
    for name, share in floor["share"].items():
        yield f"  {NAMES[name]:36} {100 * share:9.1f} % of it reached"


def _care(care: dict[str, Any] | None) -> Iterator[str]:
    if care is None:
        return
    counts = care["parameters"]
    title = f"One pass ({counts['one_pass']} parameters) beside a CARE-like U-Net "
    title += f"({counts['care']}), {care['image']} x {care['image']} pixels"
    yield from _table(title, care["seconds"], 1, "s")
    for engine, ratio in care["ratio"].items():
        yield f"  ratio, {NAMES.get(engine, 'PyTorch'):29} {ratio['median']:9.3f}"


def _scaling(rows: list[dict[str, Any]] | None) -> Iterator[str]:
    if not rows:
        return
    yield from (
        "",
        "Scaling: steps x samples, tile: seconds; ms per pass; file; load and first run",
    )
    for row in rows:
        what = f"{row['steps']} x {row['samples']}, {row['side']}"
        for name, times in row["seconds"].items():
            each = 1e3 * times["median"] / (row["steps"] * row["samples"])
            yield (
                f"  {what:14} {NAMES[name]:14} {times['median']:8.3f} s {each:8.1f} ms "
                f"{row['file_bytes'][name]:10} bytes {row['load_and_first_run_seconds']:6.2f} s"
            )


def _memory(rows: list[dict[str, Any]] | None) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "Memory of the whole process, MiB: after loading, at the peak")
    for row in rows:
        what = f"{row['samples']} samples, {NAMES[row['engine']]}"
        yield f"  {what:36} {row['loaded']:9.0f} {row['peak']:9.0f}"
