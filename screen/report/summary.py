"""`summary.json`, and the exit code that the run ends with."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from screen import __version__
from screen.decide import Verdict
from screen.plain_text import escaped
from screen.reasons import Status
from screen.report.content import Report

DISCLAIMER = "Research use only, not for clinical use."
SUMMARY_VERSION = 1


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0; 3 if some files failed; 1 if nothing was screened although files that say chest film were there."""
    statuses = {verdict.status for verdict in verdicts}
    if Status.SCREENED not in statuses and any(verdict.row.declared_chest for verdict in verdicts):
        return 1
    return 3 if Status.FAILED in statuses else 0


def summary_json(report: Report) -> bytes:
    """The run in figures. Everything that changes from run to run on the same films stands here alone."""
    verdicts, cases, decision, facts = report.verdicts, report.cases, report.decision, report.facts
    card = decision.card
    summary: dict[str, Any] = {
        "cxr_screen_summary": SUMMARY_VERSION,
        "notice": DISCLAIMER,
        "exit_code": report.code,
        "files": len(verdicts),
        "counts": {
            "status": {str(s): sum(v.status is s for v in verdicts) for s in Status},
            "reason": _counted(str(v.reason) for v in verdicts if v.reason),
            "warning": _counted(code for v in verdicts for code in v.warnings),
            **facts.counts,
        },
        "images_screened": sum(v.counts for v in verdicts),
        "images_flagged": sum(v.counts and v.flagged for v in verdicts),
        "duplicates": sum(bool(v.duplicate_of) for v in verdicts),
        "cases": len(cases),
        "cases_flagged": sum(case.lead.flagged for case in cases),
        "cases_listed": sum(case.listed for case in cases),
        "images_inferred": facts.images_inferred,
        "images_reused": facts.images_reused,
        "images_per_second": round(facts.images_inferred / facts.seconds, 3) if facts.seconds > 0 else None,
        "model": {"name": card.name, "version": card.version, "file": escaped(facts.model_name)},
        "operating_point": decision.operating_point,
        "thresholds": decision.thresholds,
        "gate_threshold": card.gate_threshold,
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
        "started": facts.started,
        "finished": facts.finished,
        "seconds": round(facts.seconds, 3),
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in facts.stage_seconds.items()},
    }
    return (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _counted(codes: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(codes).items()))
