"""The engine that a run uses: a file that was named, or one that this machine built for itself and keeps.

What is kept lies in a folder of the user's own (0700), sealed with this machine's key: engines by model,
precision, batches, library, GPU and driver, and certificates by engine and place. What was changed, or sealed
elsewhere, is not loaded but made anew. This protects against swapped files, not against who runs as the same
user.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from screen.backends.tensorrt_binding import library_for, library_module
from screen.engines.parity import Place, certificate_on, speaks_of
from screen.errors import EngineError, SealError, UsageError
from screen.files import private_files, read_bounded, write_whole
from screen.gpus import Gpu, capability, driver_version
from screen.model import Manifest, Model, VerifiedEngine
from screen.model.engine_file import PROFILE, manifest_path, verified_engine
from screen.model.seals import ThisMachine, sealed, unsealed
from screen.processes import environment_without_secrets, import_path

PRECISION = "fp16"
_CERTIFICATE = "engine certificate"
_MAX_CERTIFICATE_BYTES = 1 << 20

Say = Callable[..., None]
"""Tells the operator: a name, and facts by keyword."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an engine of our own must be for, to the word."""

    weights_digest: str
    precision: str
    profile: tuple[int, int, int]
    library: str
    version: str
    gpu: str
    driver: str

    def name(self) -> str:
        """Of its file."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32] + ".engine"

    def differs(self, manifest: Manifest) -> list[str]:
        """What an engine is not for."""
        return [name for name, value in asdict(self).items() if getattr(manifest, name) != value]


def engine_for_run(
    model: Model,
    gpus: Sequence[Gpu],
    batch_size: int | None,
    named: tuple[Path, Path | None] | None,
    say: Say,
) -> VerifiedEngine:
    """An engine of the model, certified on these GPUs.

    batch_size: the run's, None if it is not settled. named: `--engine` and `--engine-key`, instead of an
    engine of our own, which is built if there is none.
    Raises EngineError, UsageError, MissingExtraError and BackendError.
    """
    gpu = gpus[0]
    if len({other.name for other in gpus}) > 1:
        names = ", ".join(f"{other.index}: {other.name}" for other in gpus)
        raise UsageError(f"one engine serves GPUs of one kind, and these are {names}: name such of one kind")
    folder, driver = _private_folder(), driver_version()
    if named is not None:
        engine = verified_engine(*named)
        library, version = engine.manifest.library, engine.manifest.version
        _certified(model, engine, gpu, Place(gpu.name, driver, f"{library} {version}"), folder, say)
        return engine
    largest = max(batch_size or 0, PROFILE[2])
    library = library_for(capability(gpu.index))
    wanted = Wanted(
        weights_digest=model.card.weights_digest,
        precision=PRECISION,
        profile=PROFILE if largest == PROFILE[2] else (1, largest, largest),
        library=library,
        version=library_module(library, "--device tensorrt").__version__,
        gpu=gpu.name,
        driver=driver,
    )
    path = folder / wanted.name()
    engine = _kept(path, wanted, say) or _built(model, path, wanted, gpu, say)
    try:
        _certified(model, engine, gpu, Place(gpu.name, driver, f"{library} {wanted.version}"), folder, say)
    except EngineError:
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)
        raise
    return engine


def _kept(path: Path, wanted: Wanted, say: Say) -> VerifiedEngine | None:
    """The engine from an earlier run; None without one that may be loaded."""
    if not path.exists() and not manifest_path(path).exists():
        return None
    try:
        return _checked(verified_engine(path, None), path, wanted)
    except EngineError as error:
        say("engine_refused", reason=str(error))
        return None


def _checked(engine: VerifiedEngine, path: Path, wanted: Wanted) -> VerifiedEngine:
    differing = wanted.differs(engine.manifest)
    if differing:
        raise EngineError(f"{path}: another engine by its {', '.join(differing)}. Not loaded")
    return engine


def _built(model: Model, path: Path, wanted: Wanted, gpu: Gpu, say: Say) -> VerifiedEngine:
    """In a process of its own: what builds needs the extra 'export', and the builder may crash."""
    say("engine_build", gpu=gpu.name, library=f"{wanted.library} {wanted.version}", engine=str(path))
    command = [
        *(sys.executable, "-P", "-m", "export", "trt", str(model.path), "--out", str(path)),
        *("--batch", ",".join(map(str, wanted.profile))),
    ]
    done = subprocess.run(
        command,
        env={
            **environment_without_secrets(),
            "PYTHONPATH": os.pathsep.join(import_path()),
            **_only(gpu),
        },
        stdin=subprocess.DEVNULL,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        kind = UsageError if done.returncode == UsageError.exit_code else EngineError
        raise kind(
            f"no engine was built for {gpu.name} (exit code {done.returncode}; why is said above): "
            "--device cuda and --device cpu work without"
        )
    return _checked(verified_engine(path, None), path, wanted)


def _only(gpu: Gpu) -> dict[str, str]:
    """Environment in which that GPU is the first and only one."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": seen.split(",")[gpu.index] if seen else str(gpu.index)}


def _certified(model: Model, engine: VerifiedEngine, gpu: Gpu, place: Place, folder: Path, say: Say) -> None:
    """See that it is certified here: by its manifest, by an earlier run, or now. Raises EngineError."""
    manifest = engine.manifest
    if speaks_of(manifest.certificate, manifest, place):
        return
    name = hashlib.sha256(json.dumps([manifest.engine_digest, asdict(place)]).encode()).hexdigest()[:32]
    path = folder / f"{name}.certificate.json"
    machine = ThisMachine()
    if speaks_of(_stored(path, machine, say), manifest, place):
        return
    say("engine_parity", gpu=gpu.name, engine=manifest.engine_digest)
    certificate = certificate_on(model, engine, gpu, place)
    try:
        with private_files():
            write_whole(path, sealed(_CERTIFICATE, certificate, machine))
    except OSError as error:
        raise EngineError(f"{path}: cannot be written: {error.strerror}") from error


def _stored(path: Path, machine: ThisMachine, say: Say) -> dict[str, Any] | None:
    try:
        data = read_bounded(path, _MAX_CERTIFICATE_BYTES)
        return None if data is None else unsealed(data, _CERTIFICATE, machine)
    except FileNotFoundError:
        return None
    except (OSError, SealError) as error:
        say("certificate_refused", reason=f"{path}: {error}")
        return None


def _private_folder() -> Path:
    """Where engines are kept, made on first use. Raises UsageError if others may write or read there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-screen" / "engines"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise EngineError(f"{folder}: engines cannot be kept there ({error.strerror})") from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{folder}: must be yours and only yours (chmod 700)")
    return folder
