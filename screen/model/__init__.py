"""Files that may be loaded, models and engines: checked before a runtime sees them."""

from screen.model.card import Finding, ModelCard, OperatingPoint, Probe
from screen.model.card_from_json import card_from_json
from screen.model.certificates import Agreement, Bounds
from screen.model.engine_file import Manifest, VerifiedEngine
from screen.model.file import Model, load_model, model_from_bytes, model_path, weights_digest

__all__ = [
    "Agreement",
    "Bounds",
    "Finding",
    "Manifest",
    "Model",
    "ModelCard",
    "OperatingPoint",
    "Probe",
    "VerifiedEngine",
    "card_from_json",
    "load_model",
    "model_from_bytes",
    "model_path",
    "weights_digest",
]
