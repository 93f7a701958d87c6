"""Train Noise2Void or CARE with careamics, in its own environment.

Usage: python careamics_runner.py, in a folder with job.json and the images as .npy files.
This file is copied there and imports nothing of ours.
"""

import importlib
import json
import os
import platform
import shutil
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

#: Far above what any budget allows: time or steps end the training, not epochs.
ENDLESS = 10**6


def stand_in_for_torchvision() -> None:
    """Let careamics be imported where torchvision is not installed.

    Only its variational models use it. lightning and torchmetrics look for it as well, and do
    without; they come first, so that they do not find this.
    """
    for name in ("lightning.pytorch", "torchmetrics.image"):
        importlib.import_module(name)
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = [types.ModuleType(name) for name in names]
    modules[0].__version__ = "not installed"  # type: ignore[attr-defined]
    modules[0].transforms, modules[1].functional = modules[1:]  # type: ignore[attr-defined]
    sys.modules.update(zip(names, modules, strict=True))


def images(prefix: str) -> list[np.ndarray]:
    """Load the images of this kind, in order."""
    return [np.load(path) for path in sorted(Path().glob(f"{prefix}_*.npy"))]


def configuration(job: dict[str, Any]) -> Any:
    """Return careamics' configuration; what is not named is its default."""
    from careamics.config import factories

    ending = {"max_steps": job["steps"]} if job["steps"] else {}
    if job["minutes"]:
        ending = {"max_time": {"seconds": max(1, round(60 * job["minutes"]))}}
    device, _, number = job["device"].partition(":")
    accelerator = {"accelerator": "cpu", "devices": 1}
    if device == "cuda":
        accelerator = {"accelerator": "gpu", "devices": [int(number or 0)]}
    common: dict[str, Any] = {
        "experiment_name": job["method"],
        "data_type": "array",
        "axes": "SCYX" if job["in_channels"] > 1 or job["out_channels"] > 1 else "SYX",
        "patch_size": [job["patch"]] * 2,
        "batch_size": job["batch_size"],
        "num_epochs": ENDLESS,
        "num_steps": job["steps_per_epoch"],
        "num_workers": 0,
        "trainer_params": {**ending, **accelerator, "enable_progress_bar": False},
        "optimizer_params": {"lr": job["learning_rate"]},
        "seed": job["seed"] + 1,  # it has to be above 0
    }
    several = common["axes"] == "SCYX"
    if job["method"] == "n2v":
        if several:
            common["n_channels"] = job["in_channels"]
        return factories.create_advanced_n2v_config(**common)
    if several:
        common |= {"n_channels_in": job["in_channels"], "n_channels_out": job["out_channels"]}
    # by default it would stop early, and not use its time
    stopping = {"monitor": "val_loss", "mode": "min", "patience": ENDLESS}
    return factories.create_advanced_care_config(**common, early_stopping_params=stopping)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train, and keep the last state of Noise2Void, CARE's best: careamics' own defaults."""
    from careamics import CAREamist

    model = CAREamist(configuration(job), work_dir="work", enable_progress_bar=False)
    data = {"train_data": images("train_low"), "val_data": images("val_low")}
    if job["method"] == "care":
        data |= {
            "train_data_target": images("train_high"),
            "val_data_target": images("val_high"),
        }
    start = time.monotonic()
    model.train(**data)
    minutes = (time.monotonic() - start) / 60
    keeper = model.trainer.checkpoint_callback
    best = keeper.best_model_path if job["method"] == "care" else ""
    shutil.copyfile(best or keeper.last_model_path, job["checkpoint"])
    return {"steps": int(model.trainer.global_step), "minutes": minutes}


def predict(job: dict[str, Any]) -> None:
    """Restore the images in one piece each, or in tiles where careamics cannot."""
    from careamics import CAREamist

    model = CAREamist(checkpoint_path=job["checkpoint"], work_dir="work", enable_progress_bar=False)
    for i, image in enumerate(images("predict")):
        made, _ = model.predict(
            [image], batch_size=1, num_workers=0, tile_size=None, checkpoint=job["checkpoint"]
        )
        np.save(
            f"predicted_{i:05}.npy",
            np.asarray(made[0], np.float32).reshape(image.shape[0], -1, *image.shape[-2:]),
        )


def main() -> None:
    """Do what job.json says; write result.json."""
    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    stand_in_for_torchvision()
    import careamics
    import lightning
    import torch

    if os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    result: dict[str, Any] = {} if Path(job["checkpoint"]).exists() else train(job)
    predict(job)
    result["versions"] = {
        "python": platform.python_version(),
        "careamics": careamics.__version__,
        "lightning": lightning.__version__,
        "torch": torch.__version__,
    }
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
