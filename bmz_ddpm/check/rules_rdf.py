"""Rules about rdf.yaml itself: its form, and what it tells people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .findings import ALL, Broken, blocks, rule, warns
from .package import RDF, Package, mapping, sequence

_VERSION = re.compile(r"0\.(4|5)\.(\d+)$")
_NAME = re.compile(r"[a-zA-Z0-9_+\- ()]+$")
SHORTEST_NAME, LONGEST_NAME = 5, 128
_OLD_READERS = blocks("fiji", "ilastik", "qupath", "zoo")


@rule("format-version", ALL)
def known_format(package: Package) -> Iterator[Broken]:
    """Only 0.4 and 0.5 are read everywhere."""
    version = str(package.rdf.get("format_version"))
    if not _VERSION.match(version):
        yield Broken(
            "format_version",
            version,
            "programs read 0.4.x and 0.5.x",
            "write format_version 0.5.10",
        )


@rule("format-version-new", warns("ilastik", "zoo"))
def format_was_tried(package: Package) -> Iterator[Broken]:
    """0.5.10 is the newest that older readers were tried with."""
    version = str(package.rdf.get("format_version"))
    found = _VERSION.match(version)
    if found and found[1] == "5" and int(found[2]) > 10:
        yield Broken(
            "format_version",
            version,
            "older readers were tried up to 0.5.10",
            "write format_version 0.5.10",
        )


@rule("type", ALL)
def is_a_model(package: Package) -> Iterator[Broken]:
    """Other resources cannot be run."""
    kind = package.rdf.get("type", "model")
    if kind != "model":
        yield Broken("type", str(kind), "only models can be run", "name the package of a model")


@rule("name", blocks("core", "ilastik", "zoo"))
def name_has_plain_letters(package: Package) -> Iterator[Broken]:
    """Format 0.5 allows few characters."""
    name = str(package.rdf.get("name", ""))
    if str(package.rdf.get("format_version")).startswith("0.5") and not _NAME.match(name):
        yield Broken(
            "name",
            name or "is missing",
            "only letters, digits, spaces and _ + - ( ) are allowed",
            "choose a name with these characters",
        )


@rule("name-length", blocks("core", "ilastik", "zoo"))
def name_has_a_fair_length(package: Package) -> Iterator[Broken]:
    """Format 0.5 counts the letters."""
    name = str(package.rdf.get("name", ""))
    new = str(package.rdf.get("format_version")).startswith("0.5")
    if new and _NAME.match(name) and not SHORTEST_NAME <= len(name) <= LONGEST_NAME:
        yield Broken(
            "name",
            f"has {len(name)} letters",
            f"{SHORTEST_NAME} to {LONGEST_NAME} are allowed",
            "choose a longer name" if len(name) < SHORTEST_NAME else "choose a shorter name",
        )


@rule("rdf-at-root", ALL)
def description_at_the_root(package: Package) -> Iterator[Broken]:
    """No folder around the files."""
    if "/" in package.rdf_path:
        yield Broken(
            package.rdf_path,
            "lies in a folder inside the package",
            "programs look for rdf.yaml at the top",
            "zip the files, not the folder around them",
        )


@rule("rdf-name", blocks("fiji"))
def description_has_its_name(package: Package) -> Iterator[Broken]:
    """Fiji knows one name."""
    name = package.rdf_path.split("/")[-1]
    if name != RDF:
        yield Broken(name, "is the description's name", "Fiji opens only rdf.yaml", "rename it")


@rule("documentation-string", _OLD_READERS)
def documentation_is_text(package: Package) -> Iterator[Broken]:
    """Newer libraries write a mapping, which makes the model vanish from Fiji."""
    value = package.rdf.get("documentation")
    if value is not None and not isinstance(value, str):
        yield Broken(
            "documentation",
            f"is a {type(value).__name__}",
            "these programs understand only a plain file name",
            "write: documentation: README.md",
        )


@rule("covers-strings", _OLD_READERS)
def covers_are_text(package: Package) -> Iterator[Broken]:
    """The same for pictures."""
    covers = package.rdf.get("covers")
    if covers is None:
        return
    if not isinstance(covers, list) or not all(isinstance(c, str) for c in covers):
        yield Broken(
            "covers",
            "is not a list of plain file names",
            "these programs understand nothing else",
            "write: covers: [cover.png]",
        )


@rule("id-with-config", blocks("fiji"))
def config_needs_an_id(package: Package) -> Iterator[Broken]:
    """JDLL looks for a nickname and meets nothing."""
    named = package.rdf.get("id") or mapping(package.config.get("bioimageio")).get("nickname")
    if "config" in package.rdf and not named:
        yield Broken(
            "id",
            "is missing while there is a config block",
            "Fiji then stops with a NullPointerException",
            "add a line such as: id: my-model (the zoo replaces it)",
        )


@rule("deepimagej-config", warns("fiji"))
def no_deepimagej_block(package: Package) -> Iterator[Broken]:
    """Its default forbids tiles."""
    block = package.config.get("deepimagej")
    if block is not None and mapping(block).get("allow_tiling") is not True:
        yield Broken(
            "config.deepimagej",
            "does not say allow_tiling: true",
            "Fiji then cuts no tiles",
            "remove the block, or add allow_tiling: true",
        )


@rule("run-mode", warns("core", "zoo"))
def no_run_mode(package: Package) -> Iterator[Broken]:
    """Nobody implements it."""
    if package.rdf.get("run_mode") is not None:
        yield Broken("run_mode", "is set", "no program here follows it", "remove it")


@rule("metadata", warns("zoo"))
def describes_itself(package: Package) -> Iterator[Broken]:
    """What the zoo's page shows."""
    for key in ("description", "documentation", "authors", "cite", "license", "tags", "covers"):
        if not package.rdf.get(key):
            yield Broken(key, "is missing", "the zoo's page shows it", f"add {key} to rdf.yaml")


