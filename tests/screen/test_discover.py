"""Discovery: what there is, in a stable order, each file once, nothing left out in silence."""

import errno
import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen import files
from screen.codes import Reason
from screen.discover import (
    PassedOver,
    Pause,
    Source,
    discover,
    discover_in_steps,
    discover_listed,
    key_from_path,
    paths_from_list,
)
from screen.errors import InputError
from screen.ledger import Ledger
from screen.runs.folder import LEDGER_NAME


def keys(*inputs: Path, exclude: Path | None = None, below: Path) -> list[str]:
    return [source.key.removeprefix(f"{below}/") for source in discover(inputs, exclude)]


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_order_is_that_of_whole_paths(tmp_path: Path) -> None:
    names = ["a.png", "a/b.png", "a-1.png", "a/b/c", "a.b/c", "B", "ä", "a0", ".hidden/x"]
    for name in names:
        touch(tmp_path / name)
    found = keys(tmp_path, below=tmp_path)
    assert found == sorted(names, key=os.fsencode)


def test_inputs_come_in_their_order(tmp_path: Path) -> None:
    for name in ("z/1", "a/1"):
        touch(tmp_path / name)
    assert keys(tmp_path / "z", tmp_path / "a", below=tmp_path) == ["z/1", "a/1"]


def test_keys_are_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in/film.dcm")
    monkeypatch.chdir(tmp_path)
    assert [s.key for s in discover([Path("in")], None)] == ["in/film.dcm"]
    assert [s.key for s in discover([Path("in/film.dcm")], None)] == ["in/film.dcm"]
    assert [s.key for s in discover([Path("../") / tmp_path.name / "in"], None)] == [
        f"../{tmp_path.name}/in/film.dcm"
    ]
    assert [s.key for s in discover([Path()], None)] == ["./in/film.dcm"]


def test_overlapping_inputs_list_a_file_once(tmp_path: Path) -> None:
    for name in ("d/1", "d/e/2", "f"):
        touch(tmp_path / name)
    d, e, two, f = tmp_path / "d", tmp_path / "d/e", tmp_path / "d/e/2", tmp_path / "f"
    assert keys(d, e, two, f, f, below=tmp_path) == ["d/1", "d/e/2", "f"]
    assert keys(two, e, d, below=tmp_path) == ["d/e/2", "d/1"]
    assert keys(e, d, below=tmp_path) == ["d/e/2", "d/1"]


def test_the_run_folder_is_never_an_input(tmp_path: Path) -> None:
    for name in ("in/1", "in/out/results.csv", "in/out/deep/x", "in/outside"):
        touch(tmp_path / name)
    out = tmp_path / "in/out"
    (tmp_path / "in/way").symlink_to(out)
    (tmp_path / "in/file").symlink_to(out / "results.csv")
    assert keys(tmp_path / "in", exclude=out, below=tmp_path) == ["in/1", "in/outside"]
    assert keys(out, out / "deep/x", exclude=out, below=tmp_path) == []
    assert keys(tmp_path / "in", exclude=tmp_path / "not/there/yet", below=tmp_path)


def test_links(tmp_path: Path) -> None:
    touch(tmp_path / "in/film")
    touch(tmp_path / "elsewhere/film")
    (tmp_path / "in/again").symlink_to(tmp_path / "in/film")
    (tmp_path / "in/dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/self").symlink_to(tmp_path / "in/self")
    found = {s.key.removeprefix(f"{tmp_path}/"): s.problem for s in discover([tmp_path / "in"], None)}
    assert found == {
        "in/again": None,
        "in/dangling": Reason.UNREADABLE,
        "in/film": None,
        "in/folder/film": None,
        "in/self": Reason.UNREADABLE,
    }


def test_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    touch(tmp_path / "film")
    assert keys(tmp_path, below=tmp_path) == ["film"]
    with pytest.raises(InputError, match="neither"):
        discover([tmp_path / "pipe"], None)
    status = (tmp_path / "pipe").stat()
    with pytest.raises(OSError, match="not a regular file"):
        Source(tmp_path / "pipe", "pipe", 0, status.st_mtime_ns).open()


