"""What a GPU could do at most, from its own data: half-precision products and the bus."""

import csv
import ctypes
import subprocess
from dataclasses import dataclass

import torch
from torch import nn

from screen.errors import BackendError
from screen.gpus import gpus
from train.network.resnet import ResNet18

_FLOP_PER_CLOCK = {
    "7.0": 1024, "7.5": 1024, "8.0": 2048, "8.6": 1024, "8.7": 1024, "8.9": 1024, "9.0": 4096, "10.0": 8192,
    "12.0": 1024,
}  # fmt: skip
"""FP16 on tensor cores, dense, a clock and multiprocessor, by compute capability (NVIDIA's papers)."""
_LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
"""Bytes a second of one PCIe lane, by generation, after its encoding."""
_MULTIPROCESSOR_COUNT = 16
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT."""
_FIELDS = (
    "name,driver_version,compute_cap,clocks.max.sm,pcie.link.gen.max,pcie.link.width.max,power.limit,uuid"
)


@dataclass(frozen=True, slots=True)
class GpuLimits:
    """flops: FP16, a second, at the highest clock; 0 for an unknown architecture. bus: bytes a second."""

    name: str
    driver: str
    uuid: str
    watts: str
    compute_capability: str
    multiprocessors: int
    mhz: float
    flops: float
    bus: float

    def image_limits(self, size: int, flop: float) -> dict[str, float]:
        """Images a second that products allow, and that the bus allows for uint8 `size` × `size`."""
        return {"flop": self.flops / flop, "bus": self.bus / size**2}


def gpu_limits(index: int) -> GpuLimits:
    """GPU `index`, by its driver and nvidia-smi. Raises BackendError, or OSError without either."""
    found = {gpu.index: gpu.uuid for gpu in gpus()}
    if index not in found:
        raise BackendError(f"there is no GPU {index} here, or no driver that answers")
    command = [
        "nvidia-smi",
        f"--id={found[index]}",
        f"--query-gpu={_FIELDS}",
        "--format=csv,noheader,nounits",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return limits_from_smi(answer, _multiprocessors(index))


def _multiprocessors(index: int) -> int:
    cuda, device, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetAttribute(ctypes.byref(count), _MULTIPROCESSOR_COUNT, device)
    return count.value


def limits_from_smi(line: str, multiprocessors: int) -> GpuLimits:
    """One line of nvidia-smi's answer for `_FIELDS`; what it does not know counts as 0."""
    name, driver, capability, mhz, generation, lanes, watts, uuid = next(
        csv.reader([line], skipinitialspace=True)
    )
    clock = _number(mhz)
    return GpuLimits(
        name=name,
        driver=driver,
        uuid=uuid,
        watts=watts,
        compute_capability=capability,
        multiprocessors=multiprocessors,
        mhz=clock,
        flops=_FLOP_PER_CLOCK.get(capability, 0) * multiprocessors * clock * 1e6,
        bus=_LANE.get(int(_number(generation)), 0.0) * _number(lanes),
    )


def _number(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0


def flop_per_image(size: int) -> float:
    """Of our network for one square: two for each product of its convolutions and its head."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.Linear):
            total += 2 * output[0].numel() * module.weight[0].numel()

    network = ResNet18(in_channels=1, num_classes=1).eval()
    for module in network.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 1, size, size))
    return float(total)
