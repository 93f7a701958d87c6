"""The sampler's source as one self-contained file, for pytorch_state_dict weights."""

from __future__ import annotations

import ast
from pathlib import Path

from .. import diffusion

#: In the order in which they need each other.
MODULES = ("layers", "unet", "rng", "uncertainty", "sampler", "one_pass", "interval")
HEADER = '''"""The network and sampler of a bmz-ddpm model, in one file that needs torch alone.

Written by bmz-ddpm from its own modules {modules}.
The class to build is named in rdf.yaml: DiffusionSampler or OnePass (three outputs),
CalibratedSampler or CalibratedOnePass (five), StackedSampler or StackedOnePass (one).
SPDX-License-Identifier: MIT
"""
'''


def architecture_source() -> str:
    """Return the text of the architecture file.

    It is joined from the very modules that run eagerly: same source, same image. Only their
    docstrings, imports of each other and repeated imports are dropped.
    """
    imports: list[str] = []
    bodies: list[str] = []
    for name in MODULES:
        text = (Path(diffusion.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        lines = text.splitlines()
        start = 0
        for node in ast.parse(text).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            if not (is_docstring or is_import):
                break
            start = node.end_lineno or 0
            line = "\n".join(lines[node.lineno - 1 : start])
            if is_import and getattr(node, "level", 0) == 0 and line not in imports:
                imports.append(line)
        bodies.append("\n".join(lines[start:]).strip("\n"))
    names = ", ".join(MODULES)
    head = HEADER.format(modules=names)
    return "\n".join([head, *sorted(imports), "", "", "\n\n\n".join(bodies), ""])
