"""`screen run`: wires discovery, decoding, the network, the ledger and the reports; no work of its own."""

import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from screen.backends import Backend, Batcher, open_backend
from screen.decide import Decision, decision_from
from screen.decode import DecodePool
from screen.decode.on_gpu import gpus_for_decoding
from screen.decode.pool import DECODE
from screen.discover import Pause, Source, Step
from screen.errors import InputError, UsageError
from screen.ledger import Expected, Known, Ledger
from screen.machine import library_versions, usable_cpus, usable_memory, workers_for
from screen.model import Model, ModelCard, load_model
from screen.readers import Limits
from screen.report import SUMMARY_NAME, RunFacts, write_part_summary
from screen.report.nights import Night
from screen.report.tables import write_timings
from screen.report.viewer import Viewer, viewer_from
from screen.report.writing import PAGE_NAME
from screen.runs.counting import FileCount
from screen.runs.folder import (
    LEDGER_NAME,
    default_folder,
    hold_to,
    locked_folder,
    remove_all_reports,
    withdraw_reports,
)
from screen.runs.identifiers import Identifiers, IdentityFile, identifiers_for
from screen.runs.inputs import Inputs
from screen.runs.network import device_for, open_network
from screen.runs.nights import nights_before
from screen.runs.part import Part
from screen.runs.progress import Counts, Progress
from screen.runs.reopen import decision_kept, reports_from_ledger
from screen.runs.stopping import Stop, StoppedError, UntilStopped
from screen.runs.stream import Pending, Screening
from screen.shortcuts import DecodePolicy, policy_from_entries

NOTHING_FOUND = "no file found in what was given: nothing was screened (--allow-empty permits it)"
_LIBRARIES = ("numpy", "opencv-python-headless", "pydicom", "imagecodecs")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the command line asks for. None stands for `auto`, or for an option that was not given.

    inputs: as typed; none if they are `listed`, which is read while it is screened (then `out` is given).
    limits: for a single file.
    """

    inputs: tuple[Path, ...] = ()
    out: Path | None = None
    listed: Iterable[Path | Pause] | None = None
    model: Path | None = None
    device: str = "auto"
    engine: Path | None = None
    engine_key: Path | None = None
    batch_size: int | None = None
    workers: int | None = None
    gpu_decoders: int = 0
    operating_point: str | None = None
    threshold: float | None = None
    decision: Path | None = None
    flag: tuple[str, ...] = ()
    viewer_url: str | None = None
    known: tuple[Path, ...] = ()
    part: str | None = None
    identifiers: str = "full"
    identities: Path | None = None
    heatmaps: int = 500
    timings: bool = False
    retry_failed: bool = False
    allow_empty: bool = False
    fresh: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a run is put together from, for who measures or tests it with others.

    open_backend: as in `screen.backends`; `engine` is named for TensorRT alone. decode: what workers call.
    """

    open_backend: Callable[..., Backend] = open_backend
    decode: str = DECODE


def folder_of(settings: RunSettings, identifiers: Identifiers) -> Path:
    """The folder for the reports."""
    return settings.out or default_folder(settings.inputs[0], identifiers, part_of(settings))


def part_of(settings: RunSettings) -> Part | None:
    """Which files are screened; None: all of them. Raises UsageError."""
    return None if settings.part is None else Part.from_text(settings.part)


