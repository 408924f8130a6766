"""Rows to verdicts and cases: gate, duplicates, calibration, thresholds, studies, ranks, decision files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen.codes import Reason, Status, Warn
from screen.decide import Case, Decision, Verdict, decision_from, verdict_alone
from screen.errors import ModelError, UsageError
from screen.ledger import Row
from screen.report import RunFacts
from screen.report.content import Tally
from tests.fake_rows import card, decided, facts, identity, point, screened, settled, unscreened

CARD = card()
BALANCED = decision_from(CARD, None, None, None)


def one(row: Row, decision: Decision = BALANCED) -> Verdict:
    (verdict,) = decided([row], decision)
    assert verdict == verdict_alone(row, decision)
    return verdict


def cases(rows: list[Row], decision: Decision = BALANCED) -> list[Case]:
    """Those of `flagged.csv`."""
    with settled(rows, decision) as found:
        listed = list(found.listed())
        assert found.totals().listed == len(listed)
        return listed


def totals(rows: list[Row]) -> tuple[int, int, int]:
    """Cases, flagged ones, listed ones."""
    with settled(rows, BALANCED) as found:
        counted = found.totals()
        return counted.cases, counted.flagged, counted.listed


def dicom(
    file: str, sop: str, digest: str, logit: float | None = 0.0, study: str = "1.2", **fields: object
) -> Row:
    row = screened(file, logit or 0.0, identity=identity(study, sop, "P1"), pixel_digest=digest)
    return replace(row, inference=None if logit is None else row.inference, **fields)  # type: ignore[arg-type]


def test_probability_is_platts_and_the_margin_is_in_logits():
    score = one(screened("a", 1.0)).primary
    assert score is not None
    assert score.logit == 1.0
    assert score.probability == pytest.approx(1 / (1 + math.exp(-(1.5 - 0.5))))
    assert score.margin == pytest.approx(1.0)  # the threshold .5 has logit 0
    strict = one(screened("a", 1.0), decision_from(CARD, "specific", None, None)).primary
    assert strict is not None
    assert strict.margin == pytest.approx(1.0 - math.log(0.8 / 0.2))
    assert (score.flagged, strict.flagged) == (True, False)


def test_normal_distance_is_a_percentile_that_ends_at_both_ends():
    found = [one(screened("a", distance=d)).normal_distance for d in (-5.0, 0.0, 12.5, 100.0, 1e6)]
    assert found == [0, 0, 12.5, 100, 100]


@given(st.floats(-1e30, 1e30), st.floats(1e-9, 1 - 1e-9))
@settings(max_examples=60, deadline=None)
def test_flagged_exactly_if_the_probability_reaches_the_threshold(logit: float, threshold: float):
    score = one(screened("a", logit), decision_from(CARD, None, threshold, None)).primary
    assert score is not None
    assert 0 <= score.probability <= 1
    assert score.flagged == (score.probability >= threshold)


def test_a_probability_equal_to_the_threshold_is_flagged():
    score = one(screened("a", 0.37)).primary
    assert score is not None
    assert one(screened("a", 0.37), decision_from(CARD, None, score.probability, None)).flagged


# The gate

DOUBTS = decision_from(replace(CARD, gate_certain=1.0), None, None, None)


def test_the_gate_turns_away_what_no_tag_vouches_for():
    verdict = one(screened("holiday.png", 5.0, gate=0.25))
    assert (verdict.status, verdict.reason) == (Status.SKIPPED, Reason.UNLIKE_CHEST)
    assert verdict.scores == () and verdict.primary is None and verdict.normal_distance is None
    assert not verdict.flagged
    assert totals([screened("holiday.png", 5.0, gate=0.25)]) == (0, 0, 0)


def test_the_gate_only_doubts_a_declared_chest_film():
    verdict = one(screened("film.dcm", 5.0, gate=-3.0, declared_chest=True, warnings=("no_window",)))
    assert (verdict.status, verdict.reason) == (Status.SCREENED, None)
    assert verdict.warnings == ("no_window", "unlike_chest")
    assert verdict.flagged


def test_what_is_no_chest_film_has_no_right_way_up():
    found = ("upscaled", "polarity_contradicted", "on_its_side", "upside_down")
    assert one(screened("holiday.png", gate=-3.0, warnings=found)).warnings == ("upscaled",)
    assert one(screened("film.png", gate=3.0, warnings=found)).warnings == found


def test_the_gate_leaves_what_passes_alone():
    assert one(screened("film.png", gate=0.2501)).warnings == ()


# Duplicates


@pytest.mark.parametrize("held_by", [0, 1, 2])
def test_duplicates_share_the_first_ones_result_whichever_row_holds_it(held_by: int):
    rows = [dicom(f, "1.9", "d", 2.0 if at == held_by else None) for at, f in enumerate(("b", "a", "c"))]
    first, *others = decided(rows, BALANCED)
    assert first.duplicate_of == "" and first.primary is not None and first.primary.logit == 2.0
    for row, verdict in zip(rows[1:], others, strict=True):
        assert verdict.row.file == row.file
        assert verdict.status is Status.SCREENED
        assert verdict.duplicate_of == "b"
        assert verdict.scores == first.scores
        assert Warn.UID_REUSED not in verdict.warnings
    (case,) = cases(rows)
    assert case.images == 1
    assert case.lead == first


def test_the_same_picture_under_another_name_is_a_duplicate():
    rows = [screened("a.png", pixel_digest="d"), screened("b.png", pixel_digest="d")]
    verdicts = decided(rows, BALANCED)
    assert [v.duplicate_of for v in verdicts] == ["", "a.png"]
    assert not any("uid_reused" in v.warnings for v in verdicts)


def test_different_pictures_without_a_uid_reuse_none():
    rows = [screened("a.png", pixel_digest="d"), screened("b.png", pixel_digest="e")]
    assert [(v.duplicate_of, v.warnings) for v in decided(rows, BALANCED)] == [("", ()), ("", ())]


def test_a_reused_uid_warns_on_the_later_film_and_its_duplicates():
    rows = [
        dicom("a", "1.9", "d1", -1.0),
        dicom("b", "1.9", "d2", 3.0),
        dicom("c", "1.9", "d2"),
        dicom("d", "1.9", "d1"),
    ]
    verdicts = decided(rows, BALANCED)
    assert [Warn.UID_REUSED in v.warnings for v in verdicts] == [False, True, True, False]
    assert [v.duplicate_of for v in verdicts] == ["", "", "b", "a"]
    assert [v.flagged for v in verdicts] == [False, True, True, False]


@pytest.mark.parametrize("gate", [0.3, 1.0])
def test_a_doubtful_picture_is_screened_with_a_warning(gate: float):
    verdict = one(screened("film.png", 5.0, gate=gate), DOUBTS)
    assert (verdict.status, verdict.warnings, verdict.flagged) == (
        Status.SCREENED,
        ("perhaps_no_chest",),
        True,
    )
    first = dicom("a", "1.9", "d")
    first = replace(first, inference=replace(first.inference, gate=gate))
    copies = decided([first, dicom("b", "1.9", "d", None)], DOUBTS)
    assert [v.warnings for v in copies] == [("perhaps_no_chest",)] * 2


def test_beyond_the_second_edge_or_with_tags_that_say_chest_nothing_is_doubtful():
    assert one(screened("film.png", gate=1.01), DOUBTS).warnings == ()
    assert one(screened("film.dcm", gate=0.3, declared_chest=True), DOUBTS).warnings == ()
    assert one(screened("film.png", gate=0.25), DOUBTS).reason is Reason.UNLIKE_CHEST
    assert one(screened("film.png", gate=0.3)).warnings == ()  # a model with one edge


def test_the_second_edge_counts_as_part_of_the_decision_and_a_site_may_move_it(tmp_path: Path):
    assert DOUBTS.digest != BALANCED.digest
    moved = decision_from(DOUBTS.card, None, None, write_decision(tmp_path, gate_certain=7.0))
    assert one(screened("film.png", gate=5.0), moved).warnings == ("perhaps_no_chest",)


def test_one_copy_whose_tags_say_chest_keeps_all_of_them():
    rows = [dicom("a", "1.9", "d"), dicom("b", "1.9", "d", None, declared_chest=True)]
    rows[0] = replace(rows[0], inference=replace(rows[0].inference, gate=-1.0))
    assert [v.status for v in decided(rows, BALANCED)] == [Status.SCREENED] * 2
    assert all(Warn.UNLIKE_CHEST in v.warnings for v in decided(rows, BALANCED))


def test_a_failed_file_is_nobodys_duplicate():
    failed = unscreened("a", Reason.CORRUPT_PIXELS, identity=identity("1.2", "1.9"), pixel_digest="d")
    verdicts = decided([failed, dicom("b", "1.9", "d")], BALANCED)
    assert [v.status for v in verdicts] == [Status.FAILED, Status.SCREENED]
    assert verdicts[1].duplicate_of == ""


def test_a_screened_row_without_a_result_stops_the_run():
    with pytest.raises(ValueError, match="no result"):
        decided([replace(screened("a"), inference=None)], BALANCED)


# Cases


def test_a_study_is_its_strongest_film_and_counts_what_failed():
    rows = [
        dicom("weak", "1", "d1", 0.5, warnings=("no_window",)),
        dicom("strong", "2", "d2", 2.0),
        unscreened("broken", Reason.CORRUPT_PIXELS, identity=identity("1.2", "3", "P1")),
        unscreened("side", Reason.LATERAL_VIEW, identity=identity("1.2", "4", "P1")),
    ]
    (case,) = cases(rows)
    assert case.lead.row.file == "strong"
    assert (case.images, case.images_flagged, case.images_unread) == (2, 2, 1)
    assert case.warnings == ("no_window",)


@pytest.mark.parametrize(
    ("modality", "others", "code", "lost"),
    [
        ("DX", [], 3, 1),
        ("DX", [unscreened("hand", Reason.NOT_CHEST, identity=identity("1.9", "9", "P9"))], 3, 1),
        ("DX", [dicom("chest", "5", "d5", 1.0, study="1.5")], 0, 1),
        ("", [], 0, 0),  # a picture: what it shows was never said
    ],
)
def test_radiographs_that_do_not_say_what_they_show_are_not_dropped_in_silence(
    modality: str, others: list[Row], code: int, lost: int
):
    who = replace(identity("1.2", "1", "P1"), modality=modality)
    doubtful = replace(screened("a", 3.0, gate=-9.0), identity=who, declared_chest=False)
    tally = Tally()
    for verdict in decided([doubtful, *others], BALANCED):
        tally.add(verdict)
    assert tally.exit_code == code
    with settled([doubtful, *others], BALANCED) as found:
        assert found.totals().unscreened_studies == lost


def test_pictures_are_a_case_each():
    rows = [screened(f"{i}.png", 1.0) for i in range(3)]
    assert [case.images for case in cases(rows)] == [1, 1, 1]


def test_two_patients_under_one_study_uid_stay_two_cases():
    rows = [
        replace(dicom("a", "1", "d1", 3.0), identity=identity("1.2", "1", "P1")),
        replace(dicom("b", "2", "d2", 2.0), identity=identity("1.2", "2", "P2")),
    ]
    assert [c.identity.patient_id for c in cases(rows)] == ["P1", "P2"]


def test_a_study_of_earlier_nights_is_listed_again_only_with_a_new_film():
    known = dicom("a", "1", "d1", 3.0, warnings=(str(Warn.KNOWN),), listed_before=True)
    # Known, but in no finished report: killed, stopped, or not flagged by that night's decision.
    assert totals([replace(known, listed_before=False)]) == (1, 1, 1)
    assert totals([known]) == (1, 1, 0)
    (case,) = cases([known, dicom("b", "2", "d2", -3.0)])
    assert case.listed
    assert case.lead.row.file == "a"
    # A neighbour that was listed hides no film that never was; one that is not flagged asks for nothing.
    assert totals([known, replace(dicom("b", "2", "d2", 1.0), warnings=known.warnings)]) == (1, 1, 1)
    assert totals([known, replace(dicom("b", "2", "d2", -3.0), warnings=known.warnings)]) == (1, 1, 0)


def test_several_findings_rank_by_the_largest_margin():
    model = card("tumor", "effusion")
    effusion = replace(model.findings[1], operating_points=(point("balanced", 0.05),))
    model = replace(model, findings=(model.findings[0], effusion))
    decision = decision_from(model, None, None, None, ["effusion", "tumor"])
    verdict = one(screened("a", 1.0, 0.0), decision)
    assert verdict.top.finding == "effusion"  # .38 against .05, not .73 against .5
    assert verdict.primary is not None and verdict.primary.finding == "tumor"


def test_only_the_findings_that_flag_do_and_the_primary_one_unless_told_otherwise():
    model = card("tumor", "abnormal")
    plain, both, other = (
        decision_from(model, None, None, None, flag) for flag in ([], ["tumor", "abnormal"], ["abnormal"])
    )
    sick = screened("a", -9.0, 9.0)
    assert [one(sick, decision).flagged for decision in (plain, both, other)] == [False, True, True]
    assert [score.flagged for score in one(sick, plain).scores] == [False, True]
    assert [one(sick, decision).top.finding for decision in (plain, both)] == ["tumor", "abnormal"]
    assert len({decision.digest for decision in (plain, both, other)}) == 3
    assert plain.digest == model.decision_digest()
    assert decision_from(model, None, 0.5, None, ["abnormal", "tumor"]).flagging == ("tumor", "abnormal")
    assert [Decision.from_json(decision.to_json()) for decision in (plain, both, other)] == [
        plain,
        both,
        other,
    ]
    with pytest.raises(UsageError, match="no such finding, it has tumor, abnormal"):
        decision_from(model, None, None, None, ["stone"])


_LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12)


@given(_LOGITS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_cases_do_not_depend_on_the_order_of_different_films(logits: list[float], random):
    rows = [
        screened(f"{at}.dcm", logit, identity=identity(f"1.{at % 4}", f"9.{at}", f"P{at % 4}"))
        for at, logit in enumerate(logits)
    ]
    shuffled = list(rows)
    random.shuffle(shuffled)

    ranked = cases(rows)
    assert cases(shuffled) == ranked
    assert totals(shuffled) == totals(rows)
    margins = [case.lead.top.margin for case in ranked]
    assert margins == sorted(margins, reverse=True)
    films: dict[str, list[Verdict]] = {}
    for verdict in decided(rows, BALANCED):
        films.setdefault(verdict.row.identity.study_instance_uid, []).append(verdict)
    flagged = {study for study, group in films.items() if any(film.flagged for film in group)}
    assert {case.identity.study_instance_uid for case in ranked} == flagged
    for case in ranked:
        group = films[case.identity.study_instance_uid]
        assert case.lead.top.margin == max(film.top.margin for film in group)
        assert (case.images, case.images_flagged) == (len(group), sum(film.flagged for film in group))


@given(
    st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("de"), st.floats(-4, 4)), max_size=9),
    st.randoms(),
)
@settings(max_examples=40, deadline=None)
def test_duplicates_after_the_first_may_come_in_any_order(items, random):
    # Equal pixels give equal logits.
    logits = {}
    rows = [dicom(str(at), uid, d, logits.setdefault((uid, d), x)) for at, (uid, d, x) in enumerate(items)]
    verdicts = {v.row.file: v for v in decided(rows, BALANCED)}
    firsts = [row for row in rows if not verdicts[row.file].duplicate_of]
    later = [row for row in rows if verdicts[row.file].duplicate_of]
    random.shuffle(later)
    again = {v.row.file: v for v in decided(firsts + later, BALANCED)}
    assert {f: (v.duplicate_of, v.warnings, v.scores) for f, v in verdicts.items()} == {
        f: (v.duplicate_of, v.warnings, v.scores) for f, v in again.items()
    }


# Decisions


def test_without_an_option_each_finding_has_its_default():
    assert BALANCED.operating_point == "balanced"
    assert BALANCED.thresholds == {"tumor": 0.5}
    assert BALANCED.digest == CARD.decision_digest()
    model = card("tumor", "effusion")
    model = replace(
        model, findings=(model.findings[0], replace(model.findings[1], default_operating_point="specific"))
    )
    mixed = decision_from(model, None, None, None)
    assert mixed.operating_point == "default"
    assert mixed.thresholds == {"tumor": 0.5, "effusion": 0.8}
    assert [mixed.point_name(f.name) for f in model.findings] == ["balanced", "specific"]


def test_a_bare_threshold_holds_for_every_finding():
    decision = decision_from(card("tumor", "effusion"), None, 0.3, None)
    assert decision.thresholds == {"tumor": 0.3, "effusion": 0.3}
    assert decision.point_name("effusion") == "threshold"
    assert decision.point("tumor") is None


@pytest.mark.parametrize("threshold", [-1e-9, 1.0001, 2.0, math.nan, math.inf])
def test_a_threshold_is_a_probability(threshold: float):
    with pytest.raises(UsageError, match="from 0 to 1"):
        decision_from(CARD, None, threshold, None)


def test_nothing_and_certainty_are_thresholds_too():
    def scores(threshold: float) -> list[tuple[bool, float]]:
        decision = decision_from(CARD, None, threshold, None)
        rows = [dicom(name, name, name, logit) for name, logit in (("1", -40.0), ("2", 0.5), ("3", 800.0))]
        return [verdict_alone(row, decision).top.strength for row in rows]

    assert [flagged for flagged, _ in scores(0.0)] == [True, True, True]
    assert [flagged for flagged, _ in scores(1.0)] == [False, False, True]
    # The margin is the calibrated logit itself: they can be ranked.
    assert [margin for _, margin in scores(0.0)] == [margin for _, margin in scores(1.0)]
    assert scores(0.0)[1][1] == pytest.approx(scores(0.5)[1][1])


def test_an_unknown_operating_point_names_those_that_there_are():
    with pytest.raises(UsageError, match="sensitive, balanced, specific"):
        decision_from(CARD, "best", None, None)
    with pytest.raises(UsageError, match="exclude"):
        decision_from(CARD, "balanced", 0.5, None)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_an_operating_point_that_decides_nothing_is_refused(threshold: float):
    model = replace(
        CARD, findings=(replace(CARD.findings[0], operating_points=(point("balanced", threshold),)),)
    )
    with pytest.raises(ModelError, match="everything or nothing"):
        decision_from(model, None, None, None)


def write_decision(folder: Path, **fields: object) -> Path:
    path = folder / "decision.json"
    path.write_text(json.dumps({"cxr_screen_decision": 1, "weights_digest": CARD.weights_digest} | fields))
    return path


def test_a_decision_file_replaces_what_it_names_and_nothing_else(tmp_path: Path):
    path = write_decision(tmp_path, findings={"tumor": {"slope": 3.0, "intercept": 1.0}}, gate_threshold=9.0)
    decision = decision_from(CARD, None, None, path)
    assert decision.card.findings[0] == replace(CARD.findings[0], slope=3.0, intercept=1.0)
    assert decision.card == replace(CARD, findings=decision.card.findings, gate_threshold=9.0)
    assert decision.digest != BALANCED.digest
    verdict = one(screened("a", 1.0, declared_chest=True), decision)
    assert verdict.primary is not None
    assert verdict.primary.probability == pytest.approx(1 / (1 + math.exp(-4)))
    assert verdict.warnings == ("unlike_chest",)
    own_points = {
        "tumor": {"operating_points": [vars_of(point("ours", 0.1))], "default_operating_point": "ours"}
    }
    ours = decision_from(CARD, None, None, write_decision(tmp_path, findings=own_points))
    assert (ours.operating_point, ours.thresholds) == ("ours", {"tumor": 0.1})


def vars_of(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"cxr_screen_decision": 2}, "version 1"),
        ({"gate": 1.0}, "does not know.*gate"),
        ({"findings": {"stone": {}}}, "does not know.*stone"),
        ({"findings": {"tumor": {"heatmap_scale": [0, 1]}}}, "does not know.*heatmap_scale"),
        ({"findings": []}, "findings"),
        ({"findings": {"tumor": {"slope": -1.0}}}, "slope"),
        ({"findings": {"tumor": {"slope": "1"}}}, "slope"),
        ({"findings": {"tumor": {"default_operating_point": "none such"}}}, "default_operating_point"),
        ({"gate_threshold": math.nan}, "JSON"),
        ({"gate_certain": "1"}, "gate_certain"),
        ({"distance_quantiles": [2.0, 1.0]}, "distance_quantiles"),
    ],
)
def test_a_broken_or_foreign_decision_file_is_refused(
    tmp_path: Path, fields: dict[str, object], complaint: str
):
    with pytest.raises(ModelError, match=complaint):
        decision_from(CARD, None, None, write_decision(tmp_path, **fields))


@pytest.mark.parametrize("digest", ["ef" * 32, None])
def test_another_models_decision_file_is_wrong_usage(tmp_path: Path, digest: object):
    with pytest.raises(UsageError, match="another model"):
        decision_from(CARD, None, None, write_decision(tmp_path, weights_digest=digest))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b" " * 1_000_001])
def test_a_decision_file_that_is_none_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "decision.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="decision file"):
        decision_from(CARD, None, None, path)


def test_a_decision_file_that_is_not_there_is_wrong_usage(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        decision_from(CARD, None, None, tmp_path / "none.json")


def test_facts_survive_json():
    before = facts(CARD)
    assert RunFacts.from_json(before.to_json()) == before
    plain = json.loads(before.to_json())
    older = {key: value for key, value in plain.items() if key != "limits"}
    assert RunFacts.from_json(json.dumps({**older, "of_a_newer_version": 1})) == before
    with pytest.raises(TypeError, match="workers"):
        RunFacts.from_json(json.dumps({key: value for key, value in plain.items() if key != "workers"}))
