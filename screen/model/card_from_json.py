"""JSON of a model file -> `ModelCard`: every field's type and range, and what must fit together.

What is missing, of the wrong type or out of range is refused with its name; keys that a newer minor version
added are ignored; a newer major version is refused.
"""

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from screen.errors import ModelError
from screen.model.card import SCHEMA_MAJOR, Finding, ModelCard, OperatingPoint, Probe
from screen.model.certificates import Agreement, Kind
from screen.preprocess import MIN_SIDE, PreprocessSpec

MAX_PROBES = 16
MAX_PROBE_SIDE = 4096
_MAX_FINDINGS = 64
_QUANTILES = 101
_MAX_DEPTH = 32

T = TypeVar("T")


def card_from_json(text: str) -> ModelCard:
    """The card. Raises ModelError that names the field."""
    try:
        plain = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the model's metadata are no JSON: {error}") from None
    _check_texts(plain)
    top = _Object(plain, "")
    _check_schema(top.text("schema"))
    preprocess = _spec(top.object("preprocess"))
    findings = top.list("findings", 1, _MAX_FINDINGS, _Object.here(_finding))
    names = [finding.name for finding in findings]
    if len(set(names)) != len(names):
        raise ModelError("metadata: two entries of 'findings' have the same name")
    card = ModelCard(
        name=top.text("name"),
        version=top.text("version"),
        intended_use=top.text("intended_use"),
        preprocess=preprocess,
        preprocess_digest=top.digest("preprocess_digest"),
        findings=findings,
        primary=top.one_of("primary", names),
        input_size=top.integer("input_size", preprocess.size, preprocess.size),
        embedding_size=top.integer("embedding_size", 1, 65536),
        heatmap_method=top.text("heatmap_method"),
        heatmap_grid=_grid(top, preprocess.size),
        precision=top.text("precision"),
        distance_quantiles=_quantiles(top),
        gate_threshold=top.number("gate_threshold"),
        gate_certain=top.number("gate_certain") if top.has("gate_certain") else None,
        probes=top.list("probes", 1, MAX_PROBES, _Object.here(_probe)),
        probe_logit_bound=top.number("probe_logit_bound", low=0),
        weights_digest=top.digest("weights_digest"),
        decode_policies=top.list("decode_policies", 0, 64, _decode_policy),
        certificates=top.list("certificates", 0, 1024, _certificate),
        training=top.plain("training"),
        metrics=top.plain("metrics"),
        schema=top.text("schema"),
    )
    for index, probe in enumerate(card.probes):
        if len(probe.logits) != len(findings):
            raise ModelError(f"metadata: 'probes[{index}].logits' has not one logit per finding")
    measured = [*card.certificates, *(policy["certificate"] for policy in card.decode_policies)]
    if any(entry.get("weights_digest", card.weights_digest) != card.weights_digest for entry in measured):
        raise ModelError("metadata: a certificate speaks of other weights than these")
    return card


def _decode_policy(value: Any, name: str) -> dict[str, Any]:
    o = _Object(value, name)
    o.text("name")
    o.integer("version", 1, 1 << 31)
    _measured(o.object("certificate"))
    return o.whole


def _certificate(value: Any, name: str) -> dict[str, Any]:
    """Entries of kinds that this version does not know stay as they are: nothing is decided from them."""
    o = _Object(value, name)
    kind = o.text("kind")
    if kind in (Kind.PRECISION, Kind.RUNTIME, Kind.DECODING):
        _measured(o)
    if kind == Kind.RUNTIME:
        o.text("device")
    return o.whole


def _measured(o: "_Object") -> None:
    """Whose agreement was measured, and the figures, all within their ranges."""
    o.digest("weights_digest")
    _agreement(o.object("agreement"))