def run(settings: RunSettings, progress: Progress, wiring: Wiring | None = None) -> int:
    """Screen everything and write the reports. Returns the exit code; raises ScreenError."""
    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        try:
            ready = _prepare(settings, progress, wiring or Wiring(), stop, stack)
        except StoppedError:
            progress.event("stopped", signal=stop.signal)
            return stop.exit_code
        done = _screen(ready)
        return stop.exit_code if done is None else _report(ready, *done)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A run whose parts are opened and checked. Its settings stand in the ledger."""

    settings: RunSettings
    progress: Progress
    stop: Stop
    started: datetime
    clock: float
    inputs: Inputs
    steps: Iterator[Step]
    part: Part | None
    identifiers: Identifiers
    identity_file: IdentityFile | None
    folder: Path
    ledger: Ledger
    known: Known
    nights: tuple[Night, ...]
    model: Model
    decision: Decision
    viewer: Viewer | None
    policy: DecodePolicy
    pool: DecodePool
    workers: int
    backend: Backend
    drift: bool


def _prepare(
    settings: RunSettings, progress: Progress, wiring: Wiring, stop: Stop, stack: ExitStack
) -> _Ready:
    """Open and check all that the run needs; at its end, with `--fresh`, earlier results go.

    stack: closes what was opened. Raises ScreenError.
    """
    started, clock = datetime.now().astimezone(), time.monotonic()
    if settings.identities is not None and settings.identifiers != "pseudonym":
        raise UsageError("--identities keeps what --identifiers pseudonym hides: give both")
    viewer = viewer_from(settings.viewer_url, settings.identifiers)
    part = part_of(settings)
    device = device_for(settings.device, settings.engine, settings.engine_key)
    identifiers = identifiers_for(settings.identifiers)
    inputs = Inputs(settings.inputs, settings.listed, identifiers)
    out = folder_of(settings, identifiers)
    steps = inputs.sources(out)
    model = load_model(settings.model)
    decision = decision_from(
        model.card, settings.operating_point, settings.threshold, settings.decision, settings.flag
    )
    folder = stack.enter_context(locked_folder(out, create=True))
    ledger_path = folder / LEDGER_NAME
    ledger = None if settings.fresh else stack.enter_context(Ledger.open(ledger_path))
    earlier = ledger.settings() if ledger is not None else {}
    policy = policy_from_entries(model.card.decode_policies)
    memory = usable_memory()
    workers = settings.workers or workers_for(memory, usable_cpus())
    # As early as can be: while the network is loaded they load their libraries.
    pool = stack.enter_context(
        DecodePool(
            workers,
            model.card.preprocess,
            settings.limits,
            policy,
            gpus_for_decoding(settings.gpu_decoders),
            decode=wiring.decode,
        )
    )
    # Resolved once: a resumed run goes on with what the ledger says.
    batch_size = settings.batch_size or int(earlier.get("batch_size", 0))
    engine = None if settings.engine is None else (settings.engine, settings.engine_key)
    backend, drift = open_network(
        model, device, batch_size, memory, progress.event, engine, wiring.open_backend
    )
    stack.enter_context(backend)
    binding = _binding(model, backend, policy, identifiers, part)
    hold_to(earlier, binding, folder)
    known = stack.enter_context(Known(settings.known, binding, _expected(model.card), ledger_path))
    nights = nights_before(known, decision, stop.check)
    identity_file = None
    if settings.identities is not None:
        identity_file = IdentityFile(settings.identities, folder)
        stack.callback(identity_file.close)
    if ledger is None:
        with inputs.errors_named():
            begun = list(_until_first_file(steps, stop))
        if not any(isinstance(step, Source) for step in begun) and not settings.allow_empty:
            raise InputError(NOTHING_FOUND)
        steps = chain(begun, steps)
        stop.check()
        remove_all_reports(folder)
        Ledger.remove(ledger_path)
        ledger = stack.enter_context(Ledger.open(ledger_path))
    if not earlier:
        ledger.set_settings(binding)
        ledger.commit()
    progress.event(
        "start",
        out=str(folder),
        model=f"{model.card.name} {model.card.version}",
        device=backend.device.device,
        provider=backend.device.provider,
        batch_size=backend.batch_size,
        workers=workers,
        preprocess_drift=drift,
    )
    return _Ready(
        settings=settings,
        progress=progress,
        stop=stop,
        started=started,
        clock=clock,
        inputs=inputs,
        steps=steps,
        part=part,
        identifiers=identifiers,
        identity_file=identity_file,
        folder=folder,
        ledger=ledger,
        known=known,
        nights=nights,
        model=model,
        decision=decision,
        viewer=viewer,
        policy=policy,
        pool=pool,
        workers=workers,
        backend=backend,
        drift=drift,
    )


def _screen(ready: _Ready) -> tuple[RunFacts, Counts] | None:
    """A row for every file; the run's facts, kept in the ledger too, and its counts. None after a signal."""
    settings, ledger, inputs = ready.settings, ready.ledger, ready.inputs
    with Batcher[Pending](ready.backend) as batcher, inputs.errors_named():
        screening = Screening(
            ledger=ledger,
            pool=ready.pool,
            batcher=batcher,
            known=ready.known,
            part=ready.part,
            identifiers=ready.identifiers,
            identity_file=ready.identity_file,
            weights_digest=ready.model.card.weights_digest,
            retry_failed=settings.retry_failed,
            progress=ready.progress,
            stop=ready.stop,
            before_first_result=lambda: withdraw_reports(ready.folder, ready.ledger),
            check_inputs=inputs.check,
        )
        count: AbstractContextManager[object] = nullcontext()
        if ready.progress.wants_total and settings.listed is None:
            count = FileCount(inputs.sources(ready.folder), ready.part, screening.counts)
        with count:
            screening.run(ready.steps)
        if ready.stop.signal:
            ready.progress.event("stopped", signal=ready.stop.signal, **screening.counts.plain())
            return None
        inputs.check_still_there()
    # A part may well be empty, but not the listing of all of them: that is a disk that is not there.
    if not (screening.counts.listed or screening.listing.files or settings.allow_empty):
        raise InputError(NOTHING_FOUND)
    facts = RunFacts(
        card_json=ready.model.card.to_json(),
        model_file_digest=ready.model.file_digest,
        model_name=settings.model.name if settings.model else "default",
        device=asdict(ready.backend.device),
        versions=_versions(),
        inputs=inputs.shown,
        started=ready.started.isoformat(timespec="seconds"),
        finished=datetime.now().astimezone().isoformat(timespec="seconds"),
        seconds=time.monotonic() - ready.clock,
        stage_seconds={
            "read": screening.read_seconds,
            "hash": screening.hash_seconds,
            "preprocess": screening.square_seconds,
            "inference": batcher.seconds,
        },
        images_inferred=screening.counts.inferred,
        images_reused=screening.reused_films,
        batch_size=ready.backend.batch_size,
        workers=ready.workers,
        identifiers=ready.identifiers.mode,
        heatmaps=settings.heatmaps,
        preprocess_drift=ready.drift,
        decode_policy=str(ready.policy),
        limits=asdict(settings.limits),
        part=str(ready.part or ""),
        # Keyed like a name: a listing of one file could be guessed.
        listing=ready.identifiers.file(screening.listing.digest()) if ready.part else "",
        counts={
            "known_ignored": ready.known.ignored,
            "known_ledgers_ignored": ready.known.ignored_ledgers,
            "gpu_decoder_losses": ready.pool.gpu_losses,
            "folders_passed_over": screening.passed_over,
        },
        nights=ready.nights,
    )
    ledger.set_meta("facts", facts.to_json())
    ledger.commit()
    return facts, screening.counts


