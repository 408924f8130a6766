"""Checkpoints: tensors in safetensors, everything else in JSON beside it. Never pickle.

`NAME.safetensors` and `NAME.json` are each replaced in one step; the JSON carries the digest of its tensors,
so that a stop between the two is noticed, and the older pair (`NAME.previous.*`) is still whole.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from screen.errors import ScreenError


class CheckpointError(ScreenError):
    """A checkpoint is missing, half written, or not of the kind that is needed."""


def save_checkpoint(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write `path`.safetensors and `path`.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save({name: value.detach().contiguous().cpu() for name, value in tensors.items()})
    about = {**about, "tensors_sha256": hashlib.sha256(data).hexdigest()}
    for suffix in (".safetensors", ".json"):
        if _file(path, suffix).is_file():
            _file(path, suffix).replace(_file(path, f".previous{suffix}"))
    _replace(_file(path, ".safetensors"), data)
    _replace(_file(path, ".json"), json.dumps(about, indent=1, sort_keys=True).encode())


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of the newest whole pair; `path` without or with one of the two suffixes.

    Raises CheckpointError if there is none.
    """
    if path.suffix in {".safetensors", ".json"}:
        path = path.with_suffix("")
    for infix in ("", ".previous"):
        try:
            data = _file(path, f"{infix}.safetensors").read_bytes()
            about: dict[str, Any] = json.loads(_file(path, f"{infix}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        if about.get("tensors_sha256") == hashlib.sha256(data).hexdigest():
            return load(data), about
    raise CheckpointError(f"{path}: no whole checkpoint (.safetensors with its .json) is there")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named `optimizer.INDEX.NAME`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".", 2)
            state.setdefault(int(index), {})[field] = value
    whole["state"] = state
    optimizer.load_state_dict(whole)


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _file(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