def _agreement(o: "_Object") -> Agreement:
    films = o.integer("films", 1, 1 << 31)
    flips = o.plain("flips")
    points = _Object(flips, "flips")
    return Agreement(
        films=films,
        mean_probability_difference=o.number("mean_probability_difference", 0, 1),
        max_probability_difference=o.number("max_probability_difference", 0, 1),
        mean_logit_difference=o.number("mean_logit_difference", 0),
        max_logit_difference=o.number("max_logit_difference", 0),
        flips={name: points.integer(name, 0, films) for name in flips},
        farthest_flip=o.number("farthest_flip", 0, 1),
        gate_changes=o.integer("gate_changes", 0, films),
        labelled=o.integer("labelled", 0, films),
        auc_within_source_change=o.number("auc_within_source_change", -1, 1),
        auc_pooled_change=o.number("auc_pooled_change", -1, 1),
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_texts(value: Any, depth: int = 0) -> None:
    """Cards are shown on terminals and in pages: no escape sequences, no direction marks, no abyss."""
    if depth > _MAX_DEPTH:
        raise ModelError("metadata: nested more deeply than any model's")
    if isinstance(value, str):
        if not value.replace("\n", "").isprintable():
            raise ModelError("metadata: a text holds control characters")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key, depth + 1)
            _check_texts(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, depth + 1)


def _check_schema(schema: str) -> None:
    major, _, minor = schema.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise ModelError("metadata field 'schema' must be MAJOR.MINOR")
    if major != str(SCHEMA_MAJOR):
        raise ModelError(
            f"the model's metadata have schema {schema}, this version reads {SCHEMA_MAJOR}.x: "
            "use the version of cxr-screen that the model was made for"
        )


