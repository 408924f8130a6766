"""What a model file proves about other ways to the same scores: fp16, int8, other runtimes, shortcuts.

`screen export certify` measures on films and writes the entries; a run takes such a way only if its entry is
there. Every entry speaks of one network, by its weights digest: copied into another file it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from screen.errors import UsageError


class Kind(StrEnum):
    """What a certificate compares with the way that needs none."""

    EXPORT = "export_parity"
    """The exported file with the trained network."""
    PRECISION = "precision_parity"
    """This file with the fp32 file that it was made from."""
    RUNTIME = "runtime_parity"
    """This file on another runtime with ONNX Runtime on the CPU."""
    ENGINE = "engine_parity"
    """A TensorRT engine with the model file that it was built from, on one GPU; kept beside the engine."""
    DECODING = "decode_parity"
    """Squares by shortcuts with squares by decoding in full."""


REFERENCE_PRECISION = "fp32"
ON_CPUS = ("int8",)
"""Precisions that are certified on CPUs alone."""
CPU_KINDS = ("cpu", "openvino")
"""Kinds of devices that are CPUs."""
CERTIFIED_DEVICES = ("openvino",)
"""Devices that a run takes only with a certificate of the runtime; the others are ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two ways' results on the same films.

    Differences of probability and logit: over all films and findings. flips: films whose verdict differs, by
    `finding.operating point`; farthest_flip: the largest distance of such a film's probability (the first
    way's) from the threshold, 0 without flips. gate_changes: films that one way takes for chest films and the
    other does not. auc_*: of the second way minus the first's, for the primary finding, pairs within one
    source and pooled, over the `labelled` films from sources that have the finding; 0 without such films.
    """

    films: int
    mean_probability_difference: float
    max_probability_difference: float
    mean_logit_difference: float
    max_logit_difference: float
    flips: dict[str, int]
    farthest_flip: float
    gate_changes: int
    labelled: int
    auc_within_source_change: float
    auc_pooled_change: float

    def to_plain(self) -> dict[str, Any]:
        """As stored in a certificate."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far two ways may be apart.

    flips: share of the films, at each operating point. farthest_flip: from the threshold, of any of them.
    auc_change: where films are labelled.
    """

    mean_probability_difference: float
    flips: float
    farthest_flip: float
    auc_change: float
    max_probability_difference: float = 1.0

    def to_plain(self) -> dict[str, Any]:
        """As stored in a certificate."""
        return asdict(self)

    def complaints(self, found: Agreement) -> list[str]:
        """What is beyond the bounds, for people; empty if all is within. NaN is beyond."""
        said = []
        for name in ("mean_probability_difference", "max_probability_difference"):
            difference, bound = getattr(found, name), getattr(self, name)
            if not difference <= bound:
                said.append(f"{name.partition('_')[0]} |Δp| {difference:.4f} > {bound:g}")
        for point, count in found.flips.items():
            if not count <= self.flips * found.films:
                said.append(f"{count} of {found.films} verdicts flip at {point} (> {self.flips:.2%})")
        if not found.farthest_flip <= self.farthest_flip:
            said.append(f"a verdict flips {found.farthest_flip:.4f} from its threshold")
        for name in ("auc_within_source_change", "auc_pooled_change"):
            change = getattr(found, name)
            if not abs(change) <= self.auc_change:
                said.append(f"{name.replace('_', ' ')} {change:+.4f} (bound {self.auc_change:g})")
        return said


def flips_in_words(flips: Mapping[str, int]) -> str:
    """An agreement's: `balanced 2, specific 0`, with the finding in front where there are several."""
    several = len({name.partition(".")[0] for name in flips}) > 1
    return ", ".join(
        f"{name if several else name.partition('.')[2]} {count}" for name, count in flips.items()
    )


DECODE_BOUNDS = Bounds(mean_probability_difference=0.005, flips=0.03, farthest_flip=0.02, auc_change=0.005)
"""Of decode shortcuts, for scores that spread as far as version 7's: see docs/decisions/shortcuts.md."""
FP16_BOUNDS = Bounds(
    mean_probability_difference=1.0,
    flips=1.0,
    farthest_flip=0.002,
    auc_change=1.0,
    max_probability_difference=0.005,
)
"""Of an fp16 file or engine with its fp32 file: only films at the threshold itself may flip."""
PARITY_BOUNDS = Bounds(mean_probability_difference=0.003, flips=0.005, farthest_flip=0.005, auc_change=0.003)
"""Of int8 and of runtimes, where the same square goes in."""
PRECISION_BOUNDS = {"fp16": FP16_BOUNDS, "int8": PARITY_BOUNDS}
"""Of a file with the fp32 one that it was made from."""


def check_certified(
    precision: str, device: str, certificates: Sequence[Mapping[str, Any]], model: str
) -> None:
    """Refuse an fp16 or int8 file or a runtime whose agreement nobody has measured.

    precision, certificates: the card's. device: `DeviceInfo.device`. model: the file, for the message.
    Raises UsageError that names the command.
    """
    held = {(entry["kind"], entry.get("device", "")) for entry in certificates}
    if precision != REFERENCE_PRECISION and (Kind.PRECISION, "") not in held:
        raise UsageError(
            f"{model} computes in {precision} and has no certificate of its agreement with fp32: "
            f"screen export certify {model} --against FP32_MODEL --films FOLDER --out FILE"
        )
    if device in CERTIFIED_DEVICES and (Kind.RUNTIME, device) not in held:
        raise UsageError(
            f"--device {device}: {model} has no certificate for it: "
            f"screen export certify {model} --devices {device} --films FOLDER --out FILE"
        )
