"""The reports: columns, safety of what others wrote, files as a set, pictures, the page, `screen report`."""

import base64
import csv
import hashlib
import io
import json
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen.cli import cli
from screen.codes import Reason, Status, Warn
from screen.decide import Decision, decision_from
from screen.errors import LedgerError, UsageError
from screen.evaluation.platt import Calibration
from screen.files import csv_file, new_file
from screen.film import Identity
from screen.ledger import Ledger, Row
from screen.preprocess import Geometry
from screen.report import overlays, remove_reports, write_reports
from screen.report.markup import text
from screen.report.pictures import OpenSquares
from screen.report.tables import FLAGGED_COLUMNS, RESULTS_COLUMNS, results_line
from screen.report.viewer import viewer_from
from screen.text import safe_path, safe_text
from tests.fake_rows import GRID, SIZE, ListedRows, card, decided, facts, identity, screened, unscreened

CARD = card()
BALANCED = decision_from(CARD, None, None, None)


def phantom(row: Row) -> NDArray[np.uint8]:
    """A grey square with a bright block: uint8 [S, S]."""
    square = np.full((SIZE, SIZE), 60, np.uint8)
    square[30:60, 20:45] = 190
    return square


def no_square(row: Row) -> None:
    return None


def opener(open_square: Callable[[Row], NDArray[np.uint8] | None]) -> OpenSquares:
    return lambda rows: ((row, open_square(row)) for row in rows)


def night() -> list[Row]:
    """Two flagged studies (one in part), a quiet one, a known one, a duplicate, and what is no film."""
    hot = np.zeros((1, *GRID), np.float16)
    hot[0, 2, 2] = 5
    rows = [
        screened(
            "a/1.dcm", 1.0, identity=identity("1.1", "1.1.1", "P1"), heatmap=hot, warnings=("no_window",)
        ),
        screened("a/2.dcm", 2.5, identity=identity("1.2", "1.2.1", "P2"), heatmap=hot, declared_chest=True),
        screened("a/3.dcm", -2.0, identity=identity("1.3", "1.3.1", "P3")),
        screened(
            "a/4.dcm", 2.0, identity=identity("1.4", "1.4.1", "P4"), warnings=("known",), listed_before=True
        ),
        unscreened(
            "a/5.dcm", Reason.CORRUPT_PIXELS, identity=identity("1.2", "1.2.2", "P2"), declared_chest=True
        ),
        unscreened("a/6.dcm", Reason.NO_PIXELS, identity=identity("1.5", "1.5.1", "P5"), declared_chest=True),
        unscreened("a/notes.txt", Reason.NOT_AN_IMAGE),
        screened("a/holiday.png", 4.0, gate=-2.0),
    ]
    return [*rows, replace(rows[1], file="b/copy.dcm", inference=None)]


def write(
    out: Path,
    rows: Sequence[Row] | None = None,
    decision: Decision = BALANCED,
    opened=phantom,
    **changes: object,
) -> int:
    rows = ListedRows(night() if rows is None else rows)
    return write_reports(out, rows, decision, facts(CARD, **changes), opener(opened))


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


# The CSV files


def test_flagged_csv_is_the_contract(out: Path):
    content = (out / "flagged.csv").read_bytes()
    assert content.count(b"\r") == 0 and content.endswith(b"\n")
    header, *lines = content.decode().splitlines()
    assert header == (
        "rank,study_instance_uid,patient_id,accession_number,study_date,images,images_unread,file,finding,"
        "probability,threshold,operating_point,warnings,heatmap,model"
    )
    name = overlays.picture_name(night()[1])
    assert lines == [
        "1,1.2,P2,AP2,20261101,1,1,a/2.dcm,tumor,0.962673,0.500000,balanced,,"
        f"heatmaps/{name},fake-resnet18 1",
        f"2,1.1,P1,AP1,20261101,1,0,a/1.dcm,tumor,0.731059,0.500000,balanced,no_window,"
        f"heatmaps/{overlays.picture_name(night()[0])},fake-resnet18 1",
    ]


