"""What the documentation says to type: options that are there, lines that parse, and lines that run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import pytest

from screen.cli import cli
from screen.evaluation.feedback import COLUMNS
from tests.places import EXAMPLES, ROOT

PROGRAMS = {"screen", "cxr-screen"}
MODULES = {"screen": "", "train": "train", "export": "export", "benchmarks": "bench"}
"""What stands behind `python -m`, and the command group that it is."""
LEAVES = dict.fromkeys(("train/README.md", "docs/training.md", "docs/evaluation.md"), "train") | {
    "benchmarks/README.md": "bench"
}
"""Pages that are about one command group, and may leave `screen train` and the like out."""


def pages() -> list[Path]:
    """All pages but those that tell what was done in the past."""
    folders = [ROOT / name for name in ("docs", "examples", "train", "export", "benchmarks")]
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in sorted(folder.rglob("*.md")))]
    past = {"CHANGELOG.md", "docs/experiments/", "docs/evaluation/"}
    return [page for page in found if not any(name(page).startswith(left_out) for left_out in past)]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(group: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, by its name without `screen`."""
    if not isinstance(group, click.Group):
        yield path.strip(), group
        return
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None, f"{path} {word} is listed but not there"
        yield from commands(command, f"{path} {word}")


COMMANDS = dict(commands(cli))
TOP = {path.split()[0] for path in COMMANDS}


def options(command: click.Command) -> set[str]:
    found = (p for p in command.params if isinstance(p, click.Option) and not p.hidden)
    return {word for option in found for word in (*option.opts, *option.secondary_opts) if word[:2] == "--"}


def command_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The command that these words begin with, if it is one of ours, and what is left."""
    for length in (2, 1):
        if (path := " ".join(words[:length])) in COMMANDS:
            return path, words[length:]
    return None


def typed(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Our commands in a line of a shell: name and arguments. Fails for one that is not there."""
    for at, word in enumerate(words):
        after = words[at + 1 :]
        if " " in word and any(program in word for program in PROGRAMS):  # sh -c '…'
            yield from typed(shlex.split(word))
            continue
        if Path(word).name in PROGRAMS and after and (at == 0 or after[0] in TOP):
            rest = after
        elif word == "-m" and after and after[0] in MODULES:
            rest = [*MODULES[after[0]].split(), *after[1:]]
        else:
            continue
        if not rest:  # python -m screen, in a sentence
            continue
        if found := command_of(rest):
            path, arguments = found
            ends = [i for i, argument in enumerate(arguments) if argument in {"|", "||", "&&", ";"}]
            yield path, [argument.rstrip(";") for argument in arguments[: min(ends, default=None)]]
        else:
            of_a_group = rest[0] in TOP and rest[1:] in ([], ["…"])
            assert of_a_group or rest == ["…"] or rest[0] in {"--version", "--help"}, (
                f"{' '.join(words)}: no such command"
            )


