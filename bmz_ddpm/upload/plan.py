"""What an upload would send: files, manifest, and what the rules say about them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ..check.findings import Finding
from ..check.package import RDF, Package, mapping, open_package
from ..errors import UploadError
from .rules import pre_checks

#: Where the zoo keeps its resources, and how it names a new model.
COLLECTION = "bioimage-io/bioimage.io"
ALIAS = "{animal_adjective}-{animal}"
#: Inside the manifest's config.bmz_ddpm; the same content has the same key.
KEY = "upload_key"


@dataclass(frozen=True)
class Item:
    """A file to send.

    Attributes
    ----------
    name : str
        Path inside the package.
    data : bytes
    sha256 : str
    weight : int
        1 for weights, whose downloads the zoo counts, else 0.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    weight: int


@dataclass(frozen=True)
class Plan:
    """Everything about an upload that is known before the server is asked.

    Attributes
    ----------
    root : Path
        The zip file or folder.
    items : list of Item
    manifest : dict
        What the zoo's page shows: rdf.yaml without `id`, in JSON's types, with the key.
    key : str
        Hash of all names and contents.
    old_id : str or None
        The id that was left out of rdf.yaml.
    left_out : list of str
        Files in the zip that are not sent.
    stops, warnings : list of Finding
        What the rules found.
    """

    root: Path
    items: list[Item]
    manifest: dict[str, Any]
    key: str
    old_id: str | None
    left_out: list[str]
    stops: list[Finding]
    warnings: list[Finding]

    def require(self) -> None:
        """Refuse to go on if a rule stops the upload.

        Raises
        ------
        UploadError
            Names the first such rule.
        """
        if self.stops:
            first, more = self.stops[0], len(self.stops) - 1
            rest = f" (and {more} more, listed above)" if more else ""
            raise UploadError(f"{first.message} [{first.rule}]{rest}", first.fix)


def make_plan(path: Path) -> Plan:
    """Read a package and decide what would be sent.

    Parameters
    ----------
    path : Path
        A .zip, an unpacked folder, or an rdf.yaml.

    Raises
    ------
    UserError
        If it cannot be opened, is damaged, or its description does not fit into a manifest.
    """
    package = open_package(path)
    rdf = {key: value for key, value in package.rdf.items() if key != "id"}
    manifest = _manifest(rdf)
    names, left_out = _choose(package)
    items = [_item(package, name) for name in names]
    description = _read(package, Path(package.rdf_path).name)
    if "id" in package.rdf:
        description = without_id(description, rdf)
    items.append(_as_item(RDF, description, set()))
    items.sort(key=lambda item: item.name)
    key = _key(items)
    config = mapping(manifest.get("config"))
    ours = mapping(config.get("bmz_ddpm"))
    manifest["config"] = {**config, "bmz_ddpm": {**ours, KEY: key}}
    stops, warnings = pre_checks(package, {item.name: len(item.data) for item in items})
    old_id = str(package.rdf["id"]) if "id" in package.rdf else None
    root = package.root.resolve()
    return Plan(root, items, manifest, key, old_id, left_out, stops, warnings)


def _choose(package: Package) -> tuple[list[str], list[str]]:
    """Return the names to send, rdf.yaml aside, and those in a zip that stay here.

    Of a folder only what rdf.yaml names is sent: it may be somebody's working folder.
    """
    if package.root.is_dir():
        mentioned = {word for text in _strings(package.rdf) for word in (text, *text.split(":"))}
        plain = {Path(m).as_posix() for m in mentioned if m and len(m) < 200 and "\n" not in m}
        found = [m for m in sorted(plain) if package.read(m) is not None]
        return [m for m in found if m != package.rdf_path], []
    inside = package.rdf_path.removesuffix(RDF) if package.rdf_path.endswith(RDF) else ""
    names = {n for n in package.zipped_names if n != package.rdf_path}
    junk = {n for n in names if n.startswith(("__MACOSX/", ".")) or "/." in n}
    junk |= {n for n in names if not n.startswith(inside) or str(PurePosixPath(n)) != n}
    return sorted(n.removeprefix(inside) for n in names - junk), sorted(junk)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _item(package: Package, name: str) -> Item:
    entries = list(package.weights.values())
    weights = {str(entry.get("source")).removeprefix("./") for entry in entries}
    return _as_item(name, _read(package, name), weights)


def _as_item(name: str, data: bytes, weights: set[str]) -> Item:
    return Item(name, data, hashlib.sha256(data).hexdigest(), int(name in weights))


def _read(package: Package, name: str) -> bytes:
    data = package.read(name)
    if data is None:
        raise UploadError(
            f"{package.path}: {name} disappeared while the package was read", "repeat the command"
        )
    return data


def _key(items: list[Item]) -> str:
    listed = json.dumps([[item.name, item.sha256] for item in items])
    return hashlib.sha256(listed.encode()).hexdigest()


def without_id(data: bytes, rdf: dict[str, Any]) -> bytes:
    """Cut the entry `id` out of a YAML text; everything else keeps its bytes.

    Parameters
    ----------
    data : bytes
        The whole rdf.yaml.
    rdf : dict
        What has to be left.

    Returns
    -------
    bytes
        If the entry cannot be cut out cleanly, `rdf` written anew: the same bytes every time.
    """
    text = data.decode("utf-8")
    mapping_node = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = mapping_node.value if isinstance(mapping_node, yaml.MappingNode) else []
    for key, value in reversed(pairs):
        if key.value == "id":
            end = value.end_mark.index
            rest = re.match(r"[ \t]*,?[ \t]*(#[^\n]*)?\r?\n?", text[end:])
            text = text[: key.start_mark.index] + text[end + (rest.end() if rest else 0) :]
    try:
        if yaml.safe_load(text) == rdf:
            return text.encode("utf-8")
    except yaml.YAMLError:
        pass
    return yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True).encode("utf-8")


def _manifest(rdf: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json_ready(rdf)
    except RecursionError:
        raise UploadError(
            f"{RDF}: refers to itself (&anchor and *anchor), JSON cannot carry that",
            "write the value out",
        ) from None
    return manifest


def json_ready(value: Any) -> Any:
    """Return what YAML can hold and JSON cannot in the nearest types of JSON.

    Dates become ISO 8601, bytes base64, sets lists, keys text; NaN and infinity become the words
    that the artifact manager itself would put there.

    Raises
    ------
    UploadError
        If a text holds a character that databases refuse.
    """
    if isinstance(value, dict):
        return {json_ready(str(key)): json_ready(inner) for key, inner in value.items()}
    if isinstance(value, set):
        return sorted((json_ready(inner) for inner in value), key=repr)
    if isinstance(value, list | tuple):
        return [json_ready(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, date):  # datetime is one, too
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise UploadError(
            f"{RDF}: {value[:40]!a} holds characters that are no text, databases refuse them",
            "remove them",
        )
    return value
