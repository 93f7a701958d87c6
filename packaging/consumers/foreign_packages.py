"""Print a Markdown table of what `bmz-ddpm check` says about every package in a folder.

    python packaging/consumers/foreign_packages.py FOLDER

Nothing is run. The packages of other tools and how they were made: foreign_packages.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bmz_ddpm.check.findings import CONSUMERS
from bmz_ddpm.check.verdict import Report, Verdict, check_package
from bmz_ddpm.errors import DataError


def cell(verdict: Verdict) -> str:
    """Return "runs" or the names of the rules that forbid it, each once."""
    names = dict.fromkeys(f.rule for f in verdict.blocking)
    return "runs" if verdict.runs else ", ".join(names)


def row(name: str, report: Report) -> str:
    """Return one line of the table."""
    cells = {v.consumer: cell(v) for v in report.verdicts}
    return "| " + " | ".join([name, *(cells[c] for c in CONSUMERS)]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with .zip packages")
    folder: Path = parser.parse_args().folder
    print("| package | " + " | ".join(CONSUMERS) + " |")
    print("|---" * (len(CONSUMERS) + 1) + "|")
    for path in sorted(folder.glob("*.zip")):
        try:
            print(row(path.stem, check_package(path)))
        except DataError as error:
            print(f"| {path.stem} | {error.problem} |" + " |" * (len(CONSUMERS) - 1))


if __name__ == "__main__":
    main()
