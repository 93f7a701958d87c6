"""What the training loop costs beside the bare computation of the same network.

Usage: python throughput.py [--size small] [--patch 64] [--batch 8] [--rounds 20] [--device cpu]

Every round times, one after the other and in the same process: the loop's own step, with its loader
and log; the bare forward, backward and optimiser of the same network on a batch that is already
there; and what the loop needs besides (weights renormalised, averages). The medians count, so that
what else the machine does meets all three alike. The loader's thread works beside the computation
where a core is free; on a busy machine its time shows. Images are made up.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.diffusion.loss import diffusion_loss
from bmz_ddpm.train.fit import Trainer
from bmz_ddpm.train.recipe import load_recipe


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
        times: dict[str, list[float]] = {"loop": [], "bare": [], "extra": [], "draw": []}
        for i in range(options.rounds + 2):
            start = time.perf_counter()
            trainer._advance()
            times["loop"].append(time.perf_counter() - start)
            time.sleep(
                0.02 * options.batch
            )  # lets the loader finish, so that it meets no other part
            start = time.perf_counter()
            bare_step(trainer, config)
            times["bare"].append(time.perf_counter() - start)
            start = time.perf_counter()
            trainer.denoiser.renormalise_()
            trainer.averages.update(trainer.denoiser, trainer.step)
            times["extra"].append(time.perf_counter() - start)
            start = time.perf_counter()
            trainer.loader.draw(i + 1)
            times["draw"].append(time.perf_counter() - start)
    median = {name: statistics.median(values[2:]) for name, values in times.items()}
    images = {name: options.batch / seconds for name, seconds in median.items()}
    overhead = median["loop"] - median["bare"] - median["extra"]
    print(f"{options.size}, patch {options.patch}, batch {options.batch}, {config.precision}, ")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.device}\n")
    print("| | ms per step | images/s |\n|---|---|---|")
    print(f"| the loop | {1e3 * median['loop']:.1f} | {images['loop']:.1f} |")
    print(f"| bare forward, backward, AdamW | {1e3 * median['bare']:.1f} | {images['bare']:.1f} |")
    print(f"| renormalising, averages | {1e3 * median['extra']:.1f} | |")
    print(f"| drawing a batch, by itself | {1e3 * median['draw']:.1f} | |\n")
    print(f"loader and log: {overhead / median['bare']:+.1%} of the bare step")


if __name__ == "__main__":
    main()
