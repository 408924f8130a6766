"""Who may import whom: the four top-level packages, and the packages within each of them.

`train` imports `screen`; `export` both; `benchmarks` all; nobody imports `benchmarks` or `tests`. Within a
package an entry of its list imports only what stands on a line below its own.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

FORBIDDEN = {
    "screen": {"train", "export", "benchmarks", "tests", "torch", "onnx", "onnxscript", "safetensors"},
    "train": {"export", "benchmarks", "tests", "onnx", "onnxscript"},
    "export": {"benchmarks", "tests"},
    "benchmarks": {"tests"},
}
RUNTIMES = {"onnxruntime", "tensorrt", "tensorrt_rtx", "cryptography"}

LINES = {
    "screen": """
        __main__
        cli
        api
        archive evaluation
        runs
        report engines
        decode backends decide
        readers model ledger
        preprocess discover
        film files gpus log
        errors codes text shortcuts machine processes
    """,
    "train": """
        __main__
        cli
        recipes
        network
        measure
        data
        parallel progress
    """,
    "export": """
        __main__
        cli
        certify engine choose_parity_set
        half quantize decodings engine_plan twin_card
        derived realistic
        onnx folding classifier
        check_exported graph modelwriter
        network
    """,
    "benchmarks": """
        __main__
        cli
        plots
        gpu survival
        speed
        decisions
        material memory sources hardware rates
    """,
}
"""From the top down. What stands on one line never imports each other."""
MOST_FLAT = 15
"""Modules that may lie flat in `screen/`: what all its packages share."""


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of everything that a file imports, inside functions as well: of `from a import b`, `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package: str) -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def part_of(path: Path) -> str:
    """The package, or the flat module, that a file belongs to."""
    return path.parts[1] if len(path.parts) > 2 else path.stem


def broken_lines(package: str, files: Iterable[tuple[Path, ast.AST]]) -> list[str]:
    """Imports from a line to itself or to one above it, as `file -> name`."""
    lines = [line.split() for line in LINES[package].strip().splitlines()]
    height = {name: -number for number, line in enumerate(lines) for name in line}
    height["__init__"] = 1  # the door: it names what Python calls, and loads it when it is asked for
    return [
        f"{path} -> {name}"
        for path, tree in files
        for name in imports(tree)
        if name.startswith(f"{package}.")
        for target in [name.split(".")[1]]
        # What the package itself defines, its version, is nobody's part.
        if target in height and target != part_of(path) and height[target] >= height[part_of(path)]
    ]


def reaches_up(package: str, files: Iterable[tuple[Path, ast.AST]]) -> list[str]:
    """Imports of a top-level package, or a library, that this one must do without."""
    return [
        f"{path} -> {name}"
        for path, tree in files
        for name in imports(tree)
        if name.partition(".")[0] in FORBIDDEN[package]
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_source_reaches_up(package: str) -> None:
    assert reaches_up(package, sources(package)) == []


@pytest.mark.parametrize("package", LINES)
def test_arrows_run_down(package: str) -> None:
    assert broken_lines(package, sources(package)) == []


@pytest.mark.parametrize("package", LINES)
def test_every_part_has_its_line(package: str) -> None:
    named = LINES[package].split()
    assert len(set(named)) == len(named)
    assert {part_of(path) for path, _ in sources(package)} - {"__init__"} == set(named)


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("screen/readers/x.py", "from screen.decide import Decision", "screen.decide.Decision"),
        ("screen/decode/x.py", "from screen.backends.base import Backend", "screen.backends.base.Backend"),
        ("screen/preprocess/x.py", "import screen.discover", "screen.discover"),
        ("screen/film.py", "from screen import files", "screen.files"),
        ("screen/cli/x.py", "from screen import __main__", "screen.__main__"),
        ("train/data/x.py", "def f():\n    from train.network import resnet", "train.network.resnet"),
        ("export/graph.py", "from export.onnx import export_onnx", "export.onnx.export_onnx"),
        ("benchmarks/speed/x.py", "from benchmarks.gpu import latency", "benchmarks.gpu.latency"),
    ],
)
def test_a_broken_line_is_found(file: str, line: str, found: str) -> None:
    package = file.partition("/")[0]
    assert broken_lines(package, [(Path(file), ast.parse(line))]) == [f"{file} -> {found}"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("screen/readers/x.py", "def f():\n    import torch"),
        ("screen/cli/x.py", "from train.cli import cli"),
        ("train/data/x.py", "import onnx.helper"),
        ("train/data/x.py", "from export import onnx"),
        ("export/x.py", "import benchmarks"),
        ("benchmarks/x.py", "from tests.films import png"),
    ],
)
def test_reaching_up_is_found(file: str, line: str) -> None:
    assert len(reaches_up(file.partition("/")[0], [(Path(file), ast.parse(line))])) == 1


@pytest.mark.parametrize("package", LINES)
def test_nobody_goes_through_the_own_door(package: str) -> None:
    """Within a package modules import each other; its face is for the others, and hides who needs whom."""
    modules = {".".join(path.with_suffix("").parts) for path, _ in sources(package)}
    own = [
        f"{path} -> {name}"
        for path, tree in sources(package)
        for name in imports(tree)
        if path.name != "__init__.py" and name.rpartition(".")[0] == ".".join(path.parent.parts)
        if name not in modules and len(path.parts) > 2
    ]
    assert own == []


def test_little_lies_flat() -> None:
    assert len(list((ROOT / "screen").glob("*.py"))) <= MOST_FLAT


@pytest.mark.parametrize("package", LINES)
def test_no_module_is_in_a_circle(package: str) -> None:
    """Of the imports as they are written, wherever in the file; a package's face hands on, and counts not."""
    files = dict(sources(package))
    names = {".".join(path.with_suffix("").parts): path for path in files if path.name != "__init__.py"}
    needs = {
        module: {target for name in imports(files[path]) for target in _modules(name, names)} - {module}
        for module, path in names.items()
    }
    while free := [module for module, targets in needs.items() if not targets & needs.keys()]:
        for module in free:
            del needs[module]
    assert needs == {}


def _modules(name: str, known: Iterable[str]) -> set[str]:
    """`a.b.c` is a module, or a name in the module `a.b`."""
    return {name, name.rpartition(".")[0]} & set(known)


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_screen_loads_nothing_from_above() -> None:
    """In a fresh process, every module of it: what the sources import may import in turn."""
    loaded, count = fresh(
        "import importlib, pkgutil, sys, screen\n"
        "for module in pkgutil.walk_packages(screen.__path__, 'screen.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        f"print(sorted({FORBIDDEN['screen'] | RUNTIMES!r} & set(sys.modules)))\n"
        "print(sum(name.startswith('screen.') for name in sys.modules))\n"
    ).splitlines()
    assert loaded == "[]"
    assert int(count) > 80


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("screen", {"numpy", "click", "cv2"}),
        ("screen.cli", {"numpy", "cv2", "rich", "pydicom"}),
        ("screen.decode.worker", {"onnxruntime", "torch", "click", "rich", "sqlite3"}),
        (
            "screen.archive.headers",
            {"onnxruntime", "torch", "click", "highdicom", "httpx"},
        ),
        ("screen.runs", {"highdicom", "httpx", "screen.archive"}),
        ("screen.runs", {"screen.archive", "httpx", "highdicom"}),
        ("train.cli.main", {"torch", "numpy", "cv2"}),
    ],
)
def test_what_starts_often_loads_little(module: str, unwanted: set[str]) -> None:
    assert fresh(f"import sys, {module}; print(sorted({unwanted!r} & set(sys.modules)))") == "[]\n"
