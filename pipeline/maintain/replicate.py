"""Replicate: a second copy of an archive, which is an archive itself.

    models, other files --> copied where they are missing
    payloads that rows of the current version share --> copied where they are missing, each with its SHA-256
    shards of the current version --> copied where they are missing, each with the SHA-256 of the log
    one commit per table: the replica's files are the primary's       readers see the change here
    logs and records of the primary --> origin/, to mend the primary with

The replica has a log of its own. Its commits jump from the state of one replication to that of the
next, so it is a sound archive at every moment, and a replication that dies leaves files that no
version names; the next one finds and uses them. Its files are byte for byte those of the primary
under the same paths, so each of the two can be mended with the other (`maepress verify
--repair-from`).

Nothing is deleted in the replica unless `prune` is set, or keys were erased from the primary
(`maepress forget`): then they are erased here by the next replication. Otherwise the replica keeps its own older
versions, until it is vacuumed by itself.
"""

import functools
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from deltalake import DeltaTable, Transaction
from deltalake.exceptions import TableNotFoundError

from model.core.boundary import Fault, attempt
from model.core.model_files import FILES
from pipeline.archive.apart import require_destination_apart, require_no_archive
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.erasures import FOLDER as ERASURES
from pipeline.archive.ledgers.erasures import remarks_on
from pipeline.archive.ledgers.origin import FOLDER as ORIGIN
from pipeline.archive.ledgers.origin import RUNS, follow
from pipeline.archive.ledgers.releases import FOLDER as RELEASES_FOLDER
from pipeline.archive.log.added_columns import JOB as COLUMNS
from pipeline.archive.log.added_columns import add_missing_columns
from pipeline.archive.log.commit_seal import FilesDigest
from pipeline.archive.log.commits import REJECTIONS_VERSION, transact
from pipeline.archive.log.delta_table import create_table, files_of, open_table
from pipeline.archive.log.log_check import Log, LoggedFile
from pipeline.archive.log.optimistic_commit import commit_with_retry
from pipeline.archive.model_store import SUMS
from pipeline.archive.schema import IMAGES, REJECTIONS, RELEASES
from pipeline.archive.shards.shard_facts import FILE_SHA256
from pipeline.maintain.payload_copies import copy_payloads
from pipeline.maintain.pruning import discard_unfinished, prune
from pipeline.maintain.settings import ReplicateSettings
from pipeline.runs.alone import RELEASING
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run
from pipeline.runs.sources import recorded_sources
from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.copying import copy_object
from pipeline.storage.open import open_target
from pipeline.storage.places import is_within

__all__ = ["ReplicateResult", "ReplicateSettings", "replicate"]

JOB = "replicate"
_OWN_JOBS = frozenset({JOB, COLUMNS, "compact", "repair", "restore", "forget"})
"""Jobs that may commit to a replica: none of them adds a row that the primary does not have."""
_TABLES = {"images": IMAGES, "rejections": REJECTIONS, RELEASES_FOLDER: RELEASES}
LEFT_OUT = (*_TABLES, "plans", "leases", "checks", "adapting", RUNS, ORIGIN, ERASURES)
"""Folders that are not copied as they are: tables are copied by their logs, the others belong to running jobs or to one
of the two archives; receipts of erasures come last."""
_COPIERS = 8
_COMMITS_READ = 1000
_ATTEMPTS = 5
LISTED = 1000
"""Problems that a result lists."""


