"""Making a run's plan: what `decide` finds, dealt into units, written as the run's manifest, with the totals."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.archive import Archive, IndexRow
from pipeline.encoding_settings import EncodeSettings
from pipeline.manifest import Manifest
from pipeline.planning import TO_PRESS, State, decide
from pipeline.regroup import ByShard
from pipeline.store import Entry, Store
from pipeline.units import Piece, deal_again, deal_new


@dataclass(frozen=True, slots=True)
class Plan:
    """The totals of a plan.

    Attributes:
        objects: to press.
        source_bytes: of these, as listed.
        units: shards that will be written.
        unchanged: keys that need nothing.
        rejected: keys refused before and not changed since.
        gone: rows whose key the source no longer has.
    """

    objects: int
    source_bytes: int
    units: int
    unchanged: int
    rejected: int
    gone: int


def make_plan(
    source: Store, archive: Archive, manifest: Manifest, settings: EncodeSettings, is_stale: Callable[[IndexRow], bool]
) -> Plan:
    """Compare, deal and write down; memory does not grow with the number of keys.

    Args:
        source: what to press.
        archive: what is pressed.
        manifest: where the plan goes.
        settings: for the size of units and whether to try again what was refused.
        is_stale: whether a row whose source did not change is pressed again all the same.
    """
    states: Counter[State] = Counter()
    totals: Counter[str] = Counter()
    unit_bytes = settings.shard_mib << 20

    def pieces() -> Iterator[Piece]:
        with ByShard() as again:
            for piece in deal_new(new_entries(again), unit_bytes):
                totals["units"] = piece.unit + 1
                yield piece
            for shard, entries in again.groups():
                yield from deal_again(shard, entries, totals["units"], unit_bytes)
                totals["units"] += 1

    def new_entries(again: ByShard) -> Iterator[Entry]:
        decisions = decide(
            source.entries(),
            archive.rows_by_key(),
            archive.rejections_by_key(),
            is_stale=is_stale,
            retry_rejected=settings.retry_rejected,
        )
        for decision in decisions:
            states[decision.state] += 1
            entry, shard = decision.entry, decision.shard
            if decision.state not in TO_PRESS or entry is None:
                continue
            totals["objects"] += 1
            totals["bytes"] += entry.size
            if shard is None:
                yield entry
            else:
                again.add(shard, entry)

    manifest.write(pieces())
    return Plan(
        totals["objects"],
        totals["bytes"],
        totals["units"],
        states[State.UNCHANGED],
        states[State.REJECTED],
        states[State.GONE],
    )
