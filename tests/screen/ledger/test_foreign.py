"""Ledgers that somebody hands us: refused by name or believed, never a hang, a traceback or a NaN."""

import base64
import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from screen.codes import Status
from screen.errors import LedgerError, UsageError
from screen.film import Identity
from screen.ledger import DicomObject, Expected, Heatmap, Known, Ledger, Row
from tests.fake_rows import GRID, identity, screened

EXPECTED = Expected(1, GRID, "ab" * 32)
SETTINGS = {"weights_digest": EXPECTED.weights_digest, "decode_policy": "full", "identifiers": "full"}
FILMS = 20


def good_row(number: int) -> Row:
    heatmap = np.full((1, *GRID), number, np.float16)
    return screened(
        f"in/{number}.dcm",
        float(number),
        heatmap=heatmap,
        identity=identity("1.3", f"1.2.{number}", "P"),
        pixel_digest=f"{number:064x}",
    )


def make_ledger(path: Path) -> Path:
    with Ledger.open(path) as ledger:
        ledger.set_settings(SETTINGS)
        for number in range(FILMS):
            row = good_row(number)
            ledger.list_file(number, row.file, "1", None)
            ledger.put(row, "1")
            ledger.put_object(report_of(number))
        ledger.commit()
    return path


def report_of(number: int) -> DicomObject:
    at = "2026-11-29T02:00:00+01:00"
    digest = f"{number:064x}"
    return DicomObject(
        f"2.25.{number}", "2.25.1", "sr", f"1.3.{number % 4}", "P", "", digest, at, digest=digest
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    (tmp_path / "earlier night").mkdir()
    return make_ledger(tmp_path / "earlier night" / "ledger.sqlite")


def asked(number: int) -> Row:
    """What tonight's run asks for: a film that was just read."""
    who = Identity(sop_instance_uid=f"1.2.{number}")
    return Row(f"{number}.dcm", Status.SCREENED, identity=who, pixel_digest=f"{number:064x}")


def known(path: Path) -> list[float]:
    """The logits that a run would reuse. Raises UsageError."""
    with Known([path], SETTINGS, EXPECTED, path.with_name("own.sqlite")) as lent:
        found = [lent.find(asked(number)) for number in range(FILMS)]
    results = [film.inference for film in found if film is not None]
    for result in results:
        assert result.weights_digest == EXPECTED.weights_digest
        assert np.isfinite(result.heatmap.grid()).all()
        assert result.heatmap.grid().shape == (1, *GRID)
        assert np.isfinite([*result.logits, result.gate, result.distance]).all()
    return [result.logits[0] for result in results]


def change(path: Path, *statements: str, writable_schema: bool = False) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if writable_schema:
            db.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            db.execute(statement)


def test_an_honest_one_lends_its_results(ledger: Path) -> None:
    assert known(ledger) == [float(number) for number in range(FILMS)]


LOOP = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
COLUMNS = "file, change_token, status, reason, sop_instance_uid, pixel_digest, row"


@pytest.mark.parametrize(
    "statements",
    [
        (
            "DROP TABLE rows",
            f"CREATE VIEW rows AS {LOOP} SELECT x AS file, '' AS row, 'screened' AS status FROM n",
        ),
        ("DROP TABLE meta", f"CREATE VIEW meta AS {LOOP} SELECT 'settings' AS name, x AS value FROM n"),
        (f"CREATE VIEW beside AS {LOOP} SELECT x FROM n",),
        ("CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END",),
        ("DROP TABLE timings", "CREATE VIRTUAL TABLE timings USING fts5(file, read_seconds, square_seconds)"),
        ("DROP TABLE rows",),
        ("DROP TABLE rows", "CREATE TABLE rows (file, status, row)"),
        (
            "DROP TABLE meta",
            "CREATE TABLE meta (name TEXT, plain TEXT, value TEXT AS (hex(zeroblob(1e8))))",
        ),
        ("DROP INDEX rows_by_content",),
        ("ALTER TABLE rows RENAME COLUMN pixel_digest TO other",),
        *((f"CREATE TABLE t{n} (x)" for n in range(120)),),
        ("UPDATE meta SET value = '[1]'",),
        ("INSERT INTO meta VALUES ('decision', '{}')", "INSERT INTO meta VALUES ('decided_at', 'yesterday')"),
        ("UPDATE meta SET value = '{\"weights_digest\": 1}'",),
        ("UPDATE meta SET value = zeroblob(5)",),
        ("UPDATE meta SET value = '" + "[" * 5000 + "'",),
        ("UPDATE rows SET row = zeroblob(100000000) WHERE rowid = 3",),
        ("UPDATE rows SET row = 5 WHERE rowid = 3",),
        ("UPDATE rows SET row = CAST(x'ff' AS TEXT) WHERE rowid = 3",),
        ("UPDATE rows SET row = '" + "[" * 5000 + "' WHERE rowid = 3",),
        ("UPDATE rows SET row = (SELECT row FROM rows WHERE rowid = 4) WHERE rowid = 3",),
        ("UPDATE rows SET file = 5 WHERE rowid = 3",),
        ("UPDATE rows SET file = 'another' WHERE rowid = 3",),
        *(
            (f"UPDATE dicom_object SET {column} = {value} WHERE rowid = 3",)
            for column, value in (
                ("sop_instance_uid", "'1.2.3'"),
                ("sop_instance_uid", "'2.25.07'"),
                ("series_instance_uid", "'2.25.340282366920938463463374607431768211456'"),
                ("kind", "'ct'"),
                ("film", "'1.2'"),
                ("study_instance_uid", "x'ff'"),
                ("patient_id", "printf('%.*c', 5000, 'x')"),
                ("says", "''"),
                ("decided_at", "'yesterday'"),
                ("decided_at", "'2026-11-29T02:00:00'"),
                ("predecessor", "'2.25.'"),
                ("digest", "zeroblob(64)"),
                ("earlier", "2"),
            )
        ),
        ("DROP TABLE dicom_object",),
        ("DROP TABLE dicom_object", f"CREATE VIEW dicom_object AS {LOOP} SELECT x FROM n"),
        ("ALTER TABLE dicom_object RENAME COLUMN says TO plain",),
        ("PRAGMA user_version = 9",),
        ("PRAGMA application_id = 9",),
    ],
)
def test_what_is_no_ledger_of_ours_is_refused_by_name(ledger: Path, statements: tuple[str, ...]) -> None:
    change(ledger, *statements)
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"--known .*earlier night/ledger.sqlite: ") as refused:
        known(ledger)
    assert "--fresh" not in str(refused.value)
    assert time.monotonic() - started < 5