def test_results_csv_accounts_for_every_file(out: Path):
    header = (out / "results.csv").read_text().splitlines()[0]
    assert header == (
        "file,status,reason,warnings,duplicate_of,study_instance_uid,series_instance_uid,sop_instance_uid,"
        "view,finding,probability,logit,normal_distance,flagged,decoder"
    )
    lines = lines_of(out / "results.csv")
    assert [line["file"] for line in lines] == [row.file for row in night()]
    by_file = {line["file"]: line for line in lines}
    assert by_file["a/1.dcm"]["probability"] == "0.731059"
    assert by_file["a/1.dcm"]["logit"] == "1.000000"
    assert by_file["b/copy.dcm"]["duplicate_of"] == "a/2.dcm"
    assert by_file["b/copy.dcm"]["probability"] == by_file["a/2.dcm"]["probability"]
    for name, reason in (("a/5.dcm", "corrupt_pixels"), ("a/holiday.png", "unlike_chest")):
        line = by_file[name]
        assert line["reason"] == reason
        assert not any(line[c] for c in ("finding", "probability", "logit", "normal_distance", "flagged"))


def test_findings_csv_only_for_several_findings(tmp_path: Path):
    model = card("tumor", "effusion")
    rows = [screened("a", 1.0, -1.0), unscreened("b", Reason.NOT_AN_IMAGE)]
    write_reports(
        tmp_path, ListedRows(rows), decision_from(model, None, None, None), facts(model), opener(phantom)
    )
    assert (tmp_path / "findings.csv").read_text() == (
        "file,finding,probability,threshold,flagged\na,tumor,0.731059,0.500000,1\na,effusion,0.119203,0.500000,0\n"
    )
    write(tmp_path)
    assert not (tmp_path / "findings.csv").exists()


_HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from("=+-@\t\r\n\0\x1b\x85\u2028\u202e\"',;|<>&＝ \ud800")),
    max_size=12,
)
_STARTS = re.compile(r"""[;,|"\t\r\n]""")


@given(_HOSTILE)
@example('";=cmd|x')
@example(" =1")
@example("a;\t=1")
@example("\ud800=1")
@settings(max_examples=200, deadline=None)
def test_no_text_is_a_formula_wherever_a_spreadsheet_may_split(hostile: str):
    for cell in (safe_text(hostile), safe_path(hostile)):
        cell.encode()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", cell)
        for part in _STARTS.split(cell):
            assert part.lstrip()[:1] not in set("=+-@＝＋－＠") or part == ""


@pytest.mark.parametrize(
    "plain", ["1.2.840.113619", "a/b-c.dcm", "Müller^Jörg", "film (2).png", "", "x=1", "PA"]
)
def test_harmless_text_stays_as_it_is(plain: str):
    assert safe_text(plain) == safe_path(plain) == plain


def test_names_that_differ_in_control_characters_stay_distinct():
    assert safe_path("a\n.dcm") == "a%0A.dcm"
    assert safe_path("gpj.\u202emcd") == "gpj.%E2%80%AEmcd"
    assert safe_text("P\n1\u202e2") == "P12"


def results_csv(rows: Sequence[Row]) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        with csv_file(path, RESULTS_COLUMNS, new_file) as writer:
            writer.writerows(results_line(verdict) for verdict in decided(rows, BALANCED))
        return path.read_bytes().decode()


