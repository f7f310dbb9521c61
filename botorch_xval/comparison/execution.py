"""Computing the cells of a comparison: here, or by any `concurrent.futures.Executor`.

A cell depends on nothing but its arguments. So it does not matter where, when and in
which order cells are computed, and a cell that is lost with a worker is computed again.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from time import monotonic
from typing import Any
from warnings import warn

from botorch.exceptions.warnings import BotorchWarning

from botorch_xval.comparison.store import Cell

__all__ = ["check_executor", "submit_cells"]


def submit_cells(
    compute: Callable[..., dict[str, Any]],
    cells: Sequence[Cell],
    arguments: Callable[[Cell], tuple[Any, ...]],
    executor: Executor,
    keep: Callable[[Cell, dict[str, Any]], None],
    fail: Callable[[Cell, Exception], None],
    end: float = math.inf,
) -> list[Cell]:
    """Compute cells by an executor.

    If the user interrupts, cells that wait are cancelled and finished ones are kept.
    When time is over, cells that wait are cancelled, and those that run are waited for.

    Args:
        compute: Computes a cell; a function that can be pickled.
        cells: The cells to compute.
        arguments: A function from a cell to the arguments of `compute`.
        executor: The executor.
        keep: Called with every finished cell and its outcome.
        fail: Called with every cell that has raised an error, and that.
        end: When time is over, by the monotonic clock.

    Returns:
        The cells that were lost with a worker, after one warning.

    Raises:
        ValueError: If the executor takes no cell, such as after its shutdown.
    """
    futures: dict[Future, Cell] = {}
    kept: set[Cell] = set()
    reason: BaseException | None = None

    def keep_once(future: Future) -> None:
        keep(futures[future], future.result())
        kept.add(futures[future])

    try:
        for cell in cells:
            own = arguments(cell)
            try:
                futures[executor.submit(compute, *own)] = cell
            except Exception as error:  # of any kind
                if _is_loss(error):
                    reason = error
                    break
                raise ValueError(
                    "executor: expected one that takes cells, got "
                    f"{type(executor).__name__} with {type(error).__name__} ({error}); "
                    "open a new one, and make the same call before it is shut down"
                ) from error
        dropped: set[Cell] = set()
        for future in _as_completed(futures, end, dropped):
            failure = CancelledError() if future.cancelled() else future.exception()
            if failure is None:
                keep_once(future)
            elif _is_loss(failure):
                reason = failure
            elif isinstance(failure, Exception):
                fail(futures[future], failure)
                kept.add(futures[future])
            else:
                raise failure
    except BaseException:
        for future in futures:
            future.cancel()
        for future, cell in futures.items():
            done = future.done() and not future.cancelled()
            if done and future.exception() is None and cell not in kept:
                keep_once(future)
        raise
    lost = [cell for cell in cells if cell not in kept | dropped]
    if lost:
        warn(
            f"the executor lost {len(lost)} of {len(cells)} cells "
            f"({type(reason).__name__}: {reason}); they are computed in this process",
            BotorchWarning,
            stacklevel=3,
        )
    return lost


def _as_completed(
    futures: Mapping[Future, Cell], end: float, dropped: set[Cell]
) -> Iterator[Future]:
    """Futures as they complete; those that time did not reach go to `dropped`."""
    waiting = set(futures)
    seconds = None if end == math.inf else max(end - monotonic(), 0.0)
    try:
        for future in as_completed(futures, seconds):
            waiting.discard(future)
            yield future
    except TimeoutError:
        late = {future for future in waiting if future.cancel()}
        dropped |= {futures[future] for future in late}
        yield from as_completed(waiting - late)


def check_executor(executor: Executor | None, values: Mapping[str, Any]) -> None:
    """Check before any work that an executor is one and can be sent all arguments.

    Args:
        executor: The executor. For Python's `ProcessPoolExecutor` and that of Dask it
            is checked what can be sent.
        values: What is to be sent, by name.

    Raises:
        ValueError: If it is no executor, or if something cannot be pickled.
    """
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise ValueError(
            "executor: expected a concurrent.futures.Executor, got "
            f"{type(executor).__name__}; of a Dask client take client.get_executor()"
        )
    dumps: Callable[[Any], bytes] = pickle.dumps
    remedy = "use functions and classes that a module defines"
    if type(executor).__module__.startswith("distributed."):
        client = getattr(executor, "_client", None)
        if getattr(client, "status", "running") == "closed":  # may wait forever
            raise ValueError(
                "executor: expected one that takes cells, got that of a closed Dask "
                "client; check that the scheduler runs, and open a new client"
            )
        import cloudpickle  # Dask's, which knows functions of any origin

        dumps = cloudpickle.dumps
        remedy = "use what can be copied: no locks, files or connections"
    elif not isinstance(executor, ProcessPoolExecutor):
        return
    for name, value in values.items():
        try:
            dumps(value)
        except Exception as error:  # of any kind
            raise ValueError(
                f"executor: expected arguments that can be pickled, got {name} "
                f"({error}); {remedy}, or functools.partial of them"
            ) from error


def _is_loss(error: BaseException) -> bool:
    """Whether a worker or its scheduler died, as opposed to an error of the cell."""
    # Dask's errors are known by their names, so that Dask need not be installed.
    names = {kind.__name__ for kind in type(error).__mro__}
    died = names & {"KilledWorker", "NoWorkerError", "ClosedClientError"}
    return bool(died) or isinstance(error, (BrokenExecutor, CancelledError))
