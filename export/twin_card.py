"""The page for people about a model that was made from another one in a smaller precision.

How good it is stands in the other one's card: here is what differs, and how far the scores are from its.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from export.derived import DERIVED_FROM
from screen.errors import UsageError
from screen.model import Model
from screen.model.certificates import Kind, flips_in_words

_COLUMNS = (
    "way",
    "films",
    "mean \\|Δp\\|",
    "largest",
    "verdicts that flip",
    "farthest",
    "gate differs",
    "ΔAUC",
)
_PAGE = """\
# Model card: {name}

{intended_use}

The {precision} twin of the default model: the same network, trained on the same films, with the same
calibration and operating points. How good it is, on which films, and where it fails stands in
[the default model's card](model-card.md); its figures are the default's. Below is how far the scores are from
the default's. [When to take which](../../docs/models.md#default-or-fast).

## Model

{model}

## How far from the default model

The same films through both. A verdict flips if the two scores lie on different sides of an operating point's
threshold; farthest: from it, the default's probability. ΔAUC: over pairs within one source, 95 % by patient.
32-bit sums are those of processors with VNNI, 16-bit sums those of processors without.

{proofs}

## Ways to run it

Each against its own scores by ONNX Runtime from films decoded in full.

{ways}
"""


def twin_card(twin: Model, reference: Model) -> str:
    """Markdown. Raises UsageError if the twin was not made from `reference`, or has no certificate of it."""
    made: Any = twin.card.training.get(DERIVED_FROM, {})
    proofs = [entry for entry in twin.card.certificates if entry["kind"] == Kind.PRECISION]
    if made.get("weights_digest") != reference.card.weights_digest or not proofs:
        raise UsageError(f"{twin.path}: not a certified model that was made from {reference.path}")
    card, source = twin.card, reference.card
    sizes = [f"{len(model.data) / 1e6:.1f} MB" for model in (twin, reference)]
    model = [
        ("weights", f"`{card.weights_digest}`"),
        ("made from", f"{source.name} {source.version}, weights `{source.weights_digest}`"),
        ("size", f"{sizes[0]} (the default model: {sizes[1]})"),
        ("precision", _what_is_quantised(twin)),
        ("ranges set on", f"{made['films']} films, digest `{made['films_digest']}`"),
        ("made with", str(made["tool"])),
    ]
    return _PAGE.format(
        name=f"{card.name} {card.version}",
        intended_use=card.intended_use,
        precision=card.precision,
        model=_table(("", ""), model),
        proofs=_table(_COLUMNS, [_way(entry) for entry in proofs]),
        ways=_table(_COLUMNS, list(_other_ways(twin))),
    )


def _what_is_quantised(twin: Model) -> str:
    graph = onnx.ModelProto.FromString(twin.data).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integer = sum(made_by.get(node.input[0]) == "DequantizeLinear" for node in convolutions)
    return (
        f"{integer} of {len(convolutions)} convolutions in {twin.card.precision}, weights of 7 bits, so that "
        "no processor's sums overflow; all else in float32"
    )


def _other_ways(twin: Model) -> Iterator[tuple[str, ...]]:
    for policy in twin.card.decode_policies:
        yield _way({**policy["certificate"], "way": f"decode {policy['name']}.{policy['version']}"})
    for entry in twin.card.certificates:
        if entry["kind"] == Kind.RUNTIME:
            yield _way({**entry, "way": f"--device {entry['device']} ({entry['runtime']})"})
        elif entry["kind"] == Kind.DECODING:
            yield _way({**entry, "way": f"decode {entry['policy']}"})


def _way(entry: Mapping[str, Any]) -> tuple[str, ...]:
    found = entry["agreement"]
    change = f"{found['auc_within_source_change']:+.4f}" if found["labelled"] else "–"
    if "auc_within_source_interval" in entry:
        low, high = entry["auc_within_source_interval"]
        change += f" [{low:+.4f}, {high:+.4f}]"
    return (
        entry.get("way", f"{entry.get('sum_bits')}-bit sums, {entry['versions']['onnxruntime']}"),
        f"{found['films']:,}",
        f"{found['mean_probability_difference']:.5f}",
        f"{found['max_probability_difference']:.4f}",
        flips_in_words(found["flips"]),
        f"{found['farthest_flip']:.4f}",
        str(found["gate_changes"]),
        change,
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
