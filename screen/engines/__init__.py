"""TensorRT engines that are built here: kept, and certified on the GPU that runs them."""

from screen.engines.cache import engine_for_run
from screen.engines.parity import Place, certificate_on

__all__ = ["Place", "certificate_on", "engine_for_run"]
