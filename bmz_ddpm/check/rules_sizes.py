"""Rules about sizes, halos and tiles."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import Broken, blocks, rule, warns
from .jdll import halo_of
from .package import Package


@rule("min-and-step", blocks("fiji"))
def min_is_a_multiple_of_step(package: Package) -> Iterator[Broken]:
    """JDLL rounds to multiples of step, then asks for min + n step."""
    for tensor in package.inputs:
        for axis in tensor.plane:
            if axis.min is not None and axis.step and axis.min % axis.step:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"min {axis.min}, step {axis.step}",
                    "Fiji refuses every tile unless min is a multiple of step",
                    f"use min {-(-axis.min // axis.step) * axis.step}",
                )


@rule("whole-image", warns("fiji"))
def image_is_cut_into_tiles(package: Package) -> Iterator[Broken]:
    """A free size means one tile as large as the image."""
    free = [(t, a) for t in package.inputs for a in t.plane if a.step]
    for tensor, axis in free[:1]:
        yield Broken(
            f"{tensor.place}, axis {axis.id}",
            "any size is allowed",
            "Fiji then sends the whole image at once, which can take all memory",
            "use one fixed size, for example 256, with a halo on the outputs",
        )


@rule("off-grid", warns("core", "zoo"))
def step_is_one(package: Package) -> Iterator[Broken]:
    """Images between two allowed sizes are refused."""
    for tensor in package.inputs:
        for axis in tensor.plane:
            if axis.step and axis.step > 1:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"step {axis.step}",
                    "images of other sizes cannot be opened",
                    "use step 1 and pad inside the model",
                )


@rule("min-as-shape", warns("qupath"))
def qupath_takes_the_minimum(package: Package) -> Iterator[Broken]:
    """QuPath cuts tiles of the smallest allowed size."""
    for tensor in package.inputs:
        for axis in tensor.plane:
            if axis.step and axis.min is not None and axis.min < 64:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"min {axis.min}",
                    "QuPath uses the smallest size as its tile",
                    "use a larger min, or a fixed size",
                )


@rule("halo", warns("fiji", "ilastik", "core"))
def outputs_have_a_halo(package: Package) -> Iterator[Broken]:
    """Seams show where tiles meet."""
    for tensor in package.outputs:
        if tensor.plane and not any(a.halo for a in tensor.plane):
            yield Broken(
                tensor.place,
                "has no halo",
                "seams can show between tiles",
                "give y and x of the outputs a halo, for example 32",
            )


@rule("halo-too-large", blocks("fiji", "core", "ilastik"))
def something_is_left_of_a_tile(package: Package) -> Iterator[Broken]:
    """The halo is cut off on both sides."""
    for tensor in package.inputs[:1]:
        for axis, halo in zip(("y", "x"), halo_of(package), strict=True):
            size = next((a.size for a in tensor.plane if a.id == axis), None)
            if size and size <= 2 * halo:
                yield Broken(
                    f"{tensor.place}, axis {axis}",
                    f"{size} pixels",
                    f"the halo of {halo} on both sides leaves nothing",
                    f"use a smaller halo, or more than {2 * halo} pixels",
                )


@rule("output-size", warns("core", "ilastik"))
def outputs_follow_the_input(package: Package) -> Iterator[Broken]:
    """A number here cannot stand for an image of many tiles."""
    for tensor in package.outputs:
        for axis in tensor.plane:
            if axis.reference is None:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"size {axis.size or 'not given'}",
                    "images larger than a tile do not fit",
                    "write size: {tensor_id: …, axis_id: …} with the input's names",
                )


@rule("output-size-fiji", blocks("fiji"))
def fiji_can_scale_the_outputs(package: Package) -> Iterator[Broken]:
    """JDLL scales a number by image / tile: right only if it is the size of the input's tile."""
    sizes = {a.id: a.size for t in package.inputs[:1] for a in t.plane}
    for tensor in package.outputs:
        for axis in tensor.plane:
            if axis.reference is None and (not axis.size or axis.size != sizes.get(axis.id)):
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"size {axis.size or 'not given'}",
                    "Fiji cannot tell the size of the result from it",
                    "write size: {tensor_id: …, axis_id: …} with the input's names",
                )


@rule("output-reference", blocks("fiji", "core", "ilastik", "zoo"))
def references_lead_somewhere(package: Package) -> Iterator[Broken]:
    """The tensor and axis that a size follows."""
    known = {(t.id, a.id) for t in package.tensors for a in t.axes}
    for tensor in package.tensors:
        for axis in tensor.axes:
            if axis.reference and axis.reference not in known:
                yield Broken(
                    f"{tensor.place}, axis {axis.id}",
                    f"follows {' '.join(axis.reference)}",
                    "there is no such axis",
                    "name an axis of the input",
                )
