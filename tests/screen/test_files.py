"""A file that is written is there whole or not at all, and nobody else's file is written to."""

import errno
import os
from pathlib import Path

import pytest

from screen.files import csv_file, new_file, remove_drafts, secret_from_file, whole_file, write_whole


def test_a_writer_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as stream:
        stream.write(b"half of the new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, steps = tmp_path / "model.onnx", []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        kind = "folder" if Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path else "file"
        steps.append(f"{kind} synced, {'named' if path.exists() else 'unnamed'}")

    def noted_replace(draft: Path, target: Path) -> Path:
        steps.append(f"named, {draft.stat().st_size} bytes")
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_whole(path, b"new")
    assert steps == ["file synced, unnamed", "named, 3 bytes", "folder synced, named"]


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "square.png"
    victim.write_bytes(b"somebody else's")
    path.symlink_to(victim)
    write_whole(path, b"ours")
    assert victim.read_bytes() == b"somebody else's"
    assert (path.read_bytes(), path.is_symlink()) == (b"ours", False)
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(FileExistsError), new_file(path):
        pass
    assert victim.read_bytes() == b"somebody else's"


def test_of_two_who_make_a_key_the_first_ones_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with whole_file(path, 0o600, replace=False) as second:
        second.write(b"second")
        first = secret_from_file(path)
    assert path.read_text().strip() == first
    assert secret_from_file(path) == first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("opener", [new_file, whole_file])
def test_tables_are_utf_8_with_line_feeds(tmp_path: Path, opener: type[new_file]) -> None:
    path = tmp_path / "table.csv"
    with csv_file(path, ("file", "reason"), opener) as writer:
        writer.writerow(("ü,1", ""))
        writer.writerows([("b", 2)])
    assert path.read_bytes() == 'file,reason\n"ü,1",\nb,2\n'.encode()


def test_reports_are_private_and_other_files_as_the_user_has_it(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_whole(tmp_path / "model.onnx", b"")
        with new_file(tmp_path / "results.csv"):
            pass
    finally:
        os.umask(umask)
    assert (tmp_path / "model.onnx").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "results.csv").stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"figures")
    assert os.read(reader, 100) == b"figures"
    os.close(reader)
    assert pipe.is_fifo()
    write_whole(Path("/dev/null"), b"")
    assert Path("/dev/null").is_char_device()


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    path.touch(mode=0o640)
    write_whole(path, b"{}")
    assert path.stat().st_mode & 0o777 == 0o640
    write_whole(path, b"{}", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_that_cannot_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def of_files_alone(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    if code == errno.EIO:
        with pytest.raises(OSError, match=r"Input/output"):
            write_whole(tmp_path / "x", b"")
    else:
        write_whole(tmp_path / "x", b"1")
        assert (tmp_path / "x").read_bytes() == b"1"


def test_drafts_of_killed_writers_are_found_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "timings.csv"
    for name in (".timings.csv.0123abcd", ".timings.csv.bak", ".other.csv.0123abcd", "timings.csv"):
        (tmp_path / name).touch()
    remove_drafts(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".other.csv.0123abcd",
        ".timings.csv.bak",
        "timings.csv",
    ]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write_whole(path, b"1")
    assert path.read_bytes() == b"1"
