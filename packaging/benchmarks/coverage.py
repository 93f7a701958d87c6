"""Do calibrated intervals cover 90 % of the pixels of a field that had no part in them?

Usage: python coverage.py DATA STED [SET …] --validated FOLDER --out coverage.csv [--delta 0.5]

FOLDER is what validation.py wrote: its predictions (mean and std of `balanced`) are read, nothing
is denoised. Each field of view is left out in turn; form and width of the intervals come from the
others, then three intervals are measured in the field left out: the calibrated one, mean ± 1.645
std, and the multiple of std that covers as much of the calibration fields. coverage.csv holds a
line per field; a table of means goes to stdout. Images of W2S were rescaled one by one: there the
truth is brought to the gain and offset of the noisy image first.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from validation import MODELS, Images, sets

from bmz_ddpm import Checkpoint, find_pairs
from bmz_ddpm.calibrate.fields import Fields, by_field
from bmz_ddpm.calibrate.form import Form
from bmz_ddpm.calibrate.promises import fields_needed
from bmz_ddpm.calibrate.run import Promise, calibrate, measured_in
from bmz_ddpm.cli.options import selection
from bmz_ddpm.diffusion.profiles import PROFILES
from bmz_ddpm.evaluate.methods import from_folder

#: Of the shipped packages.
SETTINGS = PROFILES["balanced"]
KINDS = ("calibrated", "plain", "multiple of std")


def read(images: Images, predictions: Path) -> tuple[Fields, tuple[float, float]]:
    """Return the fields of a set and the output range of its model."""
    splits = ("train", "val", "test") if images.split == "all" else (images.split,)
    chosen = selection(list(images.select))
    pairs = find_pairs(images.pairs, images.root, chosen, splits=splits)
    range_of = Checkpoint.load(MODELS / images.model / "checkpoint.safetensors").config.intensity
    fields = Fields(by_field(pairs), from_folder(predictions), images.rescaled)
    return fields, (range_of.low, range_of.high)


def left_out(
    fields: Fields, name: str, ends: tuple[float, float], promise: Promise, fit: int | None
) -> list[tuple[float, float]]:
    """Calibrate on the other fields; return coverage and length of `KINDS` in this one."""
    others = replace(fields, members={k: v for k, v in fields.members.items() if k != name})
    found, _ = calibrate(others, promise, SETTINGS.kind, ends, fit)
    calibrated = Form(found.spread, found.floor, found.below, found.above, *ends)
    plain = Form(1.0, (0.0, 0.0, 0.0), 1.0, 1.0, *ends)
    factors = NormalDist().inv_cdf(1 - promise.alpha / 2), found.scaled_factor or np.nan
    return measured_in(fields, name, [calibrated.module(), *(plain.module(f) for f in factors)])


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("sted", type=Path)
    parser.add_argument("--validated", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--delta", type=float, default=0.5)
    parser.add_argument("--fit", type=int)
    parser.add_argument("names", nargs="*", metavar="SET")
    options = parser.parse_args()
    promise, lines = Promise("field", 0.1, options.delta), []
    print("| set | fields | interval | coverage, mean | by field | length, grey levels |")
    print("|---|---|---|---|---|---|")
    for name, images in sets(options.data, options.sted).items():
        if options.names and name not in options.names:
            continue
        fields, ends = read(images, options.validated / name / "average" / "predictions")
        members = sorted(fields.members)
        if len(members) < 2 + fields_needed("field", 0.1, options.delta):
            print(f"| {name} | {len(members)} | too few fields | | | |")
            continue
        found = np.array([left_out(fields, f, ends, promise, options.fit) for f in members])
        for field, row in zip(members, found, strict=True):
            lines.append([name, field, *(f"{v:.4f}" for v in row.ravel())])
        for kind, (share, length) in zip(KINDS, np.moveaxis(found, 0, -1), strict=True):
            spread = f"{share.min():.1%} to {share.max():.1%}"
            head = f"| {name} | {len(members)} | {kind} |"
            print(f"{head} {share.mean():.1%} | {spread} | {length.mean():.2f} |")
    with options.out.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        heads = [f"{what} {kind}" for kind in KINDS for what in ("coverage", "length")]
        writer.writerows([["set", "field", *heads], *lines])
    print(options.out)


if __name__ == "__main__":
    main()
