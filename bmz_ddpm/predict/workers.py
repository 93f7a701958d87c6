"""Who computes the blocks: this process, one process per device, or a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..errors import ConfigError, EnvironmentUnusable, MissingDependency
from .blocks import Finished, Workshop, finish_block
from .plan import Block, Job

#: Blocks per worker that the scheduler knows of: enough that none waits, few enough to keep.
AHEAD = 4
#: A worker process keeps one model, which computes one block at a time.
_ONE_AT_A_TIME = threading.Lock()


def here(
    workshop: Workshop, blocks: Iterable[Block], tick: Callable[[], None]
) -> Iterator[Finished]:
    """Compute blocks in this process, calling `tick` after every tile."""
    for block in blocks:
        yield workshop.finish(block, tick)


@contextmanager
def connected(address: str, devices: tuple[str, ...], memory: int) -> Iterator[Any]:
    """Connect to a Dask cluster; without an address start one here, a process per device.

    Parameters
    ----------
    address : str
        Of a scheduler, e.g. "tcp://10.0.0.1:8786"; "" for none.
    devices : tuple of str
    memory : int
        Bytes that a process started here may use, after which it is started anew; 0: no limit.

    Raises
    ------
    MissingDependency
        If distributed is not installed.
    ConfigError
        If no scheduler answers.
    """
    try:
        import distributed
    except ImportError as error:
        what = "--scheduler" if address else "--device with several devices"
        raise MissingDependency("distributed", "scale", what) from error
    if address:
        try:
            found = distributed.Client(address, timeout=20, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"--scheduler {address}: no Dask scheduler answers "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__})",
                "check the address; it looks like tcp://HOST:8786",
            ) from error
        with found as client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=len(devices),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=memory or 0,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def on_cluster(
    client: Any, job: Job, blocks: Iterable[Block], devices: tuple[str, ...]
) -> Iterator[Finished]:
    """Compute blocks on the workers of a cluster; what a lost worker had goes to another.

    Every worker must have bmz-ddpm installed and see the same files under the same paths.

    Raises
    ------
    UserError
        As `finish_block` does.
    EnvironmentUnusable
        If workers die one after the other at a block, if they lack bmz-ddpm, or if the scheduler
        is lost.
    """
    import distributed

    rest = iter(blocks)
    ahead = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    waiting: set[Any] = set()

    def submit(block: Block) -> Any:
        future = client.submit(_on_worker, job, devices, block, pure=False)
        waiting.add(future)
        return future

    running = distributed.as_completed([submit(b) for b in islice(rest, ahead)], loop=client.loop)
    try:
        for future in running:
            finished = future.result()
            waiting.discard(future)
            for block in islice(rest, 1):
                running.add(submit(block))
            yield finished
    except distributed.KilledWorker as error:
        raise EnvironmentUnusable(
            "the cluster: several workers died one after the other at the same block",
            "do they have enough memory? a smaller --chunk or --tile needs less",
        ) from error
    except ModuleNotFoundError as error:
        raise EnvironmentUnusable(
            f"the cluster: its workers lack {error.name}", "install bmz-ddpm on every worker"
        ) from error
    except (OSError, distributed.CancelledError) as error:
        raise EnvironmentUnusable(
            f"the cluster: the scheduler was lost ({type(error).__name__})",
            "repeat the command: finished blocks are kept",
        ) from error
    finally:
        client.cancel(list(waiting), force=True)


def _on_worker(job: Job, devices: tuple[str, ...], block: Block) -> Finished:
    import distributed

    name = distributed.get_worker().name  # a number where `connected` started it
    device = devices[name % len(devices)] if isinstance(name, int) else devices[0]
    with _ONE_AT_A_TIME:
        return finish_block(job, device, block)
