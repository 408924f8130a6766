"""Who may import whom: `train` `screen`, `export` both, benchmarks all; nobody benchmarks."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "screen": {"train", "export", "benchmarks", "tests", "torch", "onnx", "onnxscript", "safetensors"},
    "train": {"export", "benchmarks", "tests", "onnx", "onnxscript"},
    "export": {"benchmarks", "tests"},
    "benchmarks": {"tests"},
}
RUNTIMES = {"onnxruntime", "tensorrt", "tensorrt_rtx", "cryptography"}


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything that a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_source_reaches_up(package: str) -> None:
    reached = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imports(path)
        if name in FORBIDDEN[package]
    }
    assert reached == set()


def test_screen_loads_nothing_from_above() -> None:
    """In a fresh process, every module of it: what the sources import may import in turn."""
    code = (
        "import importlib, pkgutil, sys, screen\n"
        "for module in pkgutil.walk_packages(screen.__path__, 'screen.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        f"print(sorted({FORBIDDEN['screen'] | RUNTIMES!r} & set(sys.modules)))\n"
        "print(sum(name.startswith('screen.') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded, count = done.stdout.splitlines()
    assert loaded == "[]"
    assert int(count) > 40


def test_decode_workers_load_no_runtime() -> None:
    code = (
        "import sys, screen.decode, screen.decode_worker\n"
        "print(sorted({'onnxruntime', 'torch', 'click', 'rich', 'sqlite3'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n"
