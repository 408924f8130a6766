"""`summary.json`."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from screen import __version__
from screen.codes import Reason, Status, Warn
from screen.decide import Decision, expected
from screen.report.content import Report, RunFacts, Tally, flag_rates
from screen.text import escaped

DISCLAIMER = "Research use only, not for clinical use."
SUMMARY_VERSION = 1


def summary_json(report: Report) -> bytes:
    """The run in figures. Everything that changes from run to run on the same films stands here alone."""
    totals = report.totals
    of_night = {
        "duplicates": report.tally.duplicates,
        "cases": totals.cases,
        "cases_flagged": totals.flagged,
        "cases_listed": totals.listed,
        "parts": report.facts.parts,
        "new_files": asdict(report.tally.new),
        "nights_before": [asdict(night) for night in report.facts.nights],
        "beside_nights_before": asdict(report.beside),
    }
    return _summary(report.tally, report.decision, report.facts, report.tally.exit_code, of_night)


def part_summary_json(tally: Tally, decision: Decision, facts: RunFacts) -> bytes:
    """A part in figures, each of its files taken alone: cases and duplicates are the whole night's."""
    return _summary(tally, decision, facts, tally.part_exit_code, {"part": facts.part})


def _summary(
    tally: Tally, decision: Decision, facts: RunFacts, exit_code: int, of_night: dict[str, Any]
) -> bytes:
    card = decision.card
    summary: dict[str, Any] = {
        "cxr_screen_summary": SUMMARY_VERSION,
        "notice": DISCLAIMER,
        "exit_code": exit_code,
        "files": tally.files,
        "counts": {
            "status": {str(status): tally.with_status(status) for status in Status},
            "reason": {str(r): tally.with_reason(r) for r in sorted(Reason) if tally.with_reason(r)},
            "warning": dict(sorted(tally.warnings.items())),
            "failed_new": tally.with_status(Status.FAILED) - tally.failed_known,
            "failed_known": tally.failed_known,
            **facts.counts,
        },
        "images_screened": tally.images_screened,
        "images_flagged": tally.images_flagged,
        "images_of_children": tally.warned[Warn.CHILD],
        "images_blank": tally.warned[Warn.BLANK],
        **of_night,
        "images_inferred": facts.images_inferred,
        "images_reused": facts.images_reused,
        "images_per_second": round(facts.images_inferred / facts.seconds, 3) if facts.seconds > 0 else None,
        "model": {"name": card.name, "version": card.version, "file": escaped(facts.model_name)},
        "operating_point": decision.operating_point,
        "thresholds": decision.thresholds,
        "operating_points": {
            finding.name: [asdict(point) for point in finding.operating_points] for finding in card.findings
        },
        "flagging": decision.flagging,
        "expected": {
            finding.name: asdict(found)
            | {"sensitivity": point.sensitivity, "specificity": point.specificity, "basis": point.measured_on}
            for finding in card.findings
            if (point := decision.point(finding.name)) and (found := expected(point, finding.prevalence))
        },
        "flag_rate": {name: asdict(rate) for name, rate in flag_rates(tally, decision).items()},
        "gate_threshold": card.gate_threshold,
        "gate_certain": card.gate_certain,
        "digests": {
            "weights": card.weights_digest,
            "decision": decision.digest,
            "preprocess": card.preprocess_digest,
            "model_file": facts.model_file_digest,
        },
        "preprocess_drift": facts.preprocess_drift,
        "decode_policy": facts.decode_policy,
        "device": facts.device,
        "batch_size": facts.batch_size,
        "workers": facts.workers,
        "identifiers": facts.identifiers,
        "inputs": facts.inputs,
        "versions": {"cxr-screen": __version__, **facts.versions},
        "decided": datetime.now().astimezone().isoformat(timespec="seconds"),
        "started": facts.started,
        "finished": facts.finished,
        "seconds": round(facts.seconds, 3),
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in facts.stage_seconds.items()},
    }
    return (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
