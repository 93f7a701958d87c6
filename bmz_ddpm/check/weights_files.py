"""Look into TorchScript and ONNX files without running them, and without torch."""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto

#: All that zipfile was seen to raise at damaged files: a name that is no UTF-8 is a ValueError.
ZIP_ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)

_CALL = re.compile(r"\btorch\.(\w+)\(")
#: Written as ops.torchvision.nms(…): operators that are not aten's.
_OTHER_CALL = re.compile(r"\bops\.(\w+)\.(\w+)\(")
#: Families that libtorch brings itself, apart from aten and prim, whose operators are listed.
_BROUGHT_ALONG = {"_quantized", "mkldnn_prepacked", "onnx", "prepacked", "profiler"}
_BROUGHT_ALONG |= {"quantization", "quantized", "sparse"}
#: A bare "cuda" may be a comparison or the name of a class.
_DEVICE = re.compile(r"""\btorch\.device\(["'](cuda(?::\d+)?|cpu)["']\)""")
#: Who calls the function has every argument written out, so a default is never used.
_DEFAULT_DEVICE = re.compile(r""":\s*(?:Device|Optional\[Device\])=torch\.device\([^()]*\)""")
_NAMES = re.compile(r"__parameters__ = \[(.*?)\]", re.S)
#: Written like operators in the archive, but part of the language.
_LANGUAGE = {"device", "Generator", "dtype", "layout", "format"}


@dataclass(frozen=True)
class TorchScript:
    """What a TorchScript archive says about itself.

    Attributes
    ----------
    parameters : int
        Number of parameters that move to a GPU with the model; 0 after freezing.
    operators : set of str
        "aten::conv2d" …, without overloads.
    custom : set of str
        Those of them that libtorch does not bring along.
    devices : set of str
        Devices written into the code.
    """

    parameters: int
    operators: frozenset[str]
    custom: frozenset[str]
    devices: frozenset[str]


def read_torchscript(data: bytes) -> TorchScript | None:
    """Read the code in a TorchScript archive; None if it is none.

    The archive is a zip file with the program as Python-like text under code/.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [n for n in archive.namelist() if "/code/" in n and n.endswith(".py")]
            code = "\n".join(archive.read(n).decode("utf-8", "replace") for n in names)
    except ZIP_ERRORS:
        return None
    if not names:
        return None
    parameters = sum(len(re.findall(r'"', n)) // 2 for n in _NAMES.findall(code))
    operators = {f"aten::{name}" for name in _CALL.findall(code) if name not in _LANGUAGE}
    others = {c for c in _OTHER_CALL.findall(code) if c[0] not in _BROUGHT_ALONG}
    operators |= {"::".join(c) for c in others}
    custom = {"::".join(c) for c in others if c[0] not in ("aten", "prim")}
    devices = _DEVICE.findall(_DEFAULT_DEVICE.sub("", code))
    return TorchScript(parameters, *map(frozenset, (operators, custom, devices)))


@cache
def libtorch_schemas() -> frozenset[str]:
    """Return the operators, overloads included, that libtorch 1.13.1 and 2.0.0 both have."""
    return frozenset((files(__package__) / "libtorch_operators.txt").read_text("utf-8").split())


@cache
def libtorch_operators() -> frozenset[str]:
    """Return their names without overloads."""
    return frozenset(name.split(".")[0] for name in libtorch_schemas())


@cache
def later_operators() -> frozenset[str]:
    """Return these, and those that came until PyTorch 2.5.1 and 2.7.0 both had them."""
    later = (files(__package__) / "libtorch_operators_later.txt").read_text("utf-8").split()
    return libtorch_operators() | frozenset(later)


@dataclass(frozen=True)
class Onnx:
    """What an ONNX file says about itself.

    Attributes
    ----------
    opset : int
        Version of the standard operators.
    ir : int
        Version of the file format.
    operators : set of str
        Loop bodies, branches and functions included.
    domains : set of str
        Families of operators other than the standard one.
    external : bool
        True if weights lie in another file.
    """

    opset: int
    ir: int
    operators: frozenset[str]
    domains: frozenset[str]
    external: bool


def read_onnx(data: bytes) -> Onnx | None:
    """Read the graph of an ONNX file; None if it is none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_from_string(data)
    except (DecodeError, ValueError, TypeError):
        return None
    versions = {o.domain: o.version for o in model.opset_import}
    if not model.HasField("graph") or not versions:
        return None
    graphs = list(_graphs(model.graph))
    nodes = [n for g in graphs for n in g.node] + [n for f in model.functions for n in f.node]
    external = any(
        t.data_location == onnx.TensorProto.EXTERNAL for g in graphs for t in g.initializer
    )
    return Onnx(
        versions.get("", versions.get("ai.onnx", 0)),
        model.ir_version,
        frozenset(n.op_type for n in nodes),
        frozenset(n.domain for n in nodes if n.domain not in ("", "ai.onnx")),
        external,
    )


def _graphs(graph: GraphProto) -> list[Any]:
    inner = [a.g for n in graph.node for a in n.attribute if a.HasField("g")]
    inner += [g for n in graph.node for a in n.attribute for g in a.graphs]
    return [graph, *(g for i in inner for g in _graphs(i))]
