"""`screen train gate`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import columns_of, data_options, say, size_option, squares_folder, table_options


@click.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--others", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures that are no chest film; folders in it are kinds. May be given several times.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option("--steps", default=3000, show_default=True, help="Training steps of each round.")
@size_option
@data_options
@table_options
def gate(
    tables: tuple[Path, ...], others: tuple[Path, ...], out: Path, steps: int, size: int,
    cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Train the gate (chest film or not), and measure it on hospitals that it never saw.

    It has a network of its own and needs no `finetune`. Finished rounds are kept in --cache.
    """
    import json

    from train.network.provenance import code_version
    from train.recipes import make_gate as engine
    from train.recipes.fit_gate import GateSettings

    kept = squares_folder(out, cache) / f"{out.name}-rounds"
    settings = GateSettings(steps=steps, seed=seed)
    found = engine.gate_of(tables, columns_of(options), others, size, settings, kept, say)
    engine.save_gate(out, found, size, settings, code_version())
    click.echo(json.dumps({name: found.figures[name] for name in ("films", "others")}))
