"""Executors by the names that the command line has for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import torch

__all__ = ["open_executor"]


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
            os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)
        ) as pool:
            yield pool
    elif name == "dask" or "://" in name:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError(
                f"--executor: expected Dask for {name!r}, got no package "
                "`distributed`; pip install 'botorch-xval[dask]'"
            ) from error
        try:
            client = (
                Client(n_workers=os.cpu_count(), threads_per_worker=1)
                if name == "dask"
                else Client(name, timeout=10)
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
            f"'tcp://host:8786', got {name!r}"
        )
