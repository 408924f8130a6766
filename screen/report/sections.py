"""The page's section of what needs a person."""

from collections.abc import Iterable, Mapping, Sequence

from screen.codes import OF_PATIENT, Reason, Status, Warn
from screen.decide import Case, Verdict
from screen.report.content import FAILED_NAMES, QUIET, Report, Tally
from screen.report.markup import count, name, table, text, whose
from screen.text import escaped

_AT_ONCE = 8
"""Lines that are seen at once; the others unfold."""
_LONGEST_NAME = 4096
"""Linux's longest path."""


def attention(report: Report) -> tuple[int, str]:
    """(number of matters, HTML). A matter is a file that failed, a study without a screened film, …"""
    blocks = [
        _doubtful_run(report),
        _unscreened_studies(report),
        _incomplete_studies(report),
        _failed_files(report),
        _blank_films(report),
        _of_other_patients(report),
        _warnings(report),
    ]
    return sum(number for number, _ in blocks), "".join(block for _, block in blocks)


def _doubtful_run(report: Report) -> tuple[int, str]:
    found = []
    if report.tally.exit_code == 1:
        found.append(
            "Do not use this report: films whose tags say chest radiograph were there, "
            "and not one of them could be screened."
        )
    if report.facts.preprocess_drift:
        found.append(
            "This machine prepares films slightly differently from the one that the model was exported on "
            "(within the model's bounds): scores may differ in the last digits."
        )
    if report.facts.counts.get("parts_listed_otherwise"):
        found.append(
            "The parts of this run did not list the same files: some came or went in between, or one machine "
            "does not see all of INPUT. Run the parts again: what was left out is screened then."
        )
    return len(found), "".join(f'<p class="alarm" role="alert">{sentence}</p>' for sentence in found)


def _failed_files(report: Report) -> tuple[int, str]:
    """New failures first and each on its own line; those of earlier nights behind them, folded."""
    tally = report.tally
    failed, known = tally.with_status(Status.FAILED), tally.failed_known
    columns = ("File", "What happened", "Patient and study")
    new_lines, known_lines = (
        [(name(verdict.row.file), _reason(verdict), whose(verdict.row.identity)) for verdict in verdicts]
        for verdicts in (tally.failed, tally.known_failures)
    )
    advice = (
        "Each may be a film that nobody has screened. Repair or send it again, then run the same command."
    )
    title = f"{count(failed - known, 'file')} could not be read"
    html = _block(title, advice, columns, new_lines, failed - known)
    title = f"{count(known, 'file')} could not be read, as in an earlier night"
    html += _block(
        title,
        "An earlier night could not read them, and they are as they were.",
        columns,
        known_lines,
        known,
        0,
    )
    return failed, html + _to_copy(tally.failed_names, failed)


def _to_copy(names: Sequence[str], total: int) -> str:
    """Names in full, one a line, for a mail to whoever can mend them."""
    if not names:
        return ""
    lines = "\n".join(text(escaped(file), _LONGEST_NAME) for file in names)
    more = (
        f'<p class="soft">the first {FAILED_NAMES:,}; all are in results.csv</p>'
        if total > len(names)
        else ""
    )
    return (
        '<details class="copy"><summary>the names of failed files, as a list to copy</summary>'
        f"<pre>{lines}</pre>{more}</details>"
    )


def _of_other_patients(report: Report) -> tuple[int, str]:
    """Films of somebody the model may not be meant for: its own words say whether it is."""
    tally = report.tally
    found = [code for code in OF_PATIENT if tally.warned[code]]
    lines = [_code_and_films(tally, code) for code in found]
    title = "Films that the model may not be meant for"
    advice = (
        "They were screened like all others, but their scores may mean nothing. This is what the model is "
        f"meant for: “{text(report.decision.card.intended_use, 1000)}”"
    )
    return len(found), _block(title, advice, ("What the tags say", "Films"), lines, len(lines))


