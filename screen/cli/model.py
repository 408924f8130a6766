"""`screen model show | verify`: what a model or an engine says about itself, and whether it is true."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from screen.cli.models import METAVAR, MODEL
from screen.errors import UsageError
from screen.model import Finding, Manifest, Model, ModelCard
from screen.model.certificates import REFERENCE_PRECISION, Kind, flips_in_words

_FILE = click.argument("file", metavar=f"[{METAVAR}]", required=False, type=MODEL)


@click.group("model")
def cli() -> None:
    """Show or verify a model file or an engine."""


@cli.command()
@_FILE
def show(file: Path | None) -> None:
    """Show what a model or an engine says about itself (without FILE: the model in the package)."""
    from rich.console import Console

    from screen.model import load_model
    from screen.model.engine_file import manifest_path, unverified_manifest

    console = Console(highlight=False)
    if not console.is_terminal:
        # Digests in a pipe or a log stay in one piece.
        console.width = 160
    if file is not None and manifest_path(file).is_file():
        console.print(engine_view(file, *unverified_manifest(file)))
    else:
        console.print(card_view(load_model(file)))


@cli.command()
@_FILE
@click.option(
    "--engine-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PUBLIC_KEY",
    help="For an engine: public key of who signed it. Without it you must have built it on this machine.",
)
def verify(file: Path | None, engine_key: Path | None) -> None:
    """Check a model file (structure, checksums, test inputs) or an engine (signature, checksum)."""
    from screen.model.engine_file import manifest_path

    if file is not None and manifest_path(file).is_file():
        _verify_engine(file, engine_key)
    elif engine_key is not None:
        raise UsageError("--engine-key is for engines: FILE has no manifest (FILE.json) beside it")
    else:
        _verify_model(file)


def _verify_engine(file: Path, key: Path | None) -> None:
    from screen.model.engine_file import verified_engine

    manifest = verified_engine(file, key).manifest
    click.echo(f"{file}: {manifest.library} {manifest.version}, {manifest.precision}")
    click.echo(f"file     sha256 {manifest.engine_digest}")
    click.echo(f"weights  {manifest.weights_digest}  as its manifest says")
    click.echo(f"seal     {'of this machine' if key is None else f'signed by the owner of {key}'}")


def _verify_model(file: Path | None) -> None:
    from screen.backends import check_probes, open_backend
    from screen.machine import usable_cpus
    from screen.model import load_model

    model = load_model(file)
    probes = len(model.card.probes)
    with open_backend(model, "cpu", probes, usable_cpus()) as backend:
        drift = check_probes(model, backend)
        runtime = backend.device.runtime
    click.echo(f"{model.path}: {model.card.name} {model.card.version}")
    click.echo(f"file     sha256 {model.file_digest}")
    click.echo(f"weights  {model.card.weights_digest}  as its metadata say")
    if drift:
        click.echo(
            f"probes   {probes}, squares differ by one grey level here (preprocess_drift): scores are "
            "within the model's bound, but not equal to the byte to those of other machines"
        )
    else:
        click.echo(f"probes   {probes}, squares equal to the byte, logits within the bound ({runtime}, CPU)")
    _verify_twin(model)


def _verify_twin(model: Model) -> None:
    """A model that was made from the default one scores as it does on this machine, too."""
    from screen.engines import twin_agreement
    from screen.model import load_model

    made_from = [
        entry.get("reference_weights_digest")
        for entry in model.card.certificates
        if entry["kind"] == Kind.PRECISION
    ]
    reference = load_model(None)
    if reference.card.weights_digest not in made_from:
        return
    found = twin_agreement(model, reference)
    click.echo(
        f"twin     of the default model: on {found.films} squares, most of them next to an operating point, "
        f"mean |Δp| {found.mean_probability_difference:.5f}, largest {found.max_probability_difference:.5f}, "
        f"verdicts that flip: {flips_in_words(found.flips)}"
    )


def card_view(model: Model) -> RenderableType:
    """Everything that the metadata say but the probes' pixels."""
    card = model.card
    return Group(
        Text(f"{card.name} {card.version}", style="bold"),
        Text(card.intended_use),
        Text(),
        _facts(_identity(model)),
        *(part for finding in card.findings for part in _finding(card, finding)),
        *_section("Metrics", card.metrics),
        *_section("Training", card.training),
        *_ways(card),
        *(p for item in card.certificates if not _way(card, item) for p in _section("Certificate", item)),
    )


def engine_view(path: Path, manifest: Manifest, seal: str) -> RenderableType:
    """What a manifest says of an engine. seal: its method; nobody has looked at whether it holds."""
    said = {name: value for name, value in manifest.to_plain().items() if value and name != "certificate"}
    plain = {"file": str(path), **dict(_flat(said)), "seal": f"{seal}, not checked: screen model verify does"}
    return Group(
        Text(f"TensorRT engine in {manifest.precision}", style="bold"),
        _facts(plain),
        *_section("Certificate", manifest.certificate or {}),
    )


