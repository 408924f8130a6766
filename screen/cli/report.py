"""`screen report`."""

from pathlib import Path

import click

from screen.cli.run import names


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--operating-point", metavar="NAME", help="One of the model's. [default: the model's own]")
@click.option("--threshold", type=float, metavar="P", help="Flag at this probability instead.")
@click.option(
    "--decision",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A site's own calibration and thresholds.",
)
@click.option(
    "--flag",
    callback=names,
    metavar="FINDING,…",
    help="Findings that flag a case. [default: the primary one]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR2",
    help="Write the reports there, new or with earlier reports in it. [default: DIR, in place of its own]",
)
@click.option(
    "--listed",
    is_flag=True,
    help="These reports will be read: later nights need not list their cases again.",
)
def cli(
    folder: Path,
    operating_point: str | None,
    threshold: float | None,
    decision: Path | None,
    flag: tuple[str, ...],
    out: Path | None,
    listed: bool,
) -> None:
    """Write the reports of DIR again, decided anew from what the run kept there.

    Nothing is screened again: films are opened for their pictures only, and one that is gone costs just that.
    Without an option the model's own operating point counts, whatever the run was told.

    Exit codes are those of `screen run`.
    """
    from contextlib import ExitStack

    from screen.decide import decision_from
    from screen.decode import DecodePool
    from screen.errors import LedgerError
    from screen.ledger import Expected, Ledger
    from screen.machine import usable_cpus
    from screen.model import card_from_json
    from screen.readers import Limits
    from screen.report import RunFacts
    from screen.runs.folder import LEDGER_NAME, locked_folder, report_folder
    from screen.runs.reopen import reports_from_ledger
    from screen.runs.stopping import Stop, StoppedError
    from screen.shortcuts import policy_from_entries

    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        stack.enter_context(locked_folder(folder, create=False))
        ledger = stack.enter_context(Ledger.open(folder / LEDGER_NAME))
        kept = ledger.meta("facts")
        if kept is None:
            raise LedgerError(f"{folder}: its run is not finished; type the same 'screen run' again")
        try:
            facts = RunFacts.from_json(kept)
            limits = Limits(**facts.limits)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{folder}: its ledger is damaged ({error}); start over with --fresh"
            ) from error
        card = card_from_json(facts.card_json)
        ledger.expect(Expected(len(card.findings), card.heatmap_grid, card.weights_digest))
        decided = decision_from(card, operating_point, threshold, decision, flag)

        def open_pool() -> DecodePool:
            policy = policy_from_entries(card.decode_policies)
            return stack.enter_context(DecodePool(usable_cpus(), card.preprocess, limits, policy))

        target = folder if out is None else report_folder(out)
        # Squares of a night that another version prepared cannot be made again: no pictures then.
        pool = None if card.preprocess.foreign else open_pool
        try:
            code = reports_from_ledger(target, ledger, decided, facts, pool, stop, listed=listed)
        except StoppedError:  # the reports are as they were
            code = stop.exit_code
    click.get_current_context().exit(code)
