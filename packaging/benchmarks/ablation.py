"""Train the same network with one setting changed at a time, and compare.

Usage: python ablation.py PAIRS --out FOLDER [--root R] [--scored PAIRS] [--set NAME=VALUE …]
       [--variants NAME …]

Every variant trains the network `small` for the same number of steps on as many pixels, so the
cost is equal ("paper-code" and "paper-text": all their other settings). Scored are the averages of
8 samples (4 DDIM steps, the default sampler) on --scored, by default the validation pairs; the
table holds the median over fields of view of the mean of each field. FOLDER/ablation.csv gets a
line per variant as soon as it is done; what is there is not done again.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from bmz_ddpm.config import TrainConfig, make_train_config
from bmz_ddpm.data.pairs import Pair, find_pairs
from bmz_ddpm.data.planes import load_planes
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.evaluate.metrics import fitted, mae, ms_ssim, psnr
from bmz_ddpm.runtime.backends import torch_backend
from bmz_ddpm.runtime.predictor import denoise
from bmz_ddpm.runtime.tiling import Tiling
from bmz_ddpm.train.checkpoint import Checkpoint
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.recipe import load_recipe

#: What each variant changes in "default".
CHANGES: dict[str, dict] = {
    "default": {},
    "predicts the noise": {"prediction": "eps"},
    "predicts the clean image": {"prediction": "x0"},
    "straight path (flow matching)": {"prediction": "flow"},
    "only the levels visited (Fast-DDPM)": {"noise_levels": "visited"},
    "label alpha_bar": {"label": "alpha_bar"},
    "units of the range": {"units": "range"},
    "learning rate 2e-4": {"learning_rate": 2e-4},
    "levels even in alpha_bar": {"noise_levels": "alpha_bar"},
    "all noise levels alike": {"noisier": 0.5},
    "no average of the weights": {"ema": 0.0, "snapshots": 0},
    "no flips": {"augment": {"flips": False}},
    "real pairs only": {"augment": {"simulated": 0.0}},
    "no drawn structures": {"augment": {"synthetic": 0.0}},
    "no correlation of the noise": {"augment": {"correlation": 0.0}},
}
PAPER = ("paper-code", "paper-text")
#: What costs time is the same for all.
EQUAL = ("size", "steps", "patch", "batch_size", "precision", "match_intensity")
METRICS = {"mae": mae, "psnr": psnr, "fitted_psnr": None, "ms_ssim": ms_ssim}


def merged(base: dict, change: dict) -> dict:
    """Return `base` with `change`, nested tables merged."""
    out = dict(base)
    for key, value in change.items():
        out[key] = merged(base[key], value) if isinstance(value, dict) else value
    return out


def settings_of(variant: str, given: dict) -> TrainConfig:
    """Return all settings of a variant."""
    base = merged(load_recipe("default").model_dump(), given)
    if variant in PAPER:
        equal = {k: base[k] for k in EQUAL}
        # half a period of the learning rate is a fifth of the run
        paper = load_recipe(variant).model_dump() | equal | {"cycle_steps": base["steps"] // 5}
        return make_train_config(paper | {"validate_every": base["steps"]}, variant)
    changed = merged(base, CHANGES[variant]) | {"validate_every": base["steps"]}
    return make_train_config(changed, variant)


def scores(checkpoint: Checkpoint, pairs: list[Pair], match: bool) -> dict[str, float]:
    """Return the median over fields of each metric."""
    backend = torch_backend(checkpoint.sampler(SamplerSettings(4, 8, 0.0)))
    rows: dict[str, list[dict[str, float]]] = {}
    for pair in pairs:
        low, high, _ = load_planes(pair, match)
        raw, truth = low[0, 0], high[0, 0]
        tile = -(-max(raw.shape) // 32) * 32 + 64  # the whole image
        result = denoise(xr.DataArray(raw, dims=("y", "x")), backend, Tiling(tile, 32))
        image = result["denoised"].values
        row = {name: f(truth, image) for name, f in METRICS.items() if f}
        row["fitted_psnr"] = psnr(truth, fitted(truth, image))
        rows.setdefault(pair.fov, []).append(row)
    per_field = [{m: np.mean([r[m] for r in field]) for m in METRICS} for field in rows.values()]
    return {m: float(np.median([f[m] for f in per_field])) for m in METRICS}


def main() -> None:
    """Train and score what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--scored", type=Path)
    parser.add_argument("--select", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], help="settings for all: steps=600 …")
    parser.add_argument("--variants", nargs="*", default=[*CHANGES, *PAPER])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    given: dict = {}
    for item in options.set:
        name, value = item.split("=")
        *table, key = name.split(".")
        place = given.setdefault(table[0], {}) if table else given
        place[key] = json.loads(value)
    select = {c: v.split(",") for c, v in (item.split("=") for item in options.select)}
    pairs = find_pairs(options.pairs, options.root, select)
    scored = find_pairs(options.scored, splits=("val",)) if options.scored else pairs
    scored = [p for p in scored if p.split == "val"]
    table = options.out / "ablation.csv"
    done = {r["variant"] for r in csv.DictReader(table.open())} if table.exists() else set()
    for variant in options.variants:
        if variant in done:
            continue
        config = settings_of(variant, given)
        run = options.out / variant.replace(" ", "-")
        # the trainer needs a validation field; scoring is done here, alike for all
        few = [p for p in pairs if p.split == "train"] + scored[:1]
        trainer = Trainer(few, config, run, "cpu")
        start = time.monotonic()
        trainer.run(lambda *_: None)
        minutes = (time.monotonic() - start) / 60
        name = "final" if (run / "final.safetensors").exists() else "best"
        row = scores(Checkpoint.load(run / f"{name}.safetensors"), scored, config.match_intensity)
        new = not table.exists()
        with table.open("a", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if new:
                writer.writerow(["variant", *METRICS, "steps", "minutes", "threads"])
            cells = [f"{row[m]:.4f}" for m in METRICS]
            writer.writerow(
                [variant, *cells, config.steps, f"{minutes:.1f}", torch.get_num_threads()]
            )
        print(variant, *cells, f"{minutes:.1f} minutes", flush=True)
    print(table)


if __name__ == "__main__":
    main()
