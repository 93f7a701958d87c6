"""The plugin in a real viewer, without a screen; `make test-napari` installs what it needs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed: make test-napari")


def draw_without_screen() -> None:
    """Make an OpenGL context that needs no window: Qt has none where there is no display."""
    from OpenGL import EGL

    display = EGL.eglGetDisplay(EGL.EGL_DEFAULT_DISPLAY)
    version = EGL.EGLint(), EGL.EGLint()
    assert EGL.eglInitialize(display, *version), "no EGL: install libegl1 and libgl1-mesa-dri"
    wanted = (EGL.EGL_RENDERABLE_TYPE, EGL.EGL_OPENGL_BIT, EGL.EGL_NONE)
    configs, count = (EGL.EGLConfig * 1)(), EGL.EGLint()
    EGL.eglChooseConfig(display, (EGL.EGLint * 3)(*wanted), configs, 1, count)
    EGL.eglBindAPI(EGL.EGL_OPENGL_API)
    context = EGL.eglCreateContext(display, configs[0], EGL.EGL_NO_CONTEXT, None)
    assert EGL.eglMakeCurrent(display, EGL.EGL_NO_SURFACE, EGL.EGL_NO_SURFACE, context)


if sys.platform == "linux":
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    if not os.environ.get("DISPLAY"):
        os.environ |= {"PYOPENGL_PLATFORM": "egl", "EGL_PLATFORM": "surfaceless"}
        draw_without_screen()

import napari
from checks import photons
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QLabel, QPushButton
from superqt.utils import WorkerBase
from test_napari_parts import MANIFEST, quick, tiny, write_set  # noqa: F401

from bmz_ddpm.napari import widget as module
from bmz_ddpm.napari.widget import DenoiseWidget
from bmz_ddpm.package.load import Model
from bmz_ddpm.runtime.tiling import Tiling

DELETE = QEvent.Type.DeferredDelete.value


def wait(until: Callable[[], bool], seconds: float = 120) -> None:
    """Let the windows work until something is so; fail where it never is."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        QApplication.processEvents()
        time.sleep(0.01)


@pytest.fixture
def viewer() -> Iterator[napari.Viewer]:
    made = napari.Viewer(show=False)
    yield made
    made.close()
    QApplication.processEvents()


@pytest.fixture
def widget(viewer: napari.Viewer) -> DenoiseWidget:
    made = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(made, name="Denoise")
    return made


