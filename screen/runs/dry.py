"""`screen run --dry-run`: what a run would find to do. Nothing is written, no file is opened."""

from collections import Counter
from contextlib import ExitStack

from screen.codes import Status
from screen.discover import PassedOver, Source
from screen.errors import InputError
from screen.ledger import Ledger
from screen.runs.folder import LEDGER_NAME
from screen.runs.identifiers import identifiers_for
from screen.runs.inputs import Inputs
from screen.runs.pipeline import NOTHING_FOUND, RunSettings, folder_of, part_of
from screen.runs.stopping import Stop


def dry_run(settings: RunSettings) -> str:
    """What would be read, reused and passed over, in lines. Raises ScreenError where the run would at once.

    Nothing of the model is asked: a folder whose results another model made is refused by the run itself.
    """
    identifiers = identifiers_for(settings.identifiers)
    part = part_of(settings)
    inputs = Inputs(settings.inputs, settings.listed, identifiers)
    out = folder_of(settings, identifiers)
    steps = inputs.sources(out)
    files = read = unreachable = passed_over = others = 0
    standing: Counter[Status] = Counter()
    with ExitStack() as stack, inputs.errors_named():
        stop = stack.enter_context(Stop())
        kept = out / LEDGER_NAME
        ledger = None
        if kept.exists() and not settings.fresh:
            ledger = stack.enter_context(Ledger.open_readonly(kept))
        for step in steps:
            stop.check()
            passed_over += isinstance(step, PassedOver)
            if not isinstance(step, Source):
                continue
            if part is not None and not part.has(step.key):
                others += 1
                continue
            files += 1
            if step.problem is not None:
                unreachable += 1
                continue
            status = None
            if ledger is not None:
                file, token = identifiers.file(step.key), identifiers.token(step.change_token)
                status = ledger.standing(file, token, retry_failed=settings.retry_failed)
            if status is None:
                read += 1
            else:
                standing[status] += 1
    if not files + others and not settings.allow_empty:
        raise InputError(NOTHING_FOUND)
    reused = ", ".join(f"{standing[status]:,} {status}" for status in Status if standing[status])
    lines = [
        f"{files:,} files, for {out}",
        f"{read:,} would be read: screened, or skipped for what is in them",
        f"{standing.total():,} have a result that would be reused{f' ({reused})' if reused else ''}",
    ]
    if unreachable:
        lines.append(f"{unreachable:,} cannot be reached, and would be failed")
    if others:
        lines.append(f"{others:,} belong to other parts")
    if passed_over:
        lines.append(f"{passed_over:,} folders would be passed over: an earlier run's reports lie in them")
    if settings.known:
        lines.append("what --known knows is found when a film is read")
    return "\n".join(lines)
