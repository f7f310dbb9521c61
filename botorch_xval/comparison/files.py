"""Files of a long run: written in full or not at all, and by one run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from platform import node
from threading import Lock
from typing import TextIO
from warnings import warn
from weakref import WeakValueDictionary

from botorch.exceptions.warnings import BotorchWarning

try:
    import fcntl
except ImportError:  # Windows, where runs of one process only exclude each other
    fcntl = None  # type: ignore[assignment]

__all__ = ["only_run", "write_in_full"]

# What this process has locked, since the system's locks are between processes. Under
# the number of the process, since one that is forked inherits these and no lock.
_held: WeakValueDictionary[tuple[int, Path], TextIO] = WeakValueDictionary()
_guard = Lock()


def write_in_full(path: Path, text: str) -> None:
    """Write a file that is there in full or as before, whatever happens.

    The content is on the disk before it gets its name, and so is the name in the end:
    neither a process that is killed nor a power cut leaves half a file. The folder must
    be that of one run, see :func:`only_run`.

    Args:
        path: The file.
        text: Its content.

    Raises:
        OSError: If it cannot be written, such as on a full disk; it is as before.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        with open(draft, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink()  # room for others
        if isinstance(error, OSError):
            raise _not_written(path, error) from error
        raise


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Lock a folder, which is made if need be, against other runs.

    The lock is the system's, on the file `lock` in the folder. It ends with the
    process, however that ends, and processes that it has started do not inherit it.

    Args:
        folder: The folder.

    Raises:
        ValueError: If another run has the folder.
        OSError: If the folder cannot be made or written to.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = os.getpid(), path.resolve()
        with _guard:
            # To open and close the file once more would end the lock.
            if (held := _held.get(key)) is not None and not held.closed:
                raise _taken(folder, "one of this process")
            _held[key] = file = open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise _not_written(path, error) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                file.seek(0)
                raise _taken(folder, file.read() or "one") from None
            except OSError as error:
                warn(
                    f"{folder}: the file system has no locks ({error.strerror}); see "
                    "that no other run writes there at the same time",
                    BotorchWarning,
                    stacklevel=6,
                )
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {node()}")
            file.flush()
        except OSError as error:
            raise _not_written(path, error) from error
        yield


def _taken(folder: Path, holder: str) -> ValueError:
    return ValueError(
        f"folder: expected no other run in {folder}, got {holder}; wait until it has "
        "ended, or use another folder"
    )


def _not_written(path: Path, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"could not write {path} ({error.strerror}); see that there is room, and the "
        "right to write, and make the same call again: it goes on from what is kept",
    )
