"""Making a run's plan: what `decide` finds, dealt into units, written as the run's manifest, with the totals.

Two things are decided only when everything was compared: whether what is gone may be retired (a source that lost much
of itself is more likely broken than cleared out), and which stale rows fit the budget.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipeline.archive.archive import Archive
from pipeline.archive.shards import Shard
from pipeline.planning.diff import ENTRIES, State, Window, decide, in_tables
from pipeline.planning.manifest import Manifest
from pipeline.planning.shard_grouping import ByShard, Rework
from pipeline.planning.staleness import FRESH, Staleness
from pipeline.planning.units import Piece, deal_again, deal_new
from pipeline.storage.base import Entry, StorageError, Store

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values


@dataclass(frozen=True, slots=True)
class Scope:
    """Which differences between source and archive become work.

    Attributes:
        unit_bytes: bytes of source that become one shard.
        stale: which rows are pressed again although their source did not change.
        retry_rejected: try again what was refused before and has not changed.
        stale_objects: stale rows at most, None for all of them.
        retire_share: retire what is gone unless that is more than this share of the archive's rows; None: never retire.
    """

    unit_bytes: int
    stale: Staleness = FRESH
    retry_rejected: bool = False
    stale_objects: int | None = None
    retire_share: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The totals of a plan.

    Attributes:
        objects: to press: new, changed and stale ones.
        source_bytes: of these, as listed.
        units: shards that will be written.
        new: keys that the archive does not have.
        new_bytes: of these, as listed.
        changed: keys whose source changed.
        changed_bytes: of these, as listed.
        stale: keys that are pressed again although their source did not change.
        stale_bytes: of these, as listed.
        stale_left: stale keys beyond the budget.
        unchanged: keys that need nothing.
        rejected: keys refused before and not changed since.
        gone: rows whose key the source no longer has.
        gone_bytes: of their sources.
        retire: of these, rows that leave the archive: all or none.
        rows: of the archive now.
        due: parts of the manifest that have to be done.
        spare: parts of the manifest with nothing but stale rows, oldest first.
    """

    objects: int
    source_bytes: int
    units: int
    new: int
    new_bytes: int
    changed: int
    changed_bytes: int
    stale: int
    stale_bytes: int
    stale_left: int
    unchanged: int
    rejected: int
    gone: int
    gone_bytes: int
    retire: int
    rows: int
    due: range
    spare: range

    @property
    def withheld(self) -> int:
        """Rows that are gone and stay."""
        return self.gone - self.retire


def make_plan(source: Store, archive: Archive | None, manifest: Manifest | None, scope: Scope) -> Plan:
    """Compare, deal and write down; memory does not grow with the number of keys.

    Args:
        source: what to press.
        archive: what is pressed, None for nothing.
        manifest: where the plan goes, None to only count.
        scope: what is to be done.

    Raises:
        MaepressError: when one side cannot be read to its end; nothing is planned then.
    """
    shards = archive.shards() if archive else []
    states: Counter[State] = Counter()
    sizes: Counter[State] = Counter()
    units = 0

    def new_entries(again: ByShard) -> Iterator[Entry]:
        windows = decide(
            in_tables(source.entries()),
            archive.tables_by_key(shards, scope.stale.columns) if archive else (),
            archive.rejection_tables() if archive else (),
            is_stale=scope.stale,
            retry_rejected=scope.retry_rejected,
        )
        for window in windows:
            states.update(window.counts())
            changed, stale, gone = window.objects(State.CHANGED), window.objects(State.STALE), window.gone_rows()
            again.add_changed(changed)
            if stale.num_rows:
                again.add_stale(stale)
            again.add_gone(gone)
            sizes[State.CHANGED] += _sum(changed, "size")
            sizes[State.GONE] += _sum(gone, "source_bytes")
            yield from _entries(window, sizes)

    def new(again: ByShard) -> Iterator[Piece]:
        nonlocal units
        for piece in deal_new(new_entries(again), scope.unit_bytes):
            units = piece.unit + 1
            yield piece

    def rework(found: Iterable[Rework]) -> Iterator[Piece]:
        nonlocal units
        for item in found:
            yield from deal_again(_path(shards, item), item.entries, units, scope.unit_bytes, item.gone)
            units += 1

    with ByShard() as again:
        due = _write(manifest, new(again))
        rows = sum(shard.rows for shard in shards)
        if scope.retire_share is not None and rows and rows == states[State.GONE] and not _listed(states):
            raise StorageError(f"{source.url} is empty: nothing is retired for that")
        retire = scope.retire_share is not None and states[State.GONE] <= scope.retire_share * rows
        stale, stale_bytes = again.choose_stale(scope.stale_objects)
        due = range(due.start, _write(manifest, rework(again.due(retire))).stop)
        spare = _write(manifest, rework(again.spare()))
    pressed_again = states[State.CHANGED] + stale
    return Plan(
        objects=states[State.NEW] + pressed_again,
        source_bytes=sizes[State.NEW] + sizes[State.CHANGED] + stale_bytes,
        units=units,
        new=states[State.NEW],
        new_bytes=sizes[State.NEW],
        changed=states[State.CHANGED],
        changed_bytes=sizes[State.CHANGED],
        stale=stale,
        stale_bytes=stale_bytes,
        stale_left=states[State.STALE] - stale,
        unchanged=states[State.UNCHANGED],
        rejected=states[State.REJECTED],
        gone=states[State.GONE],
        gone_bytes=sizes[State.GONE],
        retire=states[State.GONE] if retire else 0,
        rows=rows,
        due=due,
        spare=spare,
    )


def _entries(window: Window, sizes: Counter[State]) -> Iterator[Entry]:
    new = window.objects(State.NEW)
    sizes[State.NEW] += _sum(new, "size")
    columns = (new[name].to_pylist() for name in ENTRIES.names)
    return (Entry(*values) for values in zip(*columns, strict=True))


def _sum(table: pa.Table, column: str) -> int:
    return int(pc.sum(table[column], min_count=0).as_py() or 0)


def _listed(states: Counter[State]) -> int:
    return sum(count for state, count in states.items() if state is not State.GONE)


def _path(shards: list[Shard], item: Rework) -> str:
    return shards[item.shard].path


def _write(manifest: Manifest | None, pieces: Iterator[Piece]) -> range:
    """The parts written; with no manifest the pieces are only counted by who makes them."""
    if manifest is not None:
        return manifest.write(pieces)
    for _ in pieces:
        pass
    return range(0)
