"""Verdicts on all chosen images of an archive, computed beside each other.

shards --> check every row (tasks) --> fetch its original, decode, compare (actors) --> verdicts
"""

import functools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import torch

from model.core.boundary import Fault, attempt
from model.core.errors import MissingPackage
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import KeyChoice
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.models import Models
from pipeline.archive.reader import Row, RowDecoder
from pipeline.archive.schema import COMPRESSED, IMAGES
from pipeline.archive.shards.shard_reader import rows_of
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.packing import unpack
from pipeline.execution.shard_flow import run_shards
from pipeline.execution.shard_work import ShardWork, item_rows
from pipeline.release.checks import problem_with_decoded, problem_with_original
from pipeline.release.result import Verdict
from pipeline.release.second_copy import SecondCopy
from pipeline.release.settings import ReleaseSettings, parse_age
from pipeline.storage.base import Fetched, FetchFailed, Store
from pipeline.verify.row_checks import problem_with
from pipeline.verify.shard_checks import ROW_CHANGED, ShardProblem, check_shard

SOURCE_PER_PAYLOAD = 6
"""Bytes of source per byte of payload: how much work the checks are, only to choose where they run."""

_MORE_BYTES = 16 << 20
"""Bytes by which an object that changed may be larger and still be read."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are looked at, and what is asked of them besides.

    Attributes:
        keys: the keys.
        before: rows encoded later do not pass; None for no such limit.
        models: fingerprints of the models that the archive holds.
        second: the other copy of the archive, None without one.
    """

    keys: KeyChoice
    before: datetime | None
    models: frozenset[str]
    second: SecondCopy | None


def choice_of(settings: ReleaseSettings, archive: Archive) -> Choice:
    """The choice that settings describe.

    Raises:
        MaepressError: when the list of keys or the second copy cannot be read.
    """
    second = SecondCopy.open(settings.second_copy) if settings.second_copy is not None else None
    age = parse_age(settings.minimum_age)  # without one, no two clocks are compared
    before = datetime.now(UTC) - timedelta(seconds=age) if age else None
    return Choice(KeyChoice.of(settings.keys), before, frozenset(archive.models()), second)


def verdicts(
    archive: Archive, files: list[LoggedFile], source: Store, choice: Choice, settings: ReleaseSettings
) -> Generator[Verdict, None, None]:
    """The verdict on each chosen row; of a shard that cannot be read, one under its path.

    A caller that may end early closes the generator, which ends the work.
    """
    chosen = [file for file in files if choice.keys.may_be_between(file.shard.first_key, file.shard.last_key)]
    work = ShardWork(
        functools.partial(_check, archive=archive, choice=choice),
        _Comparer,
        (Models(archive), source),
        None,
        sum(file.shard.rows for file in chosen),
        SOURCE_PER_PAYLOAD * sum(file.shard.size for file in chosen),
    )
    described = [file.to_json() for file in chosen]
    return run_shards(described, work, settings.executor, settings.actors, settings.gpus_per_actor)


def _check(table: pa.Table, archive: Archive, choice: Choice) -> Iterator[pa.Table]:
    """Chosen rows of shards that pass the checks of the archive alone, and verdicts on those that do not."""
    for cell in table["shard"]:
        file = LoggedFile.from_json(str(cell.as_py()))
        problem = None
        copy = choice.second.rows(file) if choice.second else None
        for found in check_shard(archive.images, file, IMAGES):
            if isinstance(found, ShardProblem):
                problem = found.problem
                continue
            for row, changed in zip(rows_of(found.rows), found.changed, strict=True):
                if isinstance(row, Fault):
                    problem = row.reason
                elif row["key"] in choice.keys:
                    why = ROW_CHANGED if changed else _problem(lambda r=row: problem_with(r, choice.models))
                    why = why or _too_young(row, choice) or (copy(row) if copy else None)
                    yield item_rows(_failed(row, why) if why else row)
        if problem is not None:
            yield item_rows(Verdict(f"shard {file.shard.path}", facts=problem))


def _too_young(row: Row, choice: Choice) -> str | None:
    if choice.before is None or row["encoded_at"] <= choice.before:
        return None
    return f"it was encoded at {row['encoded_at']:%Y-%m-%d %H:%M} UTC: younger than the minimum age"


def _failed(row: Row, reason: str, etag: str = "", **more: Any) -> Verdict:
    return Verdict(str(row["key"]), etag, row["source_bytes"] or 0, row["source_sha256"] or "", reason, **more)


def _problem(check: Any) -> str | None:
    """The problem that a check finds, or the error that ends it."""
    found = attempt(check, passes=(MissingPackage,))
    return found.reason if isinstance(found, Fault) else found


@raise_in_first_call
class _Comparer:
    """An actor with the archive's models: turns rows into verdicts, and passes verdicts on."""

    def __init__(self, models: Models, source: Store, threads: int) -> None:
        torch.set_num_threads(threads)
        self._decoder = RowDecoder(models, own_device())
        self._source = source

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        items = [unpack(cell) for cell in table["item"]]
        rows = [item for item in items if not isinstance(item, Verdict)]
        for item in items:
            if isinstance(item, Verdict):
                yield item_rows(item)
        originals: dict[str, Fetched] = {}
        compressed: list[Row] = []
        for row, got in zip(rows, self._fetched(rows), strict=True):
            if isinstance(got, FetchFailed):
                yield item_rows(self._unread(row, got))
            elif why := _problem(lambda r=row, g=got: problem_with_original(r, g.data)):
                yield item_rows(_failed(row, why, got.etag))
            elif row["status"] in COMPRESSED:
                originals[row["key"]] = got
                compressed.append(row)
            else:
                yield item_rows(_passed(row, got.etag, f"{row['status']}: the same bytes come back"))
        for row, picture in self._decoder.pictures(compressed):
            yield item_rows(self._compared(row, picture, originals.pop(row["key"])))

    def _fetched(self, rows: list[Row]) -> list[Fetched | FetchFailed]:
        """The originals; what is much larger than the row says is not read."""
        return [
            self._source.fetch([row["key"]], row["source_bytes"] + _MORE_BYTES)[0]
            if self._source.problem_with_key(row["key"]) is None
            else FetchFailed(row["key"], "its key cannot be in this source")
            for row in rows
        ]

    def _unread(self, row: Row, failed: FetchFailed) -> Verdict:
        absent = attempt(lambda: not self._source.exists(row["key"]))
        if absent is True and not failed.transient:
            return _failed(row, "the source has no such object", absent=True)
        return _failed(row, f"its original cannot be compared: {failed.reason}")

    @staticmethod
    def _compared(row: Row, picture: Picture | str, original: Fetched) -> Verdict:
        if isinstance(picture, str):
            return _failed(row, picture, original.etag)
        if why := _problem(lambda: problem_with_decoded(row, picture, original.data)):
            return _failed(row, why, original.etag)
        facts = f"{row['psnr']:.2f} dB as recorded; all else in the file comes back"
        return _passed(row, original.etag, facts, picture.width * picture.height)


def _passed(row: Row, etag: str, facts: str, pixels: int = 0) -> Verdict:
    return _failed(row, facts, etag, passed=True, pixels=pixels)
