"""`screen train judge`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import columns_of, say, table_options


@click.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write (.npz).")
@click.option("--seed", default=0, show_default=True, help="Start of all random numbers.")
@table_options
def judge(tables: tuple[Path, ...], out: Path, seed: int, **options: Any) -> None:
    """Train the judge that notices films that are inverted, on their side or upside down, and measure it.

    It is part of preprocessing: models have to be trained again for another judge.
    """
    from screen.discover import discover
    from screen.evaluation.folds import fold_of
    from train.data.others import greys, others
    from train.data.table import read_table
    from train.recipes import fit_pose as engine

    rows = {str(row.path): row for table in tables for row in read_table(table, columns_of(options))}
    sources = list(discover([row.path for row in rows.values()], None))
    say(f"reading {len(sources)} films")
    films, keys = engine.thumbnails_of(sources)
    made = list(others(engine.OTHERS, greys(sources, 400), seed))
    pictures, kept = engine.thumbnails_of_pictures(made)
    settings = engine.JudgeSettings(seed=seed)
    p_films, p_others = engine.cross_validated(
        films, [rows[key].patient_id for key in keys], pictures, kept, settings,
        lambda patient: fold_of(patient, seed) % engine.FOLDS, say,
    )  # fmt: skip
    for rate in engine.rates(p_films, p_others):
        click.echo(
            f"{rate.name}: said of {rate.said} of {rate.films} films as they are, of {rate.noticed} of "
            f"{rate.copies} copies in that pose, of {rate.others_said} of {rate.others} other pictures"
        )
    for name, indices in engine.said_of(p_films).items():
        for index in indices:
            click.echo(f"look at: {name} {keys[index]}")
    named = out if out.suffix == ".npz" else out.with_name(f"{out.name}.npz")
    engine.fit_judge(films, pictures, settings).save(named)
