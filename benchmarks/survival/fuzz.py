"""Damaged files through the real decode workers: each must end as exactly one result, whatever is in it."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.material.mutations import mutated
from benchmarks.material.seeds import seeds
from screen.codes import Reason
from screen.decode import Decoded, DecodePool
from screen.decode.pool import DECODE
from screen.discover import Source
from screen.errors import ScreenError
from screen.film import Unscreened
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.shortcuts import FULL, DecodePolicy, Shortcut

FILE_TIMEOUT = 30.0
"""Seconds; the files take milliseconds, but some damage makes CharLS work for seconds."""
_SPEC = PreprocessSpec(size=32)
_AT_A_TIME = 1500
"""Files, in full and with every shortcut in turns."""
_KEPT = frozenset({Reason.DECODER_CRASHED, Reason.TIMED_OUT})
"""Allowed as rows, but worth a look: the files are kept."""


@dataclass(slots=True)
class Figures:
    """results: how files ended, by reason (`screened` if they have a square). broken: what broke the rule."""

    machine: dict[str, str]
    seeds: int
    seed: int
    files: int = 0
    seconds: float = 0.0
    results: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def fuzz(
    corpora: Sequence[Path],
    count: int,
    seed: int,
    seconds: float | None,
    workers: int,
    keep: Path,
    decode: str = DECODE,
) -> Figures:
    """Send up to `count` mutated files through a pool of `workers`; what breaks the rule goes to `keep`.

    File number i of a seed is the same in every run over the same corpora. decode: what workers call.
    """
    originals = seeds(corpora)
    figures = Figures(machine(), len(originals), seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory_disk()) as scratch:
        files = _files(originals, count, seed, Path(scratch))
        run = _Run(figures, workers, keep, decode)
        more = True
        while more:
            if seconds is not None and time.monotonic() - started > seconds:
                break
            more = run.decode(files)
    figures.seconds = time.monotonic() - started
    return figures


def _files(originals: Sequence[bytes], count: int, seed: int, folder: Path) -> Iterator[Source]:
    for index in range(count):
        path = folder / f"{seed}-{index:07}"
        path.write_bytes(mutated(originals, Random(f"{seed}:{index}")))
        status = path.stat()
        yield Source(path, path.name, status.st_size, status.st_mtime_ns)


class _Run:
    def __init__(self, figures: Figures, workers: int, keep: Path, decode: str) -> None:
        self._figures = figures
        self._workers = workers
        self._keep = keep
        self._decode = decode
        self._open: dict[Path, Source] = {}
        self._policies = cycle((FULL, DecodePolicy(frozenset(Shortcut))))
        self._policy = FULL

    def decode(self, files: Iterator[Source]) -> bool:
        """The next files, and whether there were any. A pool that breaks is replaced."""
        taken = 0

        def noted() -> Iterator[Source]:
            nonlocal taken
            for source in islice(files, _AT_A_TIME):
                taken += 1
                self._open[source.path] = source
                yield source

        self._policy = next(self._policies)
        last_result = time.monotonic()
        try:
            with self._pool(self._workers) as pool:
                for finished in pool.map(noted()):
                    for source, outcome in finished:
                        self._ended(source, outcome.result)
                        last_result = time.monotonic()
                    if time.monotonic() - last_result > 12 * FILE_TIMEOUT:
                        self._broke("hang", "no result for a long time")
                        break
            for source in list(self._open.values()):
                self._broken(source, "lost", "the pool forgot it")
        except ScreenError as error:
            self._one_by_one(error)
        self._figures.files += taken
        return bool(taken)

    def _pool(self, workers: int) -> DecodePool:
        limits = Limits(seconds=FILE_TIMEOUT)
        return DecodePool(workers, _SPEC, limits, self._policy, decode=self._decode)

    def _broke(self, kind: str, why: str) -> None:
        for source in list(self._open.values()):
            self._broken(source, kind, why)

    def _one_by_one(self, error: Exception) -> None:
        """Which of the files in flight was it?"""
        guilty = False
        for source in list(self._open.values()):
            try:
                with self._pool(1) as pool:
                    for one, outcome in chain.from_iterable(pool.map([source])):
                        self._ended(one, outcome.result)
            except ScreenError as own:
                guilty = True
                self._broken(source, "bug", str(own))
        if not guilty:
            self._figures.broken.append(f"nobody: {error}")

    def _ended(self, source: Source, result: Decoded | Unscreened) -> None:
        if self._open.pop(source.path, None) is None:
            self._figures.broken.append(f"{source.key}: two results")
            return
        if isinstance(result, Unscreened) and result.reason is Reason.READER_ERROR:
            self._save(source, "bug", result.detail)
            self._figures.broken.append(f"{source.key}: {result.detail}")
        elif isinstance(result, Unscreened):
            self._count(str(result.reason))
            if result.reason in _KEPT:
                self._save(source, str(result.reason), result.detail)
        else:
            self._count("screened")
        source.path.unlink()

    def _count(self, ending: str) -> None:
        self._figures.results[ending] = self._figures.results.get(ending, 0) + 1

    def _broken(self, source: Source, kind: str, why: str) -> None:
        self._figures.broken.append(f"{source.key}: {kind}: {why.strip().splitlines()[-1]}")
        self._save(source, kind, why)
        del self._open[source.path]
        source.path.unlink()

    def _save(self, source: Source, kind: str, why: str) -> None:
        folder = self._keep / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / source.key).write_bytes(source.path.read_bytes())
        (folder / f"{source.key}.txt").write_text(why + "\n")


def memory_disk() -> Path | None:
    """Files that live for milliseconds need no disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


def report(figures: Figures, console: Console) -> None:
    """For people."""
    table = Table("ended as", "files", title=f"{figures.files} damaged files from {figures.seeds}")
    for name, number in sorted(figures.results.items(), key=lambda item: -item[1]):
        table.add_row(name, str(number))
    console.print(table)
    console.print(f"{figures.files / max(figures.seconds, 1e-9):.0f} files a second, {figures.seconds:.0f} s")
    for line in figures.broken:
        console.print(f"BROKEN {line}", markup=False)


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "fuzz", **asdict(figures)}
