"""What is finished: a folder beside the results, from which an interrupted run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, TextIO

from ..errors import ConfigError, DataError
from ..files import write_bytes

JOB, LOG = "job.json", "finished.txt"


class Journal:
    """The folder NAME.unfinished: the job, the results as they grow, and a line per block.

    Parameters
    ----------
    folder : Path
    job : dict
        Everything that decides the pixels; what a finished run is compared by, too.

    Raises
    ------
    ConfigError
        If another job was begun there, or another process is at work.
    DataError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder = folder
        self.finished: dict[int, list[int]] = {}
        self._stream: TextIO | None = None
        job = json.loads(json.dumps(job))  # as it will be read back
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("w")
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written ({error.strerror})", "choose another place for --out"
            ) from error
        self._take_lock()
        if (folder / JOB).exists():
            self._resume(job)
        else:
            write_bytes(folder / JOB, json.dumps(job, indent=1).encode())

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{self.folder}: another process is writing these results",
                "wait for it, or choose another --out",
            ) from error
        except OSError:  # some network disks know no locks
            return

    def _resume(self, job: dict[str, Any]) -> None:
        before = read_job(self.folder / JOB)
        refuse_others(self.folder, before or {}, job)
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / LOG).read_text(encoding="utf-8").splitlines(True):
                words = line.split()
                if line.endswith("\n") and all(word.isdecimal() for word in words):
                    self.finished[int(words[0])] = [int(word) for word in words[1:]]

    def add(self, number: int, checksums: list[int]) -> None:
        """Write down that a block is finished.

        Raises
        ------
        DataError
            If the disk is full.
        """
        try:
            if self._stream is None:
                self._stream = self._opened_log()
            self._stream.write(" ".join(map(str, [number, *checksums])) + "\n")
            self._stream.flush()
        except OSError as error:
            raise DataError(
                f"{self.folder / LOG}: could not be written ({error.strerror})",
                "free some space, then repeat: finished blocks are kept",
            ) from error
        self.finished[number] = checksums

    def _opened_log(self) -> TextIO:
        path = self.folder / LOG
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        stream = path.open("a", encoding="utf-8")
        if cut:  # the last line was not finished
            stream.write("\n")
        return stream

    def forget(self, number: int) -> None:
        """Take a block back whose pixels are not those that were written."""
        del self.finished[number]

    def close(self) -> None:
        """Let other processes in."""
        if self._stream is not None:
            self._stream.close()
        self._lock.close()

    def remove(self) -> None:
        """Delete the folder: the results have their names."""
        self.close()
        # the job last: without it the folder would count as begun anew
        for entry in sorted(self.folder.iterdir(), key=lambda p: p.name == JOB):
            shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)
        self.folder.rmdir()


def read_job(path: Path) -> dict[str, Any] | None:
    """Read what was written down about a job; None where there is nothing.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error})", "delete it, or choose another --out"
        ) from error


def refuse_others(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with other settings than those a run was begun with.

    Raises
    ------
    ConfigError
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"{folder}: holds an unfinished run with {name} = {before.get(name)}, now it is "
                f"{now.get(name)}",
                "repeat the command as it was, choose another --out, or delete that folder",
            )
