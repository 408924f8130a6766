"""Keys in the user's configuration folder: random, made on first use, and for their owner alone."""

import os
import secrets
import stat
from pathlib import Path

import click

from screen.errors import UsageError


def configuration_folder() -> Path:
    """Where this user's keys lie."""
    return Path(click.get_app_dir("cxr-screen"))


def secret_from_file(path: Path) -> str:
    """The text of a key file, which is made if there is none.

    Raises UsageError if others can read or replace it, OSError if it cannot be kept there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(path)
    with path.open(encoding="utf-8") as file:
        check_private(path, file.fileno())
        return file.read().strip()


def check_private(path: Path, descriptor: int) -> None:
    """Raises UsageError if an opened file is not ours, or if others can read or replace it."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path}: must be yours and only yours to read (chmod 600)")


def _create(path: Path) -> None:
    """A new random key, whole or not at all, unless there is one."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: of two runs that start together the first one's key stays.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
