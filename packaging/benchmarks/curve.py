"""Quality against network passes: steps x samples of every sampler, and the one-pass student.

Usage: python curve.py DATA STED [SET …] --out FOLDER [--models FOLDER] [--side 176] [--crops 2]
                       [--skip-paper]

DATA and STED as in validation.py, whose sets and models these are. For each set the central crops
of its first fields are denoised by every sampler; one draw of 16 samples per sampler gives the
scores of the mean of the first 1, 2, 3, 4, 8, 12, 15 and 16 of them. The paper's sampler (200 x 15)
is what the others are compared with. FOLDER/curve.csv has a line per set, field, sampler and number
of samples; a line that is there is not computed again. Then FOLDER/curve.md: means over the crops,
and the difference from the paper's sampler.

PSNR is that after fitting one gain and one offset (images of W2S were rescaled one by one), which
is the fair one between samplers on all sets; a sampler cannot change how bright the truth is.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from validation import MODELS, Images, sets

from bmz_ddpm.cli.options import selection
from bmz_ddpm.data.pairs import SPLITS, find_pairs
from bmz_ddpm.data.planes import load_planes
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.profiles import PROFILES
from bmz_ddpm.evaluate.methods import recording
from bmz_ddpm.evaluate.metrics import fitted, ms_ssim, psnr, spread_over_skill
from bmz_ddpm.runtime.backends import torch_backend
from bmz_ddpm.train.checkpoint import Checkpoint

COUNTS = (1, 2, 3, 4, 8, 12, 15, 16)
COLUMNS = ("set", "field", "sampler", "steps", "samples", "passes", "psnr", "psnr_fitted")
COLUMNS += ("ms_ssim", "spread_skill")


def samplers(paper: bool) -> Iterator[tuple[str, SamplerSettings]]:
    """Yield what is measured: name and settings, of 16 samples (the paper's of 15)."""
    for steps in (1, 2, 3, 4, 5, 6, 8):
        yield "ddim", SamplerSettings(steps, 16, 0.0)
    for steps in (3, 4, 6):
        yield "ddpm", SamplerSettings(steps, 16, 1.0)
        if steps > 3:
            yield "dpm++", SamplerSettings(steps, 16, 0.0, order=2)
            yield "dpm++sde", SamplerSettings(steps, 16, 1.0, order=2)
    yield "ddim, time", SamplerSettings(4, 16, 0.0, spacing="time")
    yield "ddim, no mirrors", SamplerSettings(4, 16, 0.0, mirror=False)
    if paper:
        yield "paper", replace(PROFILES["paper"], samples_per_pass=5)


def crops(images: Images, side: int, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield field, noisy and clean (1, 1, Y, X): the centre of the first plane of each field."""
    splits = SPLITS if images.split == "all" else (images.split,)
    pairs = find_pairs(images.pairs, images.root, selection(list(images.select)), splits=splits)
    seen: set[str] = set()
    for i, pair in enumerate(pairs):
        if pair.fov in seen or len(seen) == count:
            continue
        if images.rescaled and i % 3 != len(seen) % 3:
            continue  # of fields with three channels, one channel each, in turn
        seen.add(pair.fov)
        low, high, _ = load_planes(pair)
        top, left = ((n - side) // 2 for n in low.shape[2:])
        window = np.s_[:1, :, top : top + side, left : left + side]
        yield pair.fov, low[window].astype(np.float32), high[window].astype(np.float64)


def score(truth: np.ndarray, samples: np.ndarray, std: np.ndarray, peak: float) -> list[float]:
    """Return PSNR, fitted PSNR, MS-SSIM and spread/skill of the mean of samples (N, Y, X)."""
    mean = samples.mean(0)
    count = len(samples)
    ratio = spread_over_skill(truth, mean, std, count) if count > 1 else math.nan
    best = fitted(truth, mean)
    return [psnr(truth, mean, peak), psnr(truth, best, peak), ms_ssim(truth, mean, peak), ratio]


def measure(name: str, images: Images, options: argparse.Namespace, path: Path) -> None:
    """Add what is missing to the table."""
    checkpoint = Checkpoint.load(options.models / images.model / "checkpoint.safetensors")
    known = {tuple(row[:4]) for row in csv.reader(path.open())} if path.exists() else set()

    def write(field: str, sampler: str, steps: int, passes: int, n: int, row: list[float]) -> None:
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([name, field, sampler, steps, n, passes, *(f"{v:.4f}" for v in row)])

    for field, low, high in crops(images, options.side, options.crops):
        truth = high[0, 0]
        for sampler, settings in samplers(not options.skip_paper):
            steps = settings.num_steps
            if (name, field, sampler, str(steps)) in known:
                continue
            samples = recording(checkpoint.sampler(settings))(low)[0][0, 1:].astype(np.float64)
            for n in [c for c in COUNTS if c <= settings.num_samples]:
                part = samples[:n]
                write(
                    field, sampler, steps, steps * n, n,
                    score(truth, part, part.std(0), images.peak),
                )  # fmt: skip
            print(name, field, sampler, steps, flush=True)
        if checkpoint.student and (name, field, "instant", "1") not in known:
            mean, std, _ = torch_backend(checkpoint.sampler(PROFILES["instant"]))(low)
            row = score(truth, mean[0].astype(np.float64), std[0, 0], images.peak)
            row[-1] = spread_over_skill(truth, mean[0, 0], std[0, 0], 10**6)
            write(field, "instant", 1, 1, 1, row)


def table(path: Path) -> str:
    """Return means over the crops, beside the paper's sampler on the same crops."""
    rows: dict[tuple[str, ...], list[list[float]]] = {}
    with path.open() as stream:
        for row in csv.DictReader(stream):
            key = row["set"], row["sampler"], row["steps"], row["samples"], row["passes"]
            rows.setdefault(key, []).append([float(row[c]) for c in COLUMNS[6:]])
    means = {key: np.mean(values, axis=0) for key, values in rows.items()}
    papers = {key[0]: mean for key, mean in means.items() if key[1] == "paper" and key[3] == "15"}
    lines = ["| set | sampler | steps x samples | passes | PSNR, fitted | from paper | MS-SSIM "
             "| spread/skill |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for (name, sampler, steps, samples, passes), mean in means.items():
        gap = f"{mean[1] - papers[name][1]:+.2f}" if name in papers else ""
        ratio = "" if math.isnan(mean[3]) else f"{mean[3]:.2f}"
        lines.append(
            f"| {name} | {sampler} | {steps} x {samples} | {passes} | {mean[1]:.2f} | {gap} "
            f"| {mean[2]:.4f} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is asked for, and write both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("sted", type=Path)
    parser.add_argument("names", nargs="*", metavar="SET")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--side", type=int, default=176)
    parser.add_argument("--crops", type=int, default=2)
    parser.add_argument("--skip-paper", action="store_true")
    options = parser.parse_intermixed_args()
    torch.set_grad_enabled(False)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "curve.csv"
    known = sets(options.data, options.sted)
    for name in options.names or known:
        measure(name, known[name], options, path)
    (options.out / "curve.md").write_text(table(path))
    print(options.out / "curve.md")


if __name__ == "__main__":
    main()