@rule("maintainer", warns("zoo"))
def somebody_answers(package: Package) -> Iterator[Broken]:
    """Somebody whom the zoo can write to."""
    people = sequence(package.rdf.get("maintainers")) + sequence(package.rdf.get("authors"))
    if not any(mapping(p).get("github_user") for p in people):
        yield Broken(
            "maintainers",
            "nobody has a github_user",
            "the zoo wants one person it can reach",
            "add maintainers: [{name: …, github_user: …}]",
        )


@rule("validation-heading", warns("zoo"))
def documentation_has_a_validation(package: Package) -> Iterator[Broken]:
    """A heading that contains "Validation"."""
    value = package.rdf.get("documentation")
    data = package.read(value) if isinstance(value, str) and "://" not in value else None
    if data is None:
        return
    if not re.search(r"^#+.*validation", data.decode("utf-8", "replace"), re.I | re.M):
        yield Broken(
            str(value),
            "has no heading with the word Validation",
            "the zoo wants to know how the results were checked",
            "add a section '## Validation'",
        )


@rule("tolerance", blocks("core", "zoo"))
def tolerances_are_in_bounds(package: Package) -> Iterator[Broken]:
    """More than this is not accepted."""
    limits = {"relative_tolerance": 0.01, "mismatched_elements_per_million": 5000}
    for i, entry in enumerate(_tolerances(package)):
        for key, limit in limits.items():
            value = entry.get(key)
            if isinstance(value, int | float) and value > limit:
                yield Broken(
                    f"reproducibility_tolerance[{i}].{key}",
                    f"{value:g}",
                    f"at most {limit:g} is allowed",
                    f"lower it to {limit:g}, and make the formats agree",
                )


@rule("tolerance-ilastik", blocks("ilastik"))
def ilastik_takes_the_tolerances(package: Package) -> Iterator[Broken]:
    """bioimageio.spec 0.5.9.1 finds the description invalid beyond this."""
    for i, entry in enumerate(_tolerances(package)):
        value = entry.get("mismatched_elements_per_million")
        if isinstance(value, int | float) and 1000 < value <= 5000:
            yield Broken(
                f"reproducibility_tolerance[{i}].mismatched_elements_per_million",
                f"{value:g}",
                "ilastik 1.4.2 allows at most 1000",
                "lower it to 1000, and make the formats agree",
            )


@rule("tolerance-outputs", warns("core", "zoo"))
def tolerances_name_outputs(package: Package) -> Iterator[Broken]:
    """A tolerance for an output that is not there helps nobody."""
    known = {t.id for t in package.outputs}
    for i, entry in enumerate(_tolerances(package)):
        names = entry.get("output_ids", [])
        place = f"reproducibility_tolerance[{i}].output_ids"
        if not isinstance(names, list):
            yield Broken(
                place, str(names), "it has to be a list", "write it in brackets: [denoised]"
            )
            continue
        for name in names:
            if not isinstance(name, str) or name not in known:
                wanted = ", ".join(sorted(known)) or "none"
                yield Broken(place, str(name), f"the outputs are {wanted}", "correct the name")


def _tolerances(package: Package) -> list[dict[str, Any]]:
    block = mapping(package.config.get("bioimageio")).get("reproducibility_tolerance")
    return [e for e in sequence(block) if isinstance(e, dict)]
