"""The pictures of what was measured: PNG, one axis pair each, nothing that is not data or its name."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import compare, scale

_INK, _FAINT = "#222222", "#8a8a8a"
_PEERS = ("#c9c9c9", "#aab4bd", "#8fa0ad", "#748998")
_WAYS = ("#1f6f8b", "#2a9d8f", "#5b5ea6", "#8e6c8a")
_BAR = 0.8
"""Of a folder's share of the axis, all its bars together."""


def plot_compare(figures: compare.Figures, path: Path) -> None:
    """Films a second by folder: bars for peers and ways (median; line: extremes), a mark for what stages allow."""
    folders = figures.folders
    peers = list(dict.fromkeys(name for entry in folders for name in entry.peers))
    ways = list(dict.fromkeys(name for entry in folders for name in entry.ways))
    bars = len(peers) + len(ways)

    def draw(axes: Axes) -> None:
        for place, entry in enumerate(folders):
            rates = [entry.peers[name] for name in peers] + [entry.ways[name].run for name in ways]
            for bar, rate in enumerate(rates):
                y = place + _BAR * ((bar + 0.5) / bars - 0.5)
                colour = (*_PEERS[: len(peers)], *_WAYS)[bar]
                low, high = min(rate.turns), max(rate.turns)
                axes.barh(y, rate.median, height=_BAR / bars * 0.92, color=colour)
                axes.plot([low, high], [y, y], color=_INK, linewidth=0.8)
                text = f" {rate.median:.3g}"
                if bar >= len(peers):
                    way = entry.ways[ways[bar - len(peers)]]
                    allowed = way.allowed.median
                    half = _BAR / bars / 2
                    axes.plot([allowed, allowed], [y - half, y + half], color=_INK, linewidth=1.6)
                    text += "".join(f"  ({turns.median:.2g}×)" for turns in list(way.ratios.values())[:1])
                    high = max(high, allowed)
                axes.text(high, y, text, va="center", fontsize=7.5, color=_INK)
        axes.set_yticks(range(len(folders)), [Path(entry.folder).name for entry in folders])
        axes.invert_yaxis()
        axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
        axes.set_xlabel(f"films a second, from files to report; in brackets, × {peers[0]}")
        handles = [_patch(colour) for colour in (*_PEERS[: len(peers)], *_WAYS[: len(ways)])]
        names = [*peers, *(f"screen run, {name}" for name in ways)]
        axes.legend(
            [*handles, _tick()],
            [*names, "what the stages allow"],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.55 / (0.35 * bars * len(folders) + 0.6)),
            ncols=3,
            frameon=False,
            fontsize=8,
        )

    _save(draw, (8.0, 1.2 + 0.22 * bars * len(folders)), path)


def plot_scale(figures: scale.Figures, path: Path) -> None:
    """Milliseconds a file, and memory, by the number of files."""
    files = [run.files for run in figures.runs]

    def draw(axes: Axes) -> None:
        axes.plot(files, [run.ms_per_file for run in figures.runs], "o-", color=_WAYS[0])
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("files")
        axes.set_ylabel("ms a file", color=_WAYS[0])
        memory = axes.twinx()
        memory.plot(files, [run.peak_pss / 1e6 for run in figures.runs], "s--", color=_FAINT)
        memory.set_ylim(bottom=0)
        memory.set_ylabel("peak memory of all processes (PSS), MB", color=_FAINT)
        memory.spines[["top", "left"]].set_visible(False)

    _save(draw, (6.0, 3.4), path)
