"""An engine for other machines, or for the GPU that is here: built, and proved where it can run."""

from dataclasses import replace

from export.engine import EngineRequest, Progress, engine_from_model
from screen.backends.cuda_driver import capability, driver_version, gpus
from screen.engine_parity import Place, certificate_on
from screen.engines import VerifiedEngine
from screen.errors import UsageError
from screen.modelfile import Model
from screen.tensorrt_library import RTX, library_for, library_module


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
