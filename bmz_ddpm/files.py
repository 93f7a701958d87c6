"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DataError


def temporary_beside(path: Path) -> Path:
    """Make an empty temporary file in the folder of `path`, which is created too.

    Raises
    ------
    DataError
        If the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror})", "choose another place for --out"
        ) from error
    os.close(handle)
    mask = os.umask(0)  # the only way to read it
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)  # mkstemp lets nobody else read
    return Path(name)


def refuse_unwritable(path: Path) -> None:
    """Refuse a bad place for `path` before the work, not after it.

    Raises
    ------
    DataError
        If the place cannot be written to.
    """
    temporary_beside(path).unlink()


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file under a temporary name, then rename it.

    Raises
    ------
    DataError
        As `replacing` does.
    """
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write to; it gets its name when the block ends well.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written to. A file that was there before
        is then unchanged.
    """
    part = temporary_beside(path)
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise DataError(
            f"{path}: could not be written ({error.strerror})", "free some space, then repeat"
        ) from error
    finally:
        part.unlink(missing_ok=True)
