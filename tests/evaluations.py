"""Made-up evaluations: folders as `bmz-ddpm evaluate` writes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

COLUMNS = ("method", "field", "image", "plane", "metric", "value")


def write_metrics(folder: Path, method: str, rows: list[tuple[Any, ...]], **about: Any) -> Path:
    """Write an evaluation from rows of (field, image, plane, metric, value)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows((method, *row) for row in rows)
    content = {"format": "bmz-ddpm evaluation 1", "method": method, **about}
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw filaments and spots on a dark ground, 5 to about 200 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    planes = []
    for z in range(shape[0] if len(shape) == 3 else 1):
        image = np.full(shape[-2:], 6.0)
        for k in range(9):
            slope, start, phase = rng.normal(0, 0.6), rng.uniform(0, shape[-2]), rng.uniform(0, 6)
            line = start + slope * x + 8 * np.sin(x / 17 + phase + 0.2 * z)
            image += 110 * np.exp(-((y - line) ** 2) / 5) * (0.6 + 0.4 * np.sin(x / 9 + k))
        planes.append(image)
        rng = np.random.default_rng(seed)
    return np.stack(planes) if len(shape) == 3 else planes[0]


def write_stack(path: Path, values: np.ndarray, pixel_size: float | None = None) -> str:
    """Write an ImageJ TIFF and return its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"metadata": {"axes": "ZYX"[-values.ndim :]}}
    if pixel_size:
        options["metadata"]["unit"] = "um"
        options["resolution"] = (1 / pixel_size, 1 / pixel_size)
    tifffile.imwrite(path, values.astype(np.float32), imagej=True, **options)
    return str(path.resolve())


def write_images(
    folder: Path,
    method: str,
    error: float,
    names: list[str],
    shape: tuple[int, ...] = (60, 80),
    pixel_size: float | None = 0.05,
    uncertain: bool = False,
    per_field: int = 2,
) -> Path:
    """Write an evaluation with images; the method's error is noise of `error` counts."""
    rows: list[tuple[Any, ...]] = []
    pairs = []
    for k, name in enumerate(names):
        rng = np.random.default_rng([k, int(error * 100)])
        clean = blobs(shape, k)
        noise = error * rng.normal(size=shape) * (0.3 + clean / clean.max())
        result = clean + noise + 0.06 * error * (clean - 20) / 10
        pair = {
            "image": name,
            "field": f"field {k // per_field}",
            "low": write_stack(
                folder.parent / "low" / f"{k}.tif", rng.poisson(clean / 12), pixel_size
            ),
            "high": write_stack(folder.parent / "high" / f"{k}.tif", clean, pixel_size),
        }
        write_stack(folder / f"{k}.tif", result, pixel_size)
        pair |= {"prediction": f"{k}.tif", "std": None, "entropy": None}
        if uncertain:
            spread = 0.5 * error * (0.3 + clean / clean.max())
            write_stack(folder / f"{k}_std.tif", spread)
            write_stack(folder / f"{k}_entropy.tif", np.minimum(spread / 4, 2.7))
            pair |= {"std": f"{k}_std.tif", "entropy": f"{k}_entropy.tif"}
        pairs.append(pair)
        for z in range(shape[0] if len(shape) == 3 else 1):
            off = (result - clean)[z] if len(shape) == 3 else result - clean
            base, mse = float(np.abs(off).mean()), float((off**2).mean())
            values = {
                "mae": base,
                "psnr": 10 * np.log10(255**2 / mse),
                "ms_ssim": 1 / (1 + base / 30),
                "lpips": 0.02 * base**0.5 + rng.uniform(0, 0.02),
                "nrmse": mse**0.5 / float(clean.mean()),
                "pearson": 1 - base / 60,
                "resolution": 4 + rng.uniform(0, 1),
                "resolution_ratio": 1 + rng.normal(0, 0.1),
                "psnr_fitted": 10 * np.log10(255**2 / mse) + 0.4,
                "micro_ms3im": 1 / (1 + base / 20),
                "crps": 0.7 * base if uncertain else "",
                "spread_skill": 0.5 + rng.normal(0, 0.03) if uncertain else "",
                "coverage_90": 0.7 + rng.normal(0, 0.03) if uncertain else "",
            }
            field = f"field {k // per_field}"
            rows += [(field, name, z, metric, value) for metric, value in values.items()]
    samples = 15 if uncertain else 1
    settings = {"sampler": "ddpm", "steps": 200, "samples": samples} if uncertain else {}
    about = {"settings": settings, "pairs": pairs, "seconds_per_megapixel": 3.2 * error}
    return write_metrics(folder, method, rows, model=None, peak=255, notes=[], failed=[], **about)


def write_averaging(folder: Path, bias: float, variance: float) -> None:
    """Write averaging.csv with MSE = bias + variance / N, exactly."""
    lines = ["samples,metric,value"]
    for n in (1, 2, 3, 5, 8, 10, 15):
        mse = bias + variance / n
        lines.append(f"{n},mse,{mse!r}")
        lines.append(f"{n},psnr,{float(10 * np.log10(255**2 / mse))!r}")
        lines.append(f"{n},mae,{float(0.8 * mse**0.5)!r}")
    (folder / "averaging.csv").write_text("\n".join(lines) + "\n")
