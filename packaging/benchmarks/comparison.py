"""Train every method on the same pairs for the same time, score all, and write one report per set.

Usage: python comparison.py DATA --out FOLDER [--minutes M] [--sets NAME …] [--methods NAME …]
       [--only-train]

DATA holds fmd_mixed and w2s_widefield. Sets: "two-photon" (FMD: widefield BPAE to train on, the
two-photon fields to score) and "w2s" (fields 001 to 058 to train on, 059 and 060 to choose weights
by, 081 to 090 to score). Scored are the central 256 x 256 pixels. Repeat the command to resume:
what is trained or scored is not done again. OMP_NUM_THREADS decides how many threads all have;
BMZ_DDPM_ENVIRONMENTS where the environment of careamics is.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from crop_pairs import cut

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE = 256
LEVELS, CAPTURES = ("avg1", "avg4"), ("1", "3")
TRAINED = ("ddpm", "care", "n2v", "pix2pix", "unet-rcan")
UNTRAINED = ("raw", "gaussian", "bm3d")
#: What differs from the recipe "default": no simulated noise where images were rescaled one by one.
SETTINGS = {
    "two-photon": "",
    "w2s": "match_intensity = true\n\n[augment]\nsimulated = 0.0\n",
}
SCORED = {"two-photon": "val", "w2s": "test"}
#: Trained longer, not on these pairs alone: no part of the comparison, and said so.
SHIPPED = {
    "two-photon": ("shipped, confocal, 80 min", "fmd-confocal"),
    "w2s": ("shipped, 45 min", "w2s-widefield"),
}
DDPM = ("DDPM-avg", "DDPM")
LABELS = {
    "Raw": "raw",
    "Gaussian": "gaussian",
    "BM3D": "bm3d",
    "Noise2Void": "n2v",
    "CARE": "care",
    "pix2pix": "pix2pix",
    "UNet-RCAN": "unet-rcan",
}
SHOWN = {
    "mae": "MAE",
    "psnr": "PSNR",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "nrmse": "NRMSE",
    "pearson": "Pearson",
    "resolution": "resolution (px)",
    "resolution_ratio": "ratio",
    "psnr_fitted": "PSNR, fitted",
    "spread_skill": "spread/skill",
}
#: The authors' 256 pixels take 23 s per step on one core.
MORE = {"unet-rcan": ("--patch", "64")}


def run(*words: str) -> None:
    """Run a command of bmz-ddpm; its errors are shown."""
    program = [sys.executable, "-c", "from bmz_ddpm.cli.main import main; main()"]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)


def two_photon(data: Path) -> list[dict[str, str]]:
    """Return the pairs of FMD: avg1 and avg4 of widefield and two-photon."""
    with (data / "pairs.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["low"].startswith("fmd_mixed/")]
    found = []
    for row in rows:
        low = Path(row["low"])
        if low.parent.name not in LEVELS:
            continue
        if row["split"] == "val" and low.stem.rsplit("_", 1)[1] not in CAPTURES:
            continue
        found.append({c: row[c] for c in ("low", "high", "fov", "split")})
    return found


def w2s(_: Path) -> list[dict[str, str]]:
    """Return the pairs of W2S, two training fields kept to choose weights by."""
    table = REPOSITORY / "packaging" / "recipes" / "w2s-widefield" / "pairs.csv"
    with table.open(newline="") as stream:
        rows = [{c: r[c] for c in ("low", "high", "fov", "split")} for r in csv.DictReader(stream)]
    for row in rows:
        row["split"] = "test" if row["split"] != "train" else "train"
        if row["fov"] in ("059", "060"):
            row["split"] = "val"
    return rows


def write_pairs(rows: list[dict[str, str]], data: Path, scored: str, out: Path) -> Path:
    """Cut the centres of what is scored; return the table of pairs."""
    table = out / "pairs.csv"
    if table.exists():
        return table
    crops = (out / "crops").resolve()
    for row in rows:
        root = data.resolve()
        if row["split"] == scored:
            row |= cut(row, root, crops, SIDE)
            root = crops
        row |= {kind: str(root / row[kind]) for kind in ("low", "high")}
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["low", "high", "fov", "split"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table


def seconds_per_step(pairs: Path, config: Path, out: Path) -> float:
    """Time thirty steps of the diffusion model, the first ten not counted."""
    from bmz_ddpm.config import load_train_config
    from bmz_ddpm.data.pairs import find_pairs
    from bmz_ddpm.train.fit import Trainer
    from bmz_ddpm.train.recipe import load_recipe

    settings = load_train_config(config, load_recipe("default"))
    settings = settings.model_copy(update={"steps": 30, "validate_every": 30})
    moments: list[float] = []
    trainer = Trainer(find_pairs(pairs), settings, out, "cpu")
    trainer.run(lambda *_: moments.append(time.monotonic()))
    steps = np.diff(moments[9:29])
    return float(np.mean(steps))


def train_ddpm(name: str, pairs: Path, minutes: float, out: Path) -> None:
    """Train the diffusion model for as many steps as fit into the time."""
    if (out / "training.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    config, plan = out / "train.toml", out / "plan.json"
    if not plan.exists():
        config.write_text("validation_samples = 1\n" + SETTINGS[name])
        each = seconds_per_step(pairs, config, out / "timing")
        steps = round(60 * minutes / each)
        plan.write_text(json.dumps({"seconds_per_step": each, "steps": steps}) + "\n")
    record = json.loads(plan.read_text())
    steps = record["steps"]
    config.write_text(f"validation_samples = 1\nvalidate_every = {steps}\n" + SETTINGS[name])
    whole = not (out / "last.safetensors").exists()  # else it is resumed
    start = time.monotonic()
    run(
        "train", str(pairs), "--recipe", "default", "--config", str(config),
        "--steps", str(steps), "--out", str(out),
    )  # fmt: skip
    record["minutes"] = (time.monotonic() - start) / 60 if whole else None
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def train(method: str, name: str, pairs: Path, minutes: float, out: Path) -> None:
    """Train one method and let it restore the scored crops."""
    if method == "ddpm":
        train_ddpm(name, pairs, minutes, out)
        return
    if (out / "baseline.json").exists():
        return
    words = ["baseline", str(pairs), "--method", method, "--split", SCORED[name]]
    if method in TRAINED:
        words += ["--minutes", f"{minutes:g}", *MORE.get(method, ())]
    if "match_intensity" in SETTINGS[name]:
        words.append("--match-intensity")
    run(*words, "--out", str(out))


def score(name: str, pairs: Path, out: Path) -> None:
    """Evaluate all methods on one set."""
    common = ["evaluate", str(pairs), "--split", SCORED[name], "--peak", "255"]
    if "match_intensity" in SETTINGS[name]:
        common.append("--match-intensity")
    shipped = REPOSITORY / "zoo_models" / SHIPPED[name][1] / "checkpoint.safetensors"
    ours = out / "trained" / "ddpm" / "final.safetensors"
    jobs: dict[str, list[str]] = {
        "DDPM-avg": ["--model", str(ours), "--samples", "15"],
        "DDPM": ["--model", str(ours), "--samples", "1"],
    }
    for label, method in LABELS.items():
        made = ["--predictions", str(out / "trained" / method / "predictions")]
        jobs[label] = made
        if method in ("n2v", "care", "unet-rcan"):
            jobs[f"{label}, rescaled"] = [*made, "--rescale"]
    jobs["Gaussian, knows the truth"] = ["--baseline", "gaussian"]
    jobs["BM3D, knows the truth"] = ["--baseline", "bm3d"]
    jobs[SHIPPED[name][0]] = ["--model", str(shipped), "--samples", "15"]
    for label, words in jobs.items():
        print(time.strftime("%H:%M:%S"), name, label, flush=True)
        if "--model" in words:
            words += ["--steps", "4", "--tile", "0"]
        run(*common, *words, "--name", label, "--out", str(out / "scored" / label))
    equal = ["DDPM-avg", "DDPM", *LABELS]
    for folder, labels in (("report", equal), ("more", list(jobs))):
        scored = [str(out / "scored" / label) for label in labels]
        run("compare", *scored, "--against", "DDPM-avg", "--out", str(out / folder))


def training_of(label: str, out: Path) -> tuple[str, str]:
    """Return minutes and steps of a training; empty where there was none."""
    method = LABELS.get(label.removesuffix(", rescaled"), "ddpm" if label in DDPM else "")
    if method not in TRAINED:
        return "", ""
    record = json.loads((out / "trained" / method / "training.json").read_text())
    minutes = "" if record["minutes"] is None else f"{record['minutes']:.1f}"
    return minutes, str(record["steps"])


def tables(name: str, out: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows for comparison.csv, and the table for comparison.md."""
    with (out / "more" / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        minutes, steps = training_of(row["method"], out)
        row |= {"set": name, "minutes": minutes, "steps": steps}
        digits = {"psnr": 2, "psnr_fitted": 2, "mae": 2, "resolution": 2}.get(row["metric"], 3)
        text = f"{float(row['median']):.{digits}f}{row['stars']}" if row["median"] else "n/a"
        cells.setdefault(row["method"], {})[row["metric"]] = text
    lines = [f"| {name} | min | steps | {' | '.join(SHOWN.values())} |"]
    lines.append("|---" * (3 + len(SHOWN)) + "|")
    for label, found in cells.items():
        minutes, steps = training_of(label, out)
        values = [found.get(key, "n/a").replace("*", "\\*") for key in SHOWN]
        lines.append(f"| {label} | {minutes} | {steps} | {' | '.join(values)} |")
    results = json.loads((out / "report" / "results.json").read_text())
    return rows, [*lines, "", *results["verdict"], ""]


def main() -> None:
    """Train, score and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--sets", nargs="*", default=list(SCORED))
    parser.add_argument("--methods", nargs="*", default=[*TRAINED, *UNTRAINED])
    parser.add_argument("--only-train", action="store_true")
    options = parser.parse_args()
    found: dict[str, Callable[[Path], list[dict[str, str]]]]
    found = {"two-photon": two_photon, "w2s": w2s}
    print("threads", os.environ.get("OMP_NUM_THREADS", "all"))
    rows, lines = [], []
    for name in options.sets:
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        pairs = write_pairs(found[name](options.data), options.data, SCORED[name], out)
        for method in options.methods:
            print(time.strftime("%H:%M:%S"), name, method, flush=True)
            train(method, name, pairs, options.minutes, out / "trained" / method)
        if options.only_train:
            continue
        score(name, pairs, out)
        more = tables(name, out)
        rows += more[0]
        lines += more[1]
    if rows:
        with (options.out / "comparison.csv").open("w", newline="") as stream:
            columns = ["set", *(c for c in rows[0] if c != "set")]
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (options.out / "comparison.md").write_text("\n".join(lines))
        print(options.out / "comparison.md")


if __name__ == "__main__":
    main()
