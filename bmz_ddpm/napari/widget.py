"""The widget: choose a layer and a model, run, cancel."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..errors import CheckpointError, DataError, UserError
from . import job
from .layers import Place, result_layers
from .source import guess_axes, image_of

_MODELS = "Models (*.zip *.safetensors *.pt *.onnx rdf.yaml)"
ENGINES = ("auto", "onnx", "torchscript")
#: As in `diffusion.profiles`, the usual one first: importing that takes seconds.
PROFILES = ("balanced", "fast", "instant", "paper")


class Reports(QObject):
    """What the thread says; Qt brings it to the thread of the windows."""

    tile = Signal(int, int)
    note = Signal(str)


class DenoiseWidget(QWidget):
    """Denoise the chosen image layer and add the results as layers.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.worker: Any = None
        self.closed = Event()
        self._build()
        self._follow_layers()
        self._choose_model()
        self._set_running(False)

    def _build(self) -> None:
        self.image, self.engine, self.device = QComboBox(), QComboBox(), QComboBox()
        self.image.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.model, self.axes = QLineEdit(), QLineEdit()
        self.model.setPlaceholderText("package or checkpoint")
        self.axes.setToolTip("one letter per axis, out of t, z, c, y and x, as they are stored")
        self.plane = QCheckBox("only the plane on view")
        self.engine.addItems(ENGINES)
        self.device.addItems(["cpu", "cuda"])
        self.device.setEditable(True)
        self.profile = QComboBox()
        self.profile.addItems(PROFILES)
        self.profile.setToolTip("for a checkpoint; a package has its own sampler")
        self.browse, self.run, self.cancel = (
            QPushButton(text) for text in ("Browse…", "Denoise", "Cancel")
        )
        self.progress, self.status = QProgressBar(), QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextSelectableByMouse)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Axes", self.axes)
        form.addRow("", self.plane)
        form.addRow("Model", _side_by_side(self.model, self.browse))
        form.addRow("Engine", self.engine)
        form.addRow("Device", self.device)
        form.addRow("Sampler", self.profile)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addWidget(_side_by_side(self.run, self.cancel))
        whole.addWidget(self.progress)
        whole.addWidget(self.status)
        whole.addStretch()
        self.image.currentIndexChanged.connect(self._choose_image)
        self.model.textChanged.connect(self._choose_model)
        self.browse.clicked.connect(self._browse)
        self.run.clicked.connect(self.start)
        self.cancel.clicked.connect(self.stop)

    def _follow_layers(self) -> None:
        """List the image layers as long as the widget lives."""
        events = self.viewer.layers.events
        heard = [events.inserted, events.removed, events.reordered]
        for event in heard:
            event.connect(self._list_images)
        active = self.viewer.layers.selection.events.active
        active.connect(self._take_active)
        self.destroyed.connect(
            partial(_let_go, self.closed, [(e, self._list_images) for e in heard]
                    + [(active, self._take_active)])
        )  # fmt: skip
        self._list_images()
        self._take_active()

    def _list_images(self, event: object = None) -> None:
        chosen = self.image.currentData()
        layers = [layer for layer in self.viewer.layers if isinstance(layer, Image)]
        self.image.blockSignals(True)
        self.image.clear()
        for layer in layers:
            self.image.addItem(layer.name, layer)
        self.image.setCurrentIndex(layers.index(chosen) if chosen in layers else len(layers) - 1)
        self.image.blockSignals(False)
        if self.image.currentData() is not chosen:
            self._choose_image()

    def _take_active(self, event: object = None) -> None:
        """Choose the layer that was clicked, unless it is one of our results."""
        layer = self.viewer.layers.selection.active
        if isinstance(layer, Image) and not layer.metadata.get("bmz_ddpm_output"):
            self.image.setCurrentIndex(self.image.findText(layer.name))

    def _choose_image(self) -> None:
        layer = self.image.currentData()
        self.axes.setText(guess_axes(layer) if layer else "")
        self.plane.setEnabled(layer is not None and layer.ndim > 2)

    def _choose_model(self) -> None:
        """Only checkpoints leave the sampler open; only packages hold several engines."""
        self.model.setToolTip(self.model.text())
        checkpoint = self.model.text().strip().endswith(".safetensors")
        self.profile.setEnabled(checkpoint)
        self.engine.setEnabled(not checkpoint)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Model", self.model.text(), _MODELS)
        if name:
            self.model.setText(name)

    def start(self) -> None:
        """Run the model in a thread."""
        try:
            settings = self._settings()
            layer = self.image.currentData()
            if layer is None:
                raise DataError("no image is open", "open one, then choose it")
            at = self._on_view(layer) if self.plane.isEnabled() and self.plane.isChecked() else None
            image, place = image_of(layer, self.axes.text().strip().lower(), at)
        except UserError as error:
            self._show_error(error)
            return
        reports = Reports(self)
        reports.tile.connect(self._show_tile)
        reports.note.connect(self._show_note)
        self._show("loading the model …")
        self.progress.setRange(0, 0)
        worker: Any = None

        def stopped() -> bool:
            return self.closed.is_set() or worker.abort_requested

        worker = create_worker(
            _work,
            image,
            layer.name,
            settings,
            reports,
            stopped,
            _start_thread=False,
            _ignore_errors=True,
        )
        context = (layer.name, place, {**layer.metadata, "bmz_ddpm": _told(settings)})
        worker.returned.connect(partial(self._add, *context))
        worker.errored.connect(self._show_error)
        worker.finished.connect(self._finish)
        self.worker = worker
        self._set_running(True)
        worker.start()

    def stop(self) -> None:
        """Ask the thread to stop; it does so after the tile it is at, or before."""
        if self.worker is not None:
            self._show("stopping …")
            self.worker.quit()

    def _settings(self) -> job.Settings:
        text = self.model.text().strip()
        if not text:
            raise CheckpointError("no model is chosen", "browse for a package or a checkpoint")
        device = self.device.currentText().strip() or "cpu"
        return job.Settings(
            Path(text), self.engine.currentText(), device, self.profile.currentText()
        )

    def _on_view(self, layer: Image) -> tuple[int, ...]:
        where = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])
        return tuple(int(np.rint(value)) for value in where)

    def _add(self, name: str, place: Place, metadata: dict[str, Any], results: Any) -> None:
        if results is None:  # it was cancelled
            return
        for data, arguments, _ in result_layers(results, name, place, metadata):
            self.viewer.add_image(data, **arguments)
        if not self.status.text().startswith("note"):
            self._show("done")

    def _finish(self) -> None:
        if self.worker is not None and self.worker.abort_requested:
            self._show("cancelled, nothing was added")
        self.worker = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.run.setEnabled(not running)
        self.cancel.setEnabled(running)
        self.progress.setVisible(running)

    def _show_tile(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.setFormat(f"tile {done} of {total}")
        if self.status.text().startswith("loading"):
            self._show("")

    def _show_note(self, text: str) -> None:
        self._show(f"note: {text}.")

    def _show_error(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self._show(f"error: {error.problem}. Fix: {error.fix}.")
            return
        self._show(f"error: {type(error).__name__}: {error}. This is a bug of bmz-ddpm.")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _show(self, text: str) -> None:
        self.status.setText(" ".join(text.split()))


def _work(image, name, settings, reports, stopped):  # type: ignore[no-untyped-def]
    """Run in the thread; None where it was cancelled."""
    try:
        return job.run(image, name, settings, reports.tile.emit, reports.note.emit, stopped)
    except job.Cancelled:
        return None


def _told(settings: job.Settings) -> dict[str, Any]:
    """Return what the layers keep of how they were made."""
    return {**vars(settings), "model": str(settings.model)}


def _side_by_side(*widgets: QWidget) -> QWidget:
    both = QWidget()
    layout = QHBoxLayout(both)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return both


def _let_go(closed: Event, connections: list[tuple[Any, Any]], *_: object) -> None:
    """End what reaches beyond the widget."""
    closed.set()
    for event, callback in connections:
        event.disconnect(callback)
