"""A site's own calibration: from its `results.csv` and its labels to a decision file, without torch."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from screen.decide.decision import DECISION_VERSION
from screen.errors import UsageError
from screen.evaluation.metrics import FEW
from screen.evaluation.platt import Calibration, calibrated
from screen.model import load_model
from screen.text import safe_path, safe_text
from train.data.folds import fold_of
from train.data.table import label_from_cell


@dataclass(frozen=True, slots=True)
class SiteDecision:
    """What goes into a decision file, and how it came about.

    finding: its name. weights_digest: of the model that made the scores. films: labelled films that
    calibrated (0: the model's own calibration, for another prevalence). unmatched: labels without a scored
    film.
    """

    finding: str
    weights_digest: str
    calibration: Calibration
    films: int
    unmatched: int

    def to_json(self) -> str:
        """The file (`screen.decide.decision`)."""
        return (
            json.dumps(
                {
                    "cxr_screen_decision": DECISION_VERSION,
                    "weights_digest": self.weights_digest,
                    "findings": {self.finding: asdict(self.calibration)},
                },
                indent=2,
                ensure_ascii=False,
            )
            + "\n"
        )


@dataclass(frozen=True, slots=True)
class _Scored:
    finding: str
    logit: float
    study: str


def decision_from_model(model: Path | None, prevalence: float) -> SiteDecision:
    """The model's own calibration, for another prevalence. model: None is the shipped one."""
    card = load_model(model).card
    calibration = Calibration.of(card.finding(card.primary)).at(prevalence)
    return SiteDecision(card.primary, card.weights_digest, calibration, 0, 0)


def decision_from_labels(
    scores: Path, labels: Path, label_column: str, model: Path | None, prevalence: float | None
) -> SiteDecision:
    """Calibrate a finished run's scores with a site's labels.

    scores: `results.csv`; the model's digest is in `summary.json` beside it, or in the model file that is
    given. labels: a CSV with `sop_instance_uid` or `file` (or an end of it: `night/film.dcm`) and a column
    of 1, 0 or empty; `patient_id` if it is there keeps a patient's films together, else their study does.
    prevalence: what to shift to afterwards. Duplicates in the run count once. Raises UsageError if a file is
    not of its kind, a label names several films, or films are too few.
    """
    digest = load_model(model).card.weights_digest if model else _digest_beside(scores)
    by_uid, by_file = _read_scores(scores)
    logits: dict[int, float] = {}
    truths: dict[int, float] = {}
    groups: dict[int, str] = {}
    findings: set[str] = set()
    unmatched = 0
    rows = _rows(labels)
    if label_column not in rows[0]:
        raise UsageError(
            f"{labels}: no column '{label_column}' (it has {', '.join(rows[0])}): --label-column"
        )
    if not {"file", "sop_instance_uid"} & rows[0].keys():
        raise UsageError(f"{labels}: needs a column 'sop_instance_uid' or 'file' to find films by")
    for line, row in enumerate(rows, 2):
        label = label_from_cell(row[label_column] or "", labels, line)
        if math.isnan(label):
            continue
        place = f"{labels}, line {line}"
        found = by_uid.get(safe_text(row.get("sop_instance_uid") or "")) or by_file.get(
            safe_path(row.get("file") or "")
        )
        if not found:
            unmatched += 1
            continue
        if len(found) > 1:
            raise UsageError(f"{place}: several films of {scores} go by that name: give more of their path")
        (at, scored), = found.items()  # fmt: skip
        if truths.get(at, label) != label:
            raise UsageError(f"{place}: this film has another label further up")
        truths[at], logits[at] = label, scored.logit
        groups[at] = row.get("patient_id") or scored.study or f"film {at}"
        findings.add(scored.finding)
    if len(findings) > 1:
        raise UsageError(f"{scores}: scores of several findings: {', '.join(sorted(findings))}")
    truth = np.array(list(truths.values()), np.float32)
    for kind, number in (("with", int((truth == 1).sum())), ("without", int((truth == 0).sum()))):
        if number < FEW:
            raise UsageError(
                f"{labels}: {number} labelled films {kind} the finding have a score in {scores} ({unmatched} "
                f"labels have none); at least {FEW} are needed"
            )
    patients = np.array(list(groups.values()))
    folds = np.array([[str(fold_of(patient, 0)) for patient in patients]])
    where = (
        f"{len(truth):,} films of our own ({int(truth.sum()):,} with the finding) of "
        f"{len(np.unique(patients)):,} patients or studies; thresholds chosen on the others"
    )
    calibration = calibrated(np.array([list(logits.values())]), truth, folds, patients, where)
    if prevalence is not None:
        calibration = calibration.at(prevalence)
    return SiteDecision(findings.pop(), digest, calibration, len(truth), unmatched)


def _digest_beside(scores: Path) -> str:
    summary = scores.with_name("summary.json")
    try:
        digest = json.loads(summary.read_text(encoding="utf-8"))["digests"]["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        digest = None
    if not isinstance(digest, str):
        raise UsageError(f"{summary} does not say which model made the scores: name it with --model FILE")
    return digest


_Found = dict[int, _Scored]
"""Films by their line."""


def _read_scores(path: Path) -> tuple[Mapping[str, _Found], Mapping[str, _Found]]:
    """Scored films by SOP Instance UID, and by every end of their path at a slash."""
    by_uid: defaultdict[str, _Found] = defaultdict(dict)
    by_file: defaultdict[str, _Found] = defaultdict(dict)
    rows = _rows(path)
    if missing := {"file", "logit", "finding", "duplicate_of", "sop_instance_uid"} - rows[0].keys():
        raise UsageError(f"{path} is no results.csv of 'screen run': no column {', '.join(sorted(missing))}")
    for line, row in enumerate(rows, 2):
        if not row["logit"] or row["duplicate_of"]:
            continue
        try:
            logit = float(row["logit"])
        except ValueError:
            logit = math.inf
        if not math.isfinite(logit):
            raise UsageError(f"{path}, line {line}: '{row['logit']}' is no logit")
        scored = _Scored(row["finding"], logit, row.get("study_instance_uid") or "")
        if row["sop_instance_uid"]:
            by_uid[row["sop_instance_uid"]][line] = scored
        name = row["file"]
        by_file[name][line] = scored
        while "/" in name:
            name = name.partition("/")[2]
            by_file[name][line] = scored
    return by_uid, by_file


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise UsageError(f"{path}: no line in it")
    return rows
