"""The pictures of what was measured: PNG, nothing on them but data and its names."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.gpu import latency, throughput
from benchmarks.speed import compare, scale

_INK, _FAINT = "#222222", "#8a8a8a"
_PEERS = ("#c9c9c9", "#aab4bd", "#8fa0ad", "#748998")
_WAYS = ("#1f6f8b", "#2a9d8f", "#5b5ea6", "#8e6c8a")
_BAR = 0.8
"""Of a folder's share of the axis, all its bars together."""


def plot_compare(figures: compare.Figures, path: Path) -> None:
    """Films a second by folder: bars for peers and ways (median; line: extremes), an outline for stages."""
    folders = figures.folders
    peers = list(folders[0].peers)
    ways = list(folders[0].ways)
    colours = (*_PEERS[: len(peers)], *_WAYS[: len(ways)])
    height = _BAR / len(colours)

    def draw(axes: Axes) -> None:
        for place, entry in enumerate(folders):
            rates = [entry.peers[name] for name in peers] + [entry.ways[name].run for name in ways]
            for bar, rate in enumerate(rates):
                y = place + height * (bar + 0.5) - _BAR / 2
                axes.barh(y, rate.median, height=0.9 * height, color=colours[bar])
                axes.plot([min(rate.turns), max(rate.turns)], [y, y], color=_INK, linewidth=0.8)
                text, right = f"{rate.median:.3g}", max(rate.turns)
                if bar >= len(peers):
                    way = entry.ways[ways[bar - len(peers)]]
                    allowed = way.allowed.median
                    axes.barh(
                        y, allowed, 0.9 * height, facecolor="none", edgecolor=colours[bar], linewidth=0.8
                    )
                    right = max(right, allowed)
                    if peers[0] in way.ratios:
                        text += f"  ({way.ratios[peers[0]].median:.2g}×)"
                axes.annotate(
                    text, (right, y), (4, 0), textcoords="offset points", va="center", fontsize=8, color=_INK
                )
        axes.set_yticks(range(len(folders)), [Path(entry.folder).name for entry in folders])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"films a second, from files to report (in brackets: × {peers[0]})")
        names = [*peers, *(f"screen run, {name}" for name in ways)]
        handles: list[Artist] = [Patch(color=colour) for colour in colours]
        handles.append(Patch(facecolor="none", edgecolor=_WAYS[0], linewidth=0.8))
        axes.figure.legend(
            handles, [*names, "what the stages allow"], loc="outside lower center", ncols=3, frameon=False
        )

    _save(draw, (8.0, 1.4 + 0.2 * len(colours) * len(folders)), path)


def plot_scale(figures: scale.Figures, path: Path) -> None:
    """Milliseconds a file, and memory, by the number of files."""
    files = [run.files for run in figures.runs]
    costs = [run.ms_per_file for run in figures.runs]
    memories = [run.peak_pss / 1e6 for run in figures.runs]

    def draw(axes: Axes) -> None:
        axes.plot(files, costs, "o-", color=_WAYS[0])
        axes.set_xscale("log")
        axes.set_xticks(files, [f"{count:,}" for count in files])
        axes.minorticks_off()
        axes.set_ylim(0, 1.1 * max(costs))
        axes.set_xlabel("files")
        axes.set_ylabel("ms a file", color=_WAYS[0])
        memory = axes.twinx()
        memory.plot(files, memories, "s--", color=_FAINT)
        memory.set_ylim(0, 1.1 * max(memories))
        memory.set_ylabel("peak memory of all processes (PSS), MB", color=_FAINT)
        memory.spines[["top", "left"]].set_visible(False)

    _save(draw, (6.0, 3.4), path)


def plot_latency(rows: Sequence[latency.Row], path: Path) -> None:
    """Milliseconds by batch size: a line for each engine's median, an area up to its 99th percentile."""
    names = list(dict.fromkeys(row.engine for row in rows))

    def draw(axes: Axes) -> None:
        for name, colour in zip(names, _engine_colours(len(names)), strict=True):
            mine = [row for row in rows if row.engine == name]
            sizes = [row.batch_size for row in mine]
            label = f"{name}, {mine[0].precision}"
            axes.plot(sizes, [row.ms[0] for row in mine], "o-", color=colour, markersize=3, label=label)
            low, high = [row.ms[0] for row in mine], [row.ms[-1] for row in mine]
            axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
        sizes = sorted({row.batch_size for row in rows})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("images in a batch")
        axes.set_ylabel("ms in the network: p50, up to p99")
        axes.legend(frameon=False)

    _save(draw, (6.0, 3.6), path)


def plot_throughput(figures: throughput.Figures, path: Path) -> None:
    """Images a second: a dot for each row, a line where the GPU's data set a limit."""
    rows = list(figures.rows.values())
    kinds = list(dict.fromkeys(row.figure for row in rows))

    def draw(axes: Axes) -> None:
        for y, row in enumerate(rows):
            axes.plot(row.rate.median, y, "o", color=_WAYS[kinds.index(row.figure)])
            limits = [limit for limit in row.limits.values() if limit]
            if limits:
                axes.plot([min(limits)] * 2, [y - _BAR / 2, y + _BAR / 2], color=_INK, linewidth=1.5)
            axes.annotate(
                f"{row.rate.median:,.0f}",
                (row.rate.median, y), (6, 0), textcoords="offset points", va="center", fontsize=8, color=_INK,
            )  # fmt: skip
        labels = [f"{row.figure}: {row.way}, batch {row.batch_size}" for row in rows]
        axes.set_yticks(range(len(rows)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.set_xlabel("images a second (line: the lower of what products and bus allow)")

    _save(draw, (8.0, 1.0 + 0.26 * len(rows)), path)


def _engine_colours(count: int) -> list[str]:
    """The first stands out."""
    return [_WAYS[0], *(_PEERS[1:] + _WAYS[1:])][:count]


def _save(draw: Callable[[Axes], None], size: tuple[float, float], path: Path) -> None:
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": _FAINT, "axes.linewidth": 0.8}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(color=_FAINT)
        draw(axes)
        figure.savefig(path, dpi=150, bbox_inches="tight")
