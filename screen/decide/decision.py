"""What turns logits into verdicts: a model's calibration and thresholds, or a site's own in their place.

A decision file is a small JSON object:

    {
      "cxr_screen_decision": 1,
      "weights_digest": "<that of the model that it was made for>",
      "findings": {
        "tumor": {
          "slope": 1.02, "intercept": -0.31, "prevalence": 0.04,
          "operating_points": [
            {"name": "balanced", "threshold": 0.08,
             "sensitivity": 0.70, "sensitivity_interval": [0.61, 0.78],
             "specificity": 0.69, "specificity_interval": [0.67, 0.71],
             "measured_on": "1,204 films of our own, 2025, read twice"}
          ],
          "default_operating_point": "balanced"
        }
      },
      "gate_threshold": 0.4, "gate_certain": 0.9,
      "distance_quantiles": [0.9, …, 7.1]
    }

The first two keys are required. What is left out stays as the model has it: whole findings, single keys of
one, the gate, the distance. Unknown keys are refused. Names and meanings are those of `screen.model.card`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from screen.errors import ModelError, UsageError
from screen.model import ModelCard, OperatingPoint, card_from_json

DECISION_VERSION = 1
THRESHOLD = "threshold"
"""Stands in the column `operating_point` where `--threshold` was given."""
DEFAULT = "default"
"""`Decision.operating_point` where findings have different defaults."""

_LARGEST_FILE = 1_000_000
_FINDING_KEYS = {"slope", "intercept", "prevalence", "operating_points", "default_operating_point"}
_GATE_AND_DISTANCE = ("gate_threshold", "gate_certain", "distance_quantiles")
_KEYS = {"cxr_screen_decision", "weights_digest", "findings", *_GATE_AND_DISTANCE}


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that `decide` needs beside rows.

    operating_point: its name, `threshold` (a bare one from the command line) or `default` (findings differ).
    card: with the calibration that counts: the model's, or the decision file's.
    thresholds: on the calibrated probability, by finding. flagging: the findings that flag a film, in the
    model's order. digest: of the card's decision and what flags.
    """

    operating_point: str
    card: ModelCard
    thresholds: dict[str, float]
    flagging: tuple[str, ...]
    digest: str

    def point(self, finding: str) -> OperatingPoint | None:
        """The operating point in force for a finding, None under a bare threshold."""
        if self.operating_point == THRESHOLD:
            return None
        name = self.operating_point
        if name == DEFAULT:
            name = self.card.finding(finding).default_operating_point
        return next(p for p in self.card.finding(finding).operating_points if p.name == name)

    def point_name(self, finding: str) -> str:
        """What the column `operating_point` says."""
        point = self.point(finding)
        return point.name if point else THRESHOLD

    def to_json(self) -> str:
        """One line of JSON: what was decided with a night can be asked of it later."""
        plain = {
            "operating_point": self.operating_point,
            "thresholds": self.thresholds,
            "flagging": self.flagging,
            "card": json.loads(self.card.to_json()),
        }
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The decision again. Raises ModelError for a broken card, ValueError, KeyError or TypeError else."""
        plain = json.loads(text)
        card = card_from_json(json.dumps(plain["card"]))
        thresholds = {finding.name: float(plain["thresholds"][finding.name]) for finding in card.findings}
        flagging = tuple(str(name) for name in plain["flagging"])
        if not flagging or set(flagging) - thresholds.keys():
            raise ValueError("what flags is no finding of the model")
        decision = cls(str(plain["operating_point"]), card, thresholds, flagging, _digest(card, flagging))
        try:
            for finding in card.findings:
                decision.point(finding.name)
        except StopIteration:
            raise ValueError(f"no operating point {decision.operating_point!r}") from None
        if not all(0 <= threshold <= 1 for threshold in thresholds.values()):
            raise ValueError("a threshold that is no probability")
        return decision


def decision_from(
    card: ModelCard,
    operating_point: str | None,
    threshold: float | None,
    decision_file: Path | None,
    flag: Sequence[str] = (),
) -> Decision:
    """The decision that the command line asks for; without any option each finding's default.

    threshold: 0 … 1, on the calibrated probability of every finding. decision_file: see the module.
    flag: names of the findings that flag; none given: the primary one alone.
    Raises UsageError (options that exclude each other, an unknown operating point or finding, a threshold
    out of range, a file that cannot be read, another model's), ModelError (a decision file that is broken).
    """
    if threshold is not None and operating_point is not None:
        raise UsageError("--operating-point and --threshold exclude each other: give one of them")
    if decision_file is not None:
        card = _card_with(card, decision_file)
    for finding in card.findings:
        if reserved := {point.name for point in finding.operating_points} & {THRESHOLD, DEFAULT}:
            raise ModelError(f"'{reserved.pop()}' cannot be the name of an operating point: it has a meaning")
    flagging = _flagging(card, flag)
    digest = _digest(card, flagging)
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise UsageError("--threshold is a probability: give a number from 0 to 1")
        thresholds = {finding.name: threshold for finding in card.findings}
        return Decision(THRESHOLD, card, thresholds, flagging, digest)
    chosen = {f.name: operating_point or f.default_operating_point for f in card.findings}
    thresholds = {}
    for finding in card.findings:
        points = {point.name: point.threshold for point in finding.operating_points}
        if chosen[finding.name] not in points:
            names = ", ".join(points)
            raise UsageError(
                f"'{finding.name}' has no operating point '{chosen[finding.name]}': choose one of {names}"
            )
        thresholds[finding.name] = points[chosen[finding.name]]
        if not 0 < thresholds[finding.name] < 1:
            raise ModelError(
                f"operating point '{chosen[finding.name]}' flags everything or nothing; choose another one"
            )
    names_in_force = set(chosen.values())
    name = names_in_force.pop() if len(names_in_force) == 1 else DEFAULT
    return Decision(name, card, thresholds, flagging, digest)


def _flagging(card: ModelCard, flag: Sequence[str]) -> tuple[str, ...]:
    names = [finding.name for finding in card.findings]
    if unknown := [name for name in flag if name not in names]:
        raise UsageError(f"--flag {unknown[0]}: this model has no such finding, it has {', '.join(names)}")
    return tuple(name for name in names if name in flag) if flag else (card.primary,)


def _digest(card: ModelCard, flagging: tuple[str, ...]) -> str:
    """SHA-256 (hex). The primary finding alone flags where nobody said otherwise: then it is the card's."""
    if flagging == (card.primary,):
        return card.decision_digest()
    return hashlib.sha256(json.dumps([card.decision_digest(), *flagging]).encode()).hexdigest()


def _card_with(card: ModelCard, path: Path) -> ModelCard:
    """The card with what the decision file replaces; the model file's own parser checks the whole."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"the decision file {path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise ModelError(f"{path} is too large for a decision file")
    try:
        given: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no decision file: not JSON") from error
    if not isinstance(given, dict) or given.get("cxr_screen_decision") != DECISION_VERSION:
        raise ModelError(f'{path} is no decision file of version {DECISION_VERSION} ("cxr_screen_decision")')
    if given.get("weights_digest") != card.weights_digest:
        raise UsageError(
            f"{path} was made for another model: make one for weights {card.weights_digest[:12]} "
            "('screen model show' tells a model's), or run with the model that it belongs to"
        )
    findings = given.get("findings", {})
    if not isinstance(findings, dict) or not all(isinstance(value, dict) for value in findings.values()):
        raise ModelError(f'{path}: "findings" maps names to objects')
    unknown = (given.keys() - _KEYS) | (findings.keys() - {finding.name for finding in card.findings})
    unknown |= {key for value in findings.values() for key in value.keys() - _FINDING_KEYS}
    if unknown:
        raise ModelError(
            f"{path} says what this model or this version does not know: {', '.join(sorted(unknown))}"
        )
    plain = json.loads(card.to_json())
    plain["findings"] = [finding | findings.get(finding["name"], {}) for finding in plain["findings"]]
    plain |= {key: given[key] for key in _GATE_AND_DISTANCE if key in given}
    try:
        return card_from_json(json.dumps(plain))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


FILMS = 1000


@dataclass(frozen=True, slots=True)
class Expected:
    """Of 1,000 films. Ranges go from the one end of the measured intervals to the other.

    prevalence: share of films with the finding. flags: flagged films. ppv: share of them with the finding.
    """

    prevalence: float
    flags: float
    flags_range: tuple[float, float]
    ppv: float
    ppv_range: tuple[float, float]


def expected(point: OperatingPoint | None, prevalence: float) -> Expected | None:
    """By Bayes' rule; None where nothing was measured (a bare threshold, an unmeasured point).

    prevalence: that of the calibration in force. Right for films like those that the point was measured on.
    """
    if point is None or point.sensitivity_interval == point.specificity_interval == (0.0, 1.0):
        return None
    (low_sensitivity, high_sensitivity) = point.sensitivity_interval
    (low_specificity, high_specificity) = point.specificity_interval
    flags, ppv = _at(point.sensitivity, point.specificity, prevalence)
    return Expected(
        prevalence=prevalence,
        flags=flags,
        flags_range=(
            _at(low_sensitivity, high_specificity, prevalence)[0],
            _at(high_sensitivity, low_specificity, prevalence)[0],
        ),
        ppv=ppv,
        ppv_range=(
            _at(low_sensitivity, low_specificity, prevalence)[1],
            _at(high_sensitivity, high_specificity, prevalence)[1],
        ),
    )


def _at(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Flags of 1,000 films, and their positive predictive value (0 where nothing is flagged)."""
    right = sensitivity * prevalence
    share = right + (1 - specificity) * (1 - prevalence)
    return FILMS * share, right / share if share else 0.0
