"""Cut the centre out of every validation image, for measurements that a CPU can pay.

Usage: python crop_pairs.py PAIRS --out FOLDER [--root R] [--side 256] [--where COLUMN=VALUE,…]

FOLDER gets low/, high/ and pairs.csv with all columns of PAIRS; rows of the split train are left
out, the others become "val".
"""

import argparse
import csv
from pathlib import Path

import tifffile

from bmz_ddpm.data.images import read_image
from bmz_ddpm.data.planes import centre


def cut(row: dict[str, str], root: Path, out: Path, side: int) -> dict[str, str]:
    """Write the centres of both images; return the row with their paths, relative to `out`."""
    low = Path(row["low"])
    # the name of the noisy image for both: the clean one may serve several
    name = f"{low.parent.name}_{low.stem}.tif"
    for kind in ("low", "high"):
        image = read_image(root / row[kind])
        y, x = centre(image.sizes["y"], image.sizes["x"], side)
        (out / kind).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(out / kind / name, image.isel(y=y, x=x).values)
    return row | {kind: f"{kind}/{name}" for kind in ("low", "high")}


def main() -> None:
    """Cut and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--where", nargs="*", default=[])
    options = parser.parse_args()
    with options.pairs.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] != "train"]
    for column, values in (item.split("=") for item in options.where):
        rows = [row for row in rows if row[column] in values.split(",")]
    root = options.root or options.pairs.parent
    cropped = [cut(row, root, options.out, options.side) | {"split": "val"} for row in rows]
    with (options.out / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cropped)
    print(options.out / "pairs.csv")


if __name__ == "__main__":
    main()
