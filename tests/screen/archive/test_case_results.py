"""What is told of a case: which films, which places, which words."""

from dataclasses import replace

import numpy as np
import pytest

from screen.archive.case_results import (
    CaseResult,
    outline,
    place_shown,
    result_of,
    says_of_capture,
    untold,
)
from screen.archive.uids import digest_of, uid_of
from screen.codes import Reason, Warn
from screen.decide import Decision, Verdict, decision_from
from screen.ledger import Row
from screen.model import ModelCard
from screen.model.card import finding_code
from screen.preprocess import Geometry
from tests.fake_rows import GRID, SIZE, card, decided, finding, identity, screened, settled, unscreened


def decision(rate: float | None = None, *names: str, flag: tuple[str, ...] = ()) -> Decision:
    """rate: how often the heat map points at the lesion, as the model says; None: it does not."""
    metrics = {} if rate is None else {"pointing": {"value": rate, "interval": [0.0, 1.0], "films": 40}}
    model: ModelCard = replace(card(*names), metrics=metrics)
    return decision_from(model, None, None, None, flag)


def film(number: int, *logits: float, **fields: object) -> Row:
    return screened(f"{number}.dcm", *logits, identity=identity("1.2", f"1.2.{number}", "P"), **fields)


def told(rows: list[Row], by: Decision) -> CaseResult:
    with settled(rows, by) as cases:
        ((case, films),) = cases.studies()
        return result_of(case, films, by)


def only(row: Row, by: Decision) -> Verdict:
    (verdict,) = decided([row], by)
    return verdict


def words(result: CaseResult) -> str:
    return " ".join(result.words())


# Places


def hottest(row: int, column: int) -> np.ndarray:
    grid = np.zeros((1, *GRID), np.float16)
    grid[0, row, column] = 3
    return grid


@pytest.mark.parametrize(
    ("rate", "shown"), [(None, None), (0.0, None), (0.49, None), (0.5, (2, 4)), (1.0, (2, 4))]
)
def test_a_place_is_shown_where_the_model_was_measured_to_point(
    rate: float | None, shown: tuple[int, int] | None
) -> None:
    by = decision(rate)
    verdict = only(film(1, 5.0, heatmap=hottest(2, 4)), by)
    assert place_shown(verdict, verdict.top, by) == shown


@pytest.mark.parametrize("said", ["0.9", True, [0.9], {"value": "0.9"}, {"value": 1}, {}])
def test_a_rate_that_is_no_number_is_none(said: object) -> None:
    by = decision()
    by = replace(by, card=replace(by.card, metrics={"pointing": said}))
    verdict = only(film(1, 5.0, heatmap=hottest(2, 4)), by)
    assert place_shown(verdict, verdict.top, by) is None


def test_a_film_that_is_not_flagged_has_no_place() -> None:
    by = decision(0.9)
    verdict = only(film(1, -5.0, heatmap=hottest(2, 4)), by)
    assert place_shown(verdict, verdict.top, by) is None


def test_padding_is_no_place() -> None:
    by, box = decision(0.9), Geometry.fit(2000, 1000, SIZE)
    assert box.left > 0
    verdict = only(film(1, 5.0, heatmap=hottest(3, 0) + hottest(1, 3) / 2, geometry=box), by)
    assert place_shown(verdict, verdict.top, by) == (1, 3)


@pytest.mark.parametrize(
    ("height", "width"), [(96, 96), (2000, 1000), (1000, 2000), (2544, 3056), (33, 4000)]
)
def test_outlines_are_closed_and_lie_on_the_film(height: int, width: int) -> None:
    row = film(1, geometry=Geometry.fit(height, width, SIZE))
    whole = outline(row, None, GRID)
    assert whole.min(0).tolist() == [0, 0]
    assert whole.max(0).tolist() == [width, height]
    area = 0.0
    for at in range(GRID[0]):
        for across in range(GRID[1]):
            line = outline(row, (at, across), GRID)
            assert line[0].tolist() == line[-1].tolist()
            assert (line >= 0).all()
            assert (line <= [width, height]).all()
            area += float(np.prod(line[2] - line[0]))
    # Together the cells are the film.
    assert area == pytest.approx(height * width)


def test_a_cell_is_outlined_where_it_lies() -> None:
    line = outline(film(1, geometry=Geometry.fit(960, 960, SIZE)), (2, 4), GRID)
    assert line.tolist() == [[640, 320], [800, 320], [800, 480], [640, 480], [640, 320]]


# What is told


def test_flagged_films_have_groups_and_the_others_are_images() -> None:
    by = decision()
    result = told([film(1, -4.0), film(2, 3.0), film(3, 5.0)], by)
    assert [verdict.row.file for verdict in result.films] == ["3.dcm", "2.dcm", "1.dcm"]
    assert [verdict.row.file for verdict, _ in result.groups] == ["3.dcm", "2.dcm"]
    assert "2 of 3 films are flagged; a film that is not flagged may show a finding." in words(result)


