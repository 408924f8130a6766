"""`screen report`."""

from pathlib import Path

import click


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
def cli(folder: Path, operating_point: str | None, threshold: float | None, decision: Path | None) -> None:
    """Write the reports in DIR again, decided anew from what the run kept there.

    Nothing is screened again: films are opened for their pictures only, and one that is gone costs just that.
    Without an option the model's own operating point counts, whatever the run was told.

    Exit codes are those of `screen run`.
    """
    from screen.decide import decision_from
    from screen.decode import DecodePool
    from screen.errors import LedgerError
    from screen.ledger import Expected, Ledger
    from screen.machine import usable_cpus
    from screen.model import card_from_json
    from screen.readers import Limits
    from screen.report import RunFacts
    from screen.run.folder import LEDGER_NAME, locked_folder
    from screen.run.reopen import reports_from_ledger
    from screen.run.stopping import Stop, StoppedError
    from screen.shortcuts import policy_from_entries

    with Stop() as stop, locked_folder(folder, create=False), Ledger.open(folder / LEDGER_NAME) as ledger:
        kept = ledger.meta("facts")
        if kept is None:
            raise LedgerError(f"{folder}: its run is not finished; type the same 'screen run' again")
        try:
            facts = RunFacts.from_json(kept)
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{folder}: its ledger is damaged ({error}); start over with --fresh"
            ) from error
        card = card_from_json(facts.card_json)
        ledger.expect(Expected(len(card.findings), card.heatmap_grid, card.weights_digest))
        decided = decision_from(card, operating_point, threshold, decision)
        policy = policy_from_entries(card.decode_policies)
        with DecodePool(usable_cpus(), card.preprocess, Limits(), policy) as pool:
            try:
                code = reports_from_ledger(folder, ledger, decided, facts, pool, stop)
            except StoppedError:  # the reports are as they were
                code = stop.exit_code
    click.get_current_context().exit(code)
