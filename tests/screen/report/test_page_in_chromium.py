"""The page as a worklist, by doing what a reader does with it in a browser."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from screen.codes import Reason
from screen.decide import decision_from
from screen.ledger import Row
from screen.report import write_reports
from screen.report.viewer import viewer_from
from tests.chromium import Chromium, chromium
from tests.fake_rows import SIZE, ListedRows, card, facts, identity, screened, unscreened

CARD = card("tumor", "effusion")
BOTH = decision_from(CARD, None, None, None, ("tumor", "effusion"))
VIEWER = viewer_from("https://pacs.example/viewer?study={study_instance_uid}", "full")


def film(number: int, tumor: float, effusion: float, **fields: object) -> Row:
    who = replace(identity(f"1.{number}", f"1.{number}.1", f"P{number}"), study_date=f"2026110{number}")
    return screened(f"{number}.dcm", tumor, effusion, identity=who, **fields)


def night() -> list[Row]:
    return [
        film(1, 3.0, -3.0, distance=10.0),
        film(2, -3.0, 2.0, distance=90.0, warnings=("no_window",)),
        film(3, 1.0, -3.0, distance=50.0),
        screened("picture.png", 4.0, -3.0),
        film(4, -4.0, -4.0),
        film(5, -5.0, -5.0),
        unscreened(
            "cut=1.dcm", Reason.CORRUPT_PIXELS, identity=identity("1.3", "9", "P3"), declared_chest=True
        ),
        unscreened("lost.dcm", Reason.NO_PIXELS, warnings=("known",)),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("night")
    grey = np.full((SIZE, SIZE), 90, np.uint8)
    write_reports(
        out,
        ListedRows(night()),
        BOTH,
        facts(CARD),
        lambda rows: ((row, grey) for row in rows),
        viewer=VIEWER,
    )
    return out / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with chromium(tmp_path) as opened:
        yield opened


def shown(browser: Chromium) -> list[str]:
    """Files of the lines that are seen, in their order."""
    rows = "[...document.querySelectorAll('.worklist tbody tr')]"
    cells = browser.evaluate(f"{rows}.filter(r => r.checkVisibility()).map(r => r.textContent)")
    names = ("1.dcm", "2.dcm", "3.dcm", "4.dcm", "5.dcm", "picture.png")
    return [next(name for name in names if name in cell) for cell in cells]


def test_a_reader_sorts_filters_judges_and_saves(browser: Chromium, page: Path) -> None:
    browser.look(1280, 900)
    browser.open(page)
    assert shown(browser) == ["picture.png", "1.dcm", "2.dcm", "3.dcm"]

    browser.choose("#sort", "-distance")
    assert shown(browser) == ["2.dcm", "3.dcm", "picture.png", "1.dcm"]
    browser.choose("#sort", "-date")
    assert shown(browser) == ["3.dcm", "2.dcm", "1.dcm", "picture.png"]
    browser.choose("#sort", "rank")
    browser.choose("#finding", "effusion")
    assert shown(browser) == ["2.dcm"]
    browser.choose("#finding", "")
    browser.choose("#show", "warned")
    assert shown(browser) == ["2.dcm"]
    browser.choose("#show", "unread")
    assert shown(browser) == ["3.dcm"]
    browser.choose("#show", "")
    browser.type("#words", "p1")
    assert shown(browser) == ["1.dcm"]
    assert browser.evaluate("document.querySelector('#count').textContent") == "1 of 4 cases shown"

    # A verdict is given, changed, taken back, and there again when the page is.
    browser.click("[data-study='1.1'] [value='agree']")
    browser.choose("#words", "")
    browser.click("[data-study='1.2'] [value='agree']")
    browser.click("[data-study='1.2'] [value='disagree']")
    browser.click("[data-study='1.3'] [value='unsure']")
    browser.click("[data-study='1.3'] [value='unsure']")
    browser.reload()
    buttons = "[...document.querySelectorAll('[aria-pressed=true]')]"
    pressed = browser.evaluate(f"{buttons}.map(b => b.closest('tr').dataset.study + b.value)")
    assert pressed == ["1.1agree", "1.2disagree"]
    browser.choose("#show", "open")
    assert shown(browser) == ["picture.png", "3.dcm"]
    browser.click("#save")
    lines = list(csv.DictReader(io.StringIO(browser.downloaded("feedback.csv").decode())))
    assert [list(line.values())[:4] for line in lines] == [
        ["1.1", CARD.weights_digest, "tumor", "agree"],
        ["1.2", CARD.weights_digest, "effusion", "disagree"],
    ]
    assert list(lines[0]) == ["study_instance_uid", "weights_digest", "finding", "verdict", "at"]
    assert all(line["at"].endswith("Z") for line in lines)
    # A picture has no study by which a verdict could find it again.
    assert browser.evaluate("document.querySelectorAll('.verdict').length") == 3

    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_who_reads_blind_sees_others_among_the_flagged_and_is_told_afterwards(
    browser: Chromium, page: Path
) -> None:
    browser.look(1280, 900)
    browser.open(page)
    flagged = ["picture.png", "1.dcm", "2.dcm", "3.dcm"]
    assert shown(browser) == flagged  # off by default
    browser.click("#mix")
    assert sorted(shown(browser)) == sorted([*flagged, "4.dcm", "5.dcm"])
    cells = ".worklist td:nth-child(1) > *, .worklist td:nth-child(3) > *, .pair img + img, .worklist .notes"
    seen = "e.checkVisibility({visibilityProperty: true})"
    assert not browser.evaluate(f"[...document.querySelectorAll({cells!r})].some(e => {seen})")
    # Only flagged films have a larger picture: a link would tell.
    assert browser.evaluate("document.querySelectorAll('.pair[href]').length") == 0
    assert not browser.evaluate("document.querySelector('#tools').checkVisibility()")
    browser.click("[data-study='1.4'] [value='agree']")
    browser.click("[data-study='1.1'] [value='agree']")
    browser.click("#mix")
    assert shown(browser)[:4] == flagged
    assert sorted(shown(browser)[4:]) == ["4.dcm", "5.dcm"]
    told = browser.evaluate("document.querySelector('#mixed').textContent")
    assert told == "The last 2 cases were not flagged. In 1 of them you saw the finding."
    assert browser.evaluate("document.querySelectorAll('.pair[href]').length") == 4
    browser.click("#save")
    lines = list(csv.DictReader(io.StringIO(browser.downloaded("feedback.csv").decode())))
    assert sorted(line["study_instance_uid"] for line in lines) == ["1.1", "1.4"]
    assert browser.complaints == []


LARGE = "document.querySelector('#large')"
PICTURES = f"[...{LARGE}.querySelectorAll('img')]"


def test_pictures_are_shown_large_by_mouse_and_by_key(browser: Chromium, page: Path) -> None:
    browser.look(1280, 900)
    browser.open(page)
    pair = "[data-study='1.1'] .pair"
    assert not browser.evaluate(f"{LARGE}.open")
    browser.click(pair)
    assert browser.evaluate(f"{LARGE}.open")
    large = browser.evaluate(f"{PICTURES}.map(i => i.clientWidth >= 500 && i.naturalWidth > 0)")
    assert large == [True, True]
    title = browser.evaluate("document.querySelector('#large-title').textContent")
    assert title.startswith("2 · ") and "tumor" in title and "P1" in title
    file = browser.evaluate("document.querySelector('#large-file').href")
    assert file == browser.evaluate(f"document.querySelector({pair!r}).href") != ""
    browser.press("Escape", 27)
    assert not browser.evaluate(f"{LARGE}.open")
    # Where the reader was, there the keys go on.
    assert browser.evaluate(f"document.activeElement === document.querySelector({pair!r})")
    browser.press("Enter", 13)
    assert browser.evaluate(f"{LARGE}.open")
    assert browser.evaluate(f"{LARGE}.contains(document.activeElement)")
    browser.click("#large-close")
    assert not browser.evaluate(f"{LARGE}.open")
    assert browser.evaluate("location.href").endswith("report.html")
    browser.look(390, 800)
    browser.click(pair)
    assert browser.evaluate(f"{LARGE}.scrollWidth <= innerWidth")
    assert browser.evaluate(f"{PICTURES}.map(i => i.clientWidth > 300)") == [True, True]
    assert browser.complaints == []


def test_who_reads_blind_sees_the_film_alone_large(browser: Chromium, page: Path) -> None:
    browser.look(1280, 900)
    browser.open(page)
    browser.click("#mix")
    for study in ("1.1", "1.4"):
        browser.click(f"[data-study='{study}'] .pair")
        assert browser.evaluate(f"{PICTURES}.length") == 1
        assert browser.evaluate("document.querySelector('#large-title').textContent") == "The film"
        assert browser.evaluate("document.querySelector('#large-file').checkVisibility()") is False
        browser.press("Escape", 27)
        assert browser.evaluate("document.querySelectorAll('[title]').length") == 6


def test_what_is_kept_in_the_browser_names_nobody(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.click("[data-study='1.1'] [value='agree']")
    kept = browser.evaluate("JSON.stringify({...localStorage})")
    assert "agree" in kept
    assert "P1" not in kept and "1.1" not in kept and ".dcm" not in kept


def test_names_of_failed_files_are_copied(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.click(".copy summary")
    browser.click(".copy button")
    assert browser.evaluate("document.querySelector('.copy button').textContent") == "Copied"
    assert browser.evaluate("getSelection().toString()").split() == ["cut=1.dcm", "lost.dcm"]


def test_a_link_leads_to_the_study_in_the_viewer(browser: Chromium, page: Path) -> None:
    browser.open(page)
    links = browser.evaluate("[...document.querySelectorAll('.viewer')].map(a => a.href)")
    assert links == [f"https://pacs.example/viewer?study=1.{number}" for number in (1, 2, 3)]


def test_without_script_everything_is_there_but_the_tools(browser: Chromium, page: Path) -> None:
    browser.without_script()
    browser.open(page)
    assert shown(browser) == ["picture.png", "1.dcm", "2.dcm", "3.dcm"]
    tools = "[...document.querySelectorAll('select, input, button')]"
    assert not browser.evaluate(f"{tools}.some(e => e.checkVisibility())")


def test_a_script_that_somebody_slips_in_does_not_run(browser: Chromium, page: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    html = page.read_text().replace("<footer>", "<script>globalThis.slipped = true</script><footer>")
    other.write_text(html)
    browser.open(other)
    assert browser.evaluate("globalThis.slipped") is None
    assert shown(browser) == ["picture.png", "1.dcm", "2.dcm", "3.dcm"]
