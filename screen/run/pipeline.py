"""`screen run`: wires discovery, decoding, the network, the ledger and the reports; no work of its own."""

import platform
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from screen.backends import Backend, Batcher, Device, check_probes, gpus_of, open_backend, resolved_device
from screen.backends.batching import SIZES, fastest_batch_size
from screen.decide import Decision, decision_from
from screen.decode import DecodePool
from screen.decode.on_gpu import gpus_for_decoding
from screen.engines import engine_for_run
from screen.errors import InputError, UsageError
from screen.ledger import Known, Ledger
from screen.machine import batch_size_for, network_streams, usable_cpus, usable_memory, workers_for
from screen.model import Model, load_model
from screen.model.certificates import check_certified
from screen.readers import Limits
from screen.report import RunFacts, remove_reports, write_reports
from screen.report.tables import TIMINGS_NAME, write_timings
from screen.run.folder import LEDGER_NAME, default_folder, locked_folder
from screen.run.identifiers import Identifiers, IdentityFile, identifiers_for
from screen.run.inputs import Inputs
from screen.run.progress import Progress
from screen.run.reopen import Reopener
from screen.run.stopping import Stop, StoppedError, UntilStopped
from screen.run.stream import Pending, Screening
from screen.shortcuts import DecodePolicy, policy_from_entries

