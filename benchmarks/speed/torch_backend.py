"""A model file's own network in torch, one more backend to compare with: eager or compiled, fp32 or half."""

import re
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export.network import HEATMAP_METHOD, ScreeningNetwork, network_from_tensors
from screen.backends import Backend, DeviceInfo, Outputs
from screen.errors import ModelError
from screen.model import Model
from train.network.features import fields_of
from train.network.gate import Gate
from train.network.resnet import ResNet18

_NAMES = (
    (r"^conv1", "stem"),
    (r"^bn1", "stem.bn"),
    (r"\.conv(\d)", r".\1"),
    (r"\.bn(\d)", r".\1.bn"),
    (r"downsample\.0", "downsample"),
    (r"downsample\.1", "downsample.bn"),
    (r"\.bn\.weight", ".bn.scale"),
    (r"\.running_", "."),
)
"""From torchvision's names to the graph's."""


class TorchBackend(Backend):
    """device: as torch names it. half: the residual network in fp16, as `export.half` has it. compiled: by
    torch.compile with max-autotune, which uses CUDA graphs.
    """

    def __init__(
        self, model: Model, batch_size: int, device: str, *, half: bool = False, compiled: bool = False
    ) -> None:
        network = network_from_model(model)
        if half:
            network.resnet.half()
            for head in (network.resnet.fc, network.resnet.film):
                head.float()
        network.to(device, memory_format=torch.channels_last)
        forward = _Forward(network, torch.float16 if half else torch.float32)
        self._forward = torch.compile(forward, mode="max-autotune", fullgraph=True) if compiled else forward
        self._torch_device = torch.device(device)
        way = "torch, compiled" if compiled else "torch, eager"
        info = DeviceInfo(device, way, "fp16" if half else "fp32", f"torch {torch.__version__}")
        super().__init__(batch_size, model.card.input_size, info)
        self.infer(np.zeros((batch_size, 1, self.size, self.size), np.uint8))

    @torch.inference_mode()
    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        values = self._forward(torch.from_numpy(images).to(self._torch_device))
        # To the host: which also waits for the device.
        return Outputs(*(value.cpu().numpy() for value in values))


class _Forward(nn.Module):
    """`ScreeningNetwork`, with the residual network in its own precision and all else in float32."""

    def __init__(self, network: ScreeningNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        x = (image.float() / 255 - network.mean) / network.std
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        maps = [values.float() for values in network.resnet.features(x)]
        embedding = maps[-1].mean((2, 3))
        evidence = network.resnet.evidence(maps[-1])
        return (
            network.resnet.pool(evidence),
            evidence,
            embedding,
            network.distance(fields_of(maps[0])),
            network.gate(image),
        )


def network_from_model(model: Model) -> ScreeningNetwork:
    """The trained network again from the fp32 file that `export.graph` wrote of it.

    Raises ModelError for a file of earlier versions, whose head, distance or gate was another.
    """
    if model.card.heatmap_method != HEATMAP_METHOD:
        raise ModelError(f"{model.path}: its head is '{model.card.heatmap_method}': export it anew")
    graph = onnx.ModelProto.FromString(model.data).graph
    values = {
        t.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(t).astype(np.float32).copy())
        for t in graph.initializer
    }
    of_gate = {f"gate.{name}" for name in Gate().state_dict()}
    if not {"distance.normal.mean", "film.weight", *of_gate} <= values.keys():
        raise ModelError(
            f"{model.path}: its head, distance or gate is that of earlier versions: export it anew"
        )
    factor, offset = float(values["standardise.factor"]), float(values["standardise.offset"])
    std = 1 / (255 * factor)
    fitted = {
        name: value for name, value in values.items() if name.startswith("distance.") or name in of_gate
    }
    tensors = fitted | _resnet(values)
    return network_from_tensors(tensors, mean=-offset * std, std=std)


def _resnet(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same by torchvision's names."""
    with torch.device("meta"):
        names = ResNet18(num_classes=len(values["head.bias"])).state_dict()
    tensors = {
        "fc.weight": values["head.weight"].flatten(1),
        "fc.bias": values["head.bias"],
        "film.weight": values["film.weight"].flatten(1),
    }
    for name in names.keys() - tensors.keys():
        counter = name.endswith("num_batches_tracked")
        tensors[name] = torch.tensor(0) if counter else values[_graph_name(name)]
    return tensors


def _graph_name(name: str) -> str:
    """`layer1.0.bn2.running_var` -> `layer1.0.2.bn.var`."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
