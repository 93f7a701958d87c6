"""Runs by name, and what is written down about each."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

from .compare import Job, NotRun
from .core import run_core, run_ilastik, run_test
from .engines import run_engine

#: How an unreachable network shows, on Linux, macOS and Windows.
NO_NETWORK = ("Name or service not known", "name resolution", "nodename nor", "getaddrinfo failed")
SHOWN = ("numpy", "torch", "onnxruntime", "bioimageio.core", "bioimageio.spec")  # as pip names them


def versions() -> dict[str, str]:
    """Return the versions of Python and of what matters, as far as it is installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def lacking(text: str) -> str:
    """Return what this computer lacks, by an error that says nothing about the package; or ""."""
    module = re.search(r"No module named '([\w.]+)'", text)
    if module:
        return f"{module[1]} is not installed"
    if any(words in text for words in NO_NETWORK):
        return "it asks the network for something (such as a github_user), and there is none"
    return ""


def attempt(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the record of one run; whatever an engine throws becomes part of it.

    A record has `run` (its name), `state` ("passed", "failed" or "not run") and `detail`; and
    where there was a result, `engine`, `seconds` and `outputs`, as `compare` returns them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = work()
    except NotRun as reason:
        return {"run": name, "state": "not run", "detail": str(reason)}
    except ImportError as error:
        missing = error.name or error
        return {"run": name, "state": "not run", "detail": f"{missing} is not installed"}
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        lack = lacking(text)
        if lack:
            return {"run": name, "state": "not run", "detail": lack}
        return {"run": name, "state": "failed", "detail": text[:500]}
    beyond = [o for o in record.get("outputs", []) if not o.get("within", True)]
    return {"run": name, "state": "failed" if beyond else "passed", **record}


def run(job: Job, name: str) -> list[dict[str, Any]]:
    """Return the records of one of the runs "torchscript", "onnx", "core", "ilastik"."""
    if name == "core":
        done = [attempt("bioimageio test", lambda: run_test(job))]
        return done + [attempt(f, lambda f=f: run_core(job, f)) for f in job["formats"]]  # type: ignore[misc]
    if name == "ilastik":
        return [attempt(name, lambda: run_ilastik(job))]
    return [attempt(name, lambda: run_engine(job, name))]
