"""Open any zoo package: a .zip, a folder, or the path of an rdf.yaml."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from .tensors import Tensor, read_tensors
from .weights_files import ZIP_ERRORS, Onnx, TorchScript, read_onnx, read_torchscript

RDF = "rdf.yaml"
_UNREADABLE: tuple[type[Exception], ...] = (*ZIP_ERRORS, OSError)
OTHER_NAMES = ("bioimageio.yaml", "model.yaml")


@dataclass
class Package:
    """A package that could be opened; nothing else is known to be right.

    Attributes
    ----------
    path : Path
        What the user named.
    rdf_path : str
        Where in the zip or folder the description lies; "rdf.yaml" if all is well.
    rdf : dict
        Its content.
    """

    path: Path
    rdf_path: str
    rdf: dict[str, Any]
    _contents: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> Path:
        """Folder, or zip file, that holds the files."""
        return self.path if self.path.is_dir() or not _is_yaml(self.path) else self.path.parent

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Inputs, then outputs."""
        return read_tensors(self.rdf)

    @property
    def inputs(self) -> list[Tensor]:
        """Input tensors in the order of the rdf."""
        return [t for t in self.tensors if t.kind == "inputs"]

    @property
    def outputs(self) -> list[Tensor]:
        """Output tensors in the order of the rdf."""
        return [t for t in self.tensors if t.kind == "outputs"]

    @property
    def weights(self) -> dict[str, dict[str, Any]]:
        """Weights entries by format."""
        return {k: v for k, v in mapping(self.rdf.get("weights")).items() if isinstance(v, dict)}

    @property
    def config(self) -> dict[str, Any]:
        """The free part of the rdf."""
        return mapping(self.rdf.get("config"))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, named as in the rdf; None if it is not there.

        Raises
        ------
        DataError
            If the file is there but damaged.
        """
        if name not in self._contents:
            inside = (Path(self.rdf_path).parent / name).as_posix()
            data = _read(self.root, inside)
            if data is None:
                return None
            self._contents[name] = data
        return self._contents[name]

    @cached_property
    def zipped_names(self) -> list[str]:
        """Names of all files in the zip, in its order; empty for a folder."""
        names = [] if self.root.is_dir() else _names_in_zip(self.root)
        return [n for n in names if not n.endswith("/")]

    @cached_property
    def torchscript(self) -> TorchScript | None:
        """What the TorchScript file says; None where there is none that can be read."""
        data = self.weights_file("torchscript")
        return None if data is None else read_torchscript(data)

    @cached_property
    def onnx(self) -> Onnx | None:
        """What the ONNX file says; None where there is none that can be read."""
        data = self.weights_file("onnx")
        return None if data is None else read_onnx(data)

    def weights_file(self, weights_format: str) -> bytes | None:
        """Return the file of a weights entry, None where there is no such entry or file."""
        source = self.weights.get(weights_format, {}).get("source")
        return self.read(source) if isinstance(source, str) else None

    def sources(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield (where in the rdf, file name, SHA-256 or None) of every file it names."""
        for key in ("inputs", "outputs", "weights", "attachments", "covers", "documentation"):
            yield from _sources(key, self.rdf.get(key), key in ("covers", "documentation"))
        for key in ("test_inputs", "test_outputs", "sample_inputs", "sample_outputs"):
            yield from _sources(key, self.rdf.get(key), True)
        yield from _old_sources(self)


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _sources(where: str, value: Any, plain: bool) -> Iterator[tuple[str, str, str | None]]:
    if isinstance(value, dict):
        if isinstance(value.get("source"), str):
            sha = value.get("sha256")
            yield where, value["source"], sha if isinstance(sha, str) else None
        for key, inner in value.items():
            yield from _sources(f"{where}.{key}", inner, False)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _sources(f"{where}[{i}]", inner, plain)
    elif plain and isinstance(value, str):
        yield where, value, None


def _old_sources(package: Package) -> Iterator[tuple[str, str, str | None]]:
    """The files that format 0.4 names in a form of its own."""
    attached = mapping(package.rdf.get("attachments")).get("files")
    yield from _sources("attachments.files", attached, True)
    for name, entry in package.weights.items():
        for key, pattern in (("architecture", r"(.+\.py):\w+$"), ("dependencies", r"\w+:(.+)$")):
            found = re.match(pattern, str(entry.get(key) or ""))
            if found and isinstance(entry[key], str):
                sha = entry.get(f"{key}_sha256")
                yield f"weights.{name}.{key}", found[1], sha if isinstance(sha, str) else None


def _read(root: Path, name: str) -> bytes | None:
    if "\0" in name:
        return None
    try:
        if root.is_dir():
            path = (root / name).resolve()
            inside = path.is_relative_to(root.resolve())
            return path.read_bytes() if inside and path.is_file() else None
        with zipfile.ZipFile(root) as archive:
            return archive.read(name) if name in archive.namelist() else None
    except ZIP_ERRORS as error:
        raise DataError(
            f"{root}: {name} cannot be unpacked ({error})", "download or export it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{root / name}: cannot be read ({error.strerror})", "is it yours to read?"
        ) from error


def open_package(path: Path) -> Package:
    """Open a package and read its description.

    Parameters
    ----------
    path : Path
        A .zip, an unpacked folder, or an rdf.yaml.

    Raises
    ------
    DataError
        If it does not exist, is no zip file, holds no rdf.yaml, or that is not valid YAML.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist", "name a package (.zip), a folder or an rdf.yaml")
    if path.is_file() and _is_yaml(path):
        names, root = [path.name], path.parent
    elif path.is_dir():
        names, root = sorted(p.name for p in path.iterdir()), path
        names += sorted(p.relative_to(path).as_posix() for p in path.glob(f"*/{RDF}"))
    else:
        names, root = _names_in_zip(path), path
    rdf_path = _find_rdf(path, names)
    data = _read(root, rdf_path)
    if data is None:
        raise DataError(f"{path}: {rdf_path} is not a file", "name a model package")
    return Package(path, rdf_path, _parse(path, rdf_path, data))


def _is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _names_in_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: is not a readable zip file ({error})",
            "is the file complete? Download or export it again",
        ) from error


def _find_rdf(path: Path, names: list[str]) -> str:
    if path.name in names:  # the user named the file
        return path.name
    deeper = [n for n in names if n.count("/") == 1 and n.endswith(f"/{RDF}")]
    for name in (RDF, *OTHER_NAMES, *deeper):
        if name in names:
            return name
    raise DataError(
        f"{path}: holds no {RDF}",
        "name a model package of the BioImage Model Zoo; if it is one, it may be cut off: "
        "download it again",
    )


def _parse(path: Path, rdf_path: str, data: bytes) -> dict[str, Any]:
    try:
        rdf = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path}: {rdf_path} is not valid YAML ({reason})", "correct that line"
        ) from error
    if not isinstance(rdf, dict):
        raise DataError(
            f"{path}: {rdf_path} holds no mapping but a {type(rdf).__name__}",
            "name a model package of the BioImage Model Zoo",
        )
    return rdf
