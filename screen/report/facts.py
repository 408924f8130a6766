"""What a run knows beside its rows: kept in the ledger, so that reports can be written again."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run, as it really went.

    card_json: the model's own card, before any decision file. device: `DeviceInfo` as a dict.
    started, finished: ISO 8601 with offset. seconds: wall clock; stage_seconds: summed over workers.
    images_inferred, images_reused: films through the network, and films whose result was there already.
    identifiers: `full`, `pseudonym` or `none`. heatmaps: how many flagged images get a PNG at most.
    preprocess_drift: the model's probes were not equal to the byte. counts: more figures for `summary.json`
    (`known_ignored`, `gpu_decoder_losses`, …).
    """

    card_json: str
    model_file_digest: str
    model_name: str
    device: dict[str, str | int]
    versions: dict[str, str]
    inputs: list[str]
    started: str
    finished: str
    seconds: float
    stage_seconds: dict[str, float]
    images_inferred: int
    images_reused: int
    batch_size: int
    workers: int
    identifiers: str
    heatmaps: int
    preprocess_drift: bool
    decode_policy: str
    counts: dict[str, int]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "RunFacts":
        """The facts again; keys of a newer version are ignored. Raises ValueError if one is missing."""
        plain: dict[str, Any] = json.loads(text)
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in plain]:
            raise ValueError(f"the run's facts lack {', '.join(missing)}")
        return cls(**{name: plain[name] for name in names})
