"""INPUT as a whole: where its files come from, whether it is still there, and how errors may name it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from screen.discover import Source, discover, discover_listed, key_from_path
from screen.errors import InputError
from screen.run.identifiers import Identifiers

_GONE = 100
"""Files of a list in a row whose folders are gone: then it is the disk."""


class Inputs:
    """What was given: folders and files, or a list of paths that is read while it is screened."""

    def __init__(
        self, paths: Sequence[Path], listed: Iterable[Path] | None, identifiers: Identifiers
    ) -> None:
        self._paths = paths
        self._listed = listed
        self._identifiers = identifiers
        self._folders = {path: _identity(path) for path in paths if path.is_dir()}

    def sources(self, out: Path) -> Iterator[Source]:
        """Every file once, but for what lies in `out`. Raises InputError at once if an INPUT is not there."""
        with self.errors_named():
            return discover(self._paths, out) if self._listed is None else discover_listed(self._listed, out)

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
        if self._listed is not None and in_a_row >= _GONE and not source.path.parent.exists():
            raise InputError(
                f"{source.path.parent}: gone, like the {in_a_row - 1} files listed before; see to the disk "
                "and run again"
            )

    def check_still_there(self) -> None:
        """Raises InputError: a disk that went away in the night leaves an empty folder, or none."""
        for path in self._paths:
            now = _identity(path)
            if now is None or (path in self._folders and now != self._folders[path]):
                raise InputError(f"{path}: vanished while it was screened; see to it and run again")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