def _identity(model: Model) -> dict[str, str]:
    card = model.card
    spec, quantiles = card.preprocess, card.distance_quantiles
    doubtful = "" if card.gate_certain is None else f", doubtful up to {card.gate_certain:g}"
    return {
        "file": str(model.path),
        "size": f"{len(model.data) / 1e6:.1f} MB",
        "file digest": model.file_digest,
        "weights digest": card.weights_digest,
        "decision digest": card.decision_digest(),
        "preprocessing": f"{spec.size} px, percentiles {spec.low_percentile:g} and {spec.high_percentile:g}, "
        f"CLAHE {spec.clahe_clip:g} over {spec.clahe_tiles} × {spec.clahe_tiles} tiles",
        "heat map": f"{card.heatmap_method}, {card.heatmap_grid[0]} × {card.heatmap_grid[1]}",
        "embedding": str(card.embedding_size),
        "precision": card.precision,
        "gate": f"chest film above {card.gate_threshold:g}{doubtful}",
        "normal distance": f"median {quantiles[50]:.3g}, 95 % below {quantiles[95]:.3g}",
        "probes": f"{len(card.probes)}, logits within {card.probe_logit_bound:.3g}",
        "metadata schema": card.schema,
    }


def _finding(card: ModelCard, finding: Finding) -> Iterator[RenderableType]:
    primary = " (primary)" if finding.name == card.primary else ""
    yield Text(f"\nFinding {finding.name}{primary}", style="bold")
    yield _facts(
        {
            "calibration": f"probability = sigmoid({finding.slope:.4g} · logit {finding.intercept:+.4g})",
            "prevalence": f"{finding.prevalence:.1%} where it was calibrated",
        }
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("operating point", "threshold", "sensitivity [95 %]", "specificity [95 %]"):
        table.add_column(Text(name), no_wrap=True)
    table.add_column("measured on", overflow="fold")
    for point in finding.operating_points:
        default = " *" if point.name == finding.default_operating_point else ""
        table.add_row(
            Text(point.name + default),
            f"{point.threshold:.4f}",
            Text(_with_interval(point.sensitivity, point.sensitivity_interval)),
            Text(_with_interval(point.specificity, point.specificity_interval)),
            Text(point.measured_on),
        )
    yield Padding(table, (0, 0, 0, 2), expand=False)
    yield Text("  * used unless another is asked for")


def _ways(card: ModelCard) -> Iterator[RenderableType]:
    """What else may be taken to the same scores, and how far from them it was measured to lead."""
    measured = {f"decode {p['name']}.{p['version']}": p["certificate"] for p in card.decode_policies}
    measured |= {way: entry for entry in card.certificates if (way := _way(card, entry))}
    if not measured:
        return
    yield Text("\nCertified ways", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("way", "films", "|Δp| mean", "max", "verdicts that flip", "farthest", "ΔAUC within source"):
        table.add_column(Text(name), overflow="fold")
    for way, entry in measured.items():
        found = entry["agreement"]
        table.add_row(
            Text(way),
            f"{found['films']:,}",
            f"{found['mean_probability_difference']:.5f}",
            f"{found['max_probability_difference']:.4f}",
            Text(flips_in_words(found["flips"])),
            f"{found['farthest_flip']:.4f}",
            _auc_change(entry) if found["labelled"] else "–",
        )
    yield Padding(table, (0, 0, 0, 2), expand=False)
    yield Text("  farthest: from its threshold, of a film whose verdict flips")


def _way(card: ModelCard, entry: Mapping[str, Any]) -> str:
    """Empty for a certificate of another kind."""
    names = {
        Kind.PRECISION: f"{card.precision} instead of {REFERENCE_PRECISION}{_sums(entry)}",
        Kind.RUNTIME: f"--device {entry.get('device')}",
        Kind.DECODING: f"decode {entry.get('policy')}",
    }
    return names.get(entry["kind"], "")


def _auc_change(entry: Mapping[str, Any]) -> str:
    """With its interval, where one was measured."""
    change = f"{entry['agreement']['auc_within_source_change']:+.4f}"
    try:
        low, high = map(float, entry["auc_within_source_interval"])
    except (KeyError, TypeError, ValueError):
        return change
    return f"{change} [{low:+.4f}, {high:+.4f}]"


def _sums(entry: Mapping[str, Any]) -> str:
    """Of int8: how wide the processor added up, on which it was measured."""
    return f", {entry['sum_bits']}-bit sums" if "sum_bits" in entry else ""


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _section(title: str, values: Mapping[str, Any]) -> Iterator[RenderableType]:
    if values:
        yield Text(f"\n{title}", style="bold")
        yield _facts(dict(_flat(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested objects as dotted names."""
    for name, value in values.items():
        if isinstance(value, dict) and (figure := _figure(value)):
            yield prefix + name, figure
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figure(value: Mapping[str, Any]) -> str:
    """`0.612 [0.551, 0.673], 742 films, 98 positive` if it is what `train evaluate` writes, else empty."""
    try:
        (low, high), films, positives = value["interval"], value["films"], value["positives"]
        return f"{value['value']:.3f} [{low:.3f}, {high:.3f}], {films:d} films, {positives:d} positive"
    except (KeyError, TypeError, ValueError):
        return ""


def _facts(values: Mapping[str, str]) -> RenderableType:
    """Two columns. `Text`, so that brackets in a card are brackets and no markup."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(Text(name.replace("_", " ")), Text(value))
    return Padding(table, (0, 0, 0, 2), expand=False)