_LIBRARIES = ("numpy", "opencv-python-headless", "pydicom", "imagecodecs")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the command line asks for. None stands for `auto`, or for an option that was not given.

    inputs: as typed; none if they are `listed`, which is read while it is screened (then `out` is given).
    limits: for a single file.
    """

    inputs: tuple[Path, ...] = ()
    out: Path | None = None
    listed: Iterable[Path] | None = None
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
    known: tuple[Path, ...] = ()
    identifiers: str = "full"
    identities: Path | None = None
    heatmaps: int = 500
    timings: bool = False
    retry_failed: bool = False
    allow_empty: bool = False
    fresh: bool = False
    limits: Limits = field(default_factory=Limits)


def run(
    settings: RunSettings,
    progress: Progress,
    open_backend: Callable[..., Backend] = open_backend,
) -> int:
    """Screen everything and write the reports. Returns the exit code; raises ScreenError.

    open_backend: as in `screen.backends`; `engine` is named for TensorRT alone.
    """
    started = datetime.now().astimezone()
    clock = time.monotonic()
    if settings.identities is not None and settings.identifiers != "pseudonym":
        raise UsageError("--identities keeps what --identifiers pseudonym hides: give both")
    device = _device(settings)
    identifiers = identifiers_for(settings.identifiers)
    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        inputs = Inputs(settings.inputs, settings.listed, identifiers)
        out = settings.out or default_folder(settings.inputs[0], identifiers)
        sources = inputs.sources(out)
        model = load_model(settings.model)
        decision = decision_from(model.card, settings.operating_point, settings.threshold, settings.decision)
        folder = stack.enter_context(locked_folder(out, create=True))
        if settings.fresh:
            _remove_reports(folder)
            Ledger.remove(folder / LEDGER_NAME)
        ledger = stack.enter_context(Ledger.open(folder / LEDGER_NAME))
        cpus = usable_cpus()
        memory = usable_memory()
        workers = settings.workers or workers_for(memory, cpus)
        policy = policy_from_entries(model.card.decode_policies)
        # First of all: while the network is loaded they load their libraries.
        gpus = gpus_for_decoding(settings.gpu_decoders)
        pool = stack.enter_context(DecodePool(workers, model.card.preprocess, settings.limits, policy, gpus))
        # Resolved once: a resumed run goes on with what the ledger says.
        batch_size = settings.batch_size or int(ledger.settings().get("batch_size", 0))
        largest = SIZES[-1]
        if device.kind == "tensorrt":
            named = None if settings.engine is None else (settings.engine, settings.engine_key)
            engine = engine_for_run(model, gpus_of(device), batch_size, named, progress.event)
            largest = engine.manifest.profile[2]
            open_backend = partial(open_backend, engine=engine)
        if not batch_size and device.indices:
            one = str(Device(device.kind, device.indices[:1]))
            progress.event("batch_size", device=one)
            batch_size = fastest_batch_size(lambda size: open_backend(model, one, size, cpus), largest)
        elif not batch_size:
            batch_size = batch_size_for(memory, network_streams(cpus)[0], model.card.input_size)
        backend = stack.enter_context(open_backend(model, str(device), batch_size, cpus))
        check_certified(model.card.precision, backend.device.device, model.card.certificates, str(model.path))
        drift = check_probes(model, backend)
        _bind(ledger, _binding(model, backend, policy, identifiers), folder)
        known = stack.enter_context(Known(settings.known, ledger.settings(), folder / LEDGER_NAME))
        identity_file = None
        if settings.identities is not None:
            identity_file = IdentityFile(settings.identities, folder)
            stack.callback(identity_file.close)
        progress.event(
            "start",
            out=str(folder),
            model=f"{model.card.name} {model.card.version}",
            device=backend.device.device,
            provider=backend.device.provider,
            batch_size=batch_size,
            workers=workers,
            preprocess_drift=drift,
        )
        batcher: Batcher[Pending] = stack.enter_context(Batcher(backend))
        screening = Screening(
            ledger=ledger,
            pool=pool,
            batcher=batcher,
            known=known,
            identifiers=identifiers,
            identity_file=identity_file,
            weights_digest=model.card.weights_digest,
            retry_failed=settings.retry_failed,
            progress=progress,
            stop=stop,
            before_first_result=lambda: _remove_reports(folder),
            check_inputs=inputs.check,
        )
        with inputs.errors_named():
            screening.run(sources)
            if stop.signal:
                progress.event("stopped", signal=stop.signal, **asdict(screening.counts))
                return stop.exit_code
            inputs.check_still_there()
        if not screening.counts.listed and not settings.allow_empty:
            raise InputError(
                "no file found in what was given: nothing was screened (--allow-empty permits it)"
            )
        facts = RunFacts(
            card_json=model.card.to_json(),
            model_file_digest=model.file_digest,
            model_name=settings.model.name if settings.model else "default",
            device=asdict(backend.device),
            versions=_versions(),
            inputs=inputs.shown,
            started=started.isoformat(timespec="seconds"),
            finished=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=time.monotonic() - clock,
            stage_seconds={
                "read": screening.read_seconds,
                "hash": screening.hash_seconds,
                "preprocess": screening.square_seconds,
                "inference": batcher.seconds,
            },
            images_inferred=screening.counts.inferred,
            images_reused=screening.reused_films,
            batch_size=batch_size,
            workers=workers,
            identifiers=identifiers.mode,
            heatmaps=settings.heatmaps,
            preprocess_drift=drift,
            decode_policy=str(policy),
            counts={"known_ignored": known.ignored, "gpu_decoder_losses": pool.gpu_losses},
        )
        ledger.set_meta("facts", facts.to_json())
        ledger.commit()
        code = _report(settings, folder, ledger, decision, facts, pool, stop)
        if code is None:
            progress.event("stopped", signal=stop.signal)
            return stop.exit_code
        progress.event("finished", exit_code=code, **asdict(screening.counts), out=str(folder))
        return code


def _device(settings: RunSettings) -> Device:
    """What runs the network; a named engine says it too. Raises UsageError if it is not here."""
    if settings.engine is None:
        if settings.engine_key is not None:
            raise UsageError("--engine-key is for --engine FILE: give both")
        return resolved_device(settings.device)
    device = resolved_device("tensorrt" if settings.device == "auto" else settings.device)
    if device.kind != "tensorrt":
        raise UsageError(f"--engine is for --device tensorrt, not for {device}")
    return device


def _report(
    settings: RunSettings,
    folder: Path,
    ledger: Ledger,
    decision: Decision,
    facts: RunFacts,
    pool: DecodePool,
    stop: Stop,
) -> int | None:
    """The exit code; None if a signal came first: then there are no reports."""
    try:
        if settings.timings:
            write_timings(folder, ledger)
        rows = UntilStopped(ledger.listed_rows(), stop)
        squares = Reopener(ledger, pool, stop.check).squares
        return write_reports(folder, rows, decision, facts, squares)
    except StoppedError:
        _remove_reports(folder)
        return None


def _remove_reports(folder: Path) -> None:
    (folder / TIMINGS_NAME).unlink(missing_ok=True)
    remove_reports(folder)


def _binding(
    model: Model, backend: Backend, policy: DecodePolicy, identifiers: Identifiers
) -> dict[str, str]:
    """What all rows of a folder have in common."""
    engine = {"engine": backend.device.engine} if backend.device.engine else {}
    return {
        **engine,
        "weights_digest": model.card.weights_digest,
        "preprocess_digest": model.card.preprocess_digest,
        "decode_policy": str(policy),
        "device": backend.device.device,
        "provider": backend.device.provider,
        "precision": backend.device.precision,
        "batch_size": str(backend.batch_size),
        "identifiers": identifiers.setting,
    }


def _bind(ledger: Ledger, wanted: dict[str, str], folder: Path) -> None:
    """Fix the settings of a new ledger, or hold a resumed one to them. Raises UsageError."""
    earlier = ledger.settings()
    if not earlier:
        ledger.set_settings(wanted)
        ledger.commit()
        return
    differing = [name for name, value in wanted.items() if earlier.get(name) != value]
    if differing:
        names = ", ".join(f"{name} ({earlier.get(name)}, now {wanted[name]})" for name in differing)
        raise UsageError(
            f"{folder}: its earlier run differs in {names}; go on with the same, choose another --out, "
            "or start over with --fresh"
        )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
