"""Files to report: `screen run` beside its peers over the same films, and beside what its stages allow.

Everything takes turns in one process of measurement. What `screen run` takes is its whole command, start and
reports included; peers are measured warm. A night is long and a measurement short: so its rate beyond the
first film (the time of a run over one film taken off) stands beside it, and is held against the stages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import sources_in, thinned
from benchmarks.speed.peers import PLAIN_LOOP, Peer, decoders_of_pydicom, peers
from benchmarks.speed.screen_run import screen_run
from benchmarks.speed.stages import DecodeStage, decode_stage, network_rate, rate_allowed
from screen.backends import open_backend
from screen.decode import decode
from screen.discover import Source
from screen.film import Unscreened
from screen.machine import usable_cpus
from screen.model import Model, load_model
from screen.model.file import DEFAULT
from screen.readers import Limits
from screen.shortcuts import policy_from_entries

_SQUARES = 32
_PILOT = 2
"""Films that tell how long a peer's turn would be."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the command."""

    name: str
    device: str
    model: Path | None

    @property
    def options(self) -> list[str]:
        """Of `screen run`; nothing is flagged: a night draws 500 pictures at most, a short folder all."""
        model = ["--model", str(self.model)] if self.model else []
        return ["--device", self.device, "--threshold", "0.999999", *model]


@dataclass(slots=True)
class WayFigures:
    """One way over one folder, films a second; one_film: seconds, from start to exit.

    allowed: by the sum of the stages. reached: `beyond` over `allowed`. ratios: `run` over each peer and the
    first way; ratios_beyond: `beyond` likewise.
    """

    way: str
    batch_size: int = 0
    device: dict[str, str] = field(default_factory=dict)
    run: Turns = field(default_factory=Turns)
    one_film: Turns = field(default_factory=Turns)
    beyond: Turns = field(default_factory=Turns)
    network: Turns = field(default_factory=Turns)
    allowed: Turns = field(default_factory=Turns)
    reached: Turns = field(default_factory=Turns)
    ratios: dict[str, Turns] = field(default_factory=dict)
    ratios_beyond: dict[str, Turns] = field(default_factory=dict)


@dataclass(slots=True)
class FolderFigures:
    """All ways and peers over one folder. sample: files that each peer had; unread: those without a score.

    decode: films a second, from files to squares, all processors at it.
    """

    folder: str
    films: int = 0
    decode: Turns = field(default_factory=Turns)
    ways: dict[str, WayFigures] = field(default_factory=dict)
    peers: dict[str, Turns] = field(default_factory=dict)
    sample: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """missing: peers that cannot run here, and why. decoders: those that pydicom has, by syntax."""

    folders: list[FolderFigures]
    missing: dict[str, str]
    decoders: dict[str, tuple[str, ...]]
    machine: dict[str, str]


def ways(models: Sequence[Path | None], *, openvino: bool) -> list[Way]:
    """Every model by ONNX Runtime, and by OpenVINO if asked. None: the shipped one.

    Raises click.ClickException if two models could not be told apart by their names.
    """
    named = {DEFAULT if file is None else file.stem: file for file in models}
    if len(named) < len(models):
        raise click.ClickException("two models of one name: rename one of the files")
    devices = {"ONNX Runtime": "cpu"} | ({"OpenVINO": "openvino"} if openvino else {})
    return [
        Way(f"{name}, {runtime}", device, file)
        for runtime, device in devices.items()
        for name, file in named.items()
    ]


def measure(folders: Sequence[Path], chosen: Sequence[Way], turns: int, seconds: float) -> Figures:
    """Take turns; a peer's or stage's turn lasts about `seconds`, and so it has a sample of the films.

    Raises click.ClickException if a part fails or the models accept different decode shortcuts, ScreenError
    as `screen` does.
    """
    cores = usable_cpus()
    models = {way.name: load_model(way.model) for way in chosen}
    # Or one would be held against squares that the other makes.
    policies = [policy_from_entries(model.card.decode_policies) for model in models.values()]
    if any(policy != policies[0] for policy in policies):
        raise click.ClickException(
            "the models accept different decode shortcuts: give both 'screen export certify --policies all'"
        )
    found, missing = peers(models[chosen[0].name], cores)
    figures = Figures(
        [FolderFigures(str(folder)) for folder in folders], missing, decoders_of_pydicom(), machine()
    )
    sources = [sources_in([folder]) for folder in folders]
    with decode_stage(cores) as stage:
        for turn in range(turns):
            for folder, films, entry in zip(folders, sources, figures.folders, strict=True):
                for way in chosen:
                    _run(way, folder, films, entry)
                _peers(found, films, seconds, entry)
                _stages(stage, chosen, models, films, seconds, entry)
                _relate(entry, turn)
    return figures


