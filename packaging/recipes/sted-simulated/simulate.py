"""Simulate STED pairs from structure maps, with the noise measured in raw STED images.

Usage: python simulate.py MAPS CROPS --out FOLDER

MAPS holds structure maps as .npy (float, 0 to 1), called STRUCTURE__NUMBER.npy; CROPS holds raw
STED images, photon counts as .tif. FOLDER gets high/ (expected photons), low/ (one realisation)
and pairs.csv; the last map of each structure is for validation. What was measured in the crops
goes to measured.json.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

#: Realisations of each map: sigma of the point spread function in pixels; pixels are 20 nm wide.
#: 1.1 to 1.5 pixels are a full width at half maximum of 52 to 71 nm; the crops allow at most 1.45
#: to 1.67 (`widest_psf`).
SIGMAS = (1.1, 1.3, 1.5)


def counts(path: Path) -> np.ndarray:
    """Read a raw image as photon counts; some files carry an offset of 32768."""
    image = tifffile.imread(path).astype(np.float64)
    return image - 32768 if image.min() >= 32768 else image


def variance_per_mean(image: np.ndarray) -> float:
    """Return the noise variance per photon: the median, over brightness, of variance / mean.

    Second differences along the fast axis cancel what is linear in the structure:
    2·b − a − c has six times the variance of one pixel.
    """
    a, b, c = image[:, :-2], image[:, 1:-1], image[:, 2:]
    variance, mean = (2 * b - a - c) ** 2 / 6, (a + b + c) / 3
    edges = np.quantile(mean, np.linspace(0, 1, 9))
    where = np.digitize(mean, edges[1:-1])
    ratios = [
        variance[where == i].mean() / mean[where == i].mean()
        for i in range(8)
        if (where == i).any() and mean[where == i].mean() > 0.5
    ]
    return float(np.median(ratios))


def widest_psf(image: np.ndarray) -> float:
    """Return an upper bound of the PSF's sigma, in pixels, from the fall of the power spectrum.

    Noise is white: what is left at the highest frequencies is subtracted. The power of a point
    falls by exp(−(2π·sigma·f)²), that of real structures faster still.
    """
    rows, columns = image.shape
    window = np.outer(np.hanning(rows), np.hanning(columns))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    f = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None, :])
    noise = power[f > 0.45].mean()
    at = (0.125, 0.2)
    near, far = (power[abs(f - x) < 0.02].mean() - noise for x in at)
    if far <= 0.1 * noise:
        return float("nan")
    return float(np.sqrt(np.log(near / far) / (at[1] ** 2 - at[0] ** 2)) / (2 * np.pi))


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Measure the crops: noise, darkest and brightest places, PSF."""
    found = {}
    for path in sorted(folder.glob("*.tif*")):
        image = counts(path)
        smooth = gaussian_filter(image, 2)
        found[path.name] = {
            "variance_per_mean": variance_per_mean(image),
            "background": float(np.percentile(smooth, 1)),
            "peak": float(np.percentile(smooth, 99.9)),
            "widest_psf": widest_psf(image),
        }
    return found


def simulate(maps: Path, out: Path, measured: dict[str, dict[str, float]], seed: int) -> None:
    """Write the pairs: background and peak of a crop drawn at random, the maps' structures."""
    rng = np.random.default_rng(seed)
    for kind in ("low", "high"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in maps.glob("*.npy"))
    last = {name.split("__")[0]: name for name in names}
    crops = list(measured.values())
    rows = []
    for name in names:
        structure = np.load(maps / f"{name}.npy").astype(np.float64)
        split = "val" if name in last.values() else "train"
        for sigma in SIGMAS:
            crop = crops[int(rng.integers(len(crops)))]
            shape = gaussian_filter(structure, sigma)
            shape /= np.percentile(shape, 99.9)
            high = crop["background"] + (crop["peak"] - crop["background"]) * shape
            file = f"{name}_{sigma:g}.tif"
            # 16 bit: the type of the raw images, and what training rounds to and clips at
            tifffile.imwrite(out / "low" / file, rng.poisson(high).astype(np.uint16))
            tifffile.imwrite(out / "high" / file, high.astype(np.float32))
            rows.append([f"low/{file}", f"high/{file}", name, name.split("__")[0], split])
    with (out / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["low", "high", "fov", "structure", "split"])
        writer.writerows(rows)


def main() -> None:
    """Measure the crops and simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", type=Path)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measured = measure(options.crops)
    simulate(options.maps, options.out, measured, options.seed)
    (options.out / "measured.json").write_text(json.dumps(measured, indent=1))
    for name, values in measured.items():
        print(f"{name:40} " + "  ".join(f"{k} {v:.2f}" for k, v in values.items()))
    print(options.out / "pairs.csv")


if __name__ == "__main__":
    main()
