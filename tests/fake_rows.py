"""Cards, rows, squares and facts made in code, for tests of what comes after inference."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from screen.backends import DeviceInfo
from screen.codes import Reason, Status
from screen.decide import Cases, Decision, Verdict, decide
from screen.decide.scratch import Scratch
from screen.film import Identity
from screen.ledger import FilmKey, Heatmap, Inference, Row
from screen.model import Finding, ModelCard, OperatingPoint, Probe
from screen.preprocess import Geometry, PreprocessSpec
from screen.report import RunFacts

SIZE = 96
GRID = (6, 6)


def point(name: str, threshold: float) -> OperatingPoint:
    return OperatingPoint(
        name, threshold, 0.71, (0.62, 0.79), 0.68, (0.65, 0.71), "1,034 films of other patients"
    )


def finding(name: str = "tumor", slope: float = 1.5, intercept: float = -0.5) -> Finding:
    points = (point("sensitive", 0.2), point("balanced", 0.5), point("specific", 0.8))
    return Finding(name, slope, intercept, 0.13, points, "balanced", (0.3, 3.0))


def card(*names: str) -> ModelCard:
    spec = PreprocessSpec(size=SIZE)
    return ModelCard(
        name="fake-resnet18",
        version="1",
        intended_use="Tests. Finds nothing.",
        preprocess=spec,
        preprocess_digest=spec.digest(),
        findings=tuple(finding(name) for name in names or ("tumor",)),
        primary=names[0] if names else "tumor",
        input_size=SIZE,
        embedding_size=8,
        heatmap_method="cam",
        heatmap_grid=GRID,
        precision="fp32",
        distance_quantiles=tuple(float(q) for q in range(101)),
        gate_threshold=0.25,
        probes=(Probe(32, 32, "AAAA", "AAAA", (0.0,) * max(1, len(names))),),
        probe_logit_bound=1e-3,
        weights_digest="ab" * 32,
    )


def identity(study: str = "", sop: str = "", patient: str = "") -> Identity:
    return Identity(patient, "A" + patient, "20261101", study, f"{study}.1" if study else "", sop, "PA")


def screened(
    file: str,
    *logits: float,
    gate: float = 5.0,
    distance: float = 40.0,
    heatmap: NDArray[np.float16] | None = None,
    geometry: Geometry | None = None,
    **fields: object,
) -> Row:
    logits = logits or (0.0,)
    if heatmap is None:
        heatmap = np.zeros((len(logits), *GRID), np.float16)
    inference = Inference(logits, gate, distance, Heatmap.pack(heatmap), "ab" * 32)
    row = Row(
        file,
        Status.SCREENED,
        pixel_digest=file,
        decoder="numpy",
        geometry=geometry or Geometry.fit(SIZE, SIZE, SIZE),
        inference=inference,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def unscreened(file: str, reason: Reason, **fields: object) -> Row:
    return replace(Row(file, reason.status, reason), **fields)  # type: ignore[arg-type]


class ListedRows(list[Row]):
    """Rows as a ledger lists them."""

    def film_keys(self) -> Iterator[FilmKey]:
        for position, row in enumerate(self):
            if row.status is Status.SCREENED and row.pixel_digest:
                who = row.identity
                whose = f"{who.patient_id}\0{who.study_instance_uid}"
                has_result = row.inference is not None
                yield FilmKey(
                    position, who.sop_instance_uid, whose, row.pixel_digest, has_result, row.declared_chest
                )


def decided(rows: Sequence[Row], decision: Decision) -> list[Verdict]:
    """All verdicts, each the same whether it is streamed or asked for alone."""
    with TemporaryDirectory() as folder, Scratch(Path(folder)) as scratch:
        verdicts = decide(ListedRows(rows), decision, scratch)
        streamed = list(verdicts)
        assert [verdicts[at] for at in range(len(rows))] == streamed
        return streamed


@contextmanager
def settled(rows: Sequence[Row], decision: Decision) -> Iterator[Cases]:
    """The rows' cases, ready to be asked."""
    with TemporaryDirectory() as folder, Scratch(Path(folder)) as scratch:
        verdicts = decide(ListedRows(rows), decision, scratch)
        cases = Cases(verdicts, scratch)
        for position, verdict in enumerate(verdicts):
            cases.add(position, verdict)
        cases.settle()
        yield cases


def facts(model: ModelCard, **fields: object) -> RunFacts:
    device = DeviceInfo("cpu", "CPUExecutionProvider", "fp32", "onnxruntime 1.22", "")
    plain = RunFacts(
        card_json=model.to_json(),
        model_file_digest="cd" * 32,
        model_name="fake.onnx",
        device=asdict(device),
        versions={"python": "3.12.1", "numpy": "2.3.4", "opencv": "5.0.0"},
        inputs=["/archive/night"],
        started="2026-11-23T02:00:00+01:00",
        finished="2026-11-23T02:41:07+01:00",
        seconds=2467.2,
        stage_seconds={"read": 3120.5, "square": 301.2, "infer": 1210.9},
        images_inferred=61,
        images_reused=2,
        batch_size=16,
        workers=4,
        identifiers="full",
        heatmaps=500,
        preprocess_drift=False,
        decode_policy="full",
        counts={"known_ignored": 0},
    )
    return replace(plain, **fields)  # type: ignore[arg-type]