class _Object:
    """A JSON object on its way into the card, and its place there, for messages."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise ModelError(f"metadata field '{path}' must be an object" if path else "metadata: no object")
        self._value = value
        self._path = path

    @staticmethod
    def here(parse: "Callable[[_Object], T]") -> Callable[[Any, str], T]:
        """A parser of objects as a parser of list items."""
        return lambda value, path: parse(_Object(value, path))

    @property
    def whole(self) -> dict[str, Any]:
        """The object as it was read."""
        return self._value

    def has(self, key: str) -> bool:
        """The key is there and not null."""
        return self._value.get(key) is not None

    def _get(self, key: str) -> Any:
        if key not in self._value:
            raise ModelError(f"metadata field '{self._name(key)}' is missing")
        return self._value[key]

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def object(self, key: str) -> "_Object":
        return _Object(self._get(key), self._name(key))

    def plain(self, key: str) -> dict[str, Any]:
        return _plain_object(self._get(key), self._name(key))

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not value.strip():
            raise ModelError(f"metadata field '{self._name(key)}' must be a text that is not empty")
        return value

    def one_of(self, key: str, allowed: list[str]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise ModelError(f"metadata field '{self._name(key)}' must be one of {', '.join(allowed)}")
        return value

    def digest(self, key: str) -> str:
        value = self.text(key)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise ModelError(f"metadata field '{self._name(key)}' must be a SHA-256 in lower-case hex")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._get(key)
        if type(value) is not int or not low <= value <= high:
            wanted = str(low) if low == high else f"a whole number from {low} to {high}"
            raise ModelError(f"metadata field '{self._name(key)}' must be {wanted}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        return _number(self._get(key), self._name(key), low, high)

    def numbers(
        self, key: str, count: int | None, low: float = -math.inf, high: float = math.inf
    ) -> tuple[float, ...]:
        least, most = (1, _MAX_FINDINGS) if count is None else (count, count)
        return self.list(key, least, most, lambda value, path: _number(value, path, low, high))

    def list(self, key: str, least: int, most: int, parse: Callable[[Any, str], T]) -> tuple[T, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ModelError(f"metadata field '{self._name(key)}' must be a list of {least} to {most} items")
        return tuple(parse(item, f"{self._name(key)}[{index}]") for index, item in enumerate(value))


def _number(value: Any, name: str, low: float, high: float) -> float:
    # Comparing first: an integer too large for a float would raise.
    if type(value) not in (int, float) or not (-1e300 < value < 1e300 and low <= value <= high):
        wanted = "a finite number"
        if low > -math.inf or high < math.inf:
            wanted += f" from {low:g} to {high:g}"
        raise ModelError(f"metadata field '{name}' must be {wanted}")
    return float(value)


def _plain_object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"metadata field '{name}' must be an object")
    return value


def _spec(o: _Object) -> PreprocessSpec:
    try:
        return PreprocessSpec(
            size=o.integer("size", 32, 2048),
            low_percentile=o.number("low_percentile"),
            high_percentile=o.number("high_percentile"),
            clahe_clip=o.number("clahe_clip"),
            clahe_tiles=o.integer("clahe_tiles", 1, 32),
            version=o.integer("version", 1, 1 << 31),
            judge=None if o.whole.get("judge") is None else o.digest("judge"),
        )
    except ValueError as error:
        raise ModelError(f"metadata field 'preprocess': {error}") from None


def _grid(top: _Object, size: int) -> tuple[int, int]:
    def side(value: Any, name: str) -> int:
        if type(value) is not int or not 1 <= value <= size:
            raise ModelError(f"metadata field '{name}' must be a whole number from 1 to {size}")
        return value

    height, width = top.list("heatmap_grid", 2, 2, side)
    return height, width


def _quantiles(top: _Object) -> tuple[float, ...]:
    quantiles = top.numbers("distance_quantiles", _QUANTILES, low=0)
    if list(quantiles) != sorted(quantiles):
        raise ModelError("metadata field 'distance_quantiles' must not fall")
    return quantiles


def _finding(o: _Object) -> Finding:
    points = o.list("operating_points", 1, 32, _Object.here(_operating_point))
    names = [point.name for point in points]
    if len(set(names)) != len(names):
        raise ModelError("metadata: two operating points of one finding have the same name")
    slope = o.number("slope")
    if slope <= 0:
        raise ModelError("metadata: 'slope' must be greater than 0: a probability rises with its logit")
    prevalence = o.number("prevalence", 0, 1)
    low, high = o.numbers("heatmap_scale", 2)
    if not low < high:
        raise ModelError("metadata: 'heatmap_scale' must rise")
    return Finding(
        name=o.text("name"),
        slope=slope,
        intercept=o.number("intercept"),
        prevalence=prevalence,
        operating_points=points,
        default_operating_point=o.one_of("default_operating_point", names),
        heatmap_scale=(low, high),
        code=_code(o),
    )


def _code(o: _Object) -> tuple[str, str, str] | None:
    """Models were without before there was one. As DICOM's code sequences want it: SH, SH, LO."""
    if o.whole.get("code") is None:
        return None
    value, scheme, meaning = o.list("code", 3, 3, _word)
    if len(scheme) > 16 or len(meaning) > 64:
        raise ModelError("metadata field 'code': a scheme has 16 characters at most, a meaning 64")
    return value, scheme, meaning


def _word(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\\" in value:
        raise ModelError(f"metadata field '{name}' must be a text that is not empty, without a backslash")
    return value


def _operating_point(o: _Object) -> OperatingPoint:
    def interval(key: str) -> tuple[float, float]:
        low, high = o.numbers(key, 2, 0, 1)
        if low > high:
            raise ModelError(f"metadata: '{key}' must not fall")
        return low, high

    return OperatingPoint(
        name=o.text("name"),
        threshold=o.number("threshold", 0, 1),
        sensitivity=o.number("sensitivity", 0, 1),
        sensitivity_interval=interval("sensitivity_interval"),
        specificity=o.number("specificity", 0, 1),
        specificity_interval=interval("specificity_interval"),
        measured_on=o.text("measured_on"),
    )


def _probe(o: _Object) -> Probe:
    return Probe(
        height=o.integer("height", MIN_SIDE, MAX_PROBE_SIDE),
        width=o.integer("width", MIN_SIDE, MAX_PROBE_SIDE),
        values=o.text("values"),
        square=o.text("square"),
        logits=o.numbers("logits", None),
    )
