"""The documentation and the code say the same: reasons, commands, options, and the two commands to paste."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

import screen
from screen import __version__
from screen.archive import fetch, send
from screen.archive.connection import Trouble
from screen.cli import cli
from screen.codes import Reason, Warn
from screen.runs import RunSettings
from tests.places import ROOT

README = ROOT / "README.md"
PACKAGES = ("screen", "train", "export", "benchmarks")


def pages() -> list[Path]:
    folders = [ROOT / name for name in ("docs", "examples", *PACKAGES)]
    return [README, *(path for folder in folders for path in sorted(folder.rglob("*.md")))]


WRITTEN = [page for page in pages() if page.name not in ("model-card.md", "fast-card.md")]
"""By people; a model card is made by `screen train evaluate`."""


def documentation() -> str:
    return "\n".join(path.read_text() for path in pages())


def prose(page: Path) -> Iterator[str]:
    """Its lines; a table's row, a command and a link to a picture can't be broken, and count as empty."""
    code = False
    for line in page.read_text().splitlines():
        code ^= line.startswith("```")
        yield "" if code or line.startswith(("|", "![")) else line


def commands(group: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by its full name."""
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{path} {name} is listed but not there"
        yield from commands(command, f"{path} {name}")


def test_every_reason_and_warning_stands_in_its_page() -> None:
    page = (ROOT / "docs" / "codes.md").read_text()
    said = {
        (code, section.split()[-2] if section.startswith("Reasons") else "warning", meaning)
        for section in re.findall(r"^## (Reasons of \w+ files|Warnings)$", page, re.M)
        for code, meaning in re.findall(
            r"^\| `(\w+)` \| ([^|]*) \|", page.split(f"\n## {section}\n")[1].split("\n## ")[0], re.M
        )
    }
    expected = {(code.value, code.status.value, code.meaning) for code in Reason}
    assert said == expected | {(code.value, "warning", code.meaning) for code in Warn}


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 250


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_is_long(page: Path) -> None:
    long = [number for number, line in enumerate(prose(page), 1) if len(line) > 140]
    assert long == []


def test_every_reason_of_the_archive_stands_in_its_page() -> None:
    page = (ROOT / "docs" / "hospital.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?!of the)", page, re.M)
    others = {fetch.CHANGED, fetch.BAD_UID, fetch.IN_TWO_STUDIES, fetch.LISTING_REPEATS}
    others |= {reason.value for reason in send.Reason}
    assert {trouble.value for trouble in Trouble} | others <= set(rows)


def test_every_command_is_documented() -> None:
    text = documentation()
    missing = [path for path, _ in commands(cli, "screen") if path not in text]
    assert missing == []


def bash_blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S)]


@pytest.mark.parametrize(
    ("heading", "ends_with"), [("Run it", "screen run examples/films"), ("Test it", "/pytest")]
)
def test_the_two_commands_can_be_pasted(heading: str, ends_with: str) -> None:
    found = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", README.read_text(), re.M | re.S)
    assert found, f"no section '## {heading}'"
    block = bash_blocks(found[1])[0]
    assert len(block) == 1
    assert block[0].startswith("python3 -m venv .venv && ")
    assert block[0].endswith(ends_with)
    assert "-c constraints.txt" in block[0]


def test_the_first_block_that_screens_is_the_one_to_paste() -> None:
    first = next(block for block in bash_blocks(README.read_text()) if "screen run" in "\n".join(block))
    assert "python3 -m venv .venv" in first[0]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    lost = []
    for page in [*pages(), *ROOT.glob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
            to = (page.parent / target) if target else page
            if not to.exists() or (anchor and anchor not in anchors(to)):
                lost.append(f"{page.relative_to(ROOT)}: {target}#{anchor}")
    assert lost == []


def test_pages_that_the_code_names_exist() -> None:
    code = [path for name in (*PACKAGES, "tests", "examples") for path in (ROOT / name).rglob("*.py")]
    named = {found for path in code for found in re.findall(r"docs/[\w/-]+\.md", path.read_text())}
    assert {page for page in named if not (ROOT / page).is_file()} == set()


def test_the_changelog_has_this_version() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_run_takes_what_the_command_takes() -> None:
    """`screen.run` and the command have the same options, and nothing has another default."""
    given = inspect.signature(screen.run).parameters
    settings = {field.name: field for field in fields(RunSettings)}
    assert set(given) - {"progress"} == set(settings) - {"listed"}
    for name, parameter in given.items():
        if name not in {"inputs", "progress", "limits"}:
            assert parameter.default == settings[name].default, name
