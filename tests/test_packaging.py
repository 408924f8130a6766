"""What is installed: light core dependencies, everything said once, and a wheel that has all it needs."""

import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import screen
from tests.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(requirement: str) -> str:
    return Requirement(requirement).name.lower()


def test_the_core_is_light() -> None:
    core = {name_of(line) for line in PROJECT["dependencies"]}
    heavy = {"torch", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "opencv-python", "matplotlib"}
    assert not core & heavy


def test_no_extra_installs_both_runtimes() -> None:
    for extra in EXTRAS:
        assert not {"onnxruntime", "onnxruntime-gpu"} <= everything_in(extra), extra


def everything_in(extra: str) -> set[str]:
    """Names of the packages of an extra, and of the extras that it names."""
    names = set()
    for line in EXTRAS[extra]:
        requirement = Requirement(line)
        names.add(requirement.name.lower())
        if requirement.name == PROJECT["name"]:
            names |= {name for other in requirement.extras for name in everything_in(other)}
    return names


def test_nothing_is_said_twice() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert not setup.has_section("metadata")
    said = {"install_requires", "extras_require", "entry_points", "python_requires"}
    assert not said & set(setup["options"])
    assert "version" in PROJECT["dynamic"]
    literal = re.compile(rf"[\"']{re.escape(screen.__version__)}[\"']")
    for folder in ("screen", "train", "export", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != ROOT / "screen" / "__init__.py":
                assert not literal.search(path.read_text()), f"{path} says the version again"


def test_the_tested_set_is_pinned_whole() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    assert all(re.fullmatch(r"==[^*+]+", str(pin.specifier)) for pin in pins)
    pinned = {pin.name.lower() for pin in pins}
    wanted = everything_in("dev") | {name_of(line) for line in PROJECT["dependencies"]}
    assert wanted - {"cxr-screen"} <= pinned
    for line in [
        *PROJECT["dependencies"],
        *(line for extra in ("dev", "test", "export", "train", "cpu") for line in EXTRAS[extra]),
    ]:
        requirement = Requirement(line)
        for pin in pins:
            if pin.name.lower() == requirement.name.lower():
                version = str(pin.specifier).removeprefix("==")
                assert requirement.specifier.contains(version), f"{pin} is not within {requirement}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel that is built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "docs/package.md", "LICENSE"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    for package in ("screen", "train", "export", "benchmarks", "tests", "examples"):
        copy_package(ROOT / package, tree / package)
    build = (
        "import os, sys; os.chdir(sys.argv[1]);"
        "from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, tree, folder], check=True, capture_output=True
    )
    (path,) = folder.glob("*.whl")
    with ZipFile(path) as archive:
        return set(archive.namelist())


def copy_package(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())


def test_the_wheel_holds_three_packages_and_no_more(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert tops == {"screen", "train", "export"}


def test_the_wheel_holds_every_module(wheel: set[str]) -> None:
    for package in ("screen", "train", "export"):
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert modules <= wheel


@pytest.mark.parametrize("name", ["screen/py.typed", "train/py.typed", "export/py.typed"])
def test_the_wheel_is_typed(wheel: set[str], name: str) -> None:
    assert name in wheel


def test_the_wheel_holds_the_model(wheel: set[str]) -> None:
    assert "screen/models/default.onnx" in wheel
    assert "screen/models/judge.npz" in wheel


def test_the_wheel_holds_all_data_of_the_package(wheel: set[str]) -> None:
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "screen").rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert data <= wheel
