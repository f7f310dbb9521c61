"""Executors by the names that the command line has for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import RLock, Thread
from time import sleep

import torch
from tqdm import tqdm

__all__ = ["open_executor"]

PATIENCE = 10  # seconds to wait for a scheduler


def _begin_worker() -> None:
    torch.set_num_threads(1)
    tqdm.set_lock(RLock())  # its own is a semaphore, which a killed process leaks
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed, which a pool's worker survives."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that begin here are not interrupted: Ctrl-C is for their parent.

    Else each would end with a traceback of its own. Where there are no masks of
    signals, on Windows, they still do.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def open_executor(name: str | None) -> Iterator[Executor | None]:
    """An executor, shut down in the end.

    Its workers have one thread each: a cell is too small for more.

    Args:
        name: None: no executor; "processes" or "dask": as many processes as there are
            processors; else the address of a Dask scheduler.

    Raises:
        ValueError: If there is no Dask, or no scheduler at the address.
    """
    if name is None:
        yield None
    elif name == "processes":
        with ProcessPoolExecutor(
            os.cpu_count(), get_context("spawn"), _begin_worker
        ) as pool:
            with _without_interrupts():
                for _ in range(os.cpu_count() or 1):  # a process each
                    pool.submit(int)
            try:
                yield pool
            except BaseException:  # waits for no cell
                pool.shutdown(wait=False, cancel_futures=True)
                sleep(0.2)  # in which it forgets them: Python 3.11 stumbles over them
                for process in active_children():
                    process.terminate()
                raise
    elif name == "dask" or "://" in name:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError(
                f"--executor: expected Dask for {name!r}, got no package "
                "`distributed`; pip install 'botorch-xval[dask]'"
            ) from error
        try:
            with _without_interrupts():
                client = (
                    Client(n_workers=os.cpu_count(), threads_per_worker=1)
                    if name == "dask"
                    else Client(name, timeout=PATIENCE)
                )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--executor: expected the address of a Dask scheduler, got {name!r} "
                f"({error}); check that it runs, such as by `dask scheduler`"
            ) from error
        with client:
            if name == "dask":
                client.run(torch.set_num_threads, 1)
            yield client.get_executor()
    else:
        raise ValueError(
            "--executor: expected 'processes', 'dask' or an address such as "
            f"'tcp://host:8786', got {name!r}; leave it out for this process"
        )
