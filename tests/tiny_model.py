"""A valid model file with a random network, made quickly, for everything that needs one."""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from export.network import ScreeningNetwork, network_from_tensors
from export.onnx import model_from_network
from screen.film import Pixels
from screen.model import Finding, OperatingPoint
from screen.preprocess import PreprocessSpec
from train.network.features import DISTANCE_WIDTH
from train.network.gate import Gate
from train.network.resnet import ResNet18, round_to_storage

IDENTITY_LOOKUP = (np.arange(256) * 257).astype(np.uint16)


def phantom(seed: int, height: int = 160, width: int = 128) -> Pixels:
    """Something smooth with a bright middle and dark lungs, 8 bits."""
    noise = np.random.default_rng(seed).normal(128, 60, (height // 8, width // 8)).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return Pixels(np.clip(smooth, 0, 255).astype(np.uint8), IDENTITY_LOOKUP)


def random_tensors(seed: int = 0, findings: int = 1, gate_bias: float = 10.0) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors: random, rounded to storage, BatchNorm statistics of every channel different."""
    return {**_random_resnet(seed, findings), **_random_scores(seed, gate_bias)}


@functools.cache
def _random_resnet(seed: int, findings: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        resnet = ResNet18(num_classes=findings)
        for module in resnet.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values in (module.running_mean, module.bias.data):
                    torch.nn.init.normal_(values, 0, 0.1)
                for values in (module.running_var, module.weight.data):
                    torch.nn.init.uniform_(values, 0.5, 1.5)
        round_to_storage(resnet)
    return dict(resnet.state_dict())


def _random_scores(seed: int, gate_bias: float) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {
            "distance.normal.mean": torch.rand(DISTANCE_WIDTH),
            "distance.normal.whiten": torch.randn(DISTANCE_WIDTH, 16) / 16,
            "distance.all.mean": torch.rand(DISTANCE_WIDTH),
            "distance.all.whiten": torch.randn(DISTANCE_WIDTH, 16) / 16,
            **{f"gate.{name}": value for name, value in Gate().state_dict().items()},
            "gate.head.bias": torch.tensor([gate_bias]),
        }


def about(size: int, findings: tuple[str, ...]) -> dict[str, Any]:
    """A calibrated checkpoint's JSON."""

    def point(name: str, threshold: float) -> OperatingPoint:
        return OperatingPoint(name, threshold, 0.8, (0.7, 0.9), 0.6, (0.5, 0.7), "nothing: a random network")

    points = (point("sensitive", 0.3), point("balanced", 0.5), point("specific", 0.7))
    return {
        "kind": "model",
        "name": "tiny",
        "version": "0",
        "intended_use": "For tests only: its weights are random.",
        "preprocess": asdict(PreprocessSpec(size=size)),
        "input_mean": 0.5,
        "input_std": 0.25,
        "findings": [
            asdict(Finding(name, 1.0, 0.0, 0.1, points, "balanced", (0.0, 3.0))) for name in findings
        ],
        "primary": findings[0],
        "distance_quantiles": [float(q) for q in np.linspace(0, 2, 101)],
        "gate_threshold": 0.0,
        "training": {"films": 0},
        "metrics": {"auc": {"value": 0.5}},
    }


@functools.cache
def tiny_network(seed: int = 0, findings: int = 1, gate_bias: float = 10.0) -> ScreeningNetwork:
    return network_from_tensors(random_tensors(seed, findings, gate_bias), mean=0.5, std=0.25)


@functools.cache
def tiny_model_bytes(
    size: int = 64, seed: int = 0, findings: tuple[str, ...] = ("tumor",), gate_bias: float = 10.0
) -> bytes:
    """The file of a random network. gate_bias: every picture is a chest film with 10, none with -100."""
    network = tiny_network(seed, len(findings), gate_bias)
    films = [phantom(index) for index in range(3)]
    return model_from_network(network, about(size, findings), films, Path("tiny.onnx")).model.data


def tiny_model_file(
    path: Path, size: int = 64, seed: int = 0, findings: tuple[str, ...] = ("tumor",), gate_bias: float = 10.0
) -> Path:
    path.write_bytes(tiny_model_bytes(size, seed, findings, gate_bias))
    return path
