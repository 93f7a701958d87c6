"""Largest difference between eager, TorchScript and ONNX Runtime, on the whole zebrafish field.

Usage: python agreement.py [--sampler ddim:log_snr:4x16 …] [--json FILE]

The whole 512 x 512 image goes through each engine at once. Limits: 1.5e-4 + 1e-4·|reference|, with
images scaled to 1.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from zebrafish import CHECKPOINT, DEFAULT, RECIPE, settings_of

from bmz_ddpm import Checkpoint, read_image
from bmz_ddpm.export.onnx import save_onnx
from bmz_ddpm.export.parity import compare
from bmz_ddpm.export.torchscript import save_torchscript, to_torchscript
from bmz_ddpm.runtime.backends import onnx_backend, torch_backend, torchscript_backend


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sampler", nargs="*", default=[DEFAULT[-1], "ddpm:time:200x2:plain"])
    parser.add_argument("--side", type=int, help="only the middle (256: a package's test tensor)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    checkpoint = Checkpoint.load(CHECKPOINT)
    image = read_image(RECIPE / "zebrafish_raw.tif").values.astype(np.float32)[None, None]
    if options.side:
        y, x = ((n - options.side) // 2 for n in image.shape[2:])
        image = image[:, :, y : y + options.side, x : x + options.side].copy()
    lines = []
    for text in options.sampler:
        sampler = checkpoint.sampler(settings_of(text))
        start = time.monotonic()
        reference = torch_backend(sampler)(image)
        print(f"{text} eager: {time.monotonic() - start:.0f} s", flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scripted = to_torchscript(sampler)
            save_torchscript(scripted, folder / "weights.pt")
            save_onnx(scripted, 1, folder / "weights.onnx")
            for engine, backend in (
                ("torchscript", torchscript_backend(folder / "weights.pt")),
                ("onnx", onnx_backend(folder / "weights.onnx")),
            ):
                start = time.monotonic()
                parity = compare(reference, backend(image), checkpoint.config.intensity.span)
                seconds = time.monotonic() - start
                verdict = "within the limit" if parity.passed else "BEYOND THE LIMIT"
                print(
                    f"{text} {engine}: denoised {parity.denoised:.1e}, std {parity.std:.1e}, "
                    f"{parity.excess:.3f} of the limit, entropy differs in {parity.entropy:.3%}: "
                    f"{verdict} ({seconds:.0f} s)",
                    flush=True,
                )
                lines.append({"sampler": text, "engine": engine} | asdict(parity))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
