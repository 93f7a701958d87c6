"""Drawn structures: more shapes than a few training images hold.

A network that sees only a handful of fields learns their shapes by heart. These pictures of
what fluorescence microscopes show (membranes, filaments, nuclei, spots) cost nothing and never
repeat; they take part as clean images, with noise drawn for them like for real references.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree


def draw_structures(count: int, size: int, seed: int) -> np.ndarray:
    """Draw pictures, each of one to three kinds of structure on a dim background.

    Parameters
    ----------
    count : int
        Pictures; the same seed gives the same pictures.
    size : int
        Side in pixels.

    Returns
    -------
    (count, size, size) float32
        From 0 (no light) to 1 (the 99.8th percentile; a few pixels are brighter).
    """
    random = np.random.default_rng(seed)
    return np.stack([_picture(size, random) for _ in range(count)])


def _picture(size: int, random: np.random.Generator) -> np.ndarray:
    kinds = (_membranes, _filaments, _nuclei, _spots)
    picture = 0.05 * _clouds(size, size / random.uniform(2, 8), random)
    for i in random.permutation(len(kinds))[: random.integers(1, 4)]:
        layer = kinds[i](size, random)
        picture += random.uniform(0.2, 1) * layer / max(np.percentile(layer, 99.8), 1e-6)
    if random.random() < 0.7:  # tissue ends somewhere
        edge = _clouds(size, size / random.uniform(1.5, 5), random)
        picture *= np.clip((edge - random.uniform(0.1, 0.5)) * 20, 0.02, 1)
    picture = gaussian_filter(picture, random.uniform(0.7, 1.8))
    return (picture / max(np.percentile(picture, 99.8), 1e-6)).astype(np.float32)


def _clouds(size: int, grain: float, random: np.random.Generator) -> np.ndarray:
    """Return smooth noise from 0 to 1 whose spots are about `grain` pixels wide."""
    cells = max(3, math.ceil(size / grain) + 2)
    field = zoom(random.random((cells, cells)), math.ceil(size / (cells - 2)) + 1, order=3)
    y, x = (int(random.integers(0, n - size + 1)) for n in field.shape)
    field = field[y : y + size, x : x + size]
    return (field - field.min()) / max(np.ptp(field), 1e-6)


def _membranes(size: int, random: np.random.Generator) -> np.ndarray:
    """Return the walls between cells: a warped Voronoi diagram, each wall of its own brightness."""
    points = random.random((int(np.exp(random.uniform(np.log(30), np.log(900)))), 2)) * size
    bend = size / 40
    grid = np.moveaxis(np.mgrid[:size, :size].astype(float), 0, -1)
    warp = np.stack([_clouds(size, size / 10, random) for _ in "yx"], -1)
    distance, owner = cKDTree(points).query(grid + (warp - 0.5) * 2 * bend, k=2)
    width = random.uniform(0.6, 2.5)
    wall = np.exp(-0.5 * ((distance[..., 1] - distance[..., 0]) / (2 * width)) ** 2)
    pair = np.sort(owner, -1)
    bright = random.lognormal(0, random.uniform(0.2, 0.8), 4096)
    inside = random.uniform(0, 0.25) * random.random(len(points))[owner[..., 0]]
    return wall * bright[(pair[..., 0] * 7919 + pair[..., 1]) % 4096] + inside


def _filaments(size: int, random: np.random.Generator) -> np.ndarray:
    """Return bent fibres, some of them in parallel bundles."""
    count = int(np.exp(random.uniform(np.log(15), np.log(300))))
    length = int(random.uniform(0.2, 1.2) * size)
    step = np.arange(length)
    common = random.uniform(0, 2 * np.pi)
    spread = random.choice([0.15, 0.6, np.pi])
    angle = common + spread * random.standard_normal((count, 1))
    curl = random.normal(0, 2.5 / length, (count, 1)) * step
    wander = np.cumsum(random.normal(0, 0.03, (count, length)), 1)
    heading = angle + curl + wander
    start = random.random((count, 2, 1)) * size * 1.2 - 0.1 * size
    y = start[:, 0] + np.cumsum(np.sin(heading), 1)
    x = start[:, 1] + np.cumsum(np.cos(heading), 1)
    bright = random.lognormal(0, 0.7, (count, 1)) * np.ones(length)
    drawn = _dots(y.ravel(), x.ravel(), bright.ravel(), size)
    return gaussian_filter(drawn, random.uniform(0.4, 1.6))


def _dots(y: np.ndarray, x: np.ndarray, bright: np.ndarray, size: int) -> np.ndarray:
    """Return a picture with dots, added up where they meet; those outside are left out."""
    limits = [[0.0, float(size)]] * 2
    return np.histogram2d(y, x, bins=size, range=limits, weights=bright)[0]


def _nuclei(size: int, random: np.random.Generator) -> np.ndarray:
    """Return soft ellipses with a grainy inside or a bright rim."""
    drawn = np.zeros((size, size))
    y, x = np.mgrid[:size, :size]
    grain = _clouds(size, random.uniform(4, 16), random)
    rim = random.random() < 0.3
    for _ in range(int(random.integers(3, 40))):
        cy, cx = random.random(2) * size
        ry, rx = random.uniform(4, size / 14, 2)
        turn = random.uniform(0, np.pi)
        dy, dx = y - cy, x - cx
        u = (dy * np.cos(turn) + dx * np.sin(turn)) / ry
        v = (dx * np.cos(turn) - dy * np.sin(turn)) / rx
        radius = np.hypot(u, v)
        soft = 1 / (1 + np.exp(np.clip((radius - 1) * min(ry, rx), -30, 30)))
        shade = np.exp(-0.5 * ((radius - 1) * 6) ** 2) if rim else soft
        drawn = np.maximum(drawn, random.uniform(0.3, 1) * shade)
    return drawn * (1 - random.uniform(0, 0.7) * grain)


def _spots(size: int, random: np.random.Generator) -> np.ndarray:
    """Return vesicles and speckles, denser in some places."""
    count = int(np.exp(random.uniform(np.log(50), np.log(5000))))
    place = random.random((count, 2)) * size
    dense = _clouds(size, size / 6, random)[tuple(place.astype(int).T)]
    place = place[random.random(count) < dense**2 * 2]
    drawn = _dots(place[:, 0], place[:, 1], random.lognormal(0, 0.8, len(place)), size)
    return gaussian_filter(drawn, random.uniform(0.6, 3))
