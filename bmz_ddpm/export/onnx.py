"""A sampler, or a student, to one ONNX file that ONNX Runtime 1.12.1 and later run."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..files import write_bytes
from ..runtime.backends import OUTPUTS

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSET = 17
IR_VERSION = 8
INPUT = "raw"


def save_onnx(
    scripted: torch.jit.ScriptModule,
    in_channels: int,
    path: Path,
    outputs: tuple[str, ...] = OUTPUTS,
) -> None:
    """Convert a scripted sampler and write it.

    The loops over samples and steps become ONNX `Loop` nodes, so the size of the file does
    not depend on either number. Weights are then moved into the loop body that uses them:
    outside it ONNX Runtime neither pre-packs nor fuses them.

    Parameters
    ----------
    scripted : ScriptModule
        From `torchscript.to_torchscript`.
    in_channels : int
        Channels of the image.
    path : Path
        The file; it appears only when it is complete.
    outputs : tuple of str
        Names of the outputs; a calibrated sampler has five.
    """
    import onnx

    stream = BytesIO()
    axes = {0: "b", 2: "y", 3: "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the script exporter is deprecated, but keeps loops
        torch.onnx.export(
            scripted,
            (torch.zeros(1, in_channels, 16, 16),),  # the exporter runs the whole sampler once
            stream,  # type: ignore[arg-type]  # allowed with dynamo=False
            opset_version=OPSET,
            dynamo=False,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes=dict.fromkeys((INPUT, *outputs), axes),
        )
    model = onnx.load_from_string(stream.getvalue())
    move_weights_inward(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())


def subgraphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield the graphs directly inside the nodes of `graph` (loop bodies, branches)."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield `graph` and every graph inside it."""
    yield graph
    for inner in subgraphs(graph):
        yield from all_graphs(inner)


def operators(model: ModelProto) -> Counter[str]:
    """Count the operators of a model, loop bodies included."""
    return Counter(node.op_type for graph in all_graphs(model.graph) for node in graph.node)


def _uses(graph: GraphProto) -> set[str]:
    names = {output.name for output in graph.output}
    for inner in all_graphs(graph):
        for node in inner.node:
            names.update(node.input)
    return names


def move_weights_inward(model: ModelProto) -> None:
    """Move each initialiser into the innermost graph that alone uses it."""
    _move(model.graph)


def _move(graph: GraphProto) -> None:
    own = {output.name for output in graph.output}
    for node in graph.node:
        own.update(node.input)
    inner = [(body, _uses(body)) for body in subgraphs(graph)]
    kept = []
    for weight in graph.initializer:
        users = [body for body, used in inner if weight.name in used]
        if weight.name not in own and len(users) == 1:
            users[0].initializer.append(weight)
        else:
            kept.append(weight)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for body, _ in inner:
        _move(body)