@dataclass(frozen=True, slots=True)
class ReplicateResult:
    """The result of a replication.

    Attributes:
        version: of the primary's images table that the replica holds now; None when the replica is as
            before, because of problems.
        shards: files of both tables in that version.
        copied: files that were copied, of every kind.
        copied_bytes: their bytes.
        removed: files removed from the replica, with `prune`.
        problems: files that could not be copied, or are not what the log says.
        remarks: what of an erasure could not be done at the replica's place.
    """

    version: int | None
    shards: int
    copied: int
    copied_bytes: int
    removed: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the replica holds everything, and nothing that was erased."""
        return not (self.problems or self.remarks)

    def to_dict(self) -> dict[str, object]:
        """The fields, and `ok`."""
        return {"ok": self.ok} | asdict(self)


@dataclass
class _Copied:
    """Running sums of a replication."""

    files: int = 0
    bytes: int = 0

    def take(self, files: int, size: int, problems: list[str]) -> list[str]:
        """Add files and bytes; passes problems on."""
        self.files, self.bytes = self.files + files, self.bytes + size
        return problems


def replicate(settings: ReplicateSettings) -> ReplicateResult:
    """Bring a second copy of an archive up to date. Run again, it continues.

    Raises:
        MaepressError: in one line, when there is no archive, its log is damaged, or the replica is
            another archive, holds other files, is not apart from the archive and its sources, or
            another job changes it.
    """
    archive = Archive.open(settings.archive)
    _require_apart(archive, settings)
    receipts = _receipts(archive.root)  # before the logs: an erasure that ends later is followed by the next run
    tables = [name for name in _TABLES if name != RELEASES_FOLDER or archive.releases.table() is not None]
    primary = {name: Log(_table_store(archive, name), open_table(_table_store(archive, name))) for name in tables}
    for name, log in primary.items():
        if log.problems:
            raise StorageError(
                f"the log of {archive.url}/{name} is damaged and is not copied ({log.problems[0]}): "
                "maepress verify --repair-from a replica mends it"
            )
    identity = str(archive.table().metadata().id)
    copy = _replica(settings.dest, identity)
    run = new_run()
    with Lease(copy.root, run, JOB) as lease, Heartbeat(copy.root, run, JOB):
        _require_own_commits(copy, identity)
        _require_no_own_releases(archive, copy)
        sums = _Copied()
        problems = [*_copy_others(archive.root, copy.root, sums)]
        problems += sums.take(*copy_payloads(archive.images, copy.images, primary["images"].files))
        for name, log in primary.items():
            create_table(_table_store(copy, name), _TABLES[name])
            add_missing_columns(_table_store(copy, name), _TABLES[name], run)
            problems += _copy_shards(_table_store(archive, name), _table_store(copy, name), log.files, sums)
        files = sum(len(log.files) for log in primary.values())
        if problems:
            return ReplicateResult(None, files, sums.files, sums.bytes, 0, tuple(problems[:LISTED]))
        lease.check()
        for name in tables:
            _commit(copy, name, primary[name].files, identity, run)
        sums.files += follow(archive.root, copy.root)
        erased = {name: data for name, data in receipts.items() if not _holds(copy.root, name, data)}
        removed = prune(archive, copy) if settings.prune or erased else 0
        removed += discard_unfinished(copy) if erased else 0
        for name, receipt in erased.items():  # only now: a run that dies before this prunes again
            copy.root.put(name, receipt)
    remarks = remarks_on(copy.root) if erased else ()
    return ReplicateResult(primary["images"].version, files, sums.files, sums.bytes, removed, (), remarks)


def _table_store(archive: Archive, name: str) -> Store:
    return {"images": archive.images, "rejections": archive.rejections}.get(name, archive.releases.store)


def _mark(identity: str) -> str:
    """The name under which a replica's commits count: a table has it only if it is a replica of this archive."""
    return f"replica of {identity}"


def _require_apart(archive: Archive, settings: ReplicateSettings) -> None:
    require_destination_apart(settings.dest, settings.archive)
    dest = Archive(settings.dest).root
    for source in recorded_sources(archive.root):
        if is_within(dest, source) or is_within(source, dest):
            raise StorageError(
                f"the replica {dest.url} is not apart from the archive's source {source.url}: give another place"
            )


def _replica(url: str, identity: str) -> Archive:
    """The replica at a URL, made when nothing is there.

    Raises:
        StorageError: when something else is there.
    """
    copy = Archive(url)
    open_target(url)
    try:
        table = open_table(copy.images)
    except TableNotFoundError:
        require_no_archive(copy.root, "the replica")
        others = next((entry for entry in copy.root.entries() if not _is_begun(entry)), None)
        if others is not None:
            raise StorageError(
                f"{copy.url} holds other files ({others.key[:80]!r}): give an empty place for the replica"
            ) from None
        return Archive.create(url)
    if table.transaction_version(_mark(identity)) is None and (table.version() or files_of(table)):
        raise StorageError(f"{copy.url} is another archive, and no replica of this one: give another place")
    return Archive.create(url)


def _is_begun(entry: Entry) -> bool:
    """Whether a file is of a replica that was being made when its job died."""
    return entry.key.startswith(tuple(f"{name}/_delta_log/" for name in (*_TABLES, "leases")))


def _require_own_commits(copy: Archive, identity: str) -> None:
    """Check that nobody else has changed the rows of a replica.

    Raises:
        StorageError: naming the job that has.
    """
    for entry in copy.table().history(_COMMITS_READ):
        job = entry.get("job")
        if job == JOB or not entry["version"]:
            return
        if job not in _OWN_JOBS and not str(entry.get("operation", "")).startswith("VACUUM"):
            raise StorageError(
                f"{copy.url} was changed by {job or entry.get('operation')} in its version {entry['version']}, and is "
                f"no plain replica any more: go back with maepress restore, or give another place ({_mark(identity)})"
            )


