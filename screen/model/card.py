"""What a model file says about itself: versioned JSON under one metadata key of the ONNX file.

Everything screening needs and nothing that it would have to guess. `card_from_json` refuses what is missing,
unknown in type, or of a newer major version; unknown keys of a newer minor version are ignored.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from screen.preprocess import PreprocessSpec

METADATA_KEY = "cxr_screen"
SCHEMA_MAJOR = 1
SCHEMA = f"{SCHEMA_MAJOR}.0"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on the calibrated probability and what was measured there, per image.

    Intervals are 95 % (low, high). `measured_on` names the films: never those that were trained on.
    """

    name: str
    threshold: float
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    measured_on: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One output of the network.

    Calibrated probability = 1 / (1 + exp(-(slope * logit + intercept))) (Platt 1999), at `prevalence`.
    heatmap_scale: the logit contributions that overlays show as nothing and as full colour.
    code: value, scheme and meaning by which DICOM results call it; None: see `finding_code`.
    """

    name: str
    slope: float
    intercept: float
    prevalence: float
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    heatmap_scale: tuple[float, float]
    code: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A small film with the square and the outputs that the exporting machine made of it.

    values: base64 of zlib of uint8 [height, width], scaled to 16 bits by 257; square: likewise uint8 [S, S].
    """

    height: int
    width: int
    values: str
    square: str
    logits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The metadata of one model file.

    findings: in the order of the graph's K. primary: the one that `results.csv` shows.
    distance_quantiles: raw distance at 0, 1, … 100 % of held-out normal films.
    gate_threshold: subtracted nowhere: `gate` <= threshold is clearly no chest film.
    gate_certain: `gate` above the threshold and <= this is doubtful; None: nothing is.
    probe_logit_bound: largest difference of a probe's logits that counts as drift, not as another model.
    decode_policies: ways of decoding that the model accepts beside `full`, each with its certificate.
    certificates: what was measured of other ways to the same scores, see `screen.model.certificates`.
    training, metrics: provenance and measured figures, for people; nothing is decided from them.
    """

    name: str
    version: str
    intended_use: str
    preprocess: PreprocessSpec
    preprocess_digest: str
    findings: tuple[Finding, ...]
    primary: str
    input_size: int
    embedding_size: int
    heatmap_method: str
    heatmap_grid: tuple[int, int]
    precision: str
    distance_quantiles: tuple[float, ...]
    gate_threshold: float
    probes: tuple[Probe, ...]
    probe_logit_bound: float
    weights_digest: str
    decode_policies: tuple[dict[str, Any], ...] = ()
    certificates: tuple[dict[str, Any], ...] = ()
    gate_certain: float | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA

    def finding(self, name: str) -> Finding:
        """The finding of that name. Raises KeyError."""
        return next(f for f in self.findings if f.name == name)

    def decision_digest(self) -> str:
        """SHA-256 (hex) of what turns rows into verdicts: calibration, operating points, gate, distance."""
        decisive = {
            "findings": [_decisive(f) for f in self.findings],
            "primary": self.primary,
            "distance_quantiles": self.distance_quantiles,
            "gate_threshold": self.gate_threshold,
        }
        # Models were without a second edge before there was one, and keep their digests.
        if self.gate_certain is not None:
            decisive["gate_certain"] = self.gate_certain
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: equal cards give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


OWN_SCHEME = "99CXRSCREEN"
"""Of codes that no public scheme has."""
CODES = {
    "tumor": ("mass-or-nodule", OWN_SCHEME, "Pulmonary mass or nodule"),
    "abnormal": ("168734001", "SCT", "Standard chest X-ray abnormal"),
}
"""Findings that this project trains. No one public code means a mass or a nodule."""


def finding_code(finding: Finding) -> tuple[str, str, str]:
    """Value, scheme and meaning: what the model declares, else ours, else its own word."""
    return finding.code or CODES.get(finding.name, (finding.name, OWN_SCHEME, finding.name))


def _decisive(finding: Finding) -> dict[str, Any]:
    """What it is called elsewhere decides nothing."""
    plain = asdict(finding)
    del plain["code"]
    return plain
