"""Model files that are traps: refused in a moment, with little memory, before any runtime is loaded."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from screen.cli import cli
from screen.errors import ModelError, UsageError
from screen.model import load_model, model_from_bytes
from tests.micro_model import micro_bytes
from tests.places import ROOT

GOOD = micro_bytes()
HERE = Path("m.onnx")


def outside_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def outside_data_without_saying_so(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/dev/zero"


def outside_data_in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node[1].attribute.append(helper.make_attribute("value", tensor))


def petabytes(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20, 1 << 10])


def overflowing_product(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([1 << 32, 1 << 32])


def negative_length(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([-1])


def a_loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["one"], ["x2"], body=body))


def graphs_in_graphs(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    model.graph.node.append(graph.node[0])


def a_function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("ai.onnx", "Relu", [], [], [], [helper.make_opsetid("", 17)]))


def a_million_nodes(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["one"], ["one2"])
    model.graph.node.extend([node] * 40_000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (outside_data, "outside the file"),
        (outside_data_without_saying_so, "outside the file"),
        (outside_data_in_an_attribute, "outside the file"),
        (petabytes, "more values than it holds"),
        (overflowing_product, "more values than it holds"),
        (negative_length, "more values than it holds"),
        (a_loop, "graph of its own"),
        (graphs_in_graphs, "graph of its own"),
        (a_function, "functions"),
        (a_million_nodes, "more fields than any model has"),
    ],
)
def test_a_trap_is_refused(change: Callable[[onnx.ModelProto], None], said: str) -> None:
    model = onnx.ModelProto.FromString(GOOD)
    change(model)
    with pytest.raises(ModelError, match=said):
        model_from_bytes(model.SerializeToString(), HERE)


def huge_lists(card: dict[str, Any]) -> None:
    card["certificates"] = [{}] * 200_000


def huge_probe(card: dict[str, Any]) -> None:
    card["probes"][0] |= {"height": 4096, "width": 4096, "values": "eJw=" * 10}


@pytest.mark.parametrize("change", [huge_lists, huge_probe])
def test_a_card_that_is_a_trap_ends_the_command_in_order(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    (tmp_path / "m.onnx").write_bytes(micro_bytes(change))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.txt").write_text("no film")
    args = [
        "run",
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--model",
        tmp_path / "m.onnx",
        "--device",
        "cpu",
    ]
    ended = CliRunner().invoke(cli, list(map(str, args)))
    assert ended.exit_code == 1
    assert json.loads(ended.stderr.splitlines()[-1])["event"] == "error"


@pytest.mark.parametrize("depth", [40, 480, 900])
def test_a_deep_card_is_refused(depth: int) -> None:
    def deep(card: dict[str, Any]) -> None:
        for _ in range(depth):
            card["training"] = {"a": card["training"]}

    with pytest.raises(ModelError, match="metadata"):
        model_from_bytes(micro_bytes(deep), HERE)


def loaded_alone(path: Path) -> subprocess.CompletedProcess[str]:
    """`load_model` in a process of 1 GB at most: what it says, its largest memory in MB, its runtimes."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from screen.errors import ModelError\n"
        "from screen.model.file import load_model\n"
        "try: load_model(Path(sys.argv[1]))\n"
        "except ModelError as error: print(error)\n"
        # Not getrusage: its high-water mark is the parent's, from before exec.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)\n"
        "print(sorted({'onnxruntime', 'onnx', 'torch'} & set(sys.modules)))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30)),
    )


def test_a_sparse_file_of_600_mb_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.onnx"
    with path.open("wb") as file:
        file.write(GOOD)
        file.truncate(600 << 20)
    done = loaded_alone(path)
    said, peak, runtimes = done.stdout.splitlines()
    assert "no model is so large" in said
    assert int(peak) < 150
    assert runtimes == "[]"


def test_a_file_is_checked_before_a_runtime_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(GOOD[:-5])
    said, peak, runtimes = loaded_alone(path).stdout.splitlines()
    assert "cut short" in said
    assert int(peak) < 150
    assert runtimes == "[]"


def test_every_flipped_byte_is_refused_or_harmless() -> None:
    """In the metadata as well: never another exception, and never another network."""
    good = model_from_bytes(GOOD, HERE)
    for at in range(0, len(GOOD), 7):
        flipped = GOOD[:at] + bytes([GOOD[at] ^ (1 << at // 7 % 8)]) + GOOD[at + 1 :]
        try:
            model = model_from_bytes(flipped, HERE)
        except ModelError:
            continue
        assert model.card.weights_digest == good.card.weights_digest


def test_a_model_that_is_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="no such model file"):
        load_model(tmp_path / "m.onnx")
