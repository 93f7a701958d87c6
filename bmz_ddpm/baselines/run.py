"""Run one baseline: train it on the training pairs, restore the others, write down how."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..data.images import write_tiff
from ..data.noise import fit_noise
from ..data.pairs import Pair
from ..data.planes import Planes, load_planes, read_pair
from ..environments import Say
from ..errors import CheckpointError, ConfigError, DataError, did_you_mean
from ..evaluate.images import image_names
from ..evaluate.prediction import like
from ..files import refuse_unwritable, write_bytes
from .training import LEARNERS, Budget, Network, Progress, make_source

#: Those that learn from the training pairs for a given time.
TRAINED = ("n2v", "care", "pix2pix", "unet-rcan")
METHODS = ("raw", "gaussian", "bm3d", *TRAINED)
#: The critic of pix2pix, four halvings and two layers without padding to spare, needs it.
SMALLEST_PATCH = 32
Images = list[np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """What is to be run.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    pairs : list of Pair
    out : Path
        The run's folder.
    budget : Budget or None
        Not needed by methods that are not trained, nor where the folder holds a checkpoint.
    split : "val" or "test"
        Which pairs are restored.
    seed : int
    device : str
    match : bool
        Bring each clean image to the intensities of its noisy one.
    patch : int or None
        Side of the training patches in pixels; None for the method's own.
    """

    method: str
    pairs: list[Pair]
    out: Path
    budget: Budget | None = None
    split: Literal["val", "test"] = "val"
    seed: int = 0
    device: str = "cpu"
    match: bool = False
    patch: int | None = None

    @property
    def checkpoint(self) -> Path:
        """The trained network: safetensors, or what careamics writes."""
        ours = self.method in LEARNERS
        return self.out / ("model.safetensors" if ours else "model.ckpt")

    def of(self, split: str) -> list[Pair]:
        """Return the pairs of a split."""
        return [pair for pair in self.pairs if pair.split == split]

    def fields(self, split: str) -> list[Planes]:
        """Load the pairs of a split."""
        return [load_planes(pair, self.match) for pair in self.of(split)]


def run_baseline(job: Baseline, say: Say, progress: Progress) -> list[Path]:
    """Run a baseline.

    Writes ``predictions/NAME.tif`` (float32, counts) for each restored pair, named as
    `evaluate.images.image_names` does; ``baseline.json``; and, for a trained method, its
    checkpoint with ``training.json``. A folder with a checkpoint is not trained again: it is used.

    Parameters
    ----------
    job : Baseline
    say : callable
        Gets lines about what is being done.
    progress : callable
        Called with (share done, steps, loss) while one of our networks is trained.

    Returns
    -------
    list of Path
        The predictions, then baseline.json.

    Raises
    ------
    ConfigError
        If the method is unknown, how long to train is not said, or the patch is impossible.
    DataError
        If there are no pairs to restore, or one is listed twice.
    CheckpointError
        If the folder holds a training with other settings.
    """
    if job.method not in METHODS:
        near = did_you_mean(job.method, METHODS)
        raise ConfigError(f"{job.method}: unknown method{near}", f"choose {', '.join(METHODS)}")
    if job.patch is not None and (job.patch < SMALLEST_PATCH or job.patch & (job.patch - 1)):
        raise ConfigError(
            f"--patch {job.patch}: must be a power of two, at least {SMALLEST_PATCH}",
            "leave it out for the patches of the method's authors",
        )
    targets = _targets(job)
    names = image_names(targets)
    refuse_unwritable(job.out / "baseline.json")
    trained = _earlier_training(job)
    lows = [load_planes(pair).low for pair in targets]
    if job.method in LEARNERS:
        made, record = _own_network(job, lows, trained, progress)
    elif job.method in TRAINED:
        made, record = _careamics(job, lows, trained, say)
    else:
        made, record = _untrained(job, lows)
    paths = []
    for name, pair, planes in zip(names, targets, made, strict=True):
        paths.append(job.out / "predictions" / f"{name}.tif")
        write_prediction(paths[-1], pair, planes)
    header = {"method": job.method, "split": job.split, "seed": job.seed, "device": job.device}
    header |= {"match_intensity": job.match, "train": _names(job, "train")}
    record = header | {"predicted": _names(job, job.split)} | record
    paths.append(job.out / "baseline.json")
    write_bytes(paths[-1], _encoded(record))
    return paths


def _targets(job: Baseline) -> list[Pair]:
    targets = job.of(job.split)
    if not targets:
        raise DataError(
            f"pairs: none is marked '{job.split}', there is nothing to restore",
            f"mark some rows as {job.split} in the column 'split'",
        )
    return targets


def _asked(job: Baseline) -> dict[str, Any]:
    budget = asdict(job.budget) if job.budget else None
    return {
        "method": job.method,
        "seed": job.seed,
        "match_intensity": job.match,
        "train": _names(job, "train"),
        "budget": budget,
        **({"patch": job.patch} if job.patch else {}),
    }


def _earlier_training(job: Baseline) -> dict[str, Any] | None:
    """Return the record of the training whose checkpoint is in the folder, if it is this one."""
    if job.method not in TRAINED:
        return None
    if not job.checkpoint.exists():
        if job.budget is None:
            raise ConfigError(
                f"{job.method}: is trained, but it is not said for how long",
                "give --minutes, the same for all methods that you compare",
            )
        return None
    path = job.out / "training.json"
    try:
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        asked = earlier["asked"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: does not tell how {job.checkpoint.name} was trained", "choose another --out"
        ) from error
    wanted = _asked(job)
    if job.budget is None:
        wanted["budget"] = asked.get("budget")
    if asked != wanted:
        raise CheckpointError(
            f"{job.checkpoint}: belongs to a training with other settings or pairs",
            f"choose another --out, or the settings in {path.name}",
        )
    return earlier


def _own_network(
    job: Baseline, lows: Images, trained: dict[str, Any] | None, progress: Progress
) -> tuple[Images, dict[str, Any]]:
    if trained is None:
        assert job.budget
        source = make_source(job.method, job.of("train"), job.seed, job.match, job.patch)
        network = Network.untrained(job.method, source, job.device, job.seed)
        validation = job.fields("val")
        for pair, planes in zip(job.of("val"), validation, strict=True):
            network.require_channels(planes.low, str(pair.low))
        record = network.train(source, validation, job.budget, progress)
        trained = _keep_record(job, record | {"versions": _versions("torch", "numpy")})
        network.save(job.checkpoint)
    else:
        network = Network.load(job.method, job.checkpoint, job.device, job.seed)
    for pair, low in zip(job.of(job.split), lows, strict=True):
        network.require_channels(low, str(pair.low))
    start = time.monotonic()
    made = [network.predict(low) for low in lows]
    parameters = sum(p.numel() for p in network.learner.network.parameters())
    settings = network.learner.settings | {
        "patch": network.header["patch"],
        "batch_size": network.learner.batch_size,
        "parameters": parameters,
    }
    seconds = time.monotonic() - start
    return made, trained | {"settings": settings, "prediction_seconds": seconds}


def _careamics(
    job: Baseline, lows: Images, trained: dict[str, Any] | None, say: Say
) -> tuple[Images, dict[str, Any]]:
    from .careamics import restore, settings_of

    fields = (job.fields("train"), job.fields("val"))
    part = job.out / ".model.ckpt.part"  # until training.json is there, too
    part.unlink(missing_ok=True)
    path = part if trained is None else job.checkpoint
    made, record = restore(
        job.method, fields, lows, job.budget, path, job.seed, job.device, say, job.patch
    )
    if trained is None:
        trained = _keep_record(job, record)
        part.replace(job.checkpoint)
    return made, trained | {"settings": settings_of(job.method, job.patch)}


def _keep_record(job: Baseline, record: dict[str, Any]) -> dict[str, Any]:
    """Write training.json, before the checkpoint: where there is one, its record is there."""
    record = {"asked": _asked(job)} | record
    write_bytes(job.out / "training.json", _encoded(record))
    return record


def _untrained(job: Baseline, lows: Images) -> tuple[Images, dict[str, Any]]:
    from ..evaluate.classical import blurred, bm3d_stabilised, tune_sigma

    start = time.monotonic()
    if job.method == "raw":
        return lows, {}
    if job.method == "gaussian":
        sigma = tune_sigma(job.fields("val"))
        minutes = (time.monotonic() - start) / 60
        record = {"sigma": sigma, "tuned_on": _names(job, "val"), "minutes": minutes}
        return [blurred(low, sigma) for low in lows], record | {"versions": _versions("scipy")}
    noise = fit_noise([(low, high) for low, high, _ in job.fields("train")])
    minutes = (time.monotonic() - start) / 60
    made = [
        np.stack([[bm3d_stabilised(c, noise) for c in plane] for plane in low]).astype(np.float32)
        for low in lows
    ]
    record = {"noise": asdict(noise), "minutes": minutes}
    return made, record | {"versions": _versions("bm3d", "numpy")}


def write_prediction(path: Path, pair: Pair, planes: np.ndarray) -> None:
    """Write restored planes with the axes and pixel size of the image they came from.

    Parameters
    ----------
    path : Path
    pair : Pair
        Its noisy image, with the axes and pixel size that the pair declares.
    planes : (P, C, Y, X), in counts
    """
    flat = planes.reshape(-1, *planes.shape[2:]).astype(np.float32)  # (P·C, Y, X)
    write_tiff(path, like(flat, read_pair(pair)[0]))


def _names(job: Baseline, split: str) -> list[str]:
    return [pair.low.name for pair in job.of(split)]


def _versions(*names: str) -> dict[str, str]:
    return {"bmz-ddpm": __version__} | {name: metadata.version(name) for name in names}


def _encoded(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
