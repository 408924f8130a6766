"""INPUT as a whole: where its files come from, whether it is still there, and how errors may name it."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from screen.discover import Pause, Source, Step, discover_in_steps, discover_listed, key_from_path
from screen.errors import InputError
from screen.runs.identifiers import Identifiers

_GONE = 100
"""Files of a list in a row whose folders are gone: then it is the disk."""


class Inputs:
    """What was given: folders and files, or a list of paths that is read while it is screened."""

    def __init__(
        self, paths: Sequence[Path], listed: Iterable[Path | Pause] | None, identifiers: Identifiers
    ) -> None:
        """Raises InputError if paths are relative to a folder that is gone."""
        if listed is not None or not all(path.is_absolute() for path in paths):
            try:
                Path.cwd()
            except OSError as error:
                raise InputError("the current folder is gone: change to one that is there") from error
        self._paths = paths
        self._listed = listed
        self._identifiers = identifiers
        self._folders = {path: _folder_identity(path) for path in paths}

    def sources(self, out: Path) -> Iterator[Step]:
        """Every file once, but for what lies in `out`, with pauses in which to look at signals.

        Raises InputError at once if an INPUT is not there.
        """
        with self.errors_named():
            if self._listed is None:
                return discover_in_steps(self._paths, out)
            return discover_listed(self._listed, out)

    @property
    def shown(self) -> list[str]:
        """As reports may show them."""
        if self._listed is not None:
            return ["-"]
        return [self._identifiers.file(key_from_path(os.fsencode(path))) for path in self._paths]

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Within, an InputError names its path only if it may be shown: a path may name a patient."""
        try:
            yield
        except InputError:
            if not self._identifiers.hides:
                raise
            raise InputError("an INPUT cannot be found or has vanished; check the paths") from None

    def check(self, source: Source, in_a_row: int) -> None:
        """A file cannot be reached, one of so many in a row. Raises InputError if it is the disk's fault."""
        self.check_still_there()
        if self._listed is not None and in_a_row >= _GONE and not os.path.exists(source.path.parent):  # noqa: PTH110
            raise InputError(
                f"{source.path.parent}: gone, like the {in_a_row - 1} files listed before; see to the disk "
                "and run again"
            )

    def check_still_there(self) -> None:
        """Raises InputError: a disk that went away in the night leaves an empty folder, or none."""
        for path in self._paths:
            before = self._folders[path]
            if not os.path.exists(path) or (before is not None and before != _folder_identity(path)):  # noqa: PTH110
                raise InputError(f"{path}: vanished while it was screened; see to it and run again")


def _folder_identity(path: Path) -> tuple[int, int] | None:
    """None if it is no folder, or not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
