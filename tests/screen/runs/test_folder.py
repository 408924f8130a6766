"""A run's folder: nothing that somebody planted there is written through."""

import os
import socket
from pathlib import Path

import pytest

from screen.errors import LedgerError
from screen.runs.folder import LEDGER_NAME, locked_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an earlier run, with the lock taken away."""
    out = tmp_path / "out"
    out.mkdir()
    (out / LEDGER_NAME).touch()
    return out


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_for_a_lock_is_refused_and_not_followed(folder: Path, create: bool, there: bool) -> None:
    other = folder.parent / "other"
    if there:
        other.write_text("precious")
    (folder / ".lock").symlink_to(other)
    with pytest.raises(LedgerError, match=r"\.lock: a link"), locked_folder(folder, create=create):
        pass
    assert other.exists() == there
    assert not there or other.read_text() == "precious"


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_what_is_no_file_is_refused(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "pipe":
        os.mkfifo(folder / ".lock")
    elif kind == "folder":
        (folder / ".lock").mkdir()
    else:
        monkeypatch.chdir(folder)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(".lock")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(LedgerError, match="no file of ours"), locked_folder(folder, create=True):
        pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_lock_is_private_and_says_who_holds_it(folder: Path) -> None:
    with locked_folder(folder, create=True):
        assert f"process {os.getpid()} on " in (folder / ".lock").read_text()
        assert (folder / ".lock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(LedgerError, match="another run"), locked_folder(folder, create=False):
            pass


def test_a_lock_that_a_windows_share_denies_is_somebodys(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("screen.runs.folder.fcntl.flock", denied)
    monkeypatch.setattr("screen.runs.folder.os.pread", denied)
    with pytest.raises(LedgerError, match="another run is at work"), locked_folder(folder, create=False):
        pass
