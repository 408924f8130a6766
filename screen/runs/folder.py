"""The run's folder: where it lies, whom it belongs to, and one run at a time in it.

Everything below it is private (files 0600, folders 0700): reports name patients.
"""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from screen.errors import LedgerError, UsageError
from screen.files import private_files, remove_drafts
from screen.ledger import Ledger
from screen.report import REPORT_NAMES, remove_reports
from screen.report.tables import TIMINGS_NAME
from screen.runs.identifiers import Identifiers
from screen.runs.part import Part

LEDGER_NAME = "ledger.sqlite"
_LOCK_NAME = ".lock"
_NO_LOCK = "{}: a link or something else that is no file of ours; remove it, or choose another --out"


def default_folder(first_input: Path, identifiers: Identifiers, part: Part | None) -> Path:
    """The folder if none is given: `./dicom_dir` -> `dicom_dir-screened`; a pseudonym if names are hidden.

    Each part has its own: `dicom_dir-screened-2-of-3`.
    """
    # abspath, not resolve: a linked folder keeps the name that was typed.
    name = Path(os.path.abspath(first_input)).name or "root"  # noqa: PTH100
    of_part = "" if part is None else f"-{part.number}-of-{part.of}"
    return Path(f"{identifiers.file(name)}-screened{of_part}")


@contextmanager
def locked_folder(folder: Path, *, create: bool) -> Iterator[Path]:
    """The run's folder, private and held by this process alone; the kernel lets go of it if we die.

    create: make it if need be (an existing one must be empty or an earlier run's); else it must be there.
    Raises UsageError (no run's folder) and LedgerError (cannot be used; another run holds it).
    """
    if not create and not (folder / LEDGER_NAME).is_file():
        raise UsageError(f"{folder}: no folder of a run (no {LEDGER_NAME} in it)")
    with held_folder(folder, LEDGER_NAME, create=create):
        yield folder


@contextmanager
def held_folder(folder: Path, sign: str, *, create: bool = True) -> Iterator[None]:
    """A private folder that this process alone works in; the kernel lets go of it if we die.

    create: make it if need be; an existing one must be empty, or ours by a file of the name `sign`.
    Raises UsageError (other things lie in it) and LedgerError (cannot be used; somebody else holds it).
    """
    with private_files():
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True)
                _check_ours(folder, sign)
                folder.chmod(0o700)
            descriptor = _lock_file(folder / _LOCK_NAME)
        except FileExistsError as error:
            raise UsageError(f"{folder}: a file of that name is in the way; choose another --out") from error
        except OSError as error:
            raise LedgerError(
                f"{folder}: cannot be used as the run's folder ({error.strerror}); "
                "choose another --out, in a folder of your own"
            ) from error
        try:
            _lock(descriptor, folder)
            yield
        finally:
            os.close(descriptor)


def hold_to(earlier: dict[str, str], wanted: dict[str, str], folder: Path) -> None:
    """Hold who goes on in a folder to the settings of its ledger, empty in a new one. Raises UsageError."""
    names = [*wanted, *(name for name in earlier if name not in wanted)] if earlier else []
    told = ", ".join(
        f"{name} ({earlier.get(name, 'none')}, now {wanted.get(name, 'none')})"
        for name in names
        if earlier.get(name) != wanted.get(name)
    )
    if told:
        raise UsageError(
            f"{folder}: its earlier run differs in {told}; go on with the same, choose another folder, "
            "or start over with --fresh"
        )


def withdraw_reports(folder: Path, ledger: Ledger) -> None:
    """Take the folder's reports away, and what later nights would believe of them, that first."""
    ledger.forget_reports()
    remove_all_reports(folder)


def remove_all_reports(folder: Path) -> None:
    """Take away the reports and the timings."""
    (folder / TIMINGS_NAME).unlink(missing_ok=True)
    remove_drafts(folder / TIMINGS_NAME)
    remove_reports(folder)


def report_folder(folder: Path) -> Path:
    """A private folder for reports alone, made if need be. Raises UsageError if other things lie in it."""
    with private_files():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    if others := {entry.name for entry in os.scandir(folder)} - set(REPORT_NAMES):
        raise UsageError(f"{folder}: other things lie in it ({min(others)}); choose another --out")
    return folder


def _lock_file(path: Path) -> int:
    """A descriptor of it. Raises OSError, and LedgerError for what is no file: we write into it."""
    try:
        # A link that somebody planted would have us write into a file of their choice.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise LedgerError(_NO_LOCK.format(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LedgerError(_NO_LOCK.format(path))
    return descriptor


def _check_ours(folder: Path, sign: str) -> None:
    """Our folder or an empty one: reports replace files, and must not replace anybody else's."""
    names = {entry.name for entry in os.scandir(folder)}
    if names <= {_LOCK_NAME} or sign in names:
        return
    raise UsageError(f"{folder}: not empty and no folder of an earlier run; choose another --out")


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # SMB says of a held lock that it denies permission (fcntl(2) allows either), and of the file's bytes too.
    except (BlockingIOError, PermissionError) as error:
        holder = ""
        with suppress(OSError):
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        holder = holder or "unknown"
        raise LedgerError(f"{folder}: another run is at work in it ({holder}); wait for it") from error
    except OSError as error:
        raise LedgerError(f"{folder}: its file system knows no locks ({error.strerror})") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
