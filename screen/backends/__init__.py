"""Batches to outputs, on whatever runtime and device there is."""

from screen.backends.base import Backend, DeviceInfo, Outputs
from screen.backends.batching import Batcher
from screen.backends.devices import Device, gpus_of, open_backend, resolved_device
from screen.backends.probes import check_probes

__all__ = [
    "Backend",
    "Batcher",
    "Device",
    "DeviceInfo",
    "Outputs",
    "check_probes",
    "gpus_of",
    "open_backend",
    "resolved_device",
]