def code_blocks(text: str) -> list[str]:
    """Fenced blocks but drawings and Python; a line that goes on with a backslash is one line."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S)
    return [
        block.replace("\\\n", " ")
        for language, block in blocks
        if language != "python" and not re.search("[─│]", block)
    ]


def lines() -> Iterator[tuple[str, str]]:
    """Every line of a fenced block that types one of our commands, with its page."""
    for page in pages():
        for block in code_blocks(page.read_text()):
            for line in block.splitlines():
                if re.search(r"\b(cxr-)?screen\b|-m (train|export|benchmarks)\b", line):
                    yield name(page), line.strip()


LINES = list(lines())


def sections(page: Path) -> Iterator[tuple[set[str], set[str]]]:
    """The commands that a section is about, and the options that it names.

    A section is about the commands that it names, and those that the page's first words name.
    """
    group = LEAVES.get(name(page))

    def named(text: str) -> set[str]:
        found = {path for path in COMMANDS if re.search(rf"(screen|-m) {path}\b", text)}
        if group:
            found |= {path for path in COMMANDS if re.search(rf"`{path.removeprefix(group + ' ')}[` ]", text)}
        return found

    parts = re.split(r"^(?=## )", page.read_text(), flags=re.M)
    first = named("\n".join(line for line in parts[0].splitlines() if not line.startswith("|")))
    for part in parts:
        yield first | named(part), set(re.findall(r"--[a-z][a-z0-9-]*", part))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_documented_where_its_command_is(path: str) -> None:
    said = {
        option for page in pages() for about, named in sections(page) if path in about for option in named
    }
    assert sorted(options(COMMANDS[path]) - said) == []


def test_options_that_are_named_with_a_command_are_there() -> None:
    unknown = []
    for page in pages():
        ours = rf"`((?:cxr-)?screen (?:{'|'.join(TOP)})\b[^`]*|python -m [^`]*)`"
        for code in re.findall(ours, page.read_text()):
            words = code.replace("|", " | ").split()
            for path, arguments in typed(words):
                told = {word for word in arguments if re.fullmatch(r"--[a-z][a-z0-9-]*", word)}
                unknown += [
                    f"{name(page)}: {path} {word}"
                    for word in told - options(COMMANDS[path]) - {"--help", "--version"}
                ]
    assert unknown == []


def test_options_in_a_table_of_options_are_there() -> None:
    """A table whose first column is called `option` is about the commands of its section."""
    unknown = []
    for page in pages():
        parts = re.split(r"^(?=## )", page.read_text(), flags=re.M)
        for part, (about, _) in zip(parts, sections(page), strict=True):
            there = {option for path in about for option in options(COMMANDS[path])}
            for table in re.findall(r"^\| option .*?(?=^[^|]|\Z)", part, re.M | re.S):
                first = " ".join(re.findall(r"^\|([^|]*)", table, re.M))
                told = set(re.findall(r"--[a-z][a-z0-9-]*", first))
                unknown += [f"{name(page)}: {option}" for option in told - there]
    assert unknown == []


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_line_can_be_parsed(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By click, as it would be typed; files and folders need not be there."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: Path(value))
    for path, arguments in typed(shlex.split(line, comments=True)):
        # What stands for a number in a loop, and for more of the same.
        words = [re.sub(r"\{\}|\$\w+", "1", word) for word in arguments if word not in {"…", "..."}]
        COMMANDS[path].make_context(path, words)


RUN = {"run", "report", "dicom", "evaluate", "calibrate", "monitor", "inspect", "doctor"}
RUN |= {"model show", "model verify"}
NOT_HERE = re.compile(r"--engine|--device (cuda|tensorrt|openvino)|/opt/|\b(podman|parallel|pip|sh -c)\b")
"""What needs a GPU, an archive, a registry, another program or another machine."""


def can_run(line: str) -> bool:
    ours = [path for path, _ in typed(shlex.split(line, comments=True))]
    return bool(ours) and RUN.issuperset(ours) and not NOT_HERE.search(line)


FIRST: dict[str, str] = {}
"""Every line that can run here, once, and the page that has it first."""
for page, line in LINES:
    if can_run(line) and (page == "README.md" or page.startswith("docs/")):
        FIRST.setdefault(re.sub(r"\s+#.*", "", line), page)
PICTURES = ("dicom_dir", "films", "next-night", "FILMS", "ward-a", "ward-b", "data/films")
DICOM = ("archive", "srv/cxr-screen/films/films", "srv/radiographs")
NIGHTS = ("data/2026-09-30", "data/2026-10-01", "data/2026-11-22", "dicom_dir-screened")


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The line in a folder; an absolute path in it lies in that folder, too."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "screen"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m screen "$@"\n')
    program.chmod(0o700)
    path = f"{program.parent}:{os.environ['PATH']}"
    here = re.sub(r"(?<![\w.*~}])/(?=(data|archive|srv|films|night|tmp)\b)", f"{folder}/", line)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`films`: 24 small pictures of chests, half of them with a nodule; `labels.csv`; a `night` of them."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "films").mkdir()
    labels = ["file,patient_id,tumor"]
    for picture, tumor in (("nodule.jpg", 1), ("normal.png", 0)):
        pixels = cv2.imread(str(EXAMPLES / picture), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        small = cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA)
        for number in range(12):
            cv2.imwrite(str(folder / "films" / f"{tumor}-{number}.png"), np.roll(small, number - 6, axis=0))
            labels.append(f"{tumor}-{number}.png,{tumor}-{number},{tumor}")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    done = shell("screen run films --out night", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", dict.fromkeys(FIRST.values()))
def test_lines_run_as_they_stand(page: str, made: Path, tmp_path: Path) -> None:
    """One after the other, in a folder that has films, labels and nights before."""
    for place in (*PICTURES, *DICOM, *NIGHTS):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    for place in PICTURES:
        (tmp_path / place).symlink_to(made / "films")
    for place in DICOM:
        shutil.copytree(EXAMPLES / "study-1", tmp_path / place)
    for place in NIGHTS:
        shutil.copytree(made / "night", tmp_path / place)
    (tmp_path / "film.dcm").symlink_to(EXAMPLES / "study-1" / "film-1.dcm")
    (tmp_path / "labels.csv").symlink_to(made / "labels.csv")
    for model in ("FILE", "model.onnx"):
        (tmp_path / model).symlink_to(ROOT / "screen" / "models" / "default.onnx")
    (tmp_path / "data/feedback").mkdir()
    (tmp_path / "data/feedback/reader.csv").write_text(",".join(COLUMNS) + "\n")
    for line in (line for line, first in FIRST.items() if first == page):
        done = shell(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
