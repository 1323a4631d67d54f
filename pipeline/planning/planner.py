"""Makes the plan of one run: differences become units of work, written to the run's manifest.

Two decisions have to wait until every key has been compared: whether rows whose source is gone may
be retired (a source that lost a large share of its objects is more likely broken than cleared out),
and which stale rows fit into the limit.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipeline.archive.archive import Archive
from pipeline.archive.shards.shard_writer import Shard
from pipeline.archive.shards.sorted_tables import texts
from pipeline.planning.diff import ENTRIES, DiffWindow, KeyState, compare_keys, in_tables
from pipeline.planning.manifest import Manifest
from pipeline.planning.shard_grouping import ReworkByShard, ShardRework
from pipeline.planning.staleness import NEVER_STALE, Staleness
from pipeline.planning.units import Piece, rework_unit, units_of_new_keys
from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.listing.key_globs import EVERYTHING, KeyGlobs
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.local.disk_errors import TEMPORARY_REMEDY, sqlite_errors

pc: Any = pyarrow.compute  # its stubs reject most mixes of columns and plain values


NAMED = 20
"""Keys that a plan names; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Which differences between source and archive become work.

    Attributes:
        unit_bytes: bytes of source that become one shard.
        stale: which rows are compressed again although their source did not change.
        retry_rejected: try again what was rejected before and has not changed since.
        retry_stages: try again what was rejected at these stages.
        globs: which objects of the source are taken. Rows of others stay as they are.
        stale_objects: largest number of stale rows to compress again, None for no limit.
        retire_share: retire the rows whose source is gone unless they are more than this share
            (0..1) of the rows that are compared with the source; None never retires.
    """

    unit_bytes: int
    stale: Staleness = NEVER_STALE
    retry_rejected: bool = False
    retry_stages: tuple[str, ...] = ()
    globs: KeyGlobs = EVERYTHING
    stale_objects: int | None = None
    retire_share: float | None = None


@dataclass(frozen=True, slots=True)
class EncodePlan:
    """The totals of a plan. Numbers of bytes are those of the sources, as listed.

    Attributes:
        objects: objects to compress: new, changed and stale ones.
        source_bytes: bytes of these.
        units: shards that will be written.
        new: keys that the archive does not have.
        new_bytes: bytes of these.
        changed: keys whose source changed.
        changed_bytes: bytes of these.
        stale: keys to compress again although their source did not change.
        stale_bytes: bytes of these.
        stale_left: stale keys beyond the limit.
        unchanged: keys that need nothing.
        other_settings: keys among `unchanged` that another model or another target compressed.
        rejected: keys rejected before and not changed since.
        gone: rows whose key the source no longer has.
        gone_bytes: bytes of these.
        retire: rows among `gone` that leave the archive: all or none.
        released: rows whose original was deleted by a release; they are not among `gone`, and stay.
        reappeared: objects of the source that are not encoded, as the original of their row was deleted by a release,
            and the row would be overwritten.
        reappeared_keys: the first of them.
        barred: objects of the source that are not encoded, as an erasure bars their keys.
        newer: rows that differ from the listing and stay as they are, as they were encoded after it was made.
        rows: rows of the archive before the run.
        compared: rows among these on which the source decides: not those that are `released`, `newer` or
            `excluded_rows`, nor those in folders that could not be listed.
        excluded: objects of the source that the globs left out.
        excluded_rows: rows of such objects, and of others that the globs would leave out; they stay.
        unlisted: folders of the source that could not be listed, with the reasons.
        required_parts: parts of the manifest that have to be worked on.
        optional_parts: parts of the manifest that hold stale rows only, oldest first.
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
    other_settings: int
    rejected: int
    gone: int
    gone_bytes: int
    retire: int
    released: int
    reappeared: int
    reappeared_keys: tuple[str, ...]
    barred: int
    newer: int
    rows: int
    compared: int
    excluded: int
    excluded_rows: int
    unlisted: dict[str, str]
    required_parts: range
    optional_parts: range

    @property
    def withheld(self) -> int:
        """Rows whose source is gone and that stay in the archive."""
        return self.gone - self.retire