def test_without_a_flagged_film_each_has_a_group() -> None:
    by = decision()
    result = told([film(1, -4.0), film(2, -3.0)], by)
    assert [verdict.row.file for verdict, _ in result.groups] == ["2.dcm", "1.dcm"]
    assert "No film is flagged; this does not exclude a finding." in words(result)
    verdict, score = result.groups[0]
    said = " ".join(result.words_of(verdict, score, by))
    assert "Not flagged; this does not exclude a finding." in said
    assert "Measured sensitivity: 71 % (62 to 79 %; 1,034 films of other patients)." in said
    bare = decision_from(by.card, None, 0.9, None)
    assert "was not measured" in " ".join(result.words_of(verdict, score, bare))


def test_what_is_unread_or_left_out_is_said() -> None:
    by = decision()
    lost = unscreened("4.dcm", Reason.CORRUPT_PIXELS, identity=identity("1.2", "1.2.4", "P"))
    doubtful = film(2, 4.0, warnings=("blank",))
    result = told([film(1, 3.0), doubtful, lost], by)
    assert "1 of 3 films could not be read." in words(result)
    assert "1 of 3 films left out" in words(result)
    assert "1 of 1 film is flagged" in words(result)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"warnings": ("known", "no_window")}, ""),
        ({"warnings": ("blank",)}, "doubtful"),
        ({"warnings": ("perhaps_no_chest",)}, "doubtful"),
        ({"warnings": ("unlike_chest",)}, "doubtful"),
        ({"warnings": ("uid_reused",)}, "uid_reused"),
        ({"identity": identity("1.2", "", "P")}, "no_uid"),
        ({"identity": identity("", "1.2.3", "P")}, "no_uid"),
        ({"identity": identity("1.2", "1.2.x", "P")}, "no_uid"),
        ({"identity": identity("1.2", "1." * 40, "P")}, "no_uid"),
    ],
)
def test_why_nothing_is_told_of_a_film(fields: dict[str, object], reason: str) -> None:
    assert untold(only(replace(film(1, 5.0), **fields), decision())) == reason


def test_a_group_for_each_finding_that_flags() -> None:
    by = decision(None, "tumor", "effusion", "fracture", flag=("tumor", "effusion"))
    result = told([film(1, 4.0, 5.0, 6.0), film(2, -4.0, 5.0, 6.0)], by)
    assert [(v.row.file, s.finding) for v, s in result.groups] == [
        ("1.dcm", "tumor"),
        ("1.dcm", "effusion"),
        ("2.dcm", "effusion"),
    ]


# What makes it another object


def test_a_result_says_the_same_whatever_its_files_are_called_and_whether_it_is_known() -> None:
    by = decision()
    rows = [film(1, 5.0), film(2, 5.0)]
    same = [replace(rows[1], file="0.dcm"), replace(rows[0], warnings=("known",))]
    assert told(rows, by).says(by) == told(same, by).says(by)


def test_whatever_else_changes_makes_it_another() -> None:
    by = decision()
    rows = [film(1, 5.0), film(2, -5.0)]
    lost = unscreened("4.dcm", Reason.CORRUPT_PIXELS, identity=identity("1.2", "1.2.4", "P"))
    others = [
        ([film(1, 5.1), film(2, -5.0)], by),
        ([film(1, 5.0), film(2, -5.1)], by),
        ([film(1, 5.0)], by),
        ([*rows, lost], by),
        ([film(1, 5.0), film(2, -5.0, warnings=("no_window",))], by),
        ([film(1, 5.0), film(3, -5.0)], by),
        ([film(1, 5.0), film(2, -5.0, pixel_digest="other")], by),
        (rows, decision_from(by.card, "specific", None, None)),
        (rows, decision_from(by.card, None, 0.5, None)),
        (rows, decision(0.9)),
    ]
    said = [digest_of(told(*each).says(each[1])) for each in [(rows, by), *others]]
    assert len(set(said)) == len(said)
    captures = [
        digest_of(says_of_capture(only(row, by), by)) for row in (film(1, 5.0), film(1, 5.1), film(2, 5.0))
    ]
    assert len(set(captures)) == 3


def test_uids_are_those_of_the_standard() -> None:
    uid = uid_of("instance", "sr", ["a", 1.5])
    assert uid == uid_of("instance", "sr", ["a", 1.5]) != uid_of("instance", "sr", ["a", 1.6])
    assert uid.startswith("2.25.")
    assert int(uid.removeprefix("2.25.")) < 1 << 128
    assert len(uid) <= 64


def test_codes_are_the_models_or_ours() -> None:
    assert finding_code(finding("tumor")) == ("mass-or-nodule", "99CXRSCREEN", "Pulmonary mass or nodule")
    assert finding_code(finding("abnormal")) == ("168734001", "SCT", "Standard chest X-ray abnormal")
    assert finding_code(finding("effusion")) == ("effusion", "99CXRSCREEN", "effusion")
    declared = ("60046008", "SCT", "Pleural effusion")
    assert finding_code(replace(finding("effusion"), code=declared)) == declared


def test_every_warning_can_be_said() -> None:
    by = decision()
    verdict = only(film(1, 5.0, warnings=tuple(map(str, Warn))), by)
    result = CaseResult((verdict,), ((verdict, verdict.top),), True, 0, 0)
    said = " ".join(result.words_of(verdict, verdict.top, by))
    assert all(f"{code}: {code.meaning}." in said for code in Warn if code != Warn.KNOWN)
    assert "known:" not in said