def test_it_lends_what_was_made_of_a_case_with_its_films_result(ledger: Path) -> None:
    who = identity("1.3.1", "1.2.5", "P")
    row = screened(
        "in/again.dcm", 5.0, heatmap=np.zeros((1, *GRID), np.float16), identity=who, pixel_digest="5"
    )
    with Ledger.open(ledger) as earlier:
        earlier.put(row, "1")
        earlier.commit()
    with Known([ledger], SETTINGS, EXPECTED, ledger.with_name("own.sqlite")) as lent:
        found = lent.find(Row("5.dcm", Status.SCREENED, identity=who, pixel_digest="5"))
    assert found is not None
    assert found.objects == tuple(report_of(number) for number in (1, 5, 9, 13, 17))


def test_a_schema_whose_error_is_no_text_is_refused(ledger: Path) -> None:
    content = ledger.read_bytes()
    ledger.write_bytes(content.replace(b"tabletimings", b"table\x80imings"))
    with pytest.raises(UsageError, match="its schema is damaged"):
        known(ledger)


def test_a_damaged_row_is_not_quoted(ledger: Path) -> None:
    """SQLite's own words are the row's, with the patient in it."""
    change(ledger, "UPDATE rows SET row = CAST(CAST(row AS BLOB) || x'ff' AS TEXT)")
    with pytest.raises(UsageError, match="a text in it is none; run without it") as refused:
        known(ledger)
    with closing(Ledger.open_readonly(ledger)) as opened, pytest.raises(LedgerError) as alone:
        list(opened.listed_rows())
    for error in (refused.value, alone.value):
        assert "identity" not in str(error) and len(str(error)) < len(str(ledger)) + 100


