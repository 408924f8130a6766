"""Rows to verdicts to cases: a decision is a function of rows."""

from screen.decide.cases import Case, Cases
from screen.decide.decision import Decision, decision_from, expected
from screen.decide.verdicts import Score, Verdict, Verdicts, decide, verdict_alone, verdicts_alone

__all__ = [
    "Case",
    "Cases",
    "Decision",
    "Score",
    "Verdict",
    "Verdicts",
    "decide",
    "decision_from",
    "expected",
    "verdict_alone",
    "verdicts_alone",
]
