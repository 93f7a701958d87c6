"""What the probe is told about a package: plain values and the paths of plain files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ilastik import ilastik_tiles
from .jdll import halo_of
from .package import Package, mapping, sequence
from .tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

#: (relative, absolute, elements per million) where a package declares none: bioimageio.core's.
DEFAULT = (1e-3, 1e-3, 100.0)
#: What the zoo's check of deepImageJ allows of images scaled to 0..1.
ABSOLUTE, RELATIVE = 1.5e-4, 1e-4
_CALLED_DIRECTLY = ("torchscript", "onnx")


@contextmanager
def job_of(package: Package, strict: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the job that `probe` understands; its files vanish afterwards.

    Parameters
    ----------
    strict : bool
        Where a package declares no tolerance, allow only what the zoo's check of deepImageJ
        does, instead of bioimageio.core's default.
    """
    with tempfile.TemporaryDirectory(prefix="bmz-ddpm-") as name:
        folder = Path(name)
        expected = [_test_tensor(package, t, i) for i, t in enumerate(package.outputs)]
        inputs, missing = _inputs(package, folder)
        span = _span(package, [e for e in expected if e is not None])
        fallback = (RELATIVE, ABSOLUTE * span, 0.0) if strict else DEFAULT
        yield {
            "package": str(_path_for_core(package).resolve()),
            "formats": list(package.weights),
            "weights": _weights(package, folder),
            "inputs": inputs,
            "no_inputs": missing,
            "outputs": [
                _output(tensor, values, folder / f"output_{i}.npy")
                for i, (tensor, values) in enumerate(zip(package.outputs, expected, strict=True))
            ],
            "tolerances": [*_declared(package), _entry([], [], *fallback)],
            "span": span,
            "blocks": _blocks(package),
        }


def _path_for_core(package: Package) -> Path:
    return package.root / package.rdf_path if package.root.is_dir() else package.root


def _weights(package: Package, folder: Path) -> dict[str, str]:
    """Return where the files of the formats lie; an ONNX file may have others beside it."""
    found = {}
    for weights_format in _CALLED_DIRECTLY:
        data = package.weights_file(weights_format)
        if data is None:
            continue
        place = package.root / Path(package.rdf_path).parent
        path = place / package.weights[weights_format]["source"]
        if not package.root.is_dir():
            path = folder / f"weights.{weights_format}"
            path.write_bytes(data)
        found[weights_format] = str(path.resolve())
    return found


def _test_tensor(package: Package, tensor: Tensor, index: int) -> np.ndarray | None:
    import numpy as np

    source = mapping(tensor.raw.get("test_tensor")).get("source")
    old = sequence(package.rdf.get(f"test_{tensor.kind}"))
    if source is None and index < len(old):
        source = old[index]
    data = package.read(source) if isinstance(source, str) and "://" not in source else None
    try:
        array = None if data is None else np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError):  # no .npy file: rules and bioimageio test say so
        return None
    numbers = isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.size > 0
    return array if numbers else None


def _inputs(package: Package, folder: Path) -> tuple[list[str], str]:
    """Write the test inputs; return their paths, and why there are none."""
    import numpy as np

    paths = []
    for i, tensor in enumerate(package.inputs):
        array = _test_tensor(package, tensor, i)
        if array is None:
            return [], f"{tensor.place} has no test tensor in the package"
        if tensor.processing:
            return [], f"{tensor.place} is preprocessed by the programs; see bioimageio test"
        path = folder / f"input_{i}.npy"
        try:
            np.save(path, np.ascontiguousarray(array.astype(tensor.dtype)))
        except TypeError:
            return [], f"{tensor.place} is of the unknown type {tensor.dtype}"
        paths.append(str(path))
    return paths, ""


def _output(tensor: Tensor, expected: np.ndarray | None, path: Path) -> dict[str, Any]:
    import numpy as np

    if tensor.processing:  # the engine alone does not compute what the test tensor holds
        direct = f"{tensor.place} is postprocessed by the programs; see bioimageio test"
    else:
        direct = ""
    if expected is not None:
        np.save(path, expected)
    axes = [a.id for a in tensor.axes]
    kinds = [a.type for a in tensor.axes]
    axis = kinds.index("channel") if "channel" in kinds else None
    raw = [a for a in sequence(tensor.raw.get("axes")) if isinstance(a, dict)]  # none in 0.4
    named = raw[axis].get("channel_names") if axis is not None and raw else None
    return {
        "id": tensor.id,
        "place": tensor.place,
        "axes": axes,
        "channel_axis": axis,
        "channels": [str(n) for n in sequence(named)],
        "expected": str(path) if expected is not None else None,
        "postprocessed": direct,
    }


def _declared(package: Package) -> list[dict[str, Any]]:
    """Return the tolerances of the rdf; what is no number becomes the default."""
    config = mapping(package.config.get("bioimageio"))
    found = []
    for raw in map(mapping, sequence(config.get("reproducibility_tolerance"))):
        keys = ("relative_tolerance", "absolute_tolerance", "mismatched_elements_per_million")
        values = [raw.get(key, usual) for key, usual in zip(keys, DEFAULT, strict=True)]
        if all(isinstance(v, int | float) for v in values):
            formats, outputs = (sequence(raw.get(k)) for k in ("weights_formats", "output_ids"))
            found.append(_entry(formats, outputs, *values))
    return found


def _entry(
    formats: list[Any], outputs: list[Any], relative: float, absolute: float, per_million: float
) -> dict[str, Any]:
    return {
        "weights_formats": [str(f) for f in formats],
        "output_ids": [str(o) for o in outputs],
        "relative": relative,
        "absolute": absolute,
        "per_million": per_million,
    }


def _span(package: Package, expected: list[np.ndarray]) -> float:
    """Return the range of the outputs, by which differences are divided.

    It is 1 where all values lie in 0..1; else what our packages declare; else what the first
    output's test tensor spans.
    """
    if not expected or max(float(e.max()) for e in expected) <= 1:
        return 1.0
    ours = mapping(mapping(package.config.get("bmz_ddpm")).get("intensity"))
    low, high = ours.get("low"), ours.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float) and high > low:
        return float(high - low)
    first = expected[0]
    return float(first.max() - first.min()) or 1.0


def _blocks(package: Package) -> dict[str, list[int]] | str:
    """Return tile, halo and image size in y and x for ilastik's blocks, or why there are none.

    The image is as large as two blocks in each direction can cover, less one pixel, so that
    it is odd and the last block reaches over its border.
    """
    plan = ilastik_tiles(package, (1, 1))
    if len(package.inputs) != 1 or plan is None:
        return "blocks need exactly one input with the axes y and x"
    if plan.refused:
        return plan.refused
    for tensor in package.outputs:
        if {a.id for a in tensor.plane} != {"y", "x"}:
            return f"{tensor.place} has not the axes y and x"
    halo = halo_of(package)
    size = [2 * (t - 2 * h) - 1 for t, h in zip(plan.tile, halo, strict=True)]
    return {"tile": list(plan.tile), "halo": list(halo), "image": size}
