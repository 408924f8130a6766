"""`--metrics FILE`: how a command ended, for Prometheus: a file for node_exporter's textfile collector.

Written at the end whatever that is, but for a kill: an alert goes by the age of the last success.
"""

import csv
import json
import os
import re
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from screen import __version__
from screen.errors import ScreenError, UsageError

PERCENTILES = (10, 50, 90, 99)
_MOST_BYTES = 1 << 16
_SUCCESSES = (0, 3)
_SUCCESS = "cxr_screen_last_success_timestamp_seconds"

metrics_option: Callable[[Any], Any] = click.option(
    "--metrics",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.prom",
    help="Write how it ended for Prometheus (node_exporter's textfile), after a failure too.",
)


@dataclass(slots=True)
class Measured:
    """What a command tells of itself. files: by status. night: a run's folder, with its reports."""

    exit_code: int = 0
    files: dict[str, int] = field(default_factory=dict)
    night: Path | None = None


@contextmanager
def metrics_file(path: Path | None, command: str) -> Iterator[Measured]:
    """Around a command that sets `exit_code`, or ends with an exception. None: nothing is written.

    Raises UsageError before it begins if there is no such folder. A file that cannot be written in the end
    fails nothing.
    """
    if path is not None and not path.resolve().parent.is_dir():
        raise UsageError(f"--metrics {path}: its folder is not there")
    measured, began = Measured(), time.time()
    try:
        yield measured
    except BaseException as error:
        measured.exit_code = _exit_code(error)
        raise
    finally:
        if path is not None:
            _write(path, command, measured, began)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, ScreenError) else 1


def _write(path: Path, command: str, measured: Measured, began: float) -> None:
    from screen.files import whole_file

    text = "".join(_lines(command, measured, began, _last_success(path)))
    try:
        with whole_file(path, 0o644) as stream:
            os.fchmod(stream.fileno(), 0o644)  # whoever collects it is another user, whatever our umask
            stream.write(text.encode())
    except OSError as error:
        said = {"event": "metrics_lost", "message": f"{path}: cannot be written ({error.strerror})"}
        click.echo(json.dumps(said), err=True)


def _last_success(path: Path) -> str | None:
    from screen.files import read_bounded

    try:
        earlier = read_bounded(path, _MOST_BYTES) or b""
    except OSError:
        return None
    found = re.search(rf"^{_SUCCESS}\{{[^}}]*\}} ([0-9]+)$".encode(), earlier, re.M)
    return found[1].decode() if found else None


def _lines(command: str, measured: Measured, began: float, last_success: str | None) -> Iterator[str]:
    now = time.time()
    said = {"command": command}
    success = str(int(now)) if measured.exit_code in _SUCCESSES else last_success

    def metric(name: str, help_text: str, *values: tuple[dict[str, str], object]) -> Iterator[str]:
        if values:
            yield f"# HELP {name} {help_text}\n# TYPE {name} gauge\n"
        for labels, value in values:
            words = ",".join(f'{key}="{_escaped(text)}"' for key, text in (said | labels).items())
            yield f"{name}{{{words}}} {value}\n"

    last = "cxr_screen_last_run"
    yield from metric(f"{last}_timestamp_seconds", "When the command last ended, however.", ({}, int(now)))
    if success is not None:
        yield from metric(_SUCCESS, "When it last ended complete, with exit code 0 or 3.", ({}, success))
    yield from metric(f"{last}_exit_code", "Exit code of the last time.", ({}, measured.exit_code))
    yield from metric(f"{last}_duration_seconds", "Wall time of the last time.", ({}, f"{now - began:.1f}"))
    build = {"version": __version__}
    files, ratios = measured.files, []
    if measured.night is not None and measured.exit_code in _SUCCESSES:
        summary = json.loads((measured.night / "summary.json").read_bytes())
        files = summary["counts"]["status"]
        ratios = list(_percentiles(measured.night))
        model = summary["model"]
        build["model"] = f"{model['name']} {model['version']}"
        build["weights"] = summary["digests"]["weights"][:12]
    counted = [({"status": status}, count) for status, count in files.items()]
    yield from metric(f"{last}_files", "Files, films or objects of the last time.", *counted)
    yield from metric(
        f"{last}_probability_ratio", "Calibrated probability at a percentile of films.", *ratios
    )
    yield from metric("cxr_screen_build_info", "What is at work.", (build, 1))


def _percentiles(night: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Of each finding's probability, over all screened films."""
    import numpy as np

    found: dict[str, array[float]] = {}
    # The former is there if the model has several.
    tables = [path for name in ("findings.csv", "results.csv") if (path := night / name).exists()]
    if not tables:
        return  # a part has none: scores are told of the whole night
    with tables[0].open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            if line["probability"]:
                found.setdefault(line["finding"], array("d")).append(float(line["probability"]))
    for finding, values in found.items():
        for percentile, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True):
            yield {"finding": finding, "percentile": str(percentile)}, f"{value:.6f}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
