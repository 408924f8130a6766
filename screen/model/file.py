"""A model is one file: read once, checked whole, before any runtime sees its bytes."""

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from screen.errors import ModelError, ScreenError, UsageError
from screen.files import read_bounded
from screen.model.card import METADATA_KEY, ModelCard
from screen.model.card_from_json import card_from_json
from screen.model.onnx_file import Structure, TensorInfo, WireError, fields_but_metadata, structure_from_bytes

MAX_MODEL_BYTES = 512 << 20
IR_VERSIONS = range(7, 12)
OPSETS = range(13, 23)
_FLOAT32, _UINT8 = 1, 2
DEFAULT, FAST = "default", "fast"
"""Names of the models that the package ships: the one that runs unless told otherwise, and its int8 twin."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model file that may be run.

    data: the bytes that were checked; a runtime loads these and never the path. file_digest: their SHA-256
    (hex), for integrity alone; `card.weights_digest` says which network it is.
    """

    card: ModelCard
    data: bytes
    file_digest: str
    path: Path


def load_model(path: Path | None) -> Model:
    """The model in a file; None: the one that the package ships.

    Raises ModelError, and UsageError if the file is not there, or the package's fast one is not installed.
    """
    if path is None:
        path = shipped_model(DEFAULT)
    try:
        if not path.is_file():
            raise _absent(path)
        data = read_bounded(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if data is None:
        raise ModelError(f"{path}: more than {MAX_MODEL_BYTES >> 20} MiB: no model is so large")
    return model_from_bytes(data, path)


def model_path(given: str | os.PathLike[str]) -> Path:
    """`default` or `fast`: where the package's model of that name lies; anything else is a file.

    A file of such a name is `./fast`.
    """
    text = os.fspath(given)
    return shipped_model(text) if text in (DEFAULT, FAST) else Path(text)


def shipped_model(name: str) -> Path:
    """Where the package's own model lies, if this installation has it. name: `DEFAULT` or `FAST`."""
    return Path(str(resources.files("screen"))) / "models" / f"{name}.onnx"


def _absent(path: Path) -> ScreenError:
    if path == shipped_model(DEFAULT):
        return ModelError("this installation ships no model: name one with --model FILE")
    if path == shipped_model(FAST):
        return UsageError(
            "this installation has no model 'fast': the default one does the same work, leave --model out; "
            "or make its twin with 'screen export onnx --precision int8' and name the file"
        )
    return UsageError(f"{path}: no such model file; the program's own models are '{DEFAULT}' and '{FAST}'")


def model_from_bytes(data: bytes, path: Path) -> Model:
    """The model in these bytes, checked. path: for messages. Raises ModelError."""
    try:
        structure = structure_from_bytes(data)
        _check_operators(structure)
        if METADATA_KEY not in structure.metadata:
            raise ModelError("an ONNX file, but not made by 'screen export onnx': its metadata are missing")
        card = card_from_json(structure.metadata[METADATA_KEY])
        _check_preprocessing(card)
        _check_signature(structure, card)
        if weights_digest(data, card.preprocess_digest) != card.weights_digest:
            raise ModelError("the weights are not those that its metadata speak of: damaged or tampered with")
    except WireError as error:
        raise ModelError(f"{path}: not a model file: {error}") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return Model(card=card, data=data, file_digest=hashlib.sha256(data).hexdigest(), path=path)


def weights_digest(data: bytes, preprocess_digest: str) -> str:
    """SHA-256 (hex) of graph, weights and preprocessing: what keys engines, certificates and reusable rows.

    data: an ONNX file; all of its top-level fields but metadata_props count, as they lie in the file.
    Raises WireError.
    """
    digest = hashlib.sha256(preprocess_digest.encode())
    for raw in fields_but_metadata(data):
        digest.update(raw)
    return digest.hexdigest()


def _check_operators(structure: Structure) -> None:
    if structure.ir_version not in IR_VERSIONS:
        raise ModelError(
            f"ONNX IR version {structure.ir_version} is not within "
            f"{IR_VERSIONS.start} … {IR_VERSIONS.stop - 1}"
        )
    foreign = (structure.domains | structure.opsets.keys()) - {""}
    if foreign:
        raise ModelError(f"operators outside ONNX's own domain are not accepted: {min(foreign)[:64]!r}")
    opset = structure.opsets.get("", 0)
    if opset not in OPSETS:
        raise ModelError(f"ONNX opset {opset} is not within {OPSETS.start} … {OPSETS.stop - 1}")


def _check_preprocessing(card: ModelCard) -> None:
    if card.preprocess.foreign:
        raise ModelError(f"metadata field 'preprocess': {card.preprocess.foreign}")
    if card.preprocess_digest != card.preprocess.digest():
        raise ModelError(
            "made for preprocessing that this version does not do the same way: export it again with this "
            "version, or use the version that it was made with"
        )


def _check_signature(structure: Structure, card: ModelCard) -> None:
    """Names, types and shapes of the contract; the first dimension, and only it, is free."""
    size, findings = card.input_size, len(card.findings)
    expected = {
        "image": (_UINT8, (1, size, size)),
        "logits": (_FLOAT32, (findings,)),
        "heatmap": (_FLOAT32, (findings, *card.heatmap_grid)),
        "embedding": (_FLOAT32, (card.embedding_size,)),
        "distance": (_FLOAT32, ()),
        "gate": (_FLOAT32, ()),
    }
    if set(structure.inputs) != {"image"} or set(structure.outputs) != set(expected) - {"image"}:
        raise ModelError(f"its inputs and outputs are not {', '.join(expected)}")
    for name, (dtype, shape) in expected.items():
        info = structure.inputs.get(name) or structure.outputs[name]
        free_batch = bool(info.shape) and isinstance(info.shape[0], str)
        if not free_batch or TensorInfo(info.dtype, info.shape[1:]) != TensorInfo(dtype, shape):
            wanted = ", ".join(["N", *map(str, shape)])
            raise ModelError(f"'{name}' is not {'uint8' if dtype == _UINT8 else 'float32'} [{wanted}]")
