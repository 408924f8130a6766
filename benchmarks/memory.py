"""Peak memory of a whole command: the proportional set sizes of all its processes, added up.

PSS counts a page that n processes share as 1/n in each, so the sum over processes is what the command costs.
"""

import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL = 0.5
"""Seconds between looks. Reading a large process's PSS costs milliseconds."""


class PeakMemory:
    """Watches a process and all that descend from it, whatever sessions or groups they make for themselves.

    with PeakMemory(process) as peak:
        process.wait()
    peak.pss    # bytes, the largest sum that was seen
    peak.rss    # bytes, the largest resident set of any one process
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.pss = 0
        self.rss = 0
        self.processes = 0
        self._root = process.pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            sizes = [_sizes(folder) for folder in family(self._root)]
            self.pss = max(self.pss, sum(pss for pss, _ in sizes))
            self.rss = max(self.rss, *(rss for _, rss in sizes), 0)
            self.processes = max(self.processes, len(sizes))


def family(root: int) -> list[Path]:
    """The process first, then its descendants, as folders of /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it ended meanwhile
                continue
            # The name, in brackets, may hold anything; the parent is the second field behind it (proc(5)).
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(Path("/proc") / str(pid))
        waiting += children.get(pid, [])
    return found


def _sizes(folder: Path) -> tuple[int, int]:
    """PSS and RSS in bytes; 0 for a process that ended."""
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    fields = {line.partition(":")[0]: line.split() for line in lines}
    return int(fields["Pss"][1]) * 1024, int(fields["Rss"][1]) * 1024
