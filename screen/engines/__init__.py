"""TensorRT engines that are built here: kept, and certified on the GPU that runs them. Twins, compared."""

from screen.engines.cache import engine_for_run
from screen.engines.parity import Place, certificate_on, twin_agreement

__all__ = ["Place", "certificate_on", "engine_for_run", "twin_agreement"]
