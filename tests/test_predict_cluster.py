"""The same job on a real Dask scheduler with worker processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from predictions import QUICK, counts, digest, predict, request, write_checkpoint, write_zarr

from bmz_ddpm.errors import ConfigError, EnvironmentUnusable, MissingDependency, UserError
from bmz_ddpm.package.load import load_model
from bmz_ddpm.predict import workers


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_zarr(tmp_path / "a.zarr", counts("tzyx"), "tzyx")


def start(*arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / f"{arguments[0]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip


def test_a_killed_worker_loses_nothing(tmp_path: Path, source: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.safetensors")
    model = load_model(checkpoint, QUICK)
    alone = predict(source, request(tmp_path / "alone", model=checkpoint), model)
    file = tmp_path / "scheduler.json"
    scheduler = start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show",
        "--scheduler-file", str(file), folder=tmp_path,
    )  # fmt: skip
    running = [scheduler]
    try:
        for _ in range(2):
            running.append(start(
                "worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1",
                "--no-dashboard", "--local-directory", str(tmp_path), folder=tmp_path,
            ))  # fmt: skip
        import json

        for _ in range(600):
            if file.exists() and file.read_text().strip():
                break
            time.sleep(0.2)
        address = json.loads(file.read_text())["address"]
        import distributed

        with distributed.Client(address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=300)
        done: list[int] = []

        def kill_one(tiles: int, *_: Any) -> None:
            done.append(tiles)
            if len(done) == 3:
                running[1].send_signal(signal.SIGKILL)
                running[1].wait()

        wanted = request(tmp_path / "many", model=checkpoint, scheduler=address)
        many = predict(source, wanted, model, progress=kill_one)
        assert running[1].returncode == -signal.SIGKILL
        assert len(done) == 24
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [digest(p) for p in many] == [digest(p) for p in alone]


def test_two_devices_are_two_processes(tmp_path: Path, source: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.safetensors")
    model = load_model(checkpoint, QUICK)
    alone = predict(source, request(tmp_path / "alone", model=checkpoint), model)
    two = request(tmp_path / "two", model=checkpoint, devices=("cpu", "cpu"))
    assert [digest(p) for p in predict(source, two, model)] == [digest(p) for p in alone]


def test_no_scheduler(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    words = r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers \(Timed out"
    with pytest.raises(ConfigError, match=words):
        predict(source, request(tmp_path / "o", scheduler="tcp://127.0.0.1:9"))


class Cluster:
    """A client whose only task ends with an error."""

    loop = None

    def __init__(self, error: Exception) -> None:
        self.error = error

    def scheduler_info(self, **_: Any) -> dict[str, Any]:
        return {"workers": {"one": {}}}

    def submit(self, *_: Any, **__: Any) -> Any:
        return self

    def result(self) -> None:
        raise self.error

    def cancel(self, futures: list[Any], force: bool) -> None:
        assert force


@pytest.mark.parametrize("case", ["killed", "lacks", "lost"])
def test_a_cluster_in_trouble(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    import distributed

    error, words = {
        "killed": (distributed.KilledWorker("a", None, 3), "several workers died"),
        "lacks": (ModuleNotFoundError("no", name="bmz_ddpm"), "its workers lack bmz_ddpm"),
        "lost": (OSError("closed"), "the scheduler was lost"),
    }[case]  # fmt: skip

    class Completed(list[Any]):
        def __init__(self, futures: list[Any], loop: None) -> None:
            super().__init__(futures)

    monkeypatch.setattr(distributed, "as_completed", Completed)
    with pytest.raises(EnvironmentUnusable, match=words):
        list(workers.on_cluster(Cluster(error), None, [None], ("cpu",)))  # type: ignore[arg-type,list-item]


def test_errors_survive_the_way_from_a_worker() -> None:
    import pickle

    for error in (UserError("a thing", "mend it"), MissingDependency("zarr", "x", "reading")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (copy.problem, copy.fix, str(copy)) == (error.problem, error.fix, str(error))
