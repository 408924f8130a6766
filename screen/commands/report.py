"""`screen report`."""

from contextlib import nullcontext
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
    from screen.card_parser import card_from_json
    from screen.decide import decision_from
    from screen.errors import LedgerError
    from screen.ledger import Ledger
    from screen.reopen import squares_of
    from screen.report import RunFacts, write_reports
    from screen.rundir import LEDGER_NAME, locked_folder

    with locked_folder(folder, create=False), Ledger.open(folder / LEDGER_NAME) as ledger:
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
        decided = decision_from(card, operating_point, threshold, decision)
        # Burned-in text cannot be removed: no identifiers, no pictures, so no worker to make them.
        hidden = facts.identifiers == "none"
        pictures = nullcontext(_no_square) if hidden else squares_of(ledger, card.preprocess)
        with pictures as open_square:
            code = write_reports(folder, ledger.listed_rows(), decided, facts, open_square)
    click.get_current_context().exit(code)


def _no_square(_: object) -> None:
    return None
