"""Score the shipped models on the fields that they were not trained on, beside a blur and BM3D.

Usage: python validation.py DATA STED [SET …] --out FOLDER

DATA holds fmd_confocal, fmd_mixed and w2s_widefield; STED is what sted-simulated/simulate.py wrote.
Every method is scored by `bmz-ddpm evaluate` (repeat to resume); FOLDER/validation.csv holds a line
per set, method and field of view, FOLDER/validation.md a table of means over fields.

The average is that of `balanced` (4 DDIM steps x 15 samples, ONNX Runtime, one tile). The
blur's sigma and BM3D's noise are fitted to the truth of every image. Images of W2S were rescaled
one by one: there the truth is brought to the noisy image first, for that fit only. PSNR is for a
peak of 255, for STED of 100 photons.
"""

import argparse
import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]
RECIPES, MODELS = REPOSITORY / "packaging" / "recipes", REPOSITORY / "zoo_models"
METRICS = ("mae", "psnr", "psnr_fitted", "ms_ssim", "nrmse", "pearson")


@dataclass(frozen=True)
class Images:
    """Fields that a model is scored on: a model, a table of pairs, its root and rows."""

    model: str
    pairs: Path
    root: Path
    select: tuple[str, ...]
    split: str
    peak: float = 255
    tile: int = 512
    rescaled: bool = False


def sets(data: Path, sted: Path) -> dict[str, Images]:
    """Return all sets by name."""
    fields = "fov=" + ",".join(f"{n:03}" for n in range(81, 91))
    confocal = RECIPES / "fmd-confocal"
    return {
        "zebrafish": Images("fmd-confocal", confocal / "zebrafish.csv", confocal, (), "test"),
        "two-photon": Images("fmd-confocal", confocal / "pairs.csv", data, (), "val"),
        "w2s": Images(
            "w2s-widefield",
            RECIPES / "w2s-widefield" / "pairs.csv",
            data,
            (fields,),
            "all",
            rescaled=True,
        ),
        "sted": Images("sted-simulated", sted / "pairs.csv", sted, (), "val", 100, 224),
    }


def evaluate(images: Images, out: Path, *more: str) -> None:
    """Run `bmz-ddpm evaluate`."""
    program = [sys.executable, "-c", "from bmz_ddpm.cli.main import main; main()"]
    words = ["evaluate", str(images.pairs), "--root", str(images.root), "--split", images.split]
    for item in images.select:
        words += ["--select", item]
    words += ["--peak", f"{images.peak:g}", "--out", str(out), "--name", out.name, *more]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)


def score(name: str, images: Images, out: Path) -> None:
    """Evaluate all methods on one set."""
    model = str(MODELS / images.model / "checkpoint.safetensors")
    evaluate(images, out / "raw", "--baseline", "raw")
    one = ("--steps", "4", "--samples", "1", "--tile", "0")
    evaluate(images, out / "one sample", "--model", model, *one)
    whole = ("--profile", "balanced", "--tile", str(images.tile), "--halo", "0")
    evaluate(images, out / "average", "--model", model, *whole)
    for baseline in ("gaussian", "bm3d"):
        if images.rescaled:
            fitted = out / "fitted" / baseline
            evaluate(images, fitted, "--baseline", baseline, "--match-intensity")
            evaluate(images, out / baseline, "--predictions", str(fitted / "predictions"))
        else:
            evaluate(images, out / baseline, "--baseline", baseline)


def read(out: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return method, field, measure to the mean over the field's images."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for method in ("raw", "gaussian", "bm3d", "one sample", "average"):
        with (out / method / "metrics.csv").open() as stream:
            for row in csv.DictReader(stream):
                if row["metric"] in (*METRICS, "spread_skill") and row["value"]:
                    field = found.setdefault(method, {}).setdefault(row["field"], {})
                    field.setdefault(row["metric"], []).append(float(row["value"]))
    return {
        method: {f: {m: float(np.mean(v)) for m, v in ms.items()} for f, ms in fields.items()}
        for method, fields in found.items()
    }


def main() -> None:
    """Score what is asked for, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("sted", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("names", nargs="*", metavar="SET")
    options = parser.parse_args()
    known = sets(options.data, options.sted)
    lines, table = [], []
    for name in options.names or known:
        score(name, known[name], options.out / name)
        results = read(options.out / name)
        for method, fields in results.items():
            for field, row in fields.items():
                cells = [f"{row[m]:.4f}" if m in row else "" for m in METRICS]
                lines.append([name, method, field, *cells])
            means = [np.mean([r[m] for r in fields.values()]) for m in METRICS]
            table.append(f"| {name} | {method} | " + " | ".join(f"{v:.3f}" for v in means) + " |")
        best = {
            m: max(np.mean([r[m] for r in results[b].values()]) for b in ("gaussian", "bm3d"))
            for m in ("psnr", "psnr_fitted")
        }
        for m, floor in best.items():
            lead = np.mean([r[m] for r in results["average"].values()]) - floor
            print(f"{name}: average leads the better of blur and BM3D by {lead:+.2f} dB ({m})")
    with (options.out / "validation.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["set", "method", "field", *METRICS])
        writer.writerows(lines)
    head = f"| set | method | {' | '.join(METRICS)} |"
    rule = "|---" * (2 + len(METRICS)) + "|"
    (options.out / "validation.md").write_text("\n".join([head, rule, *table, ""]))
    print(options.out / "validation.md")


if __name__ == "__main__":
    main()
