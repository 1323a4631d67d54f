"""Status: the contents of an archive in numbers, computed from its tables without reading payloads.

The query engine inside `deltalake` (DataFusion) does the counting; it streams over the small
columns.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from deltalake import DeltaTable, QueryBuilder

from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.erasures import DONE
from pipeline.archive.log.commit_seal import time_of
from pipeline.archive.log.delta_table import arrow_table, files_of, open_table, queryable
from pipeline.archive.receipt import general
from pipeline.archive.schema import AFTER_ANALYSIS
from pipeline.archive.shards.merge_reader import merged
from pipeline.archive.shards.payload_references import shared_payloads
from pipeline.images.formats.codec_names import MAE
from pipeline.maintain.settings import StatusSettings
from pipeline.runs.checks import Checked, checked
from pipeline.runs.record import latest_records
from pipeline.storage.base import StorageError
from pipeline.storage.error_text import one_line

__all__ = ["ArchiveStatus", "RecentCommit", "StatusSettings", "status"]

_TOTALS = f"""
SELECT count(*) AS rows, count(*) FILTER (WHERE status = 'latent') AS latents,
       count(*) FILTER (WHERE status = 'standard') AS standard,
       count(*) FILTER (WHERE status = 'jxl') AS transcoded,
       count(*) FILTER (WHERE status = 'pixels') AS kept_pixels,
       coalesce(sum(source_bytes), 0) AS source_bytes, coalesce(sum(payload_bytes), 0) AS payload_bytes,
       coalesce(sum(CAST(width AS BIGINT) * height) FILTER (
           WHERE status IN ('latent', 'standard') OR kept IN {AFTER_ANALYSIS}
       ), 0) AS pixels
FROM images"""

# An image that decodes exactly has an infinite PSNR: it is counted, and left out of the other
# numbers.
_PSNR = """
SELECT count(*) AS measured, count(*) FILTER (WHERE psnr = CAST('Infinity' AS DOUBLE)) AS exact,
       avg(psnr) FILTER (WHERE psnr < CAST('Infinity' AS DOUBLE)) AS mean,
       min(psnr) FILTER (WHERE psnr < CAST('Infinity' AS DOUBLE)) AS least,
       approx_percentile_cont(psnr, 0.05) FILTER (WHERE psnr < CAST('Infinity' AS DOUBLE)) AS p5,
       approx_percentile_cont(psnr, 0.5) FILTER (WHERE psnr < CAST('Infinity' AS DOUBLE)) AS p50,
       approx_percentile_cont(psnr, 0.95) FILTER (WHERE psnr < CAST('Infinity' AS DOUBLE)) AS p95
FROM images WHERE psnr IS NOT NULL"""

_SSIMULACRA2 = """
SELECT count(*) AS measured, avg(ssimulacra2) AS mean, min(ssimulacra2) AS least,
       approx_percentile_cont(ssimulacra2, 0.05) AS p5, approx_percentile_cont(ssimulacra2, 0.5) AS p50,
       approx_percentile_cont(ssimulacra2, 0.95) AS p95
