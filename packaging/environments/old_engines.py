"""Run a package's TorchScript and ONNX weights in whatever engines are installed here.

Usage: python old_engines.py PACKAGE.zip [RANGE]

RANGE is the output range in grey levels, 255 when not given. Needs numpy and torch or
onnxruntime, of any version.
"""

import importlib
import io
import sys
import time
import zipfile

import numpy as np

OUTPUTS = ("denoised", "std", "entropy")


def run_torch(data, image):
    import torch

    module = torch.jit.load(io.BytesIO(data))
    with torch.no_grad():
        return [o.numpy() for o in module(torch.from_numpy(image))]


def run_onnx(data, image):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # old versions warn of every constant they remove
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), {session.get_inputs()[0].name: image})


def main():
    package = zipfile.ZipFile(sys.argv[1])
    scale = float(sys.argv[2]) if len(sys.argv) > 2 else 255.0

    def tensor(name):
        return np.load(io.BytesIO(package.read(f"test_{name}.npy")))

    image, expected = tensor("raw"), [tensor(name) for name in OUTPUTS]
    failed = ran = 0
    for engine, weights, run in (
        ("torch", "weights.pt", run_torch),
        ("onnxruntime", "weights.onnx", run_onnx),
    ):
        try:
            version = importlib.import_module(engine).__version__
        except ImportError:
            print(f"{engine}: not installed")
            continue
        ran += 1
        start = time.time()
        outputs = run(package.read(weights), image)
        line = f"{engine} {version}: {time.time() - start:.1f} s,"
        for name, got, want in zip(OUTPUTS, outputs, expected):  # noqa: B905  (Python 3.8)
            difference = np.abs(got.astype(np.float64) - want)
            if name == "entropy":
                line += f" entropy differs in {(difference > 1e-3).mean():.4%} of pixels"
                failed += (difference > 1e-3).mean() > 0.005
            else:
                line += f" {name} {difference.max() / scale:.1e},"
                failed += (difference / scale > 1.5e-4 + 1e-4 * np.abs(want) / scale).any()
        print(line)
    if not ran:
        print("no engine is installed: pip install torch or onnxruntime")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
