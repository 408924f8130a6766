"""Checkpoints: tensors in safetensors, everything else in JSON beside it. Never pickle.

The JSON carries the digest of its tensors, so that a stop between the two files is noticed. Before a pair is
replaced it is copied to `NAME.previous.*`: at any moment one of the two is whole.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from screen.errors import ScreenError
from screen.files import remove_drafts, write_whole


class CheckpointError(ScreenError):
    """A checkpoint is missing, half written, or not of the kind that is needed."""


def save_checkpoint(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write `path`.safetensors and `path`.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save({name: value.detach().contiguous().cpu() for name, value in tensors.items()})
    about = {**about, "tensors_sha256": hashlib.sha256(data).hexdigest()}
    if (earlier := _whole_pair(path)) is not None:
        _write_pair(path.with_name(f"{path.name}.previous"), *earlier)
    _write_pair(path, data, json.dumps(about, indent=1, sort_keys=True).encode())


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of the newest whole pair; `path` without or with one of the two suffixes.

    Raises CheckpointError if there is none.
    """
    if path.suffix in {".safetensors", ".json"}:
        path = path.with_suffix("")
    for candidate in (path, path.with_name(f"{path.name}.previous")):
        if (pair := _whole_pair(candidate)) is not None:
            return load(pair[0]), json.loads(pair[1])
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


def _whole_pair(path: Path) -> tuple[bytes, bytes] | None:
    """Both files as they are; None if one is missing, or if they do not belong together."""
    tensors, about = _files(path)
    try:
        data, text = tensors.read_bytes(), about.read_bytes()
        said = json.loads(text)
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(said, dict) and said.get("tensors_sha256") == hashlib.sha256(data).hexdigest()
    return (data, text) if whole else None


def _write_pair(path: Path, data: bytes, text: bytes) -> None:
    for file, content in zip(_files(path), (data, text), strict=True):
        remove_drafts(file)
        write_whole(file, content)


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.safetensors"), path.with_name(f"{path.name}.json")
