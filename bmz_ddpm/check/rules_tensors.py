"""Rules about inputs and outputs: how many, which axes, what they hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .findings import ALL, Broken, blocks, rule, warns
from .package import Package, mapping
from .tensors import Axis, Tensor

if TYPE_CHECKING:
    import numpy as np

#: Pre- and postprocessing steps that format 0.5 had when ilastik 1.4.2 was made, and new ones.
KNOWN_STEPS = {"binarize", "clip", "ensure_dtype", "fixed_zero_mean_unit_variance"}
KNOWN_STEPS |= {"scale_linear", "scale_mean_variance", "scale_range", "sigmoid", "softmax"}
KNOWN_STEPS |= {"stardist_postprocessing", "zero_mean_unit_variance"}
NEW_STEPS = {"cellpose_flow_dynamics", "custom"}
#: Computed from the image at hand, so every tile or plane gets other numbers.
STATISTICS = {"zero_mean_unit_variance", "scale_range", "scale_mean_variance"}


@rule("tensors", ALL)
def has_inputs_and_outputs(package: Package) -> Iterator[Broken]:
    """At least one of each, with axes."""
    for kind, found in (("inputs", package.inputs), ("outputs", package.outputs)):
        if not found:
            yield Broken(kind, "none", "a model has at least one", f"describe the {kind}")
    for tensor in package.tensors:
        if not tensor.axes:
            yield Broken(tensor.place, "has no axes", "nobody knows its shape", "list its axes")


@rule("one-input", blocks("ilastik", "qupath"))
def one_input(package: Package) -> Iterator[Broken]:
    """These programs pass one image."""
    count = len(package.inputs)
    if count > 1:
        yield Broken("inputs", str(count), "only one is possible", "join them as channels of one")


@rule("one-output", blocks("ilastik", "qupath"))
def one_output(package: Package) -> Iterator[Broken]:
    """These programs take one image back."""
    count = len(package.outputs)
    if count > 1:
        yield Broken(
            "outputs",
            str(count),
            "only one is possible",
            "make a second package whose one output has them as channels",
        )


@rule("axis-type", blocks("fiji", "ilastik", "qupath"))
def axes_are_known(package: Package) -> Iterator[Broken]:
    """Batch, channel, z, y and x."""
    for tensor in package.tensors:
        for axis in tensor.axes:
            space = axis.type == "space" and axis.id in ("z", "y", "x")
            if not space and (axis.type, axis.id) not in (("batch",) * 2, ("channel",) * 2):
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"type {axis.type}",
                    "only batch, channel, z, y and x are understood",
                    "use these names, or fold the axis into batch or channel",
                )


@rule("channel-names", blocks("fiji", "core", "ilastik", "zoo"))
def channels_have_names(package: Package) -> Iterator[Broken]:
    """Their number follows from the names."""
    for tensor in package.tensors:
        for axis in tensor.axes:
            if axis.type == "channel" and not axis.channels:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    "has no channel_names",
                    "the number of channels follows from them",
                    "write one name per channel: channel_names: [fluorescence]",
                )


@rule("same-axis-order", blocks("ilastik"))
def outputs_keep_the_axis_order(package: Package) -> Iterator[Broken]:
    """ilastik stacks input and output."""
    if len(package.inputs) != 1:
        return
    wanted = [a.id for a in package.inputs[0].axes]
    for tensor in package.outputs:
        order = [a.id for a in tensor.axes]
        if order != wanted:
            yield Broken(
                f"{tensor.place}, axes",
                ", ".join(order),
                f"ilastik needs the order of the input: {', '.join(wanted)}",
                "export the model with this order",
            )


@rule("output-dtype", warns("fiji", "ilastik", "qupath"))
def outputs_are_float32(package: Package) -> Iterator[Broken]:
    """The type that all programs were tried with."""
    for tensor in package.outputs:
        if tensor.dtype != "float32":
            yield Broken(
                tensor.place,
                f"data type {tensor.dtype}",
                "only float32 is known to work everywhere",
                "let the model return float32",
            )


@rule("test-tensor", blocks("core", "zoo"))
def has_test_tensors(package: Package) -> Iterator[Broken]:
    """Nothing can be tested without."""
    for tensor in package.tensors:
        old = package.rdf.get(f"test_{tensor.kind}")
        if not old and not mapping(tensor.raw.get("test_tensor")).get("source"):
            yield Broken(
                tensor.place, "has no test_tensor", "the model is tested on it", "add a .npy file"
            )


@rule("sample-tensor", warns("zoo"))
def has_sample_tensors(package: Package) -> Iterator[Broken]:
    """An example that people can open."""
    for tensor in package.tensors:
        old = package.rdf.get(f"sample_{tensor.kind}")
        if not old and not mapping(tensor.raw.get("sample_tensor")).get("source"):
            yield Broken(
                tensor.place,
                "has no sample_tensor",
                "the zoo wants an example image",
                "add a .tif or .png file",
            )


@rule("test-tensor-file", blocks("core", "ilastik", "zoo"))
def test_tensors_are_arrays(package: Package) -> Iterator[Broken]:
    """Files of numpy."""
    for tensor in package.tensors:
        source, values = _test_tensor(package, tensor)
        if source and values is None:
            yield Broken(source, "cannot be read", "it is a .npy file", "write it again")


@rule("test-tensor-size", blocks("core", "ilastik", "zoo"))
def test_tensors_are_not_almost_zero(package: Package) -> Iterator[Broken]:
    """Any model would match them: bioimageio.core calls such a package invalid."""
    import numpy as np

    for tensor in package.tensors:
        source, values = _test_tensor(package, tensor)
        if values is None or not values.size or values.dtype.kind not in "fiu":
            continue
        if float(np.abs(values.astype(np.float64)).max()) < 1e-4:
            yield Broken(
                source,
                "holds no value above 0.0001",
                "a test on it shows nothing and is refused",
                "choose a test image on which the model does something",
            )


@rule("test-tensor-shape", blocks("core", "ilastik", "zoo"))
def test_tensors_have_the_described_shape(package: Package) -> Iterator[Broken]:
    """bioimageio.core compares them with the axes before it opens a package."""
    for tensor in package.tensors:
        source, values = _test_tensor(package, tensor)
        if values is None or not tensor.axes:
            continue
        fits = len(values.shape) == len(tensor.axes) and all(
            _fits(axis, length) for axis, length in zip(tensor.axes, values.shape, strict=True)
        )
        if not fits:
            yield Broken(
                source,
                f"has the shape {' x '.join(map(str, values.shape))}",
                f"the axes of {tensor.place} do not allow it",
                "correct the axes, or save a test tensor that fits",
            )


def _fits(axis: Axis, length: int) -> bool:
    if axis.size is not None:
        return length == axis.size
    if axis.min is None or axis.reference:
        return True
    return length >= axis.min and (length - axis.min) % (axis.step or 1) == 0


def _test_tensor(package: Package, tensor: Tensor) -> tuple[str, np.ndarray | None]:
    """Return name and content of a test tensor of format 0.5: "" without one, None if broken."""
    import numpy as np

    source = mapping(tensor.raw.get("test_tensor")).get("source")
    data = package.read(source) if isinstance(source, str) and "://" not in source else None
    if data is None:
        return "", None
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError):
        return str(source), None
    return str(source), values if isinstance(values, np.ndarray) else None


@rule("batch-and-channel", warns("core", "fiji"))
def outputs_keep_batch_and_channel(package: Package) -> Iterator[Broken]:
    """Dropping an axis confuses the readers."""
    for tensor in package.outputs:
        kinds = {a.type for a in tensor.axes}
        for kind in ("batch", "channel"):
            if tensor.axes and kind not in kinds:
                yield Broken(
                    tensor.place,
                    f"has no {kind} axis",
                    "outputs keep batch and channel, even of size 1",
                    f"keep the {kind} axis in the model's output",
                )


@rule("processing-tiles", warns("fiji", "core", "ilastik"))
def no_statistics_of_the_image(package: Package) -> Iterator[Broken]:
    """Each tile would be scaled by its own numbers."""
    for tensor in package.tensors:
        for name, kwargs in tensor.processing:
            if _from_the_image(name, kwargs):
                yield Broken(
                    tensor.place,
                    f"{name} is computed from the image at hand",
                    "tiles, planes and programs will differ",
                    "build constants from the training images into the model",
                )


def _from_the_image(name: str, kwargs: dict[str, Any]) -> bool:
    return name in STATISTICS and kwargs.get("mode") != "fixed"  # so format 0.4 says constants


@rule("processing-known", blocks("core", "ilastik", "zoo"))
def steps_have_known_names(package: Package) -> Iterator[Broken]:
    """An unknown step makes the whole description invalid."""
    for tensor in package.tensors:
        for name, _ in tensor.processing:
            if name not in KNOWN_STEPS | NEW_STEPS:
                yield Broken(
                    tensor.place,
                    f"{name} is no processing step",
                    "descriptions with unknown steps are refused",
                    f"use one of {', '.join(sorted(KNOWN_STEPS))}",
                )


@rule("processing-new", blocks("ilastik"))
def steps_are_old_enough(package: Package) -> Iterator[Broken]:
    """bioimageio.core 0.10.2 in ilastik 1.4.2 does not know the newest."""
    for tensor in package.tensors:
        for name, _ in tensor.processing:
            if name in NEW_STEPS:
                yield Broken(
                    tensor.place,
                    name,
                    "ilastik's bioimageio.core 0.10 refuses a description with this step",
                    "compute it inside the model",
                )


@rule("processing-fiji", warns("fiji"))
def no_processing_in_fiji(package: Package) -> Iterator[Broken]:
    """JDLL's own versions of these steps differ for planes and channels."""
    for tensor in package.tensors:
        for name, kwargs in tensor.processing:
            if not _from_the_image(name, kwargs) and name != "ensure_dtype":
                yield Broken(
                    tensor.place,
                    f"{name} is done by the program",
                    "Fiji does some of these steps differently",
                    "compute it inside the model",
                )


@rule("processing-crash", blocks("core", "zoo"))
def no_step_that_crashes(package: Package) -> Iterator[Broken]:
    """bioimageio.core 0.11.0 stops at it."""
    for tensor in package.outputs:
        for name, _ in tensor.processing:
            if name == "scale_mean_variance":
                yield Broken(
                    tensor.place,
                    name,
                    "bioimageio.core 0.11.0 stops at this step",
                    "let the model return the final values",
                )
