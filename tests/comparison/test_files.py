"""Full disks, folders that are closed, and locks that end with their processes."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botorch.exceptions.warnings import BotorchWarning
from children import (
    begin,
    limit_files,
    open_to_all,
    outcome_of,
    wait_for,
    without_rights,
)

from botorch_xval.comparison.files import only_run, write_in_full

# A test of NUTS in the same process has imported JAX, which warns of forks.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

# Written in full


def test_a_process_killed_while_it_writes_leaves_no_half_file(tmp_path, monkeypatch):
    write_in_full(tmp_path / "file", "before")

    def killed(*paths: object) -> None:
        raise SystemExit

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        write_in_full(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"


def write_much(path: Path) -> None:
    limit_files(1000)
    write_in_full(path, "after" * 1000)


def test_a_full_disk_is_named_and_the_file_as_before(tmp_path):
    path = tmp_path / "file"
    write_in_full(path, "before")
    with pytest.raises(OSError, match=f"could not write {path} .*; see that") as caught:
        outcome_of(write_much, path)
    assert caught.value.errno == errno.EFBIG
    assert [each.name for each in tmp_path.iterdir()] == ["file"]  # and no draft
    assert path.read_text() == "before"


def write_without_rights(path: Path) -> None:
    without_rights()
    write_in_full(path, "after")


def test_a_closed_folder_is_named():
    with open_to_all() as folder:
        write_in_full(folder / "file", "before")
        folder.chmod(0o555)
        with pytest.raises(PermissionError, match="could not write .*file .*the right"):
            outcome_of(write_without_rights, folder / "file")
        assert (folder / "file").read_text() == "before"


# One run at a time


def hold(folder: Path, with_a_child: bool) -> None:
    with only_run(folder):
        if with_a_child and os.fork() == 0:  # a worker that outlives its pool
            (folder / "child").write_text(str(os.getpid()))
            time.sleep(60)
            os._exit(0)
        (folder / "held").touch()
        time.sleep(60)


@pytest.mark.parametrize("with_a_child", [False, True])
def test_a_lock_is_that_of_a_process_and_ends_with_it(tmp_path, with_a_child):
    folder = tmp_path / "new" / "folder"
    process = begin(hold, folder, with_a_child)
    wait_for((folder / "held").exists)
    for _ in range(2):  # to be refused does not end it
        with pytest.raises(ValueError, match=f"got process {process.pid} on .*; wait"):
            with only_run(folder):
                raise AssertionError
    process.kill()
    process.join()
    with only_run(folder):  # at once
        pass
    if with_a_child:
        os.kill(int((folder / "child").read_text()), 9)


def enter(folder: Path) -> None:
    with only_run(folder):
        pass


def test_a_process_has_a_folder_once(tmp_path):
    with only_run(tmp_path), ThreadPoolExecutor(1) as other:
        for same in (tmp_path, tmp_path / ".." / tmp_path.name):
            with pytest.raises(ValueError, match="no other run in .*one of this"):
                other.submit(enter, same).result()
        other.submit(enter, tmp_path / "another").result()
        with pytest.raises(ValueError, match=f"got process {os.getpid()} on"):
            outcome_of(enter, tmp_path)  # the refused ones did not end the lock
    enter(tmp_path)
    with pytest.raises(ZeroDivisionError), only_run(tmp_path):
        raise ZeroDivisionError
    outcome_of(enter, tmp_path)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", unable)  # there is none such everywhere
    with pytest.warns(BotorchWarning, match="the file system has no locks .*; see"):
        enter(tmp_path)


def enter_without_rights(folder: Path) -> None:
    without_rights()
    enter(folder)


def test_no_lock_in_a_closed_folder():
    with open_to_all() as folder:
        folder.chmod(0o555)
        for path in (folder, folder / "new"):
            with pytest.raises(PermissionError, match=f"not write {path}.*the right"):
                outcome_of(enter_without_rights, path)
