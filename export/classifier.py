"""A model file's classifier as a checkpoint again: to calibrate it anew, or to give it another gate.

The file stores what was trained to the bit (weights in fp16, to which training had rounded them), under the
names of `export.graph`; the checkpoint has those of `train.network.resnet`.
"""

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper

from screen.errors import ModelError
from screen.model import Model
from train.network.checkpoint import save_checkpoint
from train.network.resnet import ResNet18
from train.recipes.finetune import KIND

_BATCH_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_OF_CALIBRATION = ("settings", "epochs", "classifier_sha256", "split_seed")
"""What `train calibrate` adds to a classifier's provenance."""


def checkpoint_from_model(model: Model, out: Path) -> None:
    """Write the classifier of an fp32 model file, for `train calibrate`. ModelError for another file."""
    training: dict[str, Any] = dict(model.card.training)
    if model.card.precision != "fp32" or "settings" not in training:
        raise ModelError(
            f"{model.path}: in {model.card.precision}: what was trained is held by the fp32 file alone that "
            "'screen export onnx' made of a checkpoint"
        )
    graph = onnx.load_from_string(model.data).graph
    stored = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }
    if "film.weight.half" not in stored:
        raise ModelError(
            f"{model.path}: has no 'film.weight': the release of cxr-screen that made it can read it"
        )
    tensors = {
        f"network.{name}": value  # a count of batches, which nothing is computed with
        if name.endswith("num_batches_tracked")
        # Of several findings the first: the others' heads are fitted anew.
        else stored[_name_in_file(name)].float()[: len(value)].reshape(value.shape)
        for name, value in ResNet18().state_dict().items()
    }
    provenance = {name: value for name, value in training.items() if name not in _OF_CALIBRATION}
    save_checkpoint(
        out,
        tensors,
        {
            "kind": KIND,
            "epoch": training["epochs"],
            "settings": training["settings"],
            "provenance": {**provenance, "from_model": model.card.weights_digest},
        },
    )


def _name_in_file(name: str) -> str:
    """Of a parameter or statistic of `ResNet18`."""
    if name == "fc.bias":
        return "head.bias"
    if name == "fc.weight":
        return "head.weight.half"
    if name == "film.weight":
        return "film.weight.half"
    *where, module, part = name.split(".")
    if not where:  # conv1 and bn1
        at = "stem"
    elif where[-1] == "downsample":
        at = ".".join(where)
    else:
        at = ".".join([*where, module[-1]])
    convolution = module.startswith("conv") or (where[-1:] == ["downsample"] and module == "0")
    return f"{at}.weight.half" if convolution else f"{at}.bn.{_BATCH_NORM[part]}"