FROM images WHERE ssimulacra2 IS NOT NULL"""


_MOST_RUNS = 20
NAMED = 20
"""Rejected keys that are named."""


@dataclass(frozen=True, slots=True)
class RecentCommit:
    """One commit of the images table.

    Attributes:
        version: its number.
        time: UTC.
        operation: Delta's name of the operation.
        run: the run that committed, None for commits of other tools.
        rows: rows that the commit wrote, None where that is unknown.
    """

    version: int
    time: datetime
    operation: str
    run: str | None
    rows: int | None


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """The contents of an archive.

    Attributes:
        archive: its URL.
        rows: number of rows, one per source key.
        latents: rows that hold an image that the model compressed.
        standard: rows that hold one that a standard codec compressed.
        codecs: both by codec.
        transcoded: rows that hold a JPEG as JPEG XL, from which the same bytes come back.
        kept_pixels: rows that hold a kept picture's samples as JPEG XL, without loss.
        originals: rows that hold their source byte for byte.
        kept: transcoded and originals by reason, most frequent first.
        source_bytes: bytes of all sources.
        payload_bytes: bytes of all payloads.
        shard_bytes: bytes of the current version's Parquet files, everything included, and of the payloads that rows
            share.
        shards: number of these files.
        pixels: width times height of the images that were decoded; of others the size is only what a
            header claims.
        psnr: of compressed images, in dB: mean, least, p5, p50, p95 (approximate). `measured`
            counts the values, and `exact` the images that decode without any difference, which the
            other numbers leave out. Values are None where nothing was measured.
        ssimulacra2: of the compressed images with this measurement: measured, mean, least, p5, p50, p95
            (approximate).
        models: rows by model's fingerprint.
        model_names: what these models are called, by fingerprint; those without a name are left out.
        targets: compressed rows by target.
        qualities: rows of the model by quality.
        formats: rows by source format.
        released: keys whose originals were deleted by a release; their rows are the only copies.
        erased: keys that erasures bar from coming back.
        unfinished_erasures: erasures that were interrupted; the next `maepress forget` finishes them.
        rejected: keys whose latest known content was rejected.
        rejections: these by stage and reason, its numbers left out, most frequent first.
        rejected_keys: the first of these keys, with stage and reason.
        left_out: what the latest encode or sync did not take of its source: `excluded` objects,
            `unlisted` folders and the names of the first ones, `unlisted_folders`; empty where no
            such run is recorded.
        versions: latest commits, latest first.
        runs: summaries of runs (`pipeline.runs.record`), latest first; empty when not asked
            for.
        checked: when the shards were checked by `maepress verify --part`, and the damage known.
    """

    archive: str
    rows: int
    latents: int
    standard: int
    codecs: dict[str, int]
    transcoded: int
    kept_pixels: int
    originals: int
    kept: dict[str, int]
    source_bytes: int
    payload_bytes: int
    shard_bytes: int
    shards: int
    pixels: int
    psnr: dict[str, float | None]
    ssimulacra2: dict[str, float | None]
    models: dict[str, int]
    model_names: dict[str, str]
    targets: dict[str, int]
    qualities: dict[float, int]
    formats: dict[str, int]
    released: int
    erased: int
    unfinished_erasures: int
    rejected: int
    rejections: dict[str, int]
    rejected_keys: dict[str, str]
    left_out: dict[str, Any]
    versions: tuple[RecentCommit, ...]
    runs: tuple[dict[str, Any], ...]
    checked: Checked

    @property
    def ratio(self) -> float | None:
        """Source bytes divided by bytes of the Parquet files, None for an empty archive."""
        return self.source_bytes / self.shard_bytes if self.shard_bytes else None

    def to_dict(self) -> dict[str, object]:
        """The fields and the ratio as JSON values."""
        versions = [asdict(version) | {"time": version.time.isoformat()} for version in self.versions]
        return asdict(self) | {"ratio": self.ratio, "versions": versions, "checked": self.checked.to_dict()}


def status(settings: StatusSettings) -> ArchiveStatus:
    """Compute the status of an archive.

    Raises:
        MaepressError: in one line, when there is no archive.
    """
    archive = Archive.open(settings.archive)
    table = archive.table()
    files = files_of(table)
    query = QueryBuilder().register("images", queryable(archive.images, table, files))
    (totals,) = _select(query, _TOTALS)
    (psnr,) = _select(query, _PSNR)
    (ssimulacra2,) = _select(query, _SSIMULACRA2)
    models = _counts(query, "model")
    rejected = open_rejections(archive)
    rejections = Counter(map(general, rejected.values()))
    records = latest_records(archive.root, _MOST_RUNS)
    erasures = archive.erasures.receipts()
    return ArchiveStatus(
        archive=archive.url,
        **totals,
        codecs=_codecs(query, totals) if totals["standard"] else {MAE: totals["latents"]} if totals["latents"] else {},
        originals=totals["rows"] - sum(totals[name] for name in ("latents", "standard", "transcoded", "kept_pixels")),
        kept=_counts(query, "kept"),
        shard_bytes=sum(shard.size for shard in files) + sum(shared_payloads(archive.images).values()),
        shards=len(files),
        psnr=psnr,
        ssimulacra2=ssimulacra2,
        models=models,
        model_names={one: name for one in models if (name := archive.model_name(one))},
        targets=_counts(query, "target", "status IN ('latent', 'standard')"),
        qualities=_counts(query, "quality", "status <> 'standard'"),
        formats=_counts(query, "source_format"),
        released=sum(part.num_rows for part in archive.releases.released()),
        erased=sum(len(receipt.barred) for receipt in erasures),
        unfinished_erasures=sum(receipt.state != DONE for receipt in erasures),
        rejected=sum(rejections.values()),
        rejections=dict(rejections.most_common()),
        rejected_keys=dict(islice(rejected.items(), NAMED)),
        left_out=_left_out(records),
        versions=_versions(table, settings.versions),
        runs=tuple(records if settings.runs else ()),
        checked=checked(archive.root, [shard.path for shard in files]),
    )


def _left_out(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the latest encode or sync that ended left out of its source."""
    for record in records:
        result = record.get("result")
        if isinstance(result, dict) and "excluded" in result:
            return {name: result.get(name) for name in ("run", "excluded", "unlisted", "unlisted_folders")}
    return {}


