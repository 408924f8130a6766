"""From a model file to a TensorRT engine in fp16: one builder for TensorRT-RTX and TensorRT (11, and 10).

Both are strongly typed: what computes in half is in the graph (`export.half`), and there is no flag for it.
It is checked twice, in the network as it was parsed and in the engine as it was built. It is for other
machines or for the GPU that is here, where its scores are compared as well.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from export.engine_plan import has_profile, layers_from_report, plan_from_rtx
from export.folding import without_matrix_products
from export.half import PRECISION, computes_in_half, half_model
from screen.backends.tensorrt_binding import RTX, error_log, library_for, library_module, targets_of
from screen.engines import Place, certificate_on
from screen.errors import EngineError, ModelError, UsageError
from screen.files import read_bounded, write_whole
from screen.gpus import capability, driver_version, gpus
from screen.model import Manifest, Model, VerifiedEngine
from screen.model.certificates import REFERENCE_PRECISION
from screen.model.engine_file import engine_digest

_TURING = "sm75"
_MAX_TIMING_CACHE = 256 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What is wanted of an engine.

    targets: compute capabilities, `sm89` …, for TensorRT-RTX; none: the GPU that is here. profile: smallest,
    best and largest batch. workspace: MiB that layers may take in between, None: what the GPU has.
    timing_cache: file that TensorRT keeps its measurements in.
    """

    targets: tuple[str, ...]
    profile: tuple[int, int, int]
    workspace: int | None = None
    timing_cache: Path | None = None


def engine_from_model(
    model: Model, request: EngineRequest, trt: ModuleType, progress: Progress
) -> VerifiedEngine:
    """The engine, inspected, with a manifest that knows neither machine nor certificate yet.

    trt: `tensorrt_rtx` or `tensorrt`. progress: steps done, steps in all.
    Raises UsageError for what the library does not do, ModelError for a model that is not in fp32 or fp16,
    EngineError if it cannot be built, or if what was built is not what was asked for.
    """
    is_rtx = trt.__name__ == RTX
    _check(request, trt, is_rtx)
    graph = _graph(model, turing=_TURING in request.targets)
    log = error_log(trt)
    builder = trt.Builder(log)
    # TensorRT 11 knows nothing else; 10 has to be told.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    network.name = model.card.weights_digest
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph.SerializeToString()):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise EngineError(f"{trt.__name__} {trt.__version__} cannot read {model.path}: {errors}")
    _check_network(network, graph, trt)
    config, cache = _configuration(builder, request, model.card.input_size, trt, is_rtx)
    config.progress_monitor = _monitor(trt, progress)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineError(f"{trt.__name__} {trt.__version__} builds no engine: {'; '.join(log.errors)[:500]}")
    data = bytes(built)
    if cache is not None and request.timing_cache is not None:
        _write_timing_cache(request.timing_cache, bytes(cache.serialize()))
    manifest = Manifest(
        weights_digest=model.card.weights_digest,
        library=trt.__name__,
        version=trt.__version__,
        precision=PRECISION,
        profile=request.profile,
        targets=request.targets,
        engine_digest=engine_digest(data),
        layers=_inspected(data, request, graph, model.card.input_size, trt, is_rtx),
    )
    return VerifiedEngine(data, manifest)


def _check(request: EngineRequest, trt: ModuleType, is_rtx: bool) -> None:
    smallest, best, largest = request.profile
    if not 1 <= smallest <= best <= largest:
        raise UsageError(f"--batch {smallest},{best},{largest}: not in order, or below 1")
    if smallest > 1:
        raise UsageError(
            f"--batch {smallest},{best},{largest}: MIN has to be 1: a batch that a GPU has no memory for is "
            "halved down to one film"
        )
    if not is_rtx:
        if request.targets:
            raise UsageError(
                "--for needs TensorRT-RTX (extra 'trt'): TensorRT builds for the GPU that is here"
            )
        return
    foreign = set(request.targets) - set(targets_of(trt))
    if foreign:
        raise UsageError(
            f"--for {','.join(sorted(foreign))}: {trt.__name__} {trt.__version__} builds for "
            f"{', '.join(targets_of(trt))}"
        )
    if request.timing_cache is not None:
        raise UsageError("--timing-cache is TensorRT's: TensorRT-RTX times nothing while it builds")


def _graph(model: Model, *, turing: bool) -> onnx.ModelProto:
    graph = onnx.ModelProto.FromString(model.data)
    if model.card.precision == REFERENCE_PRECISION:
        try:
            graph = half_model(graph)
        except ValueError as error:
            raise ModelError(f"{model.path}: {error}") from error
    elif model.card.precision != PRECISION:
        raise ModelError(
            f"{model.path}: computes in {model.card.precision}: engines are built from fp32 or fp16"
        )
    return without_matrix_products(graph) if turing else graph


def _check_network(network: Any, graph: onnx.ModelProto, trt: ModuleType) -> None:
    """Every layer as it was parsed: half where the graph says so, float32 elsewhere. Raises EngineError."""
    wrong = []
    convolutions = set()
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.type == trt.LayerType.CONVOLUTION:
            convolutions.add(layer.name)
        wanted = trt.DataType.HALF if computes_in_half(layer.name) else trt.DataType.FLOAT
        types = {layer.get_output(index).dtype for index in range(layer.num_outputs)}
        real = types & {trt.DataType.HALF, trt.DataType.FLOAT, trt.DataType.BF16}
        if layer.type != trt.LayerType.CAST and real - {wanted}:
            wrong.append(layer.name)
    wrong += sorted(_convolutions(graph) - convolutions)
    if wrong:
        raise EngineError(
            f"{trt.__name__} {trt.__version__} took these in another precision: {', '.join(wrong)}"
        )


