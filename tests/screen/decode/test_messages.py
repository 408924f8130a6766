"""What a decode worker says is checked: a crafted file may have taken it over."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen.codes import Reason, Warn
from screen.decode import Decoded, Outcome
from screen.decode.messages import (
    READY,
    WorkerStartError,
    check_start,
    outcome_from_bytes,
    outcome_to_bytes,
    start_error_to_bytes,
)
from screen.film import Identity, Unscreened
from screen.preprocess import Geometry
from screen.shortcuts import DecodePolicy, Shortcut

DECODED = Decoded(
    identity=Identity("Ä 1", "", "20260101", "1.2", "1.2.3", "1.2.3.4", "PA"),
    pixel_digest="ab" * 32,
    decoder="imagecodecs htj2k",
    declared_chest=True,
    warnings=(str(Warn.NO_WINDOW),),
    geometry=Geometry.fit(3056, 2544, 224),
    square=np.zeros((0, 0), np.uint8),
    policy=DecodePolicy(frozenset({Shortcut.REDUCED_RESOLUTION})),
)
SCREENED = Outcome(DECODED, 0.25, 0.5, 0.125)
FAILED = Outcome(Unscreened(Reason.CORRUPT_PIXELS, "a complaint", Identity("1"), True), 0.1, 0.0)


def test_both_kinds_of_outcome_come_back_as_they_were() -> None:
    assert outcome_from_bytes(outcome_to_bytes(FAILED)) == FAILED
    flat = replace(SCREENED, result=replace(DECODED, geometry=Geometry.fit(300, 500, 224, (2, 1))))
    for outcome in (SCREENED, flat):
        again = outcome_from_bytes(outcome_to_bytes(outcome))
        assert isinstance(again.result, Decoded)
        assert replace(again, result=replace(again.result, square=DECODED.square)) == outcome


def test_a_worker_that_cannot_start_says_why_and_only_then() -> None:
    with pytest.raises(WorkerStartError, match="line 7"):
        check_start(start_error_to_bytes("line 7"))
    with pytest.raises(ValueError, match="no worker's message"):
        outcome_from_bytes(start_error_to_bytes("line 7"))
    for message in (b"", b"[]", b"{}", READY, b"\xff", outcome_to_bytes(FAILED)):
        check_start(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pixel_digest", "ab"),
        ("pixel_digest", "zz" * 32),
        ("warnings", ["<script>"]),
        ("geometry", [3056, 2544, 224, 0, 0, 1, 1]),
        ("geometry", [3056, 2544, 0, 0, 0, 0, 0]),
        ("geometry", [True] * 7),
        ("identity", ["1"] * 6 + [7]),
        ("identity", ["1"] * 8),
        ("seconds", [float("nan"), 0.0, 0.0]),
        ("seconds", [-1.0, 0.0, 0.0]),
        ("shortcuts", ["every"]),
        ("reason", "fine"),
        ("decoder", None),
    ],
)
def test_what_no_worker_says_is_refused(key: str, value: Any) -> None:
    plain = json.loads(outcome_to_bytes(SCREENED)) | {key: value}
    with pytest.raises(ValueError):
        outcome_from_bytes(json.dumps(plain).encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(json.loads(outcome_to_bytes(SCREENED)))), _JSON)
def test_any_field_of_any_type_is_an_outcome_or_refused(key: str, value: Any) -> None:
    plain = json.loads(outcome_to_bytes(SCREENED)) | {key: value}
    try:
        outcome = outcome_from_bytes(json.dumps(plain).encode())
    except ValueError:
        return
    json.loads(outcome_to_bytes(outcome))  # what is accepted can be kept


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_message_is_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(ValueError):
        outcome_from_bytes(data)
