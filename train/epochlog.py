"""A line for every epoch, in a CSV and for TensorBoard."""

import csv
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


class EpochLog:
    """`NAME.csv`, and event files in `NAME.tensorboard/` (`tensorboard --logdir` shows several runs at once).

    done: epochs that the run has behind it. Lines of later ones, which a stop kept from being saved, go.
    """

    def __init__(self, checkpoint: Path, done: int) -> None:
        self._file = checkpoint.with_name(checkpoint.name + ".csv")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._rows: list[dict[str, str]] = []
        if done and self._file.is_file():
            with self._file.open(newline="", encoding="utf-8") as stream:
                self._rows = [row for row in csv.DictReader(stream) if int(row["epoch"]) <= done]
        events = checkpoint.with_name(checkpoint.name + ".tensorboard")
        # Two files that begin within one second would else have one name.
        self._writer = SummaryWriter(str(events), purge_step=done + 1, filename_suffix=f".{done}")

    def add(self, epoch: int, numbers: Mapping[str, float | None]) -> None:
        """Write the numbers of epoch 1, 2, …, the same names every time; None is an empty cell."""
        cells = {name: "" if number is None else f"{number:.4f}" for name, number in numbers.items()}
        self._rows.append({"epoch": str(epoch), **cells})
        with self._file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(self._rows[-1]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)
        for name, number in numbers.items():
            if number is not None:
                self._writer.add_scalar(f"pretrain/{name}", number, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Everything is on disk already; ends the writer's thread."""
        self._writer.close()