def make_plan(source: Store, archive: Archive | None, manifest: Manifest | None, options: PlanOptions) -> EncodePlan:
    """Compare source and archive and write the work to the manifest.

    Memory does not grow with the number of keys.

    Args:
        source: the objects.
        archive: the rows, None where there is no archive yet.
        manifest: where the plan is written, None to only count.
        options: which differences become work.

    Raises:
        MaepressError: when either side cannot be read to its end, or the listing is empty and rows
            would be retired.
    """
    with ReworkByShard() as rework, sqlite_errors(rework.folder, TEMPORARY_REMEDY):
        planner = _Planner(source, archive, manifest, options, rework)
        new_parts = planner.write_new_units()
        retire = planner.may_retire()
        stale, stale_bytes = rework.choose_stale(options.stale_objects)
        rework_parts = planner.write_rework(rework.required(retire))
        optional_parts = planner.write_rework(rework.optional())
        required_parts = range(new_parts.start, rework_parts.stop)
        return planner.totals(retire, stale, stale_bytes, required_parts, optional_parts)


class _Planner:
    """One plan while it is made.

    The steps depend on each other and run in the order of the methods: `write_new_units` compares
    all keys, writes the new ones as they come and stores the others in `rework`; only then is the
    number of missing rows known, on which `may_retire` decides; only then can `rework` be read out,
    shard by shard, by `write_rework`.
    """

    def __init__(
        self,
        source: Store,
        archive: Archive | None,
        manifest: Manifest | None,
        options: PlanOptions,
        rework: ReworkByShard,
    ) -> None:
        self._source, self._archive, self._manifest = source, archive, manifest
        self._options, self._rework = options, rework
        self._listing = SourceListing(source, options.globs)
        self._excluded_rows = self._unlisted_rows = 0
        self._shards: list[Shard] = archive.shards() if archive else []
        self._rows = sum(shard.rows for shard in self._shards)
        self._counts: Counter[KeyState] = Counter()
        self._bytes: Counter[KeyState] = Counter()
        self._units = self._other_settings = 0
        self._reappeared: list[str] = []
        self._newer = 0

    def write_new_units(self) -> range:
        """Compare all keys. Returns the manifest's parts with the new ones."""
        return self._write(self._new_pieces())

    def may_retire(self) -> bool:
        """Whether the rows whose source is gone leave the archive.

        Raises:
            StorageError: when rows may be retired and the listing was empty: that is never taken
                for a cleared source.
        """
        gone, limit = self._counts[KeyState.GONE], self._options.retire_share
        if limit is None:
            return False
        if gone and self._counts.total() == gone + self._counts[KeyState.RELEASED]:
            raise StorageError(f"{self._source.url} is empty: no row is retired because of an empty listing")
        return gone <= limit * self._compared()

    def _compared(self) -> int:
        """Rows that would be gone if the source lost everything: others say nothing of how much it lost."""
        apart = self._counts[KeyState.RELEASED] + self._excluded_rows + self._unlisted_rows + self._newer
        return self._rows - apart

    def write_rework(self, shards: Iterable[ShardRework]) -> range:
        """Write one unit for each shard that changes. Returns the manifest's parts with them."""
        return self._write(self._rework_pieces(shards))

    def totals(
        self, retire: bool, stale: int, stale_bytes: int, required_parts: range, optional_parts: range
    ) -> EncodePlan:
        """The plan's totals, after all other steps."""
        count, size = self._counts, self._bytes
        return EncodePlan(
            objects=count[KeyState.NEW] + count[KeyState.CHANGED] + stale,
            source_bytes=size[KeyState.NEW] + size[KeyState.CHANGED] + stale_bytes,
            units=self._units,
            new=count[KeyState.NEW],
            new_bytes=size[KeyState.NEW],
            changed=count[KeyState.CHANGED],
            changed_bytes=size[KeyState.CHANGED],
            stale=stale,
            stale_bytes=stale_bytes,
            stale_left=count[KeyState.STALE] - stale,
            unchanged=count[KeyState.UNCHANGED],
            other_settings=self._other_settings,
            rejected=count[KeyState.REJECTED],
            gone=count[KeyState.GONE],
            gone_bytes=size[KeyState.GONE],
            retire=count[KeyState.GONE] if retire else 0,
            released=count[KeyState.RELEASED],
            reappeared=count[KeyState.REAPPEARED],
            reappeared_keys=tuple(self._reappeared),
            barred=count[KeyState.BARRED],
            newer=self._newer,
            rows=self._rows,
            compared=self._compared(),
            excluded=self._listing.excluded,
            excluded_rows=self._excluded_rows,
            unlisted=self._listing.unlisted,
            required_parts=required_parts,
            optional_parts=optional_parts,
        )

    def _new_pieces(self) -> Iterator[Piece]:
        for piece in units_of_new_keys(self._new_entries(), self._options.unit_bytes):
            self._units = piece.unit + 1
            yield piece

    def _new_entries(self) -> Iterator[Entry]:
        """New objects in key order; all other changes are counted and stored on the way."""
        for window in self._windows():
            self._counts.update(window.counts())
            self._newer += window.newer
            unchanged = window.match[window.states[KeyState.UNCHANGED]]
            if len(unchanged):
                self._other_settings += int(self._options.stale.differs(window.rows)[unchanged].sum())
            self._store_rework(window)
            if len(self._reappeared) < NAMED:
                again = texts(window.objects(KeyState.REAPPEARED)["key"])
                self._reappeared += again[: NAMED - len(self._reappeared)]
            new = window.objects(KeyState.NEW)
            self._bytes[KeyState.NEW] += _sum(new, "size")
            columns = (new[name].to_pylist() for name in ENTRIES.names)
            yield from (Entry(*values) for values in zip(*columns, strict=True))

    def _windows(self) -> Iterator[DiffWindow]:
        archive, options, listed_at = self._archive, self._options, self._source.listed_at()
        columns = dict.fromkeys([*options.stale.columns, *(["encoded_at"] if listed_at else [])])
        return compare_keys(
            in_tables(self._listing),
            archive.tables_by_key(self._shards, tuple(columns)) if archive else (),
            archive.rejection_tables() if archive else (),
            is_stale=options.stale,
            retry_rejected=options.retry_rejected,
            released=archive.releases.released() if archive else (),
            barred=archive.erasures.barred() if archive else None,
            retry_stages=options.retry_stages,
            hidden=self._is_hidden,
            listed_at=listed_at,
        )

    def _is_hidden(self, key: str) -> bool:
        """Whether a row stays although the listing lacks its key."""
        excluded = not self._options.globs.chooses(key)
        unlisted = not excluded and self._listing.hides(key)
        self._excluded_rows += excluded
        self._unlisted_rows += unlisted
        return excluded or unlisted

    def _store_rework(self, window: DiffWindow) -> None:
        changed, stale, gone = window.objects(KeyState.CHANGED), window.objects(KeyState.STALE), window.gone_rows()
        self._rework.add_changed(changed)
        if stale.num_rows:
            self._rework.add_stale(stale)
        self._rework.add_gone(gone)
        self._bytes[KeyState.CHANGED] += _sum(changed, "size")
        self._bytes[KeyState.GONE] += _sum(gone, "source_bytes")

    def _rework_pieces(self, shards: Iterable[ShardRework]) -> Iterator[Piece]:
        for item in shards:
            path = self._shards[item.shard].path
            yield from rework_unit(path, item.entries, self._units, self._options.unit_bytes, item.gone)
            self._units += 1

    def _write(self, pieces: Iterator[Piece]) -> range:
        """Write pieces and return the parts; without a manifest the generators only count them."""
        if self._manifest is not None:
            return self._manifest.write(pieces)
        for _ in pieces:
            pass
        return range(0)


def _sum(table: pa.Table, column: str) -> int:
    return int(pc.sum(table[column], min_count=0).as_py() or 0)