def _convolutions(graph: onnx.ModelProto) -> set[str]:
    return {node.name for node in graph.graph.node if node.op_type == "Conv"}


def _configuration(
    builder: Any, request: EngineRequest, size: int, trt: ModuleType, is_rtx: bool
) -> tuple[Any, Any]:
    """The builder's configuration, and the timing cache in it, if any."""
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("image", *_shapes(request.profile, size))
    config.add_optimization_profile(profile)
    # Or what is fp32 keeps 10 bits of the mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace << 20)
    if is_rtx:
        targets = request.targets or ("current",)
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    cache = None
    if request.timing_cache is not None:
        cache = config.create_timing_cache(_read_timing_cache(request.timing_cache))
        config.set_timing_cache(cache, ignore_mismatch=False)
    return config, cache


def _shapes(profile: tuple[int, int, int], size: int) -> tuple[tuple[int, int, int, int], ...]:
    return tuple((batch, 1, size, size) for batch in profile)


def _inspected(
    data: bytes, request: EngineRequest, graph: onnx.ModelProto, size: int, trt: ModuleType, is_rtx: bool
) -> Mapping[str, int] | None:
    """How many layers compute in which type. Raises EngineError if the engine is not what was asked for.

    None if TensorRT does not say: then the network as it was parsed is all that is known.
    """
    if is_rtx:
        plan = plan_from_rtx(data)
        if request.targets and plan.targets != set(request.targets):
            raise EngineError(f"asked for {', '.join(request.targets)}, built for {', '.join(plan.targets)}")
        if not has_profile(data, _shapes(request.profile, size)):
            raise EngineError(f"the engine has not the profile that was asked for, {request.profile}")
        layers = plan.layers
    else:
        layers = _described(data, request, size, trt)
    found = {name: layers[name] for name in _convolutions(graph) & layers.keys()}
    if not found and not is_rtx:
        return None
    expected = {name: "half" if computes_in_half(name) else "float" for name in _convolutions(graph)}
    wrong = sorted(name for name in expected if found.get(name, "none") != expected[name])
    if wrong:
        raise EngineError(f"layers of the engine compute in another precision: {', '.join(wrong)}")
    return dict(sorted(Counter(found.values()).items()))


def _described(data: bytes, request: EngineRequest, size: int, trt: ModuleType) -> dict[str, str]:
    """By TensorRT's inspector, which has to load the engine: the GPU that it was built for is here."""
    log = error_log(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineError(f"{trt.__name__} does not load what it built: {'; '.join(log.errors)[:500]}")
    held = tuple(tuple(shape) for shape in engine.get_tensor_profile_shape("image", 0))
    if held != _shapes(request.profile, size):
        raise EngineError(f"the engine has not the profile that was asked for, {request.profile}")
    inspector = engine.create_engine_inspector()
    return layers_from_report(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _read_timing_cache(path: Path) -> bytes:
    """Empty if there is none yet. Raises EngineError."""
    try:
        data = read_bounded(path, _MAX_TIMING_CACHE)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if data is None:
        raise EngineError(f"{path}: more than {_MAX_TIMING_CACHE >> 20} MiB: no timing cache")
    return data


def _write_timing_cache(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise EngineError(f"{path}: cannot be written: {error.strerror}") from error


def _monitor(trt: ModuleType, progress: Progress) -> Any:
    """The steps of the outermost phase, as they are done."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.outermost = ""
            self.steps = 0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.outermost, self.steps = name, steps

        def step_complete(self, name: str, step: int) -> bool:
            if name == self.outermost:
                progress(step + 1, self.steps)
            return True

        def phase_finish(self, name: str) -> None:
            if name == self.outermost:
                progress(self.steps, self.steps)

    return Monitor()


def build_engine(model: Model, request: EngineRequest, progress: Progress) -> VerifiedEngine:
    """The engine, with its certificate if a GPU that it is for is here (the first one).

    Raises UsageError without targets and without a GPU, MissingExtraError, and what `engine_from_model` and
    `certificate_on` raise: an engine that does not score as its model does is not returned.
    """
    here = gpus()[:1]
    sm = capability(here[0].index) if here else ""
    if not request.targets and not here:
        raise UsageError(
            "no NVIDIA GPU or no driver answers here: say which GPUs the engine is for, as in "
            "--for sm75,sm86,sm89,sm120"
        )
    library = RTX if request.targets else library_for(sm)
    engine = engine_from_model(model, request, library_module(library, "screen export trt"), progress)
    if not here or (request.targets and sm not in request.targets):
        return engine
    gpu, driver = here[0], driver_version()
    manifest = engine.manifest
    place = Place(gpu.name, driver, f"{manifest.library} {manifest.version}")
    certificate = certificate_on(model, engine, gpu, place)
    if not request.targets:
        manifest = replace(manifest, gpu=gpu.name, driver=driver)
    return VerifiedEngine(engine.data, replace(manifest, certificate=certificate))