class Gate:
    """A model that waits in its first tile until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go, self.tiles = Event(), Event(), 0

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        self.tiles += 1
        self.entered.set()
        assert self.go.wait(120)
        return 2 * image, image, 0 * image


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    model = Model(made, Tiling(96, 32), None, "onnx")
    monkeypatch.setattr("bmz_ddpm.package.load.load_model", lambda *_: model)
    yield made
    made.go.set()


def names(viewer: napari.Viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_the_manifest_is_valid_and_its_commands_exist() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "bmz-ddpm"


def test_napari_finds_the_plugin() -> None:
    """Through the entry point of what is installed."""
    assert PluginManifest.from_distribution("bmz-ddpm").contributions.widgets


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_on_a_film(
    viewer: napari.Viewer, widget: DenoiseWidget, tmp_path: Path
) -> None:
    film = np.stack([photons(40, 56, seed=i)[0, 0] for i in range(3)])
    units = ("s", "um", "um")
    viewer.add_image(film, name="film", scale=(5, 0.1, 0.2), units=units, translate=(0, 1, 2),
                     axis_labels=("t", "y", "x"), metadata={"objective": "63x"})  # fmt: skip
    assert widget.image.currentText() == "film"
    assert widget.axes.text() == "tyx"
    widget.model.setText(str(tiny(tmp_path / "best.safetensors")))
    widget.start()
    assert widget.cancel.isEnabled()
    assert not widget.run.isEnabled()
    wait(lambda: widget.worker is None)
    assert widget.status.text() == "done"
    assert widget.run.isEnabled()
    assert names(viewer) == ["film", "film_std", "film_entropy", "film_denoised"]
    for layer in viewer.layers[1:]:
        assert layer.data.shape == film.shape
        assert layer.data.dtype == np.float32
        assert tuple(layer.scale) == (5, 0.1, 0.2)
        assert tuple(layer.translate) == (0, 1, 2)
        assert layer.units == viewer.layers[0].units
        assert layer.axis_labels == ("t", "y", "x")
        assert layer.metadata["objective"] == "63x"
        assert layer.metadata["bmz_ddpm"]["profile"] == "balanced"
    assert widget.image.currentText() == "film"  # not a result


def test_only_the_plane_on_view(viewer: napari.Viewer, widget: DenoiseWidget, gate: Gate) -> None:
    gate.go.set()
    stack = np.arange(5 * 40 * 40, dtype=np.uint16).reshape(5, 40, 40)
    viewer.add_image(stack, name="stack", scale=(2, 0.1, 0.1))
    viewer.dims.set_current_step(0, 3)
    widget.model.setText("model.zip")
    widget.plane.setChecked(True)
    widget.start()
    wait(lambda: widget.worker is None)
    result = viewer.layers["stack_denoised"]
    np.testing.assert_array_equal(result.data, 2.0 * stack[3:4])
    assert tuple(result.translate) == (6, 0, 0)


def test_cancel_stops_after_the_tile(
    viewer: napari.Viewer, widget: DenoiseWidget, gate: Gate
) -> None:
    viewer.add_image(np.ones((200, 200)), name="large")
    widget.model.setText("model.zip")
    widget.start()
    wait(gate.entered.is_set)
    wait(lambda: widget.progress.maximum() == 49)
    widget.cancel.click()
    assert widget.status.text() == "stopping …"
    gate.go.set()
    wait(lambda: widget.worker is None)
    assert gate.tiles == 1
    assert names(viewer) == ["large"]
    assert widget.status.text() == "cancelled, nothing was added"


def test_closing_while_it_runs(gate: Gate) -> None:
    """The window goes at once, the thread after its tile; nobody is told of the rest."""
    viewer = napari.Viewer(show=False)
    widget = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(widget)
    viewer.add_image(np.ones((200, 200)), name="large")
    widget.model.setText("model.zip")
    widget.start()
    wait(gate.entered.is_set)
    viewer.close()  # returns although the model is still busy
    assert gate.tiles == 1
    gate.go.set()
    wait(lambda: not WorkerBase._worker_set)
    assert gate.tiles == 1


def test_closing_the_widget_alone(viewer: napari.Viewer, gate: Gate) -> None:
    widget = DenoiseWidget(viewer)
    dock = viewer.window.add_dock_widget(widget)
    viewer.add_image(np.ones((200, 200)), name="large")
    widget.model.setText("model.zip")
    widget.start()
    wait(gate.entered.is_set)
    closed = widget.closed
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()
    del widget, dock
    QApplication.sendPostedEvents(None, DELETE)  # only a running event loop does this by itself
    assert closed.is_set()
    gate.go.set()
    wait(lambda: not WorkerBase._worker_set)
    assert gate.tiles == 1
    viewer.add_image(np.ones((20, 20)), name="later")  # nobody listens any more
    assert names(viewer) == ["large", "later"]


def test_mistakes_are_one_line(viewer: napari.Viewer, widget: DenoiseWidget) -> None:
    def said() -> str:
        widget.start()
        wait(lambda: widget.worker is None)
        return widget.status.text()

    assert said().startswith("error: no model is chosen. Fix: ")
    widget.model.setText("missing.zip")
    assert said() == "error: no image is open. Fix: open one, then choose it."
    viewer.add_image(np.ones((20, 20)), name="cells")
    assert said() == "error: missing.zip: does not exist. Fix: name a model."
    widget.axes.setText("zyx")
    assert said().startswith("error: cells: has 2 axes (20 x 20) but 'zyx' names 3. Fix: ")
    assert names(viewer) == ["cells"]
    assert widget.run.isEnabled()


def test_a_bug_is_shown_with_its_place(
    viewer: napari.Viewer, widget: DenoiseWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    seen: list[Any] = []
    monkeypatch.setattr(module.job, "run", fail)
    monkeypatch.setattr(notification_manager, "receive_error", lambda *error: seen.append(error))
    viewer.add_image(np.ones((20, 20)), name="cells")
    widget.model.setText("model.zip")
    widget.start()
    wait(lambda: widget.worker is None)
    assert widget.status.text().startswith("error: ZeroDivisionError: division by zero.")
    assert seen[0][0] is ZeroDivisionError


def test_the_list_of_images_follows_the_viewer(
    viewer: napari.Viewer, widget: DenoiseWidget
) -> None:
    def listed() -> list[str]:
        return [widget.image.itemText(i) for i in range(widget.image.count())]

    first = viewer.add_image(np.ones((4, 5)), name="a")
    viewer.add_labels(np.ones((4, 5), int), name="labels")
    second = viewer.add_image(np.ones((3, 4, 5)), name="b")
    assert listed() == ["a", "b"]
    viewer.layers.selection.active = first
    assert widget.image.currentText() == "a"
    assert not widget.plane.isEnabled()
    viewer.layers.selection.active = second
    assert widget.axes.text() == "zyx"
    assert widget.plane.isEnabled()
    viewer.layers.remove(second)
    assert listed() == ["a"]
    assert widget.axes.text() == "yx"


def test_what_a_model_leaves_open(widget: DenoiseWidget) -> None:
    widget.model.setText("best.safetensors")
    assert widget.profile.isEnabled()
    assert not widget.engine.isEnabled()
    widget.model.setText("model.zip")
    assert not widget.profile.isEnabled()
    assert widget.engine.isEnabled()


def test_nothing_in_the_widget_is_cut_off(viewer: napari.Viewer) -> None:
    widget = DenoiseWidget(viewer)
    widget.status.setText("error: " + "a long message that takes many lines " * 8)
    widget.resize(widget.minimumSizeHint())
    widget.show()
    QApplication.processEvents()
    for child in [*widget.findChildren(QPushButton), *widget.findChildren(QLabel)]:
        wide = 0 if child is widget.status else child.sizeHint().width()
        assert child.width() >= wide, child.text()
        assert widget.rect().contains(child.mapTo(widget, child.rect().center()))


def test_the_reader_in_the_viewer(viewer: napari.Viewer, tmp_path: Path) -> None:
    write_set(tmp_path, pixel_size=(0.5, 0.25))
    viewer.open(str(tmp_path / "cells_std.tif"), plugin="bmz-ddpm")
    assert names(viewer) == ["cells_std", "cells_entropy", "cells_denoised"]
    assert tuple(viewer.layers[0].scale) == pytest.approx((0.5, 0.25))
    assert [str(unit) for unit in viewer.layers[0].units] == ["micrometer", "micrometer"]
