"""A table of labels and out-of-fold predictions whose right answers are known, as files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train.measure.predictions import PREDICTION_COLUMNS

TABLE_COLUMNS = (
    "file", "patient_id", "source", "tumor", "view", "sex", "age", "license", "tumor_label_basis",
    "nih_image_index", "nih_bbox_1024px",
)  # fmt: skip


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def write_table(folder: Path, films: int = 240) -> Path:
    """Films of two NIH collections, of another hospital and of one without the finding; two to a patient.

    Every fourth film is positive; boxes on every eighth. The pictures are all the same file.
    """
    (folder / "images").mkdir()
    rows = []
    for index in range(films):
        source = ("nih_a", "nih_b", "jsrt")[index // 2 % 3]
        positive = index % 4 == 0
        name = f"images/{index:03}.png"
        rows.append([
            name, f"P{index // 2}", source, int(positive), ("PA", "AP")[index % 3 == 0], "MF"[index // 2 % 2],
            20 + index % 60, "CC0", f"{int(positive)}-textmined", "" if source == "jsrt" else f"{index}.png",
            "Mass:256,256,256,512" if index % 8 == 0 else "",
        ])  # fmt: skip
        cv2.imwrite(str(folder / name), np.full((64, 48), index % 200, np.uint8))
    rows += [["images/child.png", "C", "children", 0, "AP", "", "", "", "", "", ""]]
    return write_csv(folder / "labels.csv", TABLE_COLUMNS, rows)


def write_readers(folder: Path, films: int = 240) -> Path:
    """Google's tables for films of `write_table`: the adjudicated verdict is its label, but for every tenth
    film; three of four films have the majority's, the same. One reader says so of all, another the contrary.
    """
    folder.mkdir()
    four, every, single = [], [], []
    for index in range(films):
        seen = (index % 4 == 0) != (index % 10 == 0)
        answer, other = ("NO", "YES")[seen], ("YES", "NO")[seen]
        four.append([f"{index}.png", answer])
        if index % 4 < 3:
            every.append([f"{index}.png", "NO", answer, answer])
        single += [[f"{index}.png", "right", answer], [f"{index}.png", "wrong", other]]
    half = len(four) // 2
    name = "four_findings_expert_labels"
    write_csv(folder / f"{name}_test_labels.csv", ["Image Index", "Nodule or mass"], four[:half])
    write_csv(folder / f"{name}_validation_labels.csv", ["Image Index", "Nodule or mass"], four[half:])
    columns = ["Image ID", "Reader ID", "Nodule/mass"]
    write_csv(folder / f"reader_{name}_individual_readers.csv", columns, single)
    majority = "all_findings_expert_labels_test_labels.csv"
    write_csv(folder / majority, ["Image ID", "Mass", "Nodule", "Abnormal"], every)
    return folder


def write_predictions(
    table: Path, name: str, gain: float, seeds: int = 1, peak: tuple[float, float] = (0.3, 0.6)
) -> Path:
    """Logit = noise + gain × label, five folds by patient; every heat map is highest at `peak`."""
    with table.open(newline="") as stream:
        films = list(csv.DictReader(stream))
    rows = []
    for seed in range(seeds):
        noise = np.random.default_rng(seed).normal(size=len(films))
        for film, at_random in zip(films, noise, strict=True):
            fold = sum(film["patient_id"].encode()) % 5
            logit = f"{at_random + gain * float(film['tumor']):.6f}"
            rows.append([film["file"], film["patient_id"], fold, seed, logit, *peak])
    return write_csv(table.parent / name, PREDICTION_COLUMNS, rows)
