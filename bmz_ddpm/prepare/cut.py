"""Where patches are cut."""

from __future__ import annotations


def starts(length: int, patch: int, overlap: int) -> list[int]:
    """Return where patches start along one axis.

    As many patches as fit, in the middle: what is left over is shared by both ends, where the
    padding of a registration lies, and is not used.

    Parameters
    ----------
    length, patch, overlap : int
        In pixels; `patch` is at most `length` and larger than `overlap`.
    """
    step = patch - overlap
    count = (length - patch) // step + 1
    first = (length - patch - (count - 1) * step) // 2
    return [first + i * step for i in range(count)]


def corners(shape: tuple[int, int], patch: int | None, overlap: int) -> list[tuple[int, int]]:
    """Return the upper left corners (y, x) of all patches; of the whole image without `patch`."""
    if patch is None:
        return [(0, 0)]
    rows, columns = (starts(length, patch, overlap) for length in shape)
    return [(y, x) for y in rows for x in columns]
