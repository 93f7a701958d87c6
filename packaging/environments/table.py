"""Write the table of environments into the README beside this file.

Usage: python packaging/environments/table.py PACKAGE.zip [PACKAGE.zip ...] [--checkpoint FILE]

Runs each package in every environment of `bmz-ddpm check --env` (they are made where missing,
19 GB in all) and here, and writes one table per package between the markers. With --checkpoint,
the training code runs too, with the sampler that the package declares.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from bmz_ddpm.check.environments import ENVIRONMENTS, load_pins, probe
from bmz_ddpm.check.job import job_of
from bmz_ddpm.check.package import Package, open_package
from bmz_ddpm.check.probe import compare, records
from bmz_ddpm.errors import EnvironmentUnusable

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
#: Its differences come in jumps: what matters is how many elements differ at all.
COUNTED = "entropy"


def parts_of(outputs: list[dict[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """Return (name, differences) of each output, or of each channel where it has several."""
    found = []
    for output in outputs:
        channels = output.get("channels")
        if channels:
            found += [(f"{output['id']}: {c['name']}", c) for c in channels]
        else:
            found.append((output["id"], output))
    return found


def cells(record: dict[str, Any], span: float) -> dict[str, str]:
    """Return what is written into the columns of a record."""
    found = {}
    for name, part in parts_of(record.get("outputs", [])):
        if "largest" not in part:
            continue
        if name.split(": ")[-1] == COUNTED:
            found[f"{name} differs in"] = f"{part['beyond']:.4%}"
        else:
            found[name] = f"{part['largest'] / span:.1e}" if part["largest"] else "0"
    return found


def row(environment: str, record: dict[str, Any], columns: list[str], span: float) -> str:
    """Return a line of the table."""
    values = cells(record, span)
    if "seconds" in record:
        values["seconds"] = f"{record['seconds']:.1f}"
    result = record["state"]
    if result != "passed":
        result += f": {record['detail'][:200]}"
    first = [environment, record.get("engine", ""), record["run"], result]
    return "| " + " | ".join([*first, *(values.get(c, "") for c in columns)]) + " |"


def table(rows: list[tuple[str, dict[str, Any]]], span: float) -> str:
    """Return a Markdown table of (environment, record)."""
    columns = ["seconds", *dict.fromkeys(c for _, record in rows for c in cells(record, span))]
    head = ["environment", "engine", "run", "result", *columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + [row(name, record, columns, span) for name, record in rows])


def eager(package: Package, checkpoint: Path) -> dict[str, Any]:
    """Run the training code on the test input."""
    import numpy as np

    from bmz_ddpm.diffusion.assemble import SamplerSettings
    from bmz_ddpm.diffusion.sampler import StackedSampler
    from bmz_ddpm.runtime.backends import torch_backend
    from bmz_ddpm.train.checkpoint import Checkpoint

    sampler = package.config.get("bmz_ddpm", {}).get("sampler")
    if sampler is None:
        detail = "the rdf does not name the sampler"
        return {"run": "training code", "state": "not run", "detail": detail}
    module: Any = Checkpoint.load(checkpoint).sampler(SamplerSettings(**sampler))
    if len(package.outputs) == 1:
        architecture = package.weights["pytorch_state_dict"]["architecture"]
        stacked = StackedSampler(**architecture["kwargs"])
        stacked.sampler.load_state_dict(module.state_dict())
        module = stacked
    backend = torch_backend(module)
    with job_of(package) as job:
        image = np.load(job["inputs"][0])
        start = time.perf_counter()
        results = backend(image)
        seconds = time.perf_counter() - start
        outputs = compare.compare(job, results, "pytorch_state_dict")
    import torch

    return {
        "run": "training code",
        "state": "passed",
        "engine": f"torch {torch.__version__}",
        "seconds": seconds,
        "outputs": outputs,
    }


def measure(path: Path, checkpoint: Path | None) -> str:
    """Return the heading and the table of a package."""
    package = open_package(path)
    rows: list[tuple[str, dict[str, Any]]] = []
    if checkpoint:
        rows.append(("this one", eager(package, checkpoint)))
    with job_of(package) as job:
        span = job["span"]
        for name in ("torchscript", "onnx"):
            rows += [("this one", r) for r in records.run(job, name)]
    for name in ENVIRONMENTS:
        pins = load_pins(name)
        try:
            done = probe(package, pins, lambda line: print(line, "…", file=sys.stderr))
        except EnvironmentUnusable as error:
            rows.append((name, {"run": "", "state": "not run", "detail": error.problem}))
            continue
        rows += [(name, record) for record in done["records"]]
    sampler = package.config.get("bmz_ddpm", {}).get("sampler", {})
    words = (
        f"steps x samples {sampler['num_steps']} x {sampler['num_samples']}, " if sampler else ""
    )
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    head = (
        f"**{package.rdf.get('name', path.name)}** ({words}OMP_NUM_THREADS {threads}; differences "
        f"from the test tensors as a share of the range, {span:g}):"
    )
    return f"{head}\n\n{table(rows, span)}"


def replaced(text: str, tables: list[str]) -> str:
    """Return the README with these tables between the markers."""
    new = "\n\n".join([BEGIN, *tables, END])
    changed, count = re.subn(f"{BEGIN}.*?{END}", lambda _: new, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{README} needs {BEGIN} and {END} once")
    return changed


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="run the training code too")
    arguments = parser.parse_args()
    tables = [measure(path, arguments.checkpoint) for path in arguments.packages]
    README.write_text(replaced(README.read_text(encoding="utf-8"), tables), encoding="utf-8")
    print(README)


if __name__ == "__main__":
    main()
