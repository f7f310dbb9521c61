"""Processes that tests start, and what makes their lives hard on any machine."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

__all__ = ["alive", "begin", "limit_files", "open_to_all", "outcome_of", "wait_for"]
__all__ += ["without_rights"]


def begin(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a function of a module in a process, at once: a server has the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["botorch_xval.comparison.compare"])
    process = context.Process(target=_alone, args=(function, *arguments))
    process.start()
    return process


def outcome_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns or raises in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = begin(_send, sender, function, *arguments)
    sender.close()
    outcome = receiver.recv()
    process.join()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def wait_for(
    condition: Callable[[], object], process: BaseProcess | None = None
) -> None:
    """Wait until something is true, at most two minutes and while a process lives."""
    patience = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < patience
        assert process is None or process.is_alive()
        time.sleep(0.002)


def alive(group: int) -> list[str]:
    """The processes of a group, but those that only wait to be counted as dead."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    found = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [
        args for pgid, stat, *args in found if int(pgid) == group and "Z" not in stat
    ]


def _alone(function: Callable[..., Any], *arguments: Any) -> None:
    torch.set_num_threads(1)
    function(*arguments)


def _send(sender: Any, function: Callable[..., Any], *arguments: Any) -> None:
    try:
        sender.send(function(*arguments))
    except Exception as error:
        error.__cause__ = None
        sender.send(error)


def limit_files(size: int) -> None:
    """No file of this process grows beyond so many bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def without_rights() -> None:
    """This process is no superuser any more, to whom all folders are open."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder in which all may read: those of pytest are for their owner only."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    try:
        yield path
    finally:
        for each in [path, *path.rglob("*")]:
            if each.is_dir():
                each.chmod(0o755)
        shutil.rmtree(path)