def _require_no_own_releases(archive: Archive, copy: Archive) -> None:
    """Check that no originals were deleted because of the replica alone: it follows the ledger of the archive.

    Raises:
        StorageError: naming one of them.
    """
    table = copy.releases.table()
    jobs = [] if table is None else [entry.get("job") for entry in table.history(_COMMITS_READ)]
    if RELEASING not in jobs[: jobs.index(JOB) if JOB in jobs else None]:
        return
    if own := copy.releases.released_keys() - archive.releases.released_keys():
        raise StorageError(
            f"originals of {len(own):,} images were released because of {copy.url}, among them {min(own)!r}, and "
            f"{archive.url} does not know: let the replica be the archive from now on, or give another place"
        )


def _copy_others(source: Store, dest: Store, sums: _Copied) -> Iterator[str]:
    """Copy models and all files that are not in a table, where they are missing or differ. Yields problems."""
    there = {entry.key: entry.size for entry in dest.entries() if _is_plain(entry.key)}
    for entry in source.entries():
        if not _is_plain(entry.key):
            continue
        fixed = entry.key.startswith("models/")  # never changed once it is there
        if fixed and there.get(entry.key) == entry.size:
            continue
        got = attempt(functools.partial(_sound, source, entry.key))
        if isinstance(got, Fault):
            yield f"{entry.key}: {got.reason}"
        elif entry.key not in there or dest.get(entry.key) != got:
            dest.put(entry.key, got)
            sums.files += 1
            sums.bytes += len(got)


def _receipts(source: Store) -> dict[str, bytes]:
    """The receipts of erasures, by key."""
    folder = source.child(ERASURES)
    names = [f"{ERASURES}/{entry.key}" for entry in folder.entries()] if folder.root_exists() else []
    return {name: source.get(name) for name in names}


def _holds(dest: Store, name: str, data: bytes) -> bool:
    """Whether the replica has followed the erasure of a receipt."""
    return dest.exists(name) and dest.get(name) == data


def _sound(source: Store, key: str) -> bytes:
    """The bytes of a file.

    Raises:
        StorageError: when it cannot be read, or a model's file is not the one in its list of checksums.
    """
    data = source.get(key)
    folder, _, name = key.rpartition("/")
    if folder.startswith("models/") and name in FILES and source.exists(f"{folder}/{SUMS}"):
        line = f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
        if line not in source.get(f"{folder}/{SUMS}").splitlines(keepends=True):
            raise StorageError(f"it is damaged: {SUMS} says otherwise")
    return data


def _is_plain(key: str) -> bool:
    return key.partition("/")[0] not in LEFT_OUT


def _copy_shards(source: Store, dest: Store, files: list[LoggedFile], sums: _Copied) -> list[str]:
    """Copy the files of a table that are missing. Returns problems."""
    there = {entry.key: entry.size for entry in dest.entries()}
    missing = [file for file in files if there.get(file.shard.path) != file.shard.size]

    def copy(file: LoggedFile) -> str | None:
        shard = file.shard
        done = attempt(lambda: copy_object(source, dest, shard.path, shard.size, file.stats.get(FILE_SHA256)))
        return f"{shard.path}: {done.reason}" if isinstance(done, Fault) else None

    with ThreadPoolExecutor(_COPIERS) as pool:
        found = list(pool.map(copy, missing))
    problems = [problem for problem in found if problem is not None]
    sums.files += len(missing) - len(problems)
    sums.bytes += sum(file.shard.size for file, problem in zip(missing, found, strict=True) if problem is None)
    return problems


def _commit(copy: Archive, name: str, files: list[LoggedFile], identity: str, run: str) -> None:
    """Make a table of the replica consist of these files."""
    store = _table_store(copy, name)
    wanted = {file.shard.path: file.described() for file in files}

    def commit(table: DeltaTable) -> None:
        there = {shard.path: shard for shard in files_of(table)}
        adds = [shard for path, shard in wanted.items() if path not in there]
        removes = [shard for path, shard in there.items() if path not in wanted]
        number = table.transaction_version(_mark(identity)) or 0
        if not (adds or removes) and number:
            return
        # The run is the commit's mark: the log check compares the two.
        facts = {"run": _mark(identity), "job": JOB, "replication": run, "rows": sum(shard.rows for shard in adds)}
        if name == "images":
            facts[REJECTIONS_VERSION] = open_table(copy.rejections).version()
        mark = Transaction(_mark(identity), number + 1)
        transact(store, table, _TABLES[name], adds, removes, mark, facts, FilesDigest(there.values()))

    commit_with_retry(
        lambda: open_table(store),
        commit,
        attempts=_ATTEMPTS,
        busy=StorageError(f"others commit to {store.url} all the time: stop them, then replicate"),
        failed=f"the commit to {store.url} failed",
    )