@given(st.lists(_HOSTILE, min_size=6, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_file_has_one_line_whatever_it_is_called(texts: list[str], fails: bool):
    who = Identity(texts[1], texts[2], texts[3], texts[4], texts[5], texts[0], texts[1])
    rows = [
        screened(f"0{texts[0]}", identity=who),
        unscreened(f"1{texts[0]}", Reason.UNREADABLE, identity=who),
    ]
    content = results_csv(rows if fails else rows[:1])
    lines = list(csv.reader(io.StringIO(content, newline="")))
    assert len(lines) == len(content.splitlines()) == (3 if fails else 2)
    assert all(len(line) == len(RESULTS_COLUMNS) for line in lines)


# Exit code and summary


def test_exit_codes(tmp_path: Path):
    fine = [screened("a.png", -1.0), unscreened("b.txt", Reason.NOT_AN_IMAGE)]
    assert write(tmp_path, fine) == 0
    assert write(tmp_path, [*fine, unscreened("c.dcm", Reason.CORRUPT_PIXELS)]) == 3
    unread = unscreened("c.dcm", Reason.UNSUPPORTED_SYNTAX, declared_chest=True)
    assert write(tmp_path, [unread, fine[1]]) == 1
    assert write(tmp_path, [fine[1]]) == 0
    assert write(tmp_path, []) == 0


def test_summary_counts_and_names(out: Path):
    summary = json.loads((out / "summary.json").read_text())
    assert summary["exit_code"] == 3
    assert summary["files"] == 9
    assert summary["counts"]["status"] == {"screened": 5, "skipped": 2, "failed": 2}
    assert summary["counts"]["reason"] == {
        "corrupt_pixels": 1,
        "no_pixels": 1,
        "not_an_image": 1,
        "unlike_chest": 1,
    }
    assert summary["counts"]["warning"] == {"known": 1, "no_window": 1}
    assert summary["counts"]["known_ignored"] == 0
    assert (summary["images_screened"], summary["images_flagged"], summary["duplicates"]) == (4, 3, 1)
    assert (summary["cases"], summary["cases_flagged"], summary["cases_listed"]) == (4, 3, 2)
    assert summary["digests"] == {
        "weights": CARD.weights_digest,
        "decision": CARD.decision_digest(),
        "preprocess": CARD.preprocess_digest,
        "model_file": "cd" * 32,
    }
    assert summary["device"]["provider"] == "CPUExecutionProvider"
    assert summary["images_per_second"] == pytest.approx(61 / 2467.2, abs=1e-3)
    assert "not for clinical use" in summary["notice"]


def test_films_with_nothing_on_them_need_a_person(tmp_path: Path):
    blank = ("blank", "no_window")
    rows = [screened(f"{n}.dcm", -1.0, warnings=blank if n < 12 else ()) for n in range(14)]
    assert write(tmp_path, rows) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images_blank"] == summary["counts"]["warning"]["blank"] == 12
    page = (tmp_path / "report.html").read_text()
    needs, warned = page.split("1 warning beside scores</h3>")
    assert "12 films with nothing on them" in needs
    assert "its number says nothing" in needs
    assert "<code>blank</code>" not in warned.split("</table>")[0]
    assert all(f"{n}.dcm" in needs for n in range(12))
    quiet = [screened("1.dcm", -1.0)]
    write(tmp_path, quiet)
    assert "nothing on" not in (tmp_path / "report.html").read_text()


# Files as a set


def test_reports_are_private(out: Path):
    for path in out.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def written(out: Path) -> dict[Path, bytes]:
    """Every file, but for the moment at which the summary was decided."""
    files = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return files | {Path("summary.json"): timeless(files[Path("summary.json")])}


def timeless(summary: bytes) -> bytes:
    plain = json.loads(summary)
    assert plain.pop("decided")
    return json.dumps(plain).encode()


def test_a_second_writing_is_the_same_to_the_byte_and_leaves_nothing_old(out: Path):
    before = written(out)
    (out / "heatmaps" / ("0" * 24 + ".png")).write_bytes(b"of an earlier run")
    (out / ".reports-dead").mkdir()
    write(out)
    assert written(out) == before
    assert not (out / ".reports-dead").exists()


def test_a_failure_while_writing_leaves_the_earlier_set(out: Path):
    before = (out / "flagged.csv").read_bytes()

    def breaks(row: Row) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        write(out, night()[:1], opened=breaks)
    assert (out / "flagged.csv").read_bytes() == before
    assert sorted(p.name for p in out.iterdir()) == [
        "flagged.csv", "heatmaps", "report.html", "results.csv", "summary.json",
    ]  # fmt: skip


def test_the_summary_appears_last_and_goes_first(out: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    rename, unlink = Path.rename, Path.unlink

    def noted_rename(self: Path, target: Path) -> Path:
        seen.append(("comes", target.name))
        return rename(self, target)

    def noted_unlink(self: Path, missing_ok: bool = False) -> None:
        seen.append(("goes", self.name))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(Path, "unlink", noted_unlink)
    write(out)
    assert seen[0] == ("goes", "summary.json")
    assert seen[-1] == ("comes", "summary.json")


def test_removing_leaves_everything_else(out: Path):
    (out / "ledger.sqlite").write_bytes(b"")
    remove_reports(out)
    assert [p.name for p in out.iterdir()] == ["ledger.sqlite"]
    remove_reports(out)


def test_a_link_in_the_place_of_pictures_is_not_followed(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    out = tmp_path / "out"
    out.mkdir()
    (out / "heatmaps").symlink_to(tmp_path / "mine")
    write(out)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    assert not (out / "heatmaps").is_symlink()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    with pytest.raises(LedgerError, match="cannot be written"):
        write(tmp_path / "missing")


# Pictures


def test_only_flagged_films_are_opened_and_only_as_many_as_asked_for(tmp_path: Path):
    opened: list[str] = []

    def counting(row: Row) -> NDArray[np.uint8]:
        opened.append(row.file)
        return phantom(row)

    write(tmp_path, opened=counting, heatmaps=1)
    assert opened == [
        "a/2.dcm",
        "a/1.dcm",
        "a/3.dcm",
    ]  # all stand on the page, the last for who reads blind; known and turned away ones do not
    assert [p.name for p in (tmp_path / "heatmaps").iterdir()] == [overlays.picture_name(night()[1])]
    assert [line["heatmap"] != "" for line in lines_of(tmp_path / "flagged.csv")] == [True, False]


def test_films_that_are_gone_cost_only_their_pictures(out: Path):
    results = (out / "results.csv").read_bytes()
    write(out, opened=no_square)
    assert (out / "results.csv").read_bytes() == results
    assert [line["heatmap"] for line in lines_of(out / "flagged.csv")] == ["", ""]
    assert "no picture" in (out / "report.html").read_text()


def test_without_identifiers_there_are_no_pictures(tmp_path: Path):
    def refuses(row: Row) -> None:
        raise AssertionError("a film was opened")

    write(tmp_path, opened=refuses, identifiers="none")
    assert list((tmp_path / "heatmaps").iterdir()) == []
    assert "data:image/jpeg" not in (tmp_path / "report.html").read_text()


def test_overlay_has_one_scale_for_all_films_and_leaves_padding_out():
    geometry = Geometry.fit(SIZE, SIZE // 2, SIZE)
    square = phantom(screened("a"))
    weak, strong = (np.full(GRID, value, np.float16) for value in (0.3, 3.0))
    none = overlays.overlay(square, geometry, weak, (0.3, 3.0))
    full = overlays.overlay(square, geometry, strong, (0.3, 3.0))
    beyond = overlays.overlay(square, geometry, strong * 10, (0.3, 3.0))
    assert none.shape == (SIZE, SIZE // 2, 3)
    assert (none == overlays.content(square, geometry)[..., None]).all()
    assert (full != none).any(axis=-1).all()
    assert (full == beyond).all()
    # The film's own contrast survives under full colour.
    assert full[40, 5].astype(int).sum() > full[5, 5].astype(int).sum() + 60


def test_overlay_lies_where_the_heat_is():
    grid = np.zeros(GRID, np.float16)
    grid[1, 4] = 3
    geometry = Geometry.fit(SIZE, SIZE, SIZE)
    square = np.full((SIZE, SIZE), 60, np.uint8)
    change = overlays.overlay(square, geometry, grid, (0.3, 3.0)).astype(int).std(axis=-1)
    row, column = np.unravel_index(change.argmax(), change.shape)
    cell = SIZE // GRID[0]
    assert (row // cell, column // cell) == (1, 4)
    assert change[SIZE // 2 :, : SIZE // 2].max() == 0


@pytest.mark.parametrize(("height", "width"), [(96, 96), (3000, 32), (32, 3000)])
def test_sheets_and_thumbnails_of_any_shape(height: int, width: int):
    geometry = Geometry.fit(height, width, SIZE)
    square = phantom(screened("a"))
    over = overlays.overlay(square, geometry, np.ones(GRID, np.float16), (0.3, 3.0))
    bare = overlays.content(square, geometry)
    sheet = overlays.sheet(bare, over, "tumör", (0.3, 3.0))
    assert sheet is not None and sheet.shape[1] >= 896
    small = cv2.imdecode(np.frombuffer(overlays.thumbnail(over, 64), np.uint8), 1)
    assert small is not None and max(small.shape) == 64


def test_picture_names_say_nothing():
    name = overlays.picture_name(screened("Meier^Hans/1.dcm"))
    assert re.fullmatch(r"[0-9a-f]{24}\.png", name)


# The page


_TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body p header div h1 a b nav main section h2 h3 ol li span svg rect line "
        "path text img table caption thead tbody tr th td dl dt dd ul code br strong bdi details summary "
        "footer pre script template label select option input button dialog",
    )
)


class Page(HTMLParser):
    """Elements and text as a browser takes them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in {"meta", "img", "br", "rect", "line", "path", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def check_harmless(html: str) -> Page:
    page = Page(html)
    assert set(page.tags) <= _TAGS
    assert page.open == []
    assert page.tags["style"] == page.tags["script"] == 1
    for tag, name, value in page.attributes:
        assert not name.startswith("on") and name != "style", (tag, name)
        if name == "src":
            assert value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        if name == "href":
            assert re.fullmatch(r"#[a-z]+|heatmaps/[0-9a-f]{24}\.png", value)
    return page


def test_the_page_allows_nothing_from_outside(out: Path):
    html = (out / "report.html").read_text("utf-8")
    page = check_harmless(html)
    (policy,) = (
        v for tag, n, v in page.attributes if tag == "meta" and n == "content" and "default-src" in v
    )
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    script_digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        f"script-src 'sha256-{script_digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style[1] and "@import" not in style[1]
    assert "http" not in html.replace("http-equiv", "")


def test_the_page_says_what_a_reader_must_know(out: Path):
    page = Page((out / "report.html").read_text("utf-8"))
    for words in (
        "Research use only, not for clinical use.",
        "2 of 4 cases flagged",
        "2 files could not be read",
        Reason.CORRUPT_PIXELS.meaning,
        "1 study without a screened film",
        "1 study screened in part",
        "flagged, rank 1",
        Warn.NO_WINDOW.meaning,
        "1 film of this study could not be read",
        "1 flagged case of an earlier night left out",
        "71.0% (62.0% – 79.0%)",
        "1,034 films of other patients",
        CARD.weights_digest,
        "CPUExecutionProvider",
        "unlike_chest",
    ):
        assert words in page.text, words
    assert page.text.index("P2") < page.text.rindex("P1")


def test_the_page_of_a_quiet_night(tmp_path: Path):
    write(tmp_path, [screened("a.png", -3.0)])
    page = check_harmless((tmp_path / "report.html").read_text("utf-8"))
    assert "nothing needs a person" in page.text
    assert "No case reaches the threshold" in page.text
    write(tmp_path, [unscreened("notes.txt", Reason.NOT_AN_IMAGE)])
    page = check_harmless((tmp_path / "report.html").read_text("utf-8"))
    assert "No film was screened" in page.text and "every file was skipped" in page.text


def test_an_empty_night_does_not_look_well(tmp_path: Path):
    write(tmp_path, [])
    html = (tmp_path / "report.html").read_text("utf-8")
    page = check_harmless(html)
    assert "No film was screened" in page.text and "No file was found." in page.text
    assert "nothing needs a person" not in page.text and 'class="badge calm"' not in html


def test_the_page_warns_of_a_run_that_screened_nothing(tmp_path: Path):
    write(tmp_path, [unscreened("c", Reason.NO_PIXELS, declared_chest=True)], preprocess_drift=True)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "Do not use this report" in page.text
    assert "slightly differently" in page.text


def test_cases_that_an_earlier_night_listed_are_named_with_the_reason(out: Path):
    html = (out / "report.html").read_text("utf-8")
    left_out = html[html.index('id="leftout"') :]
    assert "1 flagged case left out" in left_out
    assert "P4" in left_out and "P1" not in left_out[: left_out.index("</details>")]
    assert "An earlier night's finished report has listed them, and no film of theirs is new." in left_out


def test_what_failed_is_told_apart_from_what_failed_before_and_can_be_copied(tmp_path: Path):
    rows = [
        unscreened("old.dcm", Reason.NO_PIXELS, declared_chest=True, warnings=("known",)),
        unscreened("new<1>.dcm", Reason.CORRUPT_PIXELS, declared_chest=True),
        unscreened("x" * 400, Reason.CORRUPT_HEADER),
    ]
    write(tmp_path, rows)
    html = (tmp_path / "report.html").read_text("utf-8")
    page = check_harmless(html)
    assert "2 files could not be read" in page.text
    assert "1 file could not be read, as in an earlier night" in page.text
    assert f"<pre>new&lt;1&gt;.dcm\n{'x' * 400}\nold.dcm</pre>" in html


def test_files_of_unknown_kind_are_not_counted_among_chest_films(tmp_path: Path):
    rows = [
        screened("a.dcm", 1.0, declared_chest=True),
        unscreened("b.dcm", Reason.CORRUPT_PIXELS, declared_chest=True),
        unscreened("c.png", Reason.CORRUPT_PIXELS),
        unscreened("d", Reason.EMPTY_FILE),
        unscreened("e.dcm", Reason.NOT_CHEST),
    ]
    write(tmp_path, rows)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "<b>4</b> <span>images</span>" in html
    assert "<b>2</b> <span>frontal chest films</span>" in html
    assert "1 turned away, 1 of unknown kind could not be read" in html
    assert "<b>1</b> <span>screened</span>" in html


def test_films_of_who_the_model_is_not_meant_for_are_marked(tmp_path: Path):
    codes = {"a": ("child",), "b": (), "c": ("child", "no_window"), "d": ("not_human",)}
    write(
        tmp_path,
        [screened(f, 1.0, identity=identity(f, f, f), warnings=codes[f]) for f in codes]
        + [screened("quiet.dcm", -4.0, warnings=("child",))],
    )
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count(f'<li class="loud">{Warn.CHILD.meaning}</li>') == 2  # beside the cases
    assert html.count(f'<li class="loud">{Warn.NOT_HUMAN.meaning}</li>') == 1
    listed = html[html.index("Films that the model may not be meant for") :]
    assert CARD.intended_use in listed
    assert [listed.index(word) for word in ("3 films", "quiet.dcm", "1 film<")] == sorted(
        listed.index(word) for word in ("3 films", "quiet.dcm", "1 film<")
    )
    # Each code is one matter, and what is said here is not said again among the other warnings.
    assert "3 things need a person" in html and "1 warning beside scores" in html
    assert json.loads((tmp_path / "summary.json").read_text())["images_of_children"] == 3


@pytest.mark.parametrize(
    ("flagged", "films", "says"), [(100, 300, None), (160, 300, "More"), (30, 300, "Fewer"), (3, 4, None)]
)
def test_a_flag_rate_that_nobody_expected_is_said(flagged: int, films: int, says: str | None, tmp_path: Path):
    """The point flags 31 to 41 % of films like those that it was measured on."""
    write(tmp_path, [screened(f"{at}", 1.0 if at < flagged else -1.0) for at in range(films)])
    rate = json.loads((tmp_path / "summary.json").read_text())["flag_rate"]["tumor"]
    assert (rate["films"], rate["flagged"], rate["outside"]) == (films, flagged, says is not None)
    assert rate["low"] < flagged / films < rate["high"]
    html = (tmp_path / "report.html").read_text("utf-8")
    assert ("films flagged for tumor than expected" in html) == (says is not None)
    assert says is None or f"{says} films flagged for tumor" in html


@given(st.lists(_HOSTILE, min_size=7, max_size=7))
@example(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'onload='x",
        "</style>",
        "$notice",
        "&lt;",
        "\u202e",
    ]
)
@settings(max_examples=25, deadline=None)
def test_hostile_names_stay_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    out = tmp_path_factory.mktemp("out")
    who = Identity(*texts)
    rows = [
        screened("0" + texts[0], 3.0, identity=who, warnings=("no_window",)),
        unscreened("1" + texts[1], Reason.UNREADABLE, identity=who, detail=texts[2], declared_chest=True),
        unscreened("2" + texts[3], Reason.NO_PIXELS, identity=Identity(*texts[::-1]), declared_chest=True),
    ]
    write(out, rows, inputs=[texts[5]], versions={texts[6]: texts[0]})
    check_harmless((out / "report.html").read_text("utf-8"))
    json.loads((out / "summary.json").read_text("utf-8"))


def test_text_on_the_page_is_short_and_visible():
    assert len(text("x" * 10_000)) < 200
    assert text("a\u202eb\x1b<") == "a�b�&lt;"


def test_a_night_of_thousands_keeps_the_page_small(tmp_path: Path):
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE), np.uint8)
    long = "x" * 4000
    rows = [
        screened(f"{at:05}{long}.dcm", 1 + at / 1e4, identity=identity(f"1.{at}", f"9.{at}", f"P{at}{long}"))
        for at in range(600)
    ]
    rows += [unscreened(f"f{at:05}{long}", Reason.CORRUPT_PIXELS, detail=long) for at in range(3000)]
    write(tmp_path, rows, opened=lambda row: noise, heatmaps=0)
    html = (tmp_path / "report.html").read_text()
    assert len(html) < 20_000_000
    assert html.count("<img") <= 2 * 200 + 1
    assert "400 more cases" in Page(html).text
    assert len(lines_of(tmp_path / "flagged.csv")) == 600


# `screen report`


@pytest.fixture
def finished(tmp_path: Path) -> Iterator[Path]:
    """The folder of a finished run, its films gone."""
    tmp_path.chmod(0o700)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for at, row in enumerate(night()):
            ledger.list_file(at, row.file, "token", None)
            ledger.put(row, "token")
        ledger.set_meta("facts", facts(CARD, identifiers="none").to_json())
        ledger.commit()
    write(tmp_path, opened=no_square, identifiers="none")
    yield tmp_path


def reports(folder: Path) -> dict[str, bytes]:
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in {".csv", ".html", ".json"}}
    return files | {"summary.json": timeless(files["summary.json"])}


def test_report_again_is_the_runs_own_to_the_byte(finished: Path):
    before = reports(finished)
    remove_reports(finished)
    result = CliRunner().invoke(cli, ["report", str(finished)])
    assert result.exit_code == 3, result.output
    assert reports(finished) == before
    assert result.stdout == ""


def test_report_decides_anew(finished: Path):
    result = CliRunner().invoke(cli, ["report", str(finished), "--threshold", "0.9"])
    assert result.exit_code == 3, result.output
    (line,) = lines_of(finished / "flagged.csv")
    assert (line["file"], line["operating_point"], line["threshold"]) == ("a/2.dcm", "threshold", "0.900000")
    CliRunner().invoke(cli, ["report", str(finished), "--operating-point", "sensitive"])
    assert lines_of(finished / "flagged.csv")[0]["operating_point"] == "sensitive"


def test_report_for_another_prevalence_says_what_to_expect(finished: Path):
    path = finished / "decision.json"
    calibration = asdict(Calibration.of(CARD.findings[0]).at(0.01))
    plain = {
        "cxr_screen_decision": 1,
        "weights_digest": CARD.weights_digest,
        "findings": {"tumor": calibration},
    }
    path.write_text(json.dumps(plain))
    before = lines_of(finished / "flagged.csv")
    result = CliRunner().invoke(cli, ["report", str(finished), "--decision", str(path)])
    assert result.exit_code == 3, result.output
    after = lines_of(finished / "flagged.csv")
    assert [line["file"] for line in after] == [line["file"] for line in before]
    assert all(float(a["probability"]) < float(b["probability"]) for a, b in zip(after, before, strict=True))
    # 71 % of 1 % are found, 32 % of the others are flagged.
    found = json.loads((finished / "summary.json").read_text())["expected"]["tumor"]
    assert found["prevalence"] == 0.01
    assert found["flags"] == pytest.approx(1000 * (0.71 * 0.01 + 0.32 * 0.99))
    assert found["ppv"] == pytest.approx(0.0071 / (0.0071 + 0.3168))
    assert "324 (" in Page((finished / "report.html").read_text()).text
    path.write_text(json.dumps(plain | {"weights_digest": "ef" * 32}))
    assert CliRunner().invoke(cli, ["report", str(finished), "--decision", str(path)]).exit_code == 2


def test_report_refuses_what_it_cannot_do(finished: Path, tmp_path_factory: pytest.TempPathFactory):
    def code(*arguments: str) -> int:
        return CliRunner().invoke(cli, ["report", *arguments]).exit_code

    before = reports(finished)
    assert code(str(finished), "--threshold", "1.5") == 2
    assert code(str(finished), "--operating-point", "best") == 2
    assert code(str(tmp_path_factory.mktemp("empty"))) == 2
    assert reports(finished) == before
    with Ledger.open(finished / "ledger.sqlite") as ledger:
        ledger.set_meta("facts", None)
        ledger.commit()
    assert code(str(finished)) == 1


def test_a_viewers_link_is_percent_encoded_and_whole(finished: Path):
    template = "weasis://%24dicom%3Ars?s={study_instance_uid}&a={accession_number}"
    viewer = viewer_from(template, "full")
    assert viewer is not None
    who = Identity(study_instance_uid='1.2&x=<"ü', accession_number="A/1")
    assert viewer.url(who) == "weasis://%24dicom%3Ars?s=1.2%26x%3D%3C%22%C3%BC&a=A%2F1"
    assert viewer.url(Identity(study_instance_uid="1.2")) == ""


@pytest.mark.parametrize(
    "template",
    [
        "javascript://x/{study_instance_uid}",
        "file:///{study_instance_uid}",
        "https:{study_instance_uid}",
        "https://pacs/viewer",
        "https://pacs/{patient_id}/{study_instance_uid}",
        "https://{study_instance_uid}/",
        "https://pacs/{study_instance_uid}}",
        "https://pacs/ {study_instance_uid}",
        'https://pacs/"{study_instance_uid}',
    ],
)
def test_an_address_that_leads_to_no_case_is_refused(template: str):
    with pytest.raises(UsageError, match="--viewer-url"):
        viewer_from(template, "full")


def test_a_viewer_needs_full_identifiers(finished: Path):
    """The fixture's run has none."""
    url = "https://pacs/{study_instance_uid}"
    result = CliRunner().invoke(cli, ["report", str(finished), "--viewer-url", url])
    assert result.exit_code == 2
    out = str(finished / "out")
    result = CliRunner().invoke(
        cli, ["run", str(finished), "--out", out, "--identifiers", "pseudonym", "--viewer-url", url]
    )
    assert result.exit_code == 2 and not Path(out).exists()


def test_columns_are_those_of_the_contract():
    assert len(FLAGGED_COLUMNS) == len(RESULTS_COLUMNS) == 15
    assert {Status.SCREENED, Status.SKIPPED, Status.FAILED} == set(Status)