def _report(ready: _Ready, facts: RunFacts, counts: Counts) -> int:
    """Write the reports; the exit code. After a signal there are none."""
    try:
        if ready.settings.timings:
            write_timings(ready.folder, ready.ledger)
        if ready.part is None:
            code = reports_from_ledger(
                ready.folder,
                ready.ledger,
                ready.decision,
                facts,
                lambda: ready.pool,
                ready.stop,
                listed=True,
                viewer=ready.viewer,
            )
        else:
            code = _part_summary(ready, facts)
    except StoppedError:
        withdraw_reports(ready.folder, ready.ledger)
        ready.progress.event("stopped", signal=ready.stop.signal)
        return ready.stop.exit_code
    ready.progress.finished(exit_code=code, **counts.plain(), out=str(ready.folder), **_to_look_at(ready))
    return code


def _to_look_at(ready: _Ready) -> dict[str, Any]:
    """The page, and how many cases are flagged in it; a part has none."""
    if ready.part is not None:
        return {}
    summary = json.loads((ready.folder / SUMMARY_NAME).read_bytes())
    page = str(ready.folder / PAGE_NAME)
    return {"cases": summary["cases"], "flagged": summary["cases_listed"], "page": page}


def _part_summary(ready: _Ready, facts: RunFacts) -> int:
    """What a part has instead of reports, and its decision: with it its ledger is complete. The exit code."""
    with decision_kept(ready.ledger, ready.decision):
        rows = UntilStopped(ready.ledger.listed_rows(), ready.stop)
        return write_part_summary(ready.folder, rows, ready.decision, facts)


def _until_first_file(steps: Iterator[Step], stop: Stop) -> Iterator[Step]:
    for step in steps:
        stop.check()
        if not isinstance(step, Pause):
            yield step
        if isinstance(step, Source):
            return


def _binding(
    model: Model, backend: Backend, policy: DecodePolicy, identifiers: Identifiers, part: Part | None
) -> dict[str, str]:
    """What all rows of a folder have in common."""
    engine = {"engine": backend.device.engine} if backend.device.engine else {}
    return {
        **engine,
        **({} if part is None else {"part": str(part)}),
        "weights_digest": model.card.weights_digest,
        "preprocess_digest": model.card.preprocess_digest,
        "decode_policy": str(policy),
        "device": backend.device.device,
        "provider": backend.device.provider,
        "precision": backend.device.precision,
        "batch_size": str(backend.batch_size),
        "identifiers": identifiers.setting,
    }


def _expected(card: ModelCard) -> Expected:
    return Expected(len(card.findings), card.heatmap_grid, card.weights_digest)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **library_versions(_LIBRARIES)}
