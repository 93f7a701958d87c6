"""Run by test_reliability.py: trains again and again, killed at one moment after the other.

Usage: python killed.py PAIRS OUT WHOLE

Every process is a fork of this one, which has only imported: a real one, ended by SIGKILL, without
paying for the imports each time.
"""

import os
import signal
import sys
from pathlib import Path

import lightning_fabric  # noqa: F401

from bmz_ddpm.config import TrainConfig
from bmz_ddpm.data.pairs import find_pairs
from bmz_ddpm.train import engine  # noqa: F401
from bmz_ddpm.train.fit import Trainer

#: (what, how often it has happened by then): the third file to be renamed, …
MOMENTS = [
    ("step", 1),
    ("write last.safetensors", 1),  # the very first checkpoint
    ("rename last.safetensors", 1),
    ("after last.safetensors", 1),  # the state is new, the log is not
    ("step", 2),
    ("write best.safetensors", 1),
    ("write 00000004.safetensors", 1),
    ("write log.csv", 2),  # the first one is written at the start
    ("after last.safetensors", 1),
    ("write final.safetensors", 1),
]


def kill_at(moment: str, count: int) -> None:
    """Let this process die at a moment."""
    left = count

    def maybe(now: str) -> None:
        nonlocal left
        left -= now == moment
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    replace, opened, advance = os.replace, Path.open, Trainer._advance

    def rename(source: Path, target: Path) -> None:
        maybe(f"rename {Path(target).name}")
        replace(source, target)
        maybe(f"after {Path(target).name}")

    def open_(path: Path, *arguments: str, **more: str):  # type: ignore[no-untyped-def]
        stream = opened(path, *arguments, **more)
        name = path.name.lstrip(".").rsplit(".", 2)[0]  # .NAME.random.part
        if path.suffix == ".part":
            write = stream.write

            def half(data: bytes) -> int:
                if f"write {name}" == moment:
                    write(data[: len(data) // 2])
                    stream.flush()
                maybe(f"write {name}")
                return write(data)

            return type("Half", (), {
                "write": staticmethod(half), "flush": stream.flush, "fileno": stream.fileno,
                "__enter__": lambda self: self, "__exit__": lambda self, *_: stream.close(),
            })()  # fmt: skip
        return stream

    def step(self: Trainer) -> float:
        maybe("step")
        return advance(self)

    os.replace, Path.open, Trainer._advance = rename, open_, step  # type: ignore[assignment,method-assign]


def train(pairs: Path, out: Path) -> None:
    """Train for six steps, with everything that a run writes."""
    config = TrainConfig(
        size="tiny", steps=6, batch_size=1, patch=16, validate_every=2, validation_steps=1,
        validation_samples=1, snapshots=3, ema=0.1, augment={"simulated": 0.5},  # type: ignore[arg-type]
    )  # fmt: skip
    Trainer(find_pairs(pairs), config, out, "cpu").run(lambda *_: None)


def main() -> None:
    """Print one line per process: what happened to it."""
    pairs, out, whole = map(Path, sys.argv[1:])
    for moment, count in [*MOMENTS, ("never", 0)]:
        child = os.fork()
        if not child:
            if moment != "never":
                kill_at(moment, count)
            train(pairs, out)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{moment}: {'killed' if status == -signal.SIGKILL else status}", flush=True)
    train(pairs, whole)


if __name__ == "__main__":
    main()
