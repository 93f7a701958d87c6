"""Rules about the files in a package: there, whole, and of the right kind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from .findings import ALL, Broken, blocks, rule, warns
from .package import Package, sequence

MOST_COVER_BYTES = 500_000


@rule("weights-missing", ALL)
def weights_are_there(package: Package) -> Iterator[Broken]:
    """The weights themselves."""
    yield from (m for m in _missing(package) if _is_weights(m))


@rule("file-missing", blocks("core", "ilastik", "zoo"))
def files_are_there(package: Package) -> Iterator[Broken]:
    """All others, which bioimageio.core wants to see before it opens a package."""
    yield from (m for m in _missing(package) if not _is_weights(m))


def _is_weights(missing: Broken) -> bool:
    return missing.thing.startswith("weights.") and missing.thing.count(".") == 1


def _missing(package: Package) -> Iterator[Broken]:
    for where, name, _ in package.sources():
        if "://" not in name and package.read(name) is None:
            yield Broken(
                where, name, "this file is not in the package", "add it, or correct rdf.yaml"
            )


@rule("file-on-the-web", warns("fiji", "core", "ilastik", "qupath", "zoo"))
def files_are_inside(package: Package) -> Iterator[Broken]:
    """A package should work without a network."""
    for where, name, _ in package.sources():
        if "://" in name:
            yield Broken(
                where,
                name,
                "it is on the web and was not checked",
                "put the file into the package",
            )


@rule("sha256", blocks("core", "ilastik", "zoo"))
def files_have_their_hash(package: Package) -> Iterator[Broken]:
    """A changed file is refused."""
    for where, name, sha in package.sources():
        data = package.read(name) if sha and "://" not in name else None
        if data is not None and sha and hashlib.sha256(data).hexdigest() != sha.lower():
            yield Broken(
                where,
                name,
                "its content does not match the sha256 in rdf.yaml",
                "export the package again, or correct the sha256",
            )


@rule("sha256-missing", warns("zoo"))
def weights_carry_a_hash(package: Package) -> Iterator[Broken]:
    """Without it nobody notices a damaged download."""
    for name, entry in package.weights.items():
        if not entry.get("sha256"):
            yield Broken(
                f"weights.{name}",
                "has no sha256",
                "a damaged download would not be noticed",
                "add the SHA-256 of the file",
            )


@rule("cover-type", warns("zoo"))
def covers_are_pictures(package: Package) -> Iterator[Broken]:
    """PNG or JPEG."""
    for name, _ in _covers(package):
        if not name.lower().endswith((".png", ".jpg", ".jpeg")):
            yield Broken("covers", name, "the zoo shows .png and .jpg", "save it as .png")


@rule("cover-size", warns("zoo"))
def covers_are_small(package: Package) -> Iterator[Broken]:
    """Under 500 KB."""
    for name, data in _covers(package):
        if len(data) >= MOST_COVER_BYTES:
            yield Broken(
                name,
                f"has {len(data) / 1000:.0f} KB",
                "a cover has less than 500 KB",
                "save it smaller",
            )


@rule("cover-shape", warns("zoo"))
def covers_fit_the_page(package: Package) -> Iterator[Broken]:
    """Width to height 2:1 or 1:1."""
    from PIL import Image, UnidentifiedImageError

    for name, data in _covers(package):
        try:
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
        except (UnidentifiedImageError, OSError, ValueError):
            yield Broken(name, "cannot be opened", "a cover is a picture", "save it again as .png")
            continue
        if width not in (height, 2 * height):
            yield Broken(
                name,
                f"has {width} x {height} pixels",
                "width to height is 2:1 or 1:1",
                "crop it, for example to 1000 x 500",
            )


def _covers(package: Package) -> Iterator[tuple[str, bytes]]:
    for cover in sequence(package.rdf.get("covers")):
        name = cover.get("source") if isinstance(cover, dict) else cover
        data = package.read(name) if isinstance(name, str) and "://" not in name else None
        if data is not None:
            yield str(name), data
