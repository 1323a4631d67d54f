"""The checks of everything in an archive but its rows: logs, models, records, lease. No Ray.

Each yields problems as (what, problem in one line).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from model import checkpoint
from model.core.boundary import Fault, attempt
from model.core.errors import MaepressError
from model.core.model_files import FILES
from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.log.log_check import Log, LoggedFile
from pipeline.archive.log.table_format import check_columns
from pipeline.archive.model_store import SUMS, checksums
from pipeline.archive.schema import REJECTIONS, RELEASES
from pipeline.runs.checks import problems_with_checks
from pipeline.runs.record import FOLDER, problem_with_record
from pipeline.storage.base import Fetched, StorageError, Store
from pipeline.verify.shard_checks import ROW_CHANGED, ShardProblem, check_shard

_AT_ONCE = 64

Named = tuple[str, str]


def images_log(archive: Archive) -> tuple[list[LoggedFile], list[Named]]:
    """The shards as the log describes them, and the problems of the log."""
    log = Log(archive.images, archive.table())
    return log.files, [("images", problem) for problem in log.problems]


def rejections_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the table of rejections: its log, its files and each of their rows."""
    try:
        table = open_table(archive.rejections)
    except TableNotFoundError:
        yield "rejections", "the table is missing: the next encode makes an empty one"
    except StorageError as e:
        yield "rejections", e.message
    else:
        yield from _table_problems("rejections", archive.rejections, table, REJECTIONS)


def releases_problems(archive: Archive) -> Iterator[Named]:
    """The same of the ledger of releases, which not every archive has."""
    try:
        table = archive.releases.table()
    except StorageError as e:
        yield "releases", e.message
        return
    if table is not None:
        yield from _table_problems("releases", archive.releases.store, table, RELEASES)


def _table_problems(name: str, store: Store, table: DeltaTable, schema: pa.Schema) -> Iterator[Named]:
    try:
        check_columns(table, schema, store.url)
        log = Log(store, table)
    except StorageError as e:
        yield name, e.message
        return
    yield from ((name, problem) for problem in log.problems)
    for file in log.files:
        for found in check_shard(store, file, schema):
            if isinstance(found, ShardProblem):
                yield f"{name}: shard {file.shard.path}", found.problem
                continue
            for key, changed in zip(found.rows.column("key").to_pylist(), found.changed, strict=True):
                if changed:
                    yield f"{name}: {key}", ROW_CHANGED


def erasures_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the receipts of erasures."""
    try:
        archive.erasures.receipts()
    except StorageError as e:
        yield "erasures", e.message


def model_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the models inside the archive. The copies in this machine's cache are not looked at."""
    for fingerprint in archive.models():
        problem = problem_with_model(archive, fingerprint)
        if problem:
            yield f"model {fingerprint}", problem


def problem_with_model(archive: Archive, fingerprint: str) -> str | None:
    """What is wrong with a model of an archive, in one line; None if nothing."""
    found = attempt(lambda: _problem_with_model(archive, fingerprint))
    return found.reason if isinstance(found, Fault) else found


def _problem_with_model(archive: Archive, fingerprint: str) -> str | None:
    store = archive.root.child(f"models/{fingerprint}")
    files = {name: store.get(name) for name in FILES}
    if store.exists(SUMS) and store.get(SUMS) != checksums(files):
        return f"its files are not those that {SUMS} describes: restore them"
    with tempfile.TemporaryDirectory(prefix="maepress-verify-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            found = checkpoint.load(folder).fingerprint
        except MaepressError as e:
            return str(e).replace(folder, store.url)
    return None if found == fingerprint else f"its files are those of the model {found}: restore them"


def record_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the records of runs; among them, that commits which a run has made are missing."""
    folder = archive.root.child(FOLDER)
    if not folder.root_exists():
        return
    latest = archive.version()
    names = [entry.key for entry in folder.entries() if entry.key.endswith(".json")]
    for start in range(0, len(names), _AT_ONCE):
        for got in folder.fetch(names[start : start + _AT_ONCE]):
            problem = problem_with_record(got.data, latest) if isinstance(got, Fetched) else got.reason
            if problem:
                yield f"{FOLDER}/{got.key}", problem


def lease_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the lease: whether the next job can read it, and reads what was written."""
    store = archive.root.child("leases")
    try:
        yield from (("leases", problem) for problem in Log(store, open_table(store)).problems)
    except TableNotFoundError:
        return
    except StorageError as e:
        yield "leases", f"{e.message}: remove the folder while no job runs"


def check_record_problems(archive: Archive) -> Iterator[Named]:
    """Problems of the records of earlier checks."""
    yield from problems_with_checks(archive.root)


CHECKS = (
    model_problems,
    rejections_problems,
    releases_problems,
    erasures_problems,
    record_problems,
    lease_problems,
    check_record_problems,
)


def archive_problems(archive: Archive) -> Iterator[Named]:
    """Problems of everything but the images table."""
    for check in CHECKS:
        yield from check(archive)
