"""Verify: check that an archive can return every image.

    keys --> driver: repeated keys, choice of the sample
    shards --> check every payload (tasks) --> decode the sample (actors) --> findings

Every payload is read. Checksum, header and row must agree; an original, and the JPEG of a
transcode, must have the SHA-256 of the source. A sample of the compressed images is decoded with
the archive's own models, and compared with the source if that is given.
"""

import functools
import hashlib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import torch
from ray.data import DataContext

from model.core.boundary import Fault, attempt, reason_of
from model.core.errors import MissingPackage
from pipeline.archive.archive import Archive
from pipeline.archive.merge_reader import merged
from pipeline.archive.reader import Row, RowDecoder
from pipeline.archive.schema import IMAGES, JXL, LATENT
from pipeline.archive.shard_reader import rows_of, scan_shard
from pipeline.archive.shards import Shard
from pipeline.execution import ray_flow
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.packing import unpack
from pipeline.execution.ray_flow import item_rows
from pipeline.execution.setting_types import parse_range
from pipeline.monitoring.progress import Progress
from pipeline.storage.open import Fetched, StorageError, Store, open_source
from pipeline.verify.row_checks import problem_with, problem_with_fidelity, problem_with_picture
from pipeline.verify.settings import VerifySettings

__all__ = ["Problem", "VerifyResult", "VerifySettings", "verify"]

_COUNTERS = (
    *("rows", "latents", "transcoded", "originals", "payload_bytes"),
    *("decoded", "compared", "changed", "failed"),
)
_KINDS = {LATENT: "latents", JXL: "transcoded"}
LISTED_PROBLEMS = 1000
"""Problems that a result lists; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one key or shard, in one line."""

    key: str
    problem: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a verification.

    Attributes:
        rows: rows whose payload was read and checked.
        latents: rows that hold a compressed image.
        transcoded: rows that hold a JPEG as JPEG XL.
        originals: rows that hold their source byte for byte.
        payload_bytes: bytes of the payloads.
        decoded: sampled images that were decoded.
        compared: decoded images whose fidelity was measured against the source again.
        changed: decoded images not compared, because their source is gone or has changed since.
        failed: number of problems.
        problems: the first of them.
        seconds: from start to end.
    """

    rows: int
    latents: int
    transcoded: int
    originals: int
    payload_bytes: int
    decoded: int
    compared: int
    changed: int
    failed: int
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.failed

    def to_dict(self) -> dict[str, object]:
        """The fields, and `ok`."""
        return {"ok": self.ok} | asdict(self)


@dataclass(frozen=True, slots=True)
class _Finding:
    """The result for one row: the counters that it increments, and its problem, if any."""

    key: str
    counts: tuple[str, ...] = ()
    payload_bytes: int = 0
    pixels: int = 0
    problem: str | None = None


def verify(settings: VerifySettings, *, quiet: bool = False) -> VerifyResult:
    """Check every payload of an archive, and decode a sample.

    The sample consists of the rows whose keys have the smallest SHA-256: the same every time, and
    spread over all keys. Problems raise nothing: see `VerifyResult.problems`. Uses the Ray that is
    connected, or starts one.

    Args:
        settings: archive, size of the sample, source and resources.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive, or the source given does not exist.
    """
    started = time.monotonic()
    archive = Archive.open(settings.archive)
    source = open_source(settings.source) if settings.source else None
    shards = archive.shards()
    totals = _Totals()
    survey = _survey(archive, shards, settings.sample)
    for key in survey.repeated:
        totals.add(_Finding(key, problem="its key is in the archive more than once"))
    if shards:
        with Progress(survey.rows, survey.payload_bytes, quiet=quiet) as progress:
            for finding in _findings(archive, shards, survey, source, settings):
                totals.add(finding)
                checked = int("rows" in finding.counts)
                progress.advance(objects=checked, bytes_in=finding.payload_bytes, pixels=finding.pixels)
    return totals.result(time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _KeySurvey:
    """Facts from the key columns. `sample` holds the keys to decode, None for all."""

    rows: int
    payload_bytes: int
    repeated: tuple[str, ...]
    sample: frozenset[str] | None


def _survey(archive: Archive, shards: list[Shard], sample: str) -> _KeySurvey:
    """Read all keys in order; memory grows with the sample only."""
    size = 0 if sample == "all" else int(sample)
    least: list[tuple[int, str]] = []  # a heap of negated hashes; its first is the greatest hash kept
    repeated: list[str] = []
    rows = payload_bytes = 0
    last = None
    unreadable: set[str] = set()  # reported later, when the payloads are read
    index = merged(archive.images, shards, ("key", "status", "payload_bytes"), unreadable=unreadable)
    for (key, status, length), _ in index:
        rows += 1
        payload_bytes += length or 0
        if key is None:  # reported later, as an unreadable shard is
            continue
        if key == last:
            if len(repeated) < LISTED_PROBLEMS:
                repeated.append(key)
            continue
        last = key
        if size and status == LATENT:
            entry = (-int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"), key)
            if len(least) < size:
                heapq.heappush(least, entry)
            elif entry > least[0]:
                heapq.heapreplace(least, entry)
    return _KeySurvey(
        rows, payload_bytes, tuple(repeated), None if sample == "all" else frozenset(key for _, key in least)
    )


def _findings(
    archive: Archive, shards: list[Shard], survey: _KeySurvey, source: Store | None, settings: VerifySettings
) -> Iterator[_Finding]:
    workers = ray_flow.worker_resources(parse_range(settings.actors), settings.gpus_per_actor)
    models = frozenset(archive.models())
    to_decode = survey.rows if survey.sample is None else len(survey.sample)
    with DataContext.current(ray_flow.context()):
        paths = ray_flow.from_shards([shard.path for shard in shards])
        checked = ray_flow.stage(paths, _check, archive, models, survey.sample, cpus=workers.task_cpus)
        decoder = (_SampleDecoder, archive, source, workers.threads)
        findings = ray_flow.actor_stage(checked, *decoder, workers=workers, rows=to_decode)
    yield from ray_flow.items(findings)


def _check(
    table: pa.Table, archive: Archive, models: frozenset[str], sample: frozenset[str] | None
) -> Iterator[pa.Table]:
    """Findings of a shard's rows; a sound row of the sample follows its finding, for decoding."""
    for cell in table["shard"]:
        path = str(cell.as_py())
        try:
            for batch in scan_shard(archive.images, path, IMAGES.names):
                for row in rows_of(batch):
                    if isinstance(row, Fault):
                        yield item_rows(_Finding(f"shard {path}", ("rows",), problem=row.reason))
                        continue
                    kind = _KINDS.get(row["status"], "originals")
                    problem = _problem(problem_with, row, models)
                    size = row["payload_bytes"] or 0
                    yield item_rows(_Finding(str(row["key"]), ("rows", kind), size, problem=problem))
                    if row["status"] == LATENT and problem is None and (sample is None or row["key"] in sample):
                        yield item_rows(row)
        except Exception as e:  # whatever a damaged Parquet file makes its parser raise
            yield item_rows(_Finding(f"shard {path}", problem=reason_of(e)))