def _run(way: Way, folder: Path, films: Sequence[Source], entry: FolderFigures) -> None:
    one = screen_run([films[0].path], *way.options)
    run = screen_run([folder], *way.options)
    mine = entry.ways.setdefault(way.name, WayFigures(way.name))
    entry.films = run.films
    mine.device, mine.batch_size = run.summary["device"], run.summary["batch_size"]
    mine.run.turns.append(run.films / run.seconds)
    mine.one_film.turns.append(one.seconds)
    mine.beyond.turns.append(max(0, run.films - 1) / max(1e-9, run.seconds - one.seconds))


def _peers(found: Sequence[Peer], films: Sequence[Source], seconds: float, entry: FolderFigures) -> None:
    pace = 1.0
    for peer in found:
        if peer.name == PLAIN_LOOP:
            pace, _ = peer.rate(thinned(films, _PILOT))
        # At least two batches for each of its workers.
        sample = thinned(films, max(2 * peer.workers, round(pace * peer.workers * seconds)))
        rate, scored = peer.rate(sample)
        entry.peers.setdefault(peer.name, Turns()).turns.append(rate)
        entry.sample[peer.name] = len(sample)
        entry.unread[peer.name] = len(sample) - scored


def _stages(
    stage: DecodeStage,
    chosen: Sequence[Way],
    models: dict[str, Model],
    films: Sequence[Source],
    seconds: float,
    entry: FolderFigures,
) -> None:
    first = models[chosen[0].name]
    policy = policy_from_entries(first.card.decode_policies)
    entry.decode.turns.append(stage.rate(films, first.card.preprocess, policy, seconds))
    squares = list(_squares(thinned(films, _SQUARES), first))
    for way in chosen:
        mine = entry.ways[way.name]
        with open_backend(models[way.name], way.device, mine.batch_size, usable_cpus()) as backend:
            mine.network.turns.append(network_rate(backend, squares, seconds))


def _squares(films: Sequence[Source], model: Model) -> Iterator[NDArray[np.uint8]]:
    for source in films:
        outcome = decode(
            source, model.card.preprocess, Limits(), policy_from_entries(model.card.decode_policies)
        )
        if not isinstance(outcome.result, Unscreened):
            yield outcome.result.square


def _relate(entry: FolderFigures, turn: int) -> None:
    """The turn's ratios: only what ran in the same one is set against each other."""
    first, *others = entry.ways.values()
    for way in others:
        for mine, its, ratios in (
            (way.run, first.run, way.ratios),
            (way.beyond, first.beyond, way.ratios_beyond),
        ):
            ratio = mine.turns[turn] / its.turns[turn]
            ratios.setdefault(f"screen run, {first.way}", Turns()).turns.append(ratio)
    for way in entry.ways.values():
        allowed = rate_allowed(entry.decode.turns[turn], way.network.turns[turn])
        way.allowed.turns.append(allowed)
        way.reached.turns.append(way.beyond.turns[turn] / allowed)
        for name, rate in entry.peers.items():
            if rate.turns[turn]:
                for mine, ratios in ((way.run, way.ratios), (way.beyond, way.ratios_beyond)):
                    ratios.setdefault(name, Turns()).turns.append(mine.turns[turn] / rate.turns[turn])


def report(figures: Figures, console: Console) -> None:
    """Print a table for each folder and what it was measured on."""
    for entry in figures.folders:
        console.print(_table(entry))
    for name, why in figures.missing.items():
        console.print(f"{name}: left out ({why})")
    for syntax, plugins in figures.decoders.items():
        console.print(f"pydicom's decoders for {syntax}: {', '.join(plugins) or 'none'}")
    console.print(", ".join(f"{name} {value}" for name, value in figures.machine.items()))


def _table(entry: FolderFigures) -> Table:
    table = Table(title=f"{entry.folder}: median and, in brackets, least and most of the turns")
    table.add_column("files to report")
    table.add_column("films/s", justify="right")
    for name, rate in entry.peers.items():
        unread = f", {entry.unread[name]} not read" if entry.unread[name] else ""
        table.add_row(f"{name} ({entry.sample[name]} files{unread})", rate.shown)
    for way in entry.ways.values():
        table.add_section()
        table.add_row(f"screen run, {way.way} ({entry.films} films)", way.run.shown)
        for name, ratio in way.ratios.items():
            table.add_row(f"  × {name}", ratio.shown)
        table.add_row("beyond its first film", way.beyond.shown)
        for name, ratio in way.ratios_beyond.items():
            table.add_row(f"  × {name}", ratio.shown)
        for text, value in (
            ("decoding alone", entry.decode),
            ("the network alone", way.network),
            ("the sum of stages allows", way.allowed),
            ("reached, beyond its first film, of that", way.reached),
            ("seconds of a run over one film", way.one_film),
        ):
            table.add_row(f"  {text}", value.shown)
    return table


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "compare", **asdict(figures)}