def test_views_and_triggers_are_refused_in_a_runs_own_folder_too(ledger: Path) -> None:
    change(ledger, f"CREATE VIEW beside AS {LOOP} SELECT x FROM n")
    with pytest.raises(LedgerError, match="views, triggers"):
        Ledger.open(ledger)


def test_what_is_no_file_of_sqlites_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_bytes(b"no ledger " * 1000)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("folder", "text", "empty", "gone", "n" * 300):
        with pytest.raises(UsageError, match=f"--known {tmp_path / name}: "):
            known(tmp_path / name)


def changed(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """One row of the ledger, its JSON changed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        plain = json.loads(db.execute("SELECT row FROM rows WHERE rowid = 3").fetchone()[0])
        how(plain)
        db.execute("UPDATE rows SET row = ? WHERE rowid = 3", (json.dumps(plain),))


def bomb() -> str:
    return base64.b64encode(zlib.compress(bytes(50 << 20), 9)).decode()


@pytest.mark.parametrize(
    "how",
    [
        lambda row: row["inference"].update(logits=[float("nan")]),
        lambda row: row["inference"].update(logits=[float("inf")]),
        lambda row: row["inference"].update(logits=[1.0, 2.0]),
        lambda row: row["inference"].update(logits=[]),
        lambda row: row["inference"].update(logits=["1"]),
        lambda row: row["inference"].update(logits=[True]),
        lambda row: row["inference"].update(logits=[10**400]),
        lambda row: row["inference"].update(logits=[[1.0]]),
        lambda row: row["inference"].update(logits="1"),
        lambda row: row["inference"].update(logits=None),
        lambda row: row["inference"].update(gate=float("-inf")),
        lambda row: row["inference"].update(distance=None),
        lambda row: row["inference"].update(weights_digest="other"),
        lambda row: row["inference"]["heatmap"].update(shape=[1, 6, 7]),
        lambda row: row["inference"]["heatmap"].update(shape=[1, 3, 12]),
        lambda row: row["inference"]["heatmap"].update(shape=[1.0, 6, 6]),
        lambda row: row["inference"]["heatmap"].update(shape=[[0], 10**10]),
        lambda row: row["inference"]["heatmap"].update(shape=[1 << 20, 1 << 20, 6]),
        lambda row: row["inference"]["heatmap"].update(data=bomb()),
        lambda row: row["inference"]["heatmap"].update(data="é"),
        lambda row: row["inference"]["heatmap"].update(data=5),
        lambda row: row["inference"]["heatmap"].update(
            data=Heatmap.pack(np.zeros((1, *GRID))).data.replace("A", "B", 3)
        ),
        lambda row: row["inference"]["heatmap"].update(
            data=base64.b64encode(zlib.compress(np.full((1, *GRID), np.nan, "<f2").tobytes())).decode()
        ),
        lambda row: row["inference"].update(heatmap=[]),
        lambda row: row.update(inference=[1]),
        lambda row: row.update(identity=[1]),
        lambda row: row["identity"].update(patient_id=5),
        lambda row: row["identity"].update(patient_id="\ud800"),
        lambda row: row.update(geometry={"height": 1}),
        lambda row: row["geometry"].update(top=-1),
        lambda row: row["geometry"].update(height="1"),
        lambda row: row["geometry"].update(content_width=1 << 40),
        lambda row: row.update(status="unheard_of"),
        lambda row: row.update(status="failed"),
        lambda row: row.update(reason="not_chest"),
        lambda row: row.update(warnings=5),
        lambda row: row.update(warnings=[5]),
        lambda row: row.update(declared_chest="yes"),
        lambda row: row.update(detail="x" * 1_000_000),
        lambda row: row.update(version="2"),
        lambda row: row.update(decided_before=5),
        lambda row: row.update(decided_before="ab" * 32 + " yesterday"),
        lambda row: row.update(decided_before="2026-11-23T02:00:00+01:00"),
        lambda row: row.pop("status"),
        lambda row: row.clear(),
    ],
)
def test_a_row_that_is_none_is_refused_by_name(ledger: Path, how: Callable[[dict[str, Any]], object]) -> None:
    changed(ledger, how)
    with pytest.raises(UsageError, match=r"--known .*earlier night/ledger.sqlite: (damaged|a heat map)"):
        known(ledger)
    # A run's own folder that somebody else has made: the same looks, on the way to the reports.
    with Ledger.open(ledger) as own:
        own.expect(EXPECTED)
        with pytest.raises(LedgerError):
            [row.inference and row.inference.heatmap.grid() for row in own.listed_rows()]


def test_fields_of_a_newer_version_are_ignored_wherever_they_stand(ledger: Path) -> None:
    def newer(row: dict[str, Any]) -> None:
        for part in (row, row["identity"], row["geometry"], row["inference"]):
            part["from_the_future"] = [1]

    changed(ledger, newer)
    change(ledger, "ALTER TABLE rows ADD COLUMN later TEXT", "CREATE TABLE later (x)")
    assert len(known(ledger)) == FILMS
    with Ledger.open(ledger) as own:
        assert list(own.listed_rows())[2] == good_row(2)


def test_an_index_that_leads_to_another_film_is_noticed(ledger: Path) -> None:
    # The index takes each column for the other one.
    index = (
        "CREATE INDEX rows_by_content ON rows (sop_instance_uid, pixel_digest) WHERE status = ''screened''"
    )
    change(
        ledger,
        f"UPDATE sqlite_master SET sql = '{index}' WHERE name = 'rows_by_content'",
        writable_schema=True,
    )
    with pytest.raises(UsageError, match="--known"):
        if known(ledger) != [float(number) for number in range(FILMS)]:
            raise UsageError("--known: nothing is lent, nothing is wrong")


@pytest.fixture(scope="module")
def honest() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield make_ledger(Path(folder) / "ledger.sqlite")


def lent_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        path.write_bytes(content)
        started = time.monotonic()
        try:
            found = known(path)
        except UsageError as error:
            assert str(path) in str(error)
        else:
            assert set(found) <= {float(number) for number in range(FILMS)} or all(np.isfinite(found))
        assert time.monotonic() - started < 20


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_are_lent_or_refused(content: bytes, headed: bool) -> None:
    header = bytearray(b"SQLite format 3\0" + bytes.fromhex("1000010100402020") + bytes(76))
    header[68:72] = b"CXRS"
    lent_or_refused(bytes(header) * headed + content)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(0, 40_000) | st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=12
    ),
    st.just(1 << 20) | st.integers(0, 50_000),
)
def test_flipped_bytes_are_lent_or_refused(honest: Path, flips: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(honest.read_bytes())
    for at, byte in flips:
        content[at] = byte
    lent_or_refused(bytes(content[:cut]))


@FUZZ
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=8))
def test_pages_in_each_others_places_are_lent_or_refused(honest: Path, moves: list[tuple[int, int]]) -> None:
    size, whole = 4096, honest.read_bytes()
    pages = [whole[at : at + size] for at in range(0, len(whole), size)]
    for to, origin in moves:
        pages[to % len(pages) or 1] = pages[origin % len(pages) or 1]
    lent_or_refused(b"".join(pages))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 15), st.text(max_size=4), PLAIN), min_size=1, max_size=3
    )
)
def test_rows_with_anything_in_any_place_are_lent_or_refused(
    honest: Path, changes: list[tuple[int, int, str, Any]]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        path.write_bytes(honest.read_bytes())

        def mutate(row: dict[str, Any]) -> None:
            places = [row, row["identity"], row["geometry"], row["inference"], row["inference"]["heatmap"]]
            for which, field, other, value in changes:
                names = [*sorted(places[which]), other]
                places[which][names[field % len(names)]] = value

        changed(path, mutate)
        lent_or_refused(path.read_bytes())