def _problem(check: Callable[..., str | None], *arguments: Any) -> str | None:
    """The problem that a check finds, or the error that ends it."""
    found = attempt(lambda: check(*arguments), passes=(MissingPackage,))
    return found.reason if isinstance(found, Fault) else found


@raise_in_first_call
class _SampleDecoder:
    """An actor with the archive's models: turns rows into findings, and passes findings on."""

    def __init__(self, archive: Archive, source: Store | None, threads: int) -> None:
        torch.set_num_threads(threads)
        self._decoder = RowDecoder(archive, own_device())
        self._source = source

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        rows: list[Row] = []
        for cell in table["item"]:
            item = unpack(cell)
            if isinstance(item, _Finding):
                yield item_rows(item)
            else:
                rows.append(item)
        for row, picture in self._decoder.pictures(rows):
            if isinstance(picture, str):
                yield item_rows(_Finding(row["key"], problem=picture))
                continue
            pixels = row["width"] * row["height"]
            counts: tuple[str, ...] = ("decoded",)
            problem = _problem(problem_with_picture, row, picture)
            if self._source is not None and problem is None:
                found = attempt(functools.partial(self._source.fetch, [row["key"]]), passes=(StorageError,))
                got = found[0] if isinstance(found, list) else None
                if isinstance(found, Fault):
                    problem = f"its source cannot be fetched: {found.reason}"
                elif isinstance(got, Fetched) and got.etag == row["etag"]:
                    counts, problem = ("decoded", "compared"), _problem(problem_with_fidelity, row, picture, got.data)
                else:
                    counts = ("decoded", "changed")
            yield item_rows(_Finding(row["key"], counts, pixels=pixels, problem=problem))


class _Totals:
    """Sums of findings."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._problems: list[Problem] = []

    def add(self, finding: _Finding) -> None:
        self._counts.update(finding.counts)
        self._counts["payload_bytes"] += finding.payload_bytes
        if finding.problem is not None:
            self._counts["failed"] += 1
            if len(self._problems) < LISTED_PROBLEMS:
                self._problems.append(Problem(finding.key, finding.problem))

    def result(self, seconds: float) -> VerifyResult:
        problems = tuple(sorted(self._problems, key=lambda problem: problem.key))
        return VerifyResult(**{name: self._counts[name] for name in _COUNTERS}, problems=problems, seconds=seconds)
