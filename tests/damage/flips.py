"""Random bit flips in every kind of file of a small archive, each judged by `verify`.

A flip that `verify` does not name must change nothing that is read: rows, single rows through the
statistics, the index, rejections, models, history, status, records of runs and the lease.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.archive.archive import Archive
from tests.damage.judge import problems_of
from tests.damage.subject import view

KINDS: dict[str, tuple[str, float]] = {
    "shard": (r"images/part-.*", 0.4),
    "log": (r"images/_delta_log/\d+\.json", 0.15),
    "checkpoint": (r"images/_delta_log/.*checkpoint.*", 0.1),
    "model": (r"models/.*", 0.15),
    "rejections": (r"rejections/.*", 0.1),
    "record": (r"runs/.*", 0.05),
    "lease": (r"leases/.*", 0.05),
}
"""Pattern of the paths of each kind of file, and its share of the flips."""


@dataclass
class Report:
    """What became of the flips.

    Attributes:
        outcomes: number of flips by (kind of file, "noticed", "changes nothing" or "missed").
        harmless: by path without digits: flips that change nothing.
        missed: each flip that changed something and was not noticed, as one line.
        seconds: for all.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    harmless: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def total(self, outcome: str) -> int:
        """Flips with an outcome, of all kinds of files."""
        return sum(count for (_, found), count in self.outcomes.items() if found == outcome)


def flip(url: str, count: int, seed: int, progress: Callable[[Report], None] = lambda report: None) -> Report:
    """Flip one bit after another, each time judging the archive and putting the bit back.

    Args:
        url: a folder with an archive that is intact.
        count: number of flips.
        seed: same seed, same flips.
        progress: called after each flip.
    """
    started = time.monotonic()
    root = Path(url)
    files = {kind: _needed(root, pattern) for kind, (pattern, _) in KINDS.items()}
    assert all(files.values()) and not problems_of(url)
    expected = view(url)
    random = np.random.default_rng(seed)
    shares = np.array([share for _, share in KINDS.values()])
    report = Report()
    for _ in range(count):
        kind = list(KINDS)[random.choice(len(KINDS), p=shares / shares.sum())]
        path = files[kind][random.integers(len(files[kind]))]
        sound = path.read_bytes()
        at, bit = int(random.integers(len(sound))), int(random.integers(8))
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
        try:
            outcome = "noticed"
            if not problems_of(url, models=kind == "model"):
                changed = [name for name, value in view(url).items() if value != expected[name]]
                outcome = "missed" if changed else "changes nothing"
                name = path.relative_to(root).as_posix()
                if changed:
                    report.missed.append(f"{name} byte {at} of {len(sound)} bit {bit}: changes {', '.join(changed)}")
                else:
                    report.harmless[re.sub(r"[0-9a-f]{16,}", "*", name)] += 1
            report.outcomes[kind, outcome] += 1
        finally:
            path.write_bytes(sound)
        progress(report)
    report.seconds = time.monotonic() - started
    return report


def _needed(root: Path, pattern: str) -> list[Path]:
    """Files of one kind, without shards that the present version does not need."""
    present = {shard.path for shard in Archive(str(root)).shards()}
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        needed = not name.startswith("images/part-") or path.name in present
        if path.is_file() and needed and re.fullmatch(pattern, name):
            found.append(path)
    return found
