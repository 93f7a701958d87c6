"""What is finished: one line per image, so that an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..files import replacing, temporary_beside

FORMAT = "bmz-ddpm evaluation 1"
JOURNAL, REPORT, TABLE = "images.jsonl", "evaluation.json", "metrics.csv"


class Journal:
    """The file images.jsonl: the settings in its first line, then one line per finished image.

    Parameters
    ----------
    path : Path
    settings : dict
        Everything that decides the numbers.

    Raises
    ------
    ConfigError
        If the file was begun with other settings.
    DataError
        If it cannot be read or written.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.finished: set[str] = set()
        first = json.loads(json.dumps(settings))  # as it will be read back
        if path.exists() and path.stat().st_size:
            self._resume(first)
        else:
            self._write("w", first)

    def _resume(self, settings: dict[str, Any]) -> None:
        part = temporary_beside(self.path)  # without a last line that was cut
        try:
            with (
                self.path.open(encoding="utf-8") as lines,
                part.open("w", encoding="utf-8") as kept,
            ):
                before = json.loads(next(lines))
                self._refuse_others(before, settings)
                kept.write(json.dumps(before) + "\n")
                for line in lines:
                    if line.endswith("\n"):
                        self.finished.add(json.loads(line)["image"])
                        kept.write(line)
            os.replace(part, self.path)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{self.path}: cannot be read ({error})", "delete the folder, or choose another"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _refuse_others(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise ConfigError(
                    f"{self.path.parent}: holds an evaluation with {name} = {before.get(name)}, "
                    f"now it is {now.get(name)}",
                    "choose another --out, or delete that folder",
                )

    def add(self, record: dict[str, Any]) -> None:
        """Write down that an image is finished; `record["image"]` is its name."""
        self._write("a", record)
        self.finished.add(record["image"])

    def _write(self, mode: str, record: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise DataError(
                f"{self.path}: could not be written ({error.strerror})",
                "free some space or choose another place for --out, then repeat",
            ) from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Read the finished images one by one."""
        with self.path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                yield json.loads(line)


def write_report(
    path: Path, head: dict[str, Any], pairs: Iterator[dict[str, Any]], tail: dict[str, Any]
) -> None:
    """Write evaluation.json piece by piece; it appears only when it is complete.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to.
    """
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, indent=1)[:-2] + ',\n "pairs": [')
        for number, pair in enumerate(pairs):
            stream.write(("," if number else "") + "\n  " + json.dumps(pair))
        stream.write("\n ],\n" + json.dumps(tail, indent=1)[2:] + "\n")


def fingerprint(model: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a package's folder."""
    if model.is_file() and model.name != "rdf.yaml":
        with model.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    folder = model if model.is_dir() else model.parent
    total = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return total.hexdigest()
