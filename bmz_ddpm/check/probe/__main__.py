"""The script: ``python -m probe JOB.json RESULT.json``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from .records import run, versions


def main() -> None:
    """Do the job; what is finished is written after each run, for an engine may crash."""
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    for module in job["needs"]:
        importlib.import_module(module)
    done: dict[str, Any] = {"versions": versions(), "records": [], "finished": 0}

    def write() -> None:
        with open(sys.argv[2] + ".part", "w", encoding="utf-8") as file:
            json.dump(done, file)
        os.replace(sys.argv[2] + ".part", sys.argv[2])

    write()
    for name in job["runs"]:
        done["records"] += run(job, name)
        done["finished"] += 1
        write()


if __name__ == "__main__":
    main()
