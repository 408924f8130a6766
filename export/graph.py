"""The ONNX graph of the contract, written node by node: equal weights give an equal file.

Convolution and head weights are stored as fp16 and cast to fp32, which a runtime folds when it loads the
file: half the size, computed in fp32. BatchNorm, distance and gate stay fp32 throughout.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.network import Distance, GaussianScore, ScreeningNetwork
from train.network.features import field_pooling
from train.network.gate import HALVED, Gate, grid_pooling, map_side, shrinking
from train.network.gate import MEAN as GATE_MEAN
from train.network.gate import STD as GATE_STD
from train.network.resnet import BasicBlock

OPSET = 17
"""The lowest that has all that is needed in one operator each; every supported runtime reads it."""
IR_VERSION = 8


class _Builder:
    """Nodes and initializers, in the order in which they are added. Methods return their result's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def parameter(self, name: str, values: Tensor) -> str:
        """Stored as it computes: fp32."""
        return self.constant(name, values.numpy().astype(np.float32))

    def half(self, name: str, values: Tensor) -> str:
        """Stored as fp16, computed in fp32."""
        self.constant(f"{name}.half", values.numpy().astype(np.float16))
        return self.node("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)

    def conv_bn(self, x: str, name: str, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> str:
        weight = self.half(f"{name}.weight", conv.weight)
        x = self.node(
            "Conv",
            [x, weight],
            f"{name}.conv",
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[int(p) for p in conv.padding] * 2,
        )
        assert bn.running_mean is not None
        assert bn.running_var is not None
        parts = {"scale": bn.weight, "bias": bn.bias, "mean": bn.running_mean, "var": bn.running_var}
        names = [self.parameter(f"{name}.bn.{part}", value) for part, value in parts.items()]
        return self.node("BatchNormalization", [x, *names], f"{name}.bn", epsilon=bn.eps)

    def block(self, x: str, name: str, block: BasicBlock) -> str:
        shortcut = x
        if isinstance(block.downsample, nn.Sequential):
            conv, bn = block.downsample
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(bn, nn.BatchNorm2d)
            shortcut = self.conv_bn(x, f"{name}.downsample", conv, bn)
        y = self.conv_bn(x, f"{name}.1", block.conv1, block.bn1)
        y = self.node("Relu", [y], f"{name}.relu1")
        y = self.conv_bn(y, f"{name}.2", block.conv2, block.bn2)
        y = self.node("Add", [y, shortcut], f"{name}.add")
        return self.node("Relu", [y], f"{name}.relu2")

    def pooled(self, x: str, output: str) -> str:
        """[N, C, h, w] -> [N, C]."""
        return self.node("ReduceMean", [x], output, axes=[2, 3], keepdims=0)

    def log_mean_exp(self, x: str, output: str, bias: str, shape: tuple[int, int]) -> str:
        """[N, K, h, w] -> log(mean(exp(x))) + bias, [N, K]; nothing overflows. shape: K and h · w.

        As max(x) − max(LogSoftmax(x)), which is log(sum(exp(x))). Not by ReduceMean of Exp: how ONNX Runtime
        adds a row up hangs on where in memory it begins, so a score's last bit hung on the film's place in
        the batch. Not ReduceLogSumExp: OpenVINO 2026.4 passes over its axes at this opset and reduces the
        batch as well.
        """
        rows = self.constant(f"{output}.shape", np.array([0, *shape]))  # 0: as it is
        cells = self.node("Reshape", [x, rows], f"{output}.cells")
        shares = self.node("LogSoftmax", [cells], f"{output}.shares", axis=2)
        peaks = [self.node("ReduceMax", [of], f"{of}.peak", axes=[2], keepdims=0) for of in (cells, shares)]
        total = self.node("Sub", peaks, f"{output}.sum")
        count = self.constant(f"{output}.count", np.array(np.log(shape[1]), np.float32))
        mean = self.node("Sub", [total, count], f"{output}.mean")
        return self.node("Add", [mean, bias], output)

    def score(self, features: str, name: str, score: GaussianScore, output: str) -> str:
        """[N, D] -> [N]. name: of its parameters, `….mean` and `….whiten`."""
        centred = self.node("Sub", [features, self.parameter(f"{name}.mean", score.mean)], f"{name}.centred")
        z = self.node("MatMul", [centred, self.parameter(f"{name}.whiten", score.whiten)], f"{name}.z")
        squared = self.node("Mul", [z, z], f"{name}.squared")
        mean = self.node("ReduceMean", [squared], f"{name}.mean_square", axes=[1], keepdims=0)
        return self.node("Sqrt", [mean], output)

    def fields(self, layer: str, size: int) -> str:
        """The map after layer1 -> what the distance sees of it, [N, D]."""
        kernel, stride = field_pooling(-(-size // 4))
        sides = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
        fields = self.node("AveragePool", [layer], "distance.fields", **sides)
        return self.node("Flatten", [fields], "distance.flat", axis=1)

    def distance(self, fields: str, distance: Distance) -> str:
        """What is seen of layer1 -> [N]."""
        normal, films = (
            self.score(fields, name, score, f"{name}.score")
            for name, score in (("distance.normal", distance.normal), ("distance.all", distance.all))
        )
        return self.node("Div", [normal, films], "distance")

    def gate(self, image: str, gate: Gate, size: int) -> str:
        """The square as float32, 0 … 255 -> [N], as `train.network.gate.Gate` computes it."""
        repeated, averaged = shrinking(size)
        x = image
        if repeated > 1:
            scales = self.constant("gate.scales", np.array([1, 1, repeated, repeated], np.float32))
            nearest = {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            }
            x = self.node("Resize", [x, "", scales], "gate.repeated", **nearest)
        if averaged > 1:
            sides = {"kernel_shape": [averaged] * 2, "strides": [averaged] * 2}
            x = self.node("AveragePool", [x], "gate.small", **sides)
        factor = self.constant("gate.factor", np.array(1 / (255 * GATE_STD), np.float32))
        offset = self.constant("gate.offset", np.array(-GATE_MEAN / GATE_STD, np.float32))
        x = self.node("Mul", [x, factor], "gate.scaled")
        x = self.node("Add", [x, offset], "gate.standardised")
        for at, conv in enumerate(gate.convs):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            name = f"gate.convs.{at}"
            parameters = [
                self.parameter(f"{name}.weight", conv.weight),
                self.parameter(f"{name}.bias", conv.bias),
            ]
            x = self.node(
                "Conv",
                [x, *parameters],
                name,
                kernel_shape=list(conv.kernel_size),
                strides=list(conv.stride),
                pads=[int(p) for p in conv.padding] * 2,
            )
            x = self.node("Relu", [x], f"{name}.relu")
            if at in HALVED:
                x = self.node("MaxPool", [x], f"{name}.half", kernel_shape=[2, 2], strides=[2, 2])
        kernel, stride = grid_pooling(map_side(size))
        if kernel > 1:
            x = self.node("AveragePool", [x], "gate.grid", kernel_shape=[kernel] * 2, strides=[stride] * 2)
        x = self.node("Flatten", [x], "gate.features", axis=1)
        for name, layer in (("gate.hidden", gate.hidden), ("gate.head", gate.head)):
            weights = [
                self.parameter(f"{name}.weight", layer.weight),
                self.parameter(f"{name}.bias", layer.bias),
            ]
            x = self.node("Gemm", [x, *weights], name, transB=1)
            if layer is gate.hidden:
                x = self.node("Relu", [x], f"{name}.relu")
        rows = self.constant("gate.shape", np.array([-1]))
        return self.node("Reshape", [x, rows], "gate")


def graph_from_network(network: ScreeningNetwork, size: int) -> onnx.ModelProto:
    """The network for squares of `size` pixels, batch dynamic, without metadata.

    Inputs and outputs as the contract names them: image uint8 [N, 1, S, S] -> logits [N, K],
    heatmap [N, K, h, w], embedding [N, 512], distance [N], gate [N], float32.
    """
    resnet, g = network.resnet, _Builder()
    x = g.node("Cast", ["image"], "image.float", to=TensorProto.FLOAT)
    # (u / 255 − mean) / std as one multiplication and one addition.
    factor = g.constant("standardise.factor", np.array(1 / (255 * network.std), np.float32))
    offset = g.constant("standardise.offset", np.array(-network.mean / network.std, np.float32))
    x = g.node("Mul", [x, factor], "image.scaled")
    x = g.node("Add", [x, offset], "image.standardised")
    x = g.conv_bn(x, "stem", resnet.conv1, resnet.bn1)
    x = g.node("Relu", [x], "stem.relu")
    x = g.node("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    layers = []
    for number, layer in enumerate((resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4), 1):
        for index, block in enumerate(layer):
            assert isinstance(block, BasicBlock)
            x = g.block(x, f"layer{number}.{index}", block)
        layers.append(x)
    findings, width = resnet.fc.weight.shape
    side = -(-size // 32)
    # Not ReduceMean, as in `log_mean_exp`: scores hang on this.
    whole = g.node("AveragePool", [layers[-1]], "embedding.map", kernel_shape=[side] * 2, strides=[side] * 2)
    g.node("Flatten", [whole], "embedding", axis=1)
    parts = []
    for of, name, weight in (
        (layers[-1], "heatmap.cells", g.half("head.weight", resnet.fc.weight[:, :, None, None])),
        (whole, "heatmap.film", g.half("film.weight", resnet.film.weight[:, :, None, None])),
    ):
        parts.append(g.node("Conv", [of, weight], name, kernel_shape=[1, 1]))
    g.node("Add", parts, "heatmap")
    bias = g.parameter("head.bias", resnet.fc.bias)
    g.log_mean_exp("heatmap", "logits", bias, (findings, side * side))
    g.distance(g.fields(layers[0], size), network.distance)
    g.gate("image.float", network.gate, size)

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, size, size])
    shapes: dict[str, list[str | int]] = {
        "logits": ["N", findings],
        "heatmap": ["N", findings, side, side],
        "embedding": ["N", width],
        "distance": ["N"],
        "gate": ["N"],
    }
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]
    graph = helper.make_graph(g.nodes, "cxr-screen", [image], outputs, g.initializers)
    # No version of the producer: another release that exports the same weights gives the same digest.
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cxr-screen",
    )
