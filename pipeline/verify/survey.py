"""What a verification learns from the key columns alone: repeated keys, the sample, what the archive lacks."""

import hashlib
import heapq
from dataclasses import dataclass

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.schema import COMPRESSED
from pipeline.archive.shards.merge_reader import merged
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.verify.result import LISTED_PROBLEMS
from pipeline.verify.source_comparison import HiddenRanges, SourceComparison, SourceTotals


@dataclass(frozen=True, slots=True)
class KeySurvey:
    """Facts from the key columns. `sample` holds the keys to decode, None for all."""

    rows: int
    payload_bytes: int
    repeated: tuple[str, ...]
    sample: frozenset[str] | None
    source: SourceTotals


def survey(archive: Archive, shards: list[Shard], sample: str, listing: SourceListing | None) -> KeySurvey:
    """Read all keys in order; memory grows with the sample only.

    Args:
        archive: to read.
        shards: to read; those that cannot be read are left out.
        sample: number of compressed images to choose, or "all".
        listing: of the source that is compared with the keys, if there is one.
    """
    size = 0 if sample == "all" else int(sample)
    least: list[tuple[int, str]] = []  # a heap of negated hashes; its first is the greatest hash kept
    repeated: list[str] = []
    rows = payload_bytes = 0
    last = None
    unreadable: set[str] = set()  # reported later, when the payloads are read
    ranges = {shard.path: (shard.first_key, shard.last_key) for shard in shards}
    entries, rejections = (iter(listing), archive.rejections_by_key()) if listing else (iter(()), iter(()))
    fetch, sizes_are_known = (listing.source.fetch, listing.source.sizes_are_known) if listing else (None, True)
    barred = attempt(archive.erasures.barred)  # a damaged receipt is a problem of its own
    known = None if isinstance(barred, Fault) else barred
    found_released = attempt(archive.releases.released_keys) if listing else frozenset[str]()  # damage is named, too
    released = frozenset[str]() if isinstance(found_released, Fault) else found_released
    comparison = SourceComparison(
        entries,
        rejections,
        HiddenRanges(ranges, unreadable),
        fetch,
        known,
        released=released,
        sizes_are_known=sizes_are_known,
    )
    columns = ("key", "status", "payload_bytes", "etag", *(("source_bytes", "source_sha256") if listing else ()))
    index = merged(archive.images, shards, columns, unreadable=unreadable)
    for (key, status, length, etag, *of_source), _ in index:
        rows += 1
        payload_bytes += length or 0
        if key is None:  # reported later, as an unreadable shard is
            continue
        if key == last:
            if len(repeated) < LISTED_PROBLEMS:
                repeated.append(key)
            continue
        last = key
        comparison.row(key, etag or "", *of_source)
        if size and status in COMPRESSED:
            entry = (-int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"), key)
            if len(least) < size:
                heapq.heappush(least, entry)
            elif entry > least[0]:
                heapq.heapreplace(least, entry)
    chosen = None if sample == "all" else frozenset(key for _, key in least)
    found = comparison.end()
    if listing:
        found.excluded, found.unlisted = listing.excluded, listing.unlisted
    return KeySurvey(rows, payload_bytes, tuple(repeated), chosen, found)
