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
from pathlib import Path

import numpy as np
import tifffile

from bmz_ddpm.data.images import read_image

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
    for row in rows:
        low = Path(row["low"])
        name = f"{low.parent.name}_{low.stem}.tif"
        for kind in ("low", "high"):
            path = (data / row[kind]).resolve()
            if row["split"] == scored:
                image = read_image(path)
                y, x = ((image.sizes[d] - SIDE) // 2 for d in "yx")
                piece = image.isel(y=slice(y, y + SIDE), x=slice(x, x + SIDE))
                path = (out / "crops" / kind / name).resolve()
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, piece.values)
            row[kind] = str(path)
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
    config = out / "train.toml"
    config.write_text("validation_samples = 1\n" + SETTINGS[name])
    each = seconds_per_step(pairs, config, out / "timing")
    steps = round(60 * minutes / each)
    config.write_text(f"validation_samples = 1\nvalidate_every = {steps}\n" + SETTINGS[name])
    start = time.monotonic()
    run(
        "train", str(pairs), "--recipe", "default", "--config", str(config),
        "--steps", str(steps), "--out", str(out),
    )  # fmt: skip
    record = {"steps": steps, "seconds_per_step": each, "minutes": (time.monotonic() - start) / 60}
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
    print("threads", os.environ.get("OMP_NUM_THREADS", "all"))
    found = {"two-photon": two_photon, "w2s": w2s}
    for name in options.sets:
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        pairs = write_pairs(found[name](options.data), options.data, SCORED[name], out)
        for method in options.methods:
            print(time.strftime("%H:%M:%S"), name, method, flush=True)
            train(method, name, pairs, options.minutes, out / "trained" / method)


if __name__ == "__main__":
    main()