def test_a_folder_that_cannot_be_listed_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "locked/film")
    touch(tmp_path / "open/film")
    scandir = os.scandir

    def refusing(path: bytes) -> object:
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = [(s.key.removeprefix(f"{tmp_path}/"), s.problem) for s in discover([tmp_path], None)]
    assert found == [("locked", Reason.FOLDER_UNREADABLE), ("open/film", None)]
    # A file in there that is given by name may still be readable.
    given_twice = discover([tmp_path, tmp_path / "locked/film"], None)
    assert [s.problem for s in given_twice] == [Reason.FOLDER_UNREADABLE, None, None]


def test_a_missing_input_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be found"):
        discover([tmp_path / "nowhere"], None)


def test_an_input_that_vanishes_on_the_way_is_an_error(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "1"), touch(tmp_path / "2")
    sources = discover([first, second], None)
    assert next(sources).path == first
    second.unlink()
    with pytest.raises(InputError):
        next(sources)


def test_listing_is_lazy(tmp_path: Path) -> None:
    touch(tmp_path / "a")
    touch(tmp_path / "b/late")
    sources = discover([tmp_path], None)
    assert next(sources).path.name == "a"
    touch(tmp_path / "b/later")
    assert [s.path.name for s in sources] == ["late", "later"]


@pytest.fixture
def deep_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Makes so many folders in each other, a film in each, also where no path reaches."""

    def make(depth: int) -> None:
        monkeypatch.chdir(tmp_path)
        for _ in range(depth):
            Path("film").write_bytes(b"x")
            Path("d").mkdir()
            os.chdir("d")
        monkeypatch.undo()

    yield make
    # Python's own way is a function that calls itself for each level.
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_deep_folders_cost_no_more_than_shallow_ones(
    tmp_path: Path, deep_folders: Callable[[int], None]
) -> None:
    deep_folders(1500)
    started = time.process_time()
    found = list(discover([tmp_path], tmp_path / "out"))
    assert len(found) == 1500
    assert not any(source.problem for source in found)
    # A real path for each took 30 s.
    assert time.process_time() - started < 3


def test_what_no_path_reaches_has_a_row(tmp_path: Path, deep_folders: Callable[[int], None]) -> None:
    deep_folders(2100)
    deepest, *films = discover([tmp_path], tmp_path / "out")
    assert deepest.problem is Reason.FOLDER_UNREADABLE
    assert len(films) > 1900
    assert {film.problem for film in films[5:]} == {None}
    assert {film.problem for film in films[:5]} <= {None, Reason.UNREADABLE}


def test_there_are_pauses_between_folders_without_files(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}" / "in").mkdir(parents=True)
    for number in range(50):
        os.mkfifo(tmp_path / f"pipe{number}")
    steps = list(discover_in_steps([tmp_path], None))
    assert len(steps) > 150
    assert set(steps) == {Pause.WALKING}


def run_folder(folder: Path) -> Path:
    """What a run leaves."""
    folder.mkdir(parents=True)
    with Ledger.open(folder / LEDGER_NAME) as ledger:
        ledger.set_meta("facts", "{}")
        ledger.commit()
    for name in ("results.csv", "summary.json", "heatmaps/1.png"):
        touch(folder / name)
    return folder


def test_the_folder_of_an_earlier_run_is_passed_over_and_named(tmp_path: Path) -> None:
    for name in ("in/1", "in/nights/2", "in/z"):
        touch(tmp_path / name)
    runs = [run_folder(tmp_path / f"in/{name}") for name in ("a-screened", "nights/b")]
    (tmp_path / "in/link").symlink_to(run_folder(tmp_path / "elsewhere"))
    steps = list(discover_in_steps([tmp_path / "in"], None))
    assert [s.path.name for s in steps if isinstance(s, Source)] == ["1", "2", "z"]
    passed_over = [s.key for s in steps if isinstance(s, PassedOver)]
    assert passed_over == [str(runs[0]), str(tmp_path / "in/link"), str(runs[1])]
    assert keys(runs[0], below=tmp_path) == []
    overlay = runs[0] / "heatmaps/1.png"
    assert keys(overlay, below=tmp_path) == ["in/a-screened/heatmaps/1.png"]
    assert [s for s in discover_listed([overlay], None) if isinstance(s, Source)]
    # In whatever order: the folder above was walked, and what is named in it is taken all the same.
    for inputs in ([tmp_path / "in", overlay], [overlay, tmp_path / "in"], [runs[0], overlay]):
        assert overlay in [source.path for source in discover(inputs, None)]


def test_reports_that_were_written_again_elsewhere_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "in/again/results.csv")
    touch(tmp_path / "in/again/heatmaps/1.png")
    touch(tmp_path / "in/again/summary.json", b'{\n  "cxr_screen_summary": 1,')
    touch(tmp_path / "in/other/results.csv")
    touch(tmp_path / "in/other/summary.json", b'{"summary": 1}')
    assert keys(tmp_path / "in", below=tmp_path) == ["in/other/results.csv", "in/other/summary.json"]


def test_a_run_that_was_killed_left_its_folder_too(tmp_path: Path) -> None:
    folder = tmp_path / "in/night"
    folder.mkdir(parents=True)
    touch(folder / ".lock")
    touch(folder / ".reports-1/heatmaps/1.png")
    with Ledger.open(folder / LEDGER_NAME):
        assert keys(tmp_path / "in", below=tmp_path) == []


def test_what_only_looks_like_the_folder_of_a_run_is_an_input(tmp_path: Path) -> None:
    made = run_folder(tmp_path / "made") / LEDGER_NAME
    shutil.copy(made, touch(tmp_path / "in/archived" / LEDGER_NAME))
    for name, content in (
        ("text", b"no ledger"),
        ("other", b"SQLite format 3\0" + bytes(200)),
        ("empty", b""),
    ):
        touch(tmp_path / "in" / name / LEDGER_NAME, content)
        touch(tmp_path / "in" / name / "summary.json")
    assert len(keys(tmp_path / "in", below=tmp_path)) == 7


def test_what_leads_into_the_run_folder_is_left_out_though_it_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "in/out"
    touch(out / "deep/x")
    (tmp_path / "in/1").symlink_to("2")
    (tmp_path / "in/2").symlink_to(out / "gone/too")
    (tmp_path / "in/3").symlink_to("../in/out/deep")
    (tmp_path / "in/4").symlink_to(tmp_path / "gone")
    assert keys(tmp_path / "in", exclude=out, below=tmp_path) == ["in/4"]
    listed = discover_listed(
        [out / "gone.csv", out / "heatmaps/gone.png", out / "deep", tmp_path / "in/2"], out
    )
    assert list(listed) == []


def test_change_token(tmp_path: Path) -> None:
    path = touch(tmp_path / "film")
    (before,) = discover([path], None)
    touch(path, b"longer")
    (after,) = discover([path], None)
    assert before.key == after.key
    assert before.change_token != after.change_token


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    touch(Path(os.fsdecode(raw)))
    touch(tmp_path / "caf%E9.png")
    touch(tmp_path / "50%.png")
    found = list(discover([tmp_path], None))
    assert [s.key.removeprefix(f"{tmp_path}/") for s in found] == ["50%.png", "caf%25E9.png", "caf%E9.png"]
    with found[2].open() as stream:
        assert stream.read() == b"x"


_PATH = st.lists(
    st.sampled_from(
        [b"%", b"2", b"0", b"A", b"a", b"\xff", "ä".encode(), b"\xc3", b"\n", "\u202e".encode(), b"\xe2"]
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(_PATH, _PATH)
def test_keys_are_text_and_unique(one: bytes, other: bytes) -> None:
    key_from_path(one).encode()
    assert key_from_path(one).isprintable()
    assert (key_from_path(one) == key_from_path(other)) == (one == other)


def test_one_damaged_line_does_not_cost_the_others() -> None:
    listed = list(paths_from_list(io.BytesIO(b"a\nb\0c\nd\n")))
    assert listed == [Path("a"), Path("b\0c"), Path("d")]
    assert list(paths_from_list(io.BytesIO(b"several\nlines\nhere\0next\0"))) == [
        Path("several\nlines\nhere"),
        Path("next"),
    ]


@pytest.mark.parametrize("data", [b"a\nb c\n\xff\n\n", b"a\0b c\0\xff\0"])
def test_paths_from_a_list(data: bytes) -> None:
    assert [os.fsencode(p) for p in paths_from_list(io.BytesIO(data))] == [b"a", b"b c", b"\xff"]
    assert [os.fsencode(p) for p in paths_from_list(io.BytesIO(b"new\nline\0"))] == [b"new\nline"]


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_path_is_handed_on_as_soon_as_it_is_complete(separator: bytes) -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as stream, os.fdopen(theirs, "wb", 0) as producer:
        paths = paths_from_list(stream)
        for name in (b"a", b"b c", b"\xff"):
            producer.write(name + separator)
            assert path_after_pauses(paths) == name
            assert next(paths) is Pause.WAITING
        producer.write(b"half")
        assert next(paths) is Pause.WAITING
        producer.write(b"way")
        producer.close()
        assert path_after_pauses(paths) == b"halfway"
        assert list(paths) == []


def path_after_pauses(paths: Iterator[Path | Pause]) -> bytes:
    return os.fsencode(next(path for path in paths if isinstance(path, Path)))


def test_a_line_end_within_the_first_name_is_not_taken_for_the_separator() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as stream, os.fdopen(theirs, "wb", 0) as producer:
        paths = paths_from_list(stream)
        producer.write(b"new\nli")
        started = threading.Timer(0.02, lambda: producer.write(b"ne\0next\0"))
        started.start()
        assert path_after_pauses(paths) == b"new\nline"
        assert path_after_pauses(paths) == b"next"
        started.join()


def test_a_list_that_cannot_be_read_or_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: 64 KiB without"):
        list(paths_from_list(io.BytesIO(b"x" * 200_000)))
    with touch(tmp_path / "f").open("ab") as stream, pytest.raises(InputError, match="cannot be read"):
        list(paths_from_list(stream))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_PATH.filter(lambda path: path and b"\n" not in path)),
    st.sampled_from([b"\n", b"\0"]),
    st.data(),
)
def test_a_list_comes_to_the_same_however_it_is_cut(
    names: list[bytes], separator: bytes, data: st.DataObject
) -> None:
    whole = separator.join(names) + separator * data.draw(st.integers(0, 2))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)])]

    class Pieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return next(
                (piece for piece in iter(lambda: pieces.pop(0) if pieces else None, None) if piece), b""
            )

    found = [os.fsencode(path) for path in paths_from_list(Pieces()) if isinstance(path, Path)]
    assert found == names


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_long_list_is_streamed(separator: bytes) -> None:
    names = [b"folder/film-%07d.dcm" % number for number in range(10_000)]
    stream = io.BytesIO(separator.join(names) + separator)
    paths = paths_from_list(stream)
    assert os.fsencode(next(paths)) == names[0]
    assert stream.tell() < 150_000 < len(stream.getvalue())
    assert [os.fsencode(path) for path in paths] == names[1:]


def test_what_a_list_names_and_is_not_there_has_a_row(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1")
    os.mkfifo(tmp_path / "pipe")
    hostile = ("nul\0in it", "n" * 300, "d/" * 3000, "x" * 60_000)
    listed = [tmp_path / name for name in ("gone", "a/1", "pipe", "a", "a/1", *hostile)]
    found = [(s.path.name, s.problem) for s in discover_listed(listed, None) if isinstance(s, Source)]
    assert found == [
        ("gone", Reason.UNREADABLE),
        ("1", None),
        ("pipe", Reason.UNREADABLE),
        ("1", None),
        ("1", None),
        *((Path(name).name, Reason.UNREADABLE) for name in hostile),
    ]


def test_a_disk_that_falters_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "1")
    scandir, failures = os.scandir, [OSError(errno.ESTALE, "stale"), OSError(errno.EIO, "broken")]

    def faltering(folder: bytes) -> Any:
        if failures:
            raise failures.pop()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", faltering)
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.0))
    assert [(s.path.name, s.problem) for s in discover([tmp_path], None)] == [("1", None)]
    failures += [OSError(errno.EIO, "broken") for _ in range(3)]
    assert [s.problem for s in discover([tmp_path], None)] == [Reason.FOLDER_UNREADABLE]
