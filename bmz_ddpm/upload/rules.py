"""What has to be right before anything is sent: the rules of `check`, and a few of our own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ..check import verdict  # noqa: F401  its import fills the table that search_all reads
from ..check.findings import Broken, Finding, search_all
from ..check.package import Package, mapping, sequence

#: Rules of `check` that only warn there, because a program survives it, but stop an upload:
#: people will look at the draft.
REQUIRED = {
    "rdf-name",
    "metadata",
    "maintainer",
    "validation-heading",
    "cover-type",
    "cover-size",
    "file-on-the-web",
}
PLACEHOLDER = "bioimageiobot"
#: S3 takes no more in one PUT.
MOST_FILE_BYTES = 5 * 1000**3
#: Ours: above this, think twice before a slow line carries it.
LARGE_BYTES = 1000**3


def pre_checks(package: Package, sizes: dict[str, int]) -> tuple[list[Finding], list[Finding]]:
    """Look for what stops an upload, and for what should be known.

    Parameters
    ----------
    package : Package
    sizes : dict
        Name to bytes of every file that would be sent.

    Returns
    -------
    stops, warnings : list of Finding

    Raises
    ------
    DataError
        If a file in the package is damaged.
    """
    stops, warnings = [], []
    for finding in search_all(package):
        kind = finding.severity.get("zoo")
        if kind == "blocks" or finding.rule in REQUIRED:
            stops.append(finding)
        elif kind == "warns":
            warnings.append(finding)
    for name, broken in _own_rules(package, sizes):
        message = f"{broken.thing}: {broken.value}, {broken.because}"
        found = Finding(name, {}, message, broken.fix)
        (warnings if broken.harmless else stops).append(found)
    return stops, warnings


def _own_rules(package: Package, sizes: dict[str, int]) -> Iterator[tuple[str, Broken]]:
    yield from (("license-spdx", b) for b in _license_is_known(package))
    yield from (("placeholder", b) for b in _maintainer_is_real(package))
    yield from (("file-name", b) for b in _names_are_plain(package, sizes))
    yield from (("size", b) for b in _files_are_small_enough(sizes))


def _license_is_known(package: Package) -> Iterator[Broken]:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    value = package.rdf.get("license")
    if not value:
        return  # rule "metadata"
    text = str(value)
    known = None
    if re.fullmatch(r"[A-Za-z0-9.+-]+", text) and not text.lower().startswith("licenseref"):
        try:
            known = str(canonicalize_license_expression(text))
        except InvalidLicenseExpression:
            known = None
    if known != text:
        yield Broken(
            "license",
            text,
            "the zoo takes one identifier of the SPDX list",
            f"write {known}" if known else "choose one of https://spdx.org/licenses, such as MIT",
        )


def _maintainer_is_real(package: Package) -> Iterator[Broken]:
    people = sequence(package.rdf.get("maintainers")) + sequence(package.rdf.get("authors"))
    users = {str(u) for u in (mapping(p).get("github_user") for p in people) if u}
    if users and {u.lower() for u in users} == {PLACEHOLDER}:
        yield Broken(
            "maintainers",
            f"only the placeholder {PLACEHOLDER} has a github_user",
            "the zoo wants one person it can reach",
            "put your own GitHub account into [[maintainers]] of the --about file, export again",
        )


def _names_are_plain(package: Package, sizes: dict[str, int]) -> Iterator[Broken]:
    times = Counter(package.zipped_names)
    for name in sizes:
        parts = name.split("/")
        if times[name] > 1:
            yield Broken(
                name,
                f"is {times[name]} times in the zip",
                "one name is one file",
                "zip the files again",
            )
        if "\\" in name or not name.isprintable() or {"", ".", ".."} & set(parts):
            yield Broken(
                repr(name),
                "is the name of a file",
                "it has to be a plain path inside the package",
                "rename it",
            )


def _files_are_small_enough(sizes: dict[str, int]) -> Iterator[Broken]:
    for name, size in sizes.items():
        if size > MOST_FILE_BYTES:
            yield Broken(
                name,
                f"has {size / 1e9:.1f} GB",
                f"S3 takes at most {MOST_FILE_BYTES / 1e9:g} GB in one piece",
                "make the network smaller, or ask the zoo's team",
            )
    total = sum(sizes.values())
    if total > LARGE_BYTES:
        yield Broken(
            "package",
            f"has {total / 1e9:.1f} GB",
            f"above {LARGE_BYTES / 1e9:g} GB people hesitate to download it",
            "do you need every weights format and sample?",
            harmless=True,
        )
