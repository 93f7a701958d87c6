"""What the training loop costs beside the bare computation of the same network.

Usage: python throughput.py [--size small] [--patch 64] [--batch 8] [--rounds 20] [--device cpu]

Every round times, one after the other and in the same process: the loop's own step, with its loader
and log; the bare forward, backward and optimiser of the same network on a batch that is already
there; and what the loop needs besides (weights renormalised, averages). The medians count. Both
clocks are read: the wall's, and the processor time of all threads. The loader draws in a thread of
its own, so on the wall's clock it is free where a core is; processor time counts it in full, as on
a machine with one core, and depends little on what else a busy machine does. Images are made up.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
import torch

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.diffusion.loss import diffusion_loss
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.recipe import load_recipe

LABELS = {
    "loop": "the loop",
    "bare": "bare forward, backward, AdamW",
    "extra": "renormalising, averages",
    "draw": "drawing a batch, by itself",
}


def made_up_pairs(folder: Path) -> None:
    """Write three pairs of 512 x 512 pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    for i in range(3):
        clean = 220 + 180 * np.sin(y / 9 + i) * np.cos(x / 6)
        for kind, image in (("low", rng.poisson(clean)), ("high", clean)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / kind / f"{i}.tif", image.astype(np.uint16))


def bare_step(trainer: Trainer, config: TrainConfig) -> None:
    """Compute a step on the batch that is there."""
    cond, x0, eps, weight, level = next(trainer.bare.parts(1, trainer.device))  # type: ignore[attr-defined]
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.low):
        loss = diffusion_loss(
            trainer.denoiser, x0, cond, level, eps, config.prediction, weight, config.loss
        )
    trainer.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    trainer.optimiser.step()
    float(loss.detach())


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    recipe = load_recipe("default")
    config = recipe.model_copy(
        update={
            "size": options.size,
            "patch": options.patch,
            "batch_size": options.batch,
            "precision": options.precision,
            "augment": recipe.augment.model_copy(update={"synthetic": 0.0}),  # slow to start
        }
    )
    with tempfile.TemporaryDirectory() as place:
        made_up_pairs(Path(place) / "pairs")
        pairs = find_pairs(Path(place) / "pairs")
        trainer = Trainer(pairs, config, Path(place) / "run", options.device)
        trainer.bare = trainer.loader.draw(1)  # type: ignore[attr-defined]
        draws = iter(range(1, 10**6))
        parts = {
            "loop": trainer._advance,
            "bare": lambda: bare_step(trainer, config),
            "extra": lambda: update(trainer),
            "draw": lambda: trainer.loader.draw(next(draws)),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
        for _ in range(options.rounds + 2):
            for name, part in parts.items():
                times[name].append(timed(part, trainer))
    print(f"{options.size}, patch {options.patch}, batch {options.batch}, {config.precision}, ")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.device}\n")
    print("| | ms per step | images/s | processor ms | images per processor second |")
    print("|---|---|---|---|---|")
    median = {n: [statistics.median(c) for c in zip(*t[2:], strict=True)] for n, t in times.items()}
    for name, label in LABELS.items():
        cells = [f"{1e3 * t:.1f} | {options.batch / t:.1f}" for t in median[name]]
        print(f"| {label} | {' | '.join(cells)} |")
    for clock, i in (("wall", 0), ("processor", 1)):
        loop, bare, extra = (median[name][i] for name in ("loop", "bare", "extra"))
        share = (loop - bare - extra) / bare
        print(f"\nloader and log, {clock} time: {share:+.1%} of the bare step", end="")
    print()


def update(trainer: Trainer) -> None:
    """Do what the loop does after the optimiser."""
    trainer.denoiser.renormalise_()
    trainer.averages.update(trainer.denoiser, trainer.step)


def timed(part: Callable[[], object], trainer: Trainer) -> tuple[float, float]:
    """Return wall and processor seconds of a call; the loader's thread included in the second."""
    start, used = time.perf_counter(), time.process_time()
    part()
    wall = time.perf_counter() - start
    for ahead in trainer.loader._ahead.values():
        ahead.result()
    return wall, time.process_time() - used


if __name__ == "__main__":
    main()
