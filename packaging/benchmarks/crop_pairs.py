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
    for kind in ("low", "high"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
        for row in rows:
            image = read_image(root / row[kind])
            y, x = ((image.sizes[d] - options.side) // 2 for d in "yx")
            piece = image.isel(y=slice(y, y + options.side), x=slice(x, x + options.side))
            # the name of the noisy image for both: the clean one may serve several
            row[f"{kind}_cut"] = f"{kind}/{Path(row['low']).stem}.tif"
            tifffile.imwrite(options.out / row[f"{kind}_cut"], piece.values)
    with (options.out / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        columns = [c for c in rows[0] if c not in ("low_cut", "high_cut")]
        writer.writerow(columns)
        for row in rows:
            cut = row | {"low": row["low_cut"], "high": row["high_cut"], "split": "val"}
            writer.writerow([cut[c] for c in columns])
    print(options.out / "pairs.csv")


if __name__ == "__main__":
    main()
