"""How many folds' models fit into memory at a time."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from botorch_xval.cross_validation.fold_models import FoldData

__all__ = ["blocks_of", "free_memory"]

logger = logging.getLogger(__name__)
SHARE = 0.25  # of the free memory, by default
# What a model of a fold takes beside its data: modules, parameters, records.
BYTES_OF_MODEL = 200_000
# Copies of its data: the model's own, stacked, those of a kernel, those that predict.
# Measured with 500 and 1,000 rows, 6 and 20 columns: 4.5.
COPIES = 6
LEAST = 8  # folds: fewer gain nothing
_CGROUP = Path("/sys/fs/cgroup")


def blocks_of(
    numbers: Sequence[int], data: FoldData, max_memory: float | None
) -> Iterator[list[int]]:
    """Folds in blocks whose models take no more than a bound.

    Args:
        numbers: Of the folds.
        data: Theirs.
        max_memory: GiB; None for a quarter of what is free.

    Yields:
        Numbers of the folds of a block. Blocks are of equal size, as nearly as may be.
    """
    n, d = data.train_X.shape
    m = data.train_Y.shape[-1]
    size = data.train_X.element_size()
    own = BYTES_OF_MODEL + COPIES * size * n * m * (d + 2)
    bound = SHARE * free_memory(data.train_X.device)
    if max_memory is not None:
        bound = max_memory * 2**30
    count = len(numbers)
    at_once = count if own * count <= bound else max(LEAST, int(bound // own))
    blocks = -(-count // at_once)
    ends = [count * (b + 1) // blocks for b in range(blocks)]
    for begin, end in zip([0, *ends], ends, strict=False):
        if blocks > 1:
            logger.info(
                "folds %d to %d of %d, as many as %.2f GiB hold",
                begin + 1,
                end,
                count,
                bound / 2**30,
            )
        yield list(numbers[begin:end])


def free_memory(device: torch.device) -> float:
    """Bytes that are free, or that a container may still take; infinite if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    found = math.inf
    with suppress(OSError, ValueError, AttributeError):
        found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text()
        kibibytes = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
        found = 1024.0 * int(kibibytes[1])  # type: ignore[index]
    with suppress(OSError, ValueError, TypeError):  # of a container, by cgroup v2
        limit, used = (  # "max" is no number
            int(_CGROUP.joinpath(name).read_text())
            for name in ("memory.max", "memory.current")
        )
        text = _CGROUP.joinpath("memory.stat").read_text()
        # What is used has the files in the cache, which give way.
        files = re.search(r"^inactive_file (\d+)$", text, re.MULTILINE)
        used -= int(files[1])  # type: ignore[index]
        found = min(found, max(0.0, float(limit - used)))
    return found