def _select(query: QueryBuilder, sql: str) -> list[dict[str, Any]]:
    try:
        return arrow_table(query.execute(sql)).to_pylist()
    except Exception as e:  # the engine's own, for a shard that is missing or damaged
        raise StorageError(f"the archive cannot be read: {one_line(e)}") from e


def _counts(query: QueryBuilder, column: str, where: str = "true") -> dict[Any, int]:
    chosen = f"{column} IS NOT NULL AND {where}"
    sql = f"SELECT {column} AS name, count(*) AS n FROM images WHERE {chosen} GROUP BY 1 ORDER BY 2 DESC, 1"
    return {row["name"]: row["n"] for row in _select(query, sql)}


def _codecs(query: QueryBuilder, totals: dict[str, Any]) -> dict[str, int]:
    """Compressed rows by codec, most frequent first. Only asked where the table surely has the column."""
    standard = _counts(query, "codec", "status = 'standard'")
    return dict(Counter({MAE: totals["latents"]} | standard).most_common())


def open_rejections(archive: Archive) -> dict[str, str]:
    """Rejected keys with "stage: reason", in order, without those whose key has become a row since.

    Reads only shards whose key range contains a rejected key, as there are few rejections compared
    with rows.
    """
    latest: dict[str, tuple[datetime, str]] = {}
    columns = ("key", "etag", "stage", "reason", "rejected_at")
    for (key, _, stage, reason, when), _ in merged(
        archive.rejections, files_of(open_table(archive.rejections)), columns, 2
    ):
        if key not in latest or latest[key][0] < when:
            latest[key] = (when, f"{stage}: {reason}")
    keys = sorted(latest)
    shards = [s for s in archive.shards() if any_between(keys, s.first_key, s.last_key)]
    for (key, encoded_at), _ in merged(archive.images, shards, ("key", "encoded_at")):
        if key in latest and latest[key][0] <= encoded_at:
            del latest[key]
    return {key: latest[key][1] for key in keys if key in latest}


def any_between(keys: list[str], first: str, last: str) -> bool:
    """Whether a sorted list has a key in a range, both ends included."""
    at = bisect_left(keys, first)
    return at < len(keys) and keys[at] <= last


def _versions(table: DeltaTable, limit: int) -> tuple[RecentCommit, ...]:
    if not limit:
        return ()
    return tuple(
        RecentCommit(
            entry["version"],
            time_of(entry),
            entry["operation"],
            entry.get("run"),
            entry.get("rows"),
        )
        for entry in table.history(limit)
    )
