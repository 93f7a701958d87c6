"""Made-up pairs of images, and a disk that is full."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile


def write_pairs(folder: Path, names: str = "abc", shape: tuple[int, int] = (48, 56)) -> Path:
    """Write one uint16 pair per letter: blobs of 40 to 400 counts, and their Poisson noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for i, name in enumerate(names):
        clean = 220 + 180 * np.sin(y / 9 + i) * np.cos(x / 6)
        for kind, image in (("low", rng.poisson(clean)), ("high", clean)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / kind / f"{name}.tif", image.astype(np.uint16))
    return folder


@pytest.fixture
def pair_folder(tmp_path: Path) -> Path:
    """Folder with low/ and high/ of three fields of view, 48 x 56 pixels."""
    return write_pairs(tmp_path / "pairs")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which files opened through a Path take half of the data, no more."""

    class Full(io.FileIO):
        def write(self, data) -> int:  # type: ignore[no-untyped-def,override]
            super().write(bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def full() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda path, mode="r", **_: Full(path, mode))
            yield

    return full