def _unscreened_studies(report: Report) -> tuple[int, str]:
    """Studies with films that say chest, and none with a result of its own or a duplicate's."""
    found = report.totals.unscreened_studies
    lines = [
        (
            whose(study.first.row.identity),
            count(study.films, "film"),
            _reasons(study.reasons),
            name(study.first.row.file),
        )
        for study in report.unscreened
    ]
    title = f"{count(found, 'study', 'studies')} without a screened film"
    advice = (
        "Their tags say chest radiograph, or do not say what they show. Nothing is known about them: "
        "read them as if there had been no run."
    )
    columns = ("Patient and study", "Films", "Why", "First file")
    return found, _block(title, advice, columns, lines, found)


def _incomplete_studies(report: Report) -> tuple[int, str]:
    found = report.totals.incomplete
    lines = [
        (
            whose(case.identity),
            f"{count(case.images_unread, 'film')} unread, {case.images:,} screened",
            _result(case, report.ranks),
        )
        for case in report.incomplete
    ]
    title = f"{count(found, 'study', 'studies')} screened in part"
    advice = "What is unread may show what the screened films do not."
    columns = ("Patient and study", "Films", "Result so far")
    return found, _block(title, advice, columns, lines, found)


def _result(case: Case, ranks: Mapping[str, int]) -> str:
    if (rank := ranks.get(case.lead.row.file)) is not None:
        return f"flagged, rank {rank:,}"
    return "flagged in an earlier night" if case.lead.flagged else "not flagged by what was screened"


def _blank_films(report: Report) -> tuple[int, str]:
    """Films that have a number like any other, and nothing that it could be about."""
    found = report.tally.warned[Warn.BLANK]
    lines = [(name(file),) for file in report.tally.warned_files[Warn.BLANK]]
    title = f"{count(found, 'film')} with nothing on {'it' if found == 1 else 'them'}"
    advice = (
        "All pixels of such a film are (nearly) equal. It was screened, but its number says nothing about "
        "the patient: look at it, and have it sent or taken again."
    )
    return found, _block(title, advice, ("File",), lines, found)


def _warnings(report: Report) -> tuple[int, str]:
    tally = report.tally
    elsewhere = (*QUIET, *OF_PATIENT, Warn.BLANK)
    found = [code for code in Warn if tally.warned[code] and code not in elsewhere]
    lines = [_code_and_films(tally, code) for code in found]
    title = f"{count(len(found), 'warning')} beside scores"
    advice = "These films were screened, but their scores are less certain."
    return len(found), _block(title, advice, ("Warning", "Films"), lines, len(lines))


def _code_and_films(tally: Tally, code: Warn) -> tuple[str, str]:
    films = _named(count(tally.warned[code], "film"), tally.warned_files[code], tally.warned[code])
    return f"{text(code.meaning)} <code>{code}</code>", films


def _named(summary: str, files: Sequence[str], total: int) -> str:
    shown = "".join(f"<li>{name(file)}</li>" for file in files)
    rest = total - len(files)
    more = f"<li>and {rest:,} more in results.csv</li>" if rest else ""
    return f"<details><summary>{summary}</summary><ul>{shown}{more}</ul></details>"


def _reason(verdict: Verdict) -> str:
    reason = verdict.reason
    words = reason.meaning if reason else ""
    detail = f'<br><span class="soft">{text(verdict.row.detail)}</span>' if verdict.row.detail else ""
    return f"{text(words)} <code>{reason or ''}</code>{detail}"


def _reasons(codes: Iterable[Reason]) -> str:
    return "<br>".join(f"{text(code.meaning)} <code>{code}</code>" for code in codes)


def _block(
    title: str,
    advice: str,
    columns: Sequence[str],
    lines: Sequence[Sequence[str]],
    total: int,
    at_once: int = _AT_ONCE,
) -> str:
    if not lines:
        return ""
    seen = table(columns, lines[:at_once], title) if at_once else ""
    html = f"<h3>{title}</h3><p>{advice}</p>{seen}"
    if total <= at_once:
        return html
    rest = f'<p class="soft">and {total - len(lines):,} more in results.csv</p>' if total > len(lines) else ""
    folded = table(columns, lines[at_once:], f"{title}, continued" if at_once else title) + rest
    more = f"{total - at_once:,} more" if at_once else "which"
    return f"{html}<details><summary>{more}</summary>{folded}</details>"
