"""What errors and `screen doctor` say to install."""

import json
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from screen import errors
from screen.errors import how_to_install
from tests.places import ROOT


class Installed:
    """A distribution, as far as it is asked. folder: what it was installed from, if no wheel."""

    def __init__(self, folder: Path | None) -> None:
        self.origin = None if folder is None else json.dumps({"url": folder.as_uri(), "dir_info": {}})

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


def line(monkeypatch: pytest.MonkeyPatch, site: Path, folder: Path | None) -> list[str]:
    """The line of a `screen` that lies in `site`, after the interpreter's name."""
    monkeypatch.setattr(errors, "__file__", str(site / "screen" / "errors.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(folder))
    python, *words = shlex.split(how_to_install("dicom"))
    assert python == sys.executable
    return words


def test_a_clone_keeps_the_tested_versions() -> None:
    expected = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-c",
        str(ROOT / "constraints.txt"),
        "cxr-screen[dicom]",
    ]
    assert shlex.split(how_to_install("dicom")) == expected


def test_so_does_what_was_installed_from_a_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (clone / name).touch()
    expected = ["-m", "pip", "install", "-c", str(clone / "constraints.txt"), "cxr-screen[dicom]"]
    assert line(monkeypatch, tmp_path, clone) == expected


@pytest.mark.parametrize("clone", [None, "gone"])
def test_without_one_no_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clone: str | None
) -> None:
    expected = ["-m", "pip", "install", "cxr-screen[dicom]"]
    assert line(monkeypatch, tmp_path, clone and tmp_path / clone) == expected
