"""Repair: what is damaged in an archive is taken from a replica, where it is intact there.

| damaged or missing | taken from | accepted if |
|---|---|---|
| log files, checkpoints | `origin/` of the replica | they are what was copied, and the log is better with them |
| models | `models/` of the replica | checksums and fingerprint hold |
| payloads that rows share | the object of the same name | its SHA-256 is the one in its name |
| shards of both tables | the file of the same path | its SHA-256 is the one in the archive's log |
| rows of images, where no such file is | the replica's rows | see `pipeline.verify.row_repair` |
| records of runs | `origin/runs/` of the replica | they are what was copied |
| receipts of erasures | `erasures/` of the replica | theirs is sound, and ours damaged, or we have none at all |

Files are replaced as a whole, so a reader sees the old bytes or the right ones. Rows are written as
a new shard, in an ordinary commit.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable

import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from model.core.boundary import Fault, attempt
from model.core.model_files import FILES
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.erasures import FOLDER as ERASURES
from pipeline.archive.ledgers.origin import LOGS, RUNS, digests, intact
from pipeline.archive.log.commit_seal import PREVIOUS, log_file
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.log.log_check import Log, LoggedFile
from pipeline.archive.model_store import SUMS
from pipeline.archive.schema import LOG, REJECTIONS, RELEASES
from pipeline.archive.shards.payload_references import named_by
from pipeline.archive.shards.shard_facts import FILE_SHA256
from pipeline.archive.shards.shared_payloads import get, name_in
from pipeline.runs.checks import Damage
from pipeline.runs.name import new_run
from pipeline.storage.base import Fetched, StorageError, Store
from pipeline.storage.copying import copy_object
from pipeline.storage.places import require_outside
from pipeline.verify.archive_checks import problem_with_model, record_problems
from pipeline.verify.row_repair import repair_rows
from pipeline.verify.shard_checks import ShardProblem, check_shard

_UNREADABLE = 1 << 30
"""Counted for a log that cannot be read at all: worse than any number of problems."""
_BLOCK = 4 << 20


class Repair:
    """Mends one archive with one replica. Each method returns what it mended, in words."""

    def __init__(self, archive: str, replica: str) -> None:
        """Open both places.

        Raises:
            MaepressError: when there is no replica, it is not apart from the archive, or the archive's
                place cannot be written.
        """
        self._replica = Archive.open(replica)
        self._archive = Archive(archive)
        require_outside(self._replica.root, "the replica", self._archive.root, "the archive", "and mends nothing")
        self._archive.root.check_readable()
        self._archive.root.check_target()

    def logs(self) -> list[str]:
        """Mend receipts of erasures and the logs of all tables; call it before anything reads them.

        Raises:
            StorageError: when a log is damaged, and the replica's is from before an erasure.
        """
        known = digests(self._replica.root)
        mended = self._receipts()
        for folder in LOGS:
            store = self._archive.root.child(folder.partition("/")[0])
            mended += self._log(store, [name for name in known if name.startswith(f"{folder}/")], known)
        return mended

    def _receipts(self) -> list[str]:
        ours, theirs = self._archive.erasures, self._replica.erasures
        mended = []
        for name in sorted(theirs.names() & (ours.names() or theirs.names())):
            receipt = theirs.named(name)
            if receipt is not None and ours.named(name) is None:
                ours.write(receipt)
                mended.append(f"{ERASURES}/{name}: taken from the replica")
        return mended

    def _is_before_an_erasure(self) -> bool:
        """Whether the archive has erased what the replica may still hold."""
        ours, theirs = self._archive.erasures, self._replica.erasures
        return any(ours.named(name) != theirs.named(name) for name in ours.names())

    def _log(self, store: Store, names: list[str], known: dict[str, str]) -> list[str]:
        root = self._archive.root
        before = _log_problems(store) + self._is_cut_short(store, known)
        if not (before and names):
            return []
        if self._is_before_an_erasure():
            raise StorageError(
                f"the log {store.url}/{LOG} is damaged, and the replica {self._replica.url} is from before an erasure, "
                "whose keys its log would bring back: erase them there, too (`maepress forget`), and use it instead"
            )
        replaced: dict[str, bytes | None] = {}
        for name in names:
            (got,) = root.fetch([name])
            now = got.data if isinstance(got, Fetched) else None
            if now is not None and hashlib.sha256(now).hexdigest() == known[name]:
                continue
            data = intact(self._replica.root, name, known)
            if data is not None:
                replaced[name] = now
                root.put(name, data)
        if (
            _log_problems(store) + self._is_cut_short(store, known) >= before
        ):  # of no use: perhaps the log went another way since it was copied
            for name, data in replaced.items():
                root.delete(name) if data is None else root.put(name, data)
            return []
        return [f"{name}: taken from the replica" for name in replaced]

    def _is_cut_short(self, store: Store, known: dict[str, str]) -> bool:
        """Whether the replica has a version that follows our last one: its record names the digest of ours."""

        def follows() -> bool:
            latest: int = open_table(store).version()
            table = store.url.rpartition("/")[2]
            data = intact(self._replica.root, f"{table}/{log_file(latest + 1)}", known)
            ours = hashlib.sha256(store.get(log_file(latest))).hexdigest()
            return data is not None and f'"{PREVIOUS}":"{ours}"'.encode() in data

        return attempt(follows) is True

    def rest(self, files: list[LoggedFile], damage: Iterable[Damage]) -> list[str]:
        """Mend models, shards and records.

        Args:
            files: of the images table, as its log describes them.
            damage: found in them.
        """
        damaged = {found.shard for found in damage if found.shard}
        mended = [*self._models(), *self._small_tables(), *self._records()]
        for file in files:
            if file.shard.path in damaged:
                mended += self._shard(file)
        return mended

    def _models(self) -> list[str]:
        mended = []
        for fingerprint in self._replica.models():
            if problem_with_model(self._archive, fingerprint) is None:
                continue
            if problem_with_model(self._replica, fingerprint) is not None:
                continue
            ours, theirs = (a.root.child(f"models/{fingerprint}") for a in (self._archive, self._replica))
            for name in (SUMS, *FILES):
                if theirs.exists(name) and not _same(ours, theirs, name):
                    ours.put(name, theirs.get(name))
                    mended.append(f"models/{fingerprint}/{name}: taken from the replica")
        return mended

    def _payloads(self, shard: str) -> list[str]:
        """Payloads that rows of a shard share."""
        ours, theirs = self._archive.images, self._replica.images
        named = attempt(lambda: named_by(ours, [shard]))
        mended: list[str] = []
        for key in [] if isinstance(named, Fault) else sorted(named):
            name = name_in(key)
            if isinstance(attempt(functools.partial(get, ours, name)), Fault):
                data = attempt(functools.partial(get, theirs, name))
                if isinstance(data, bytes):
                    ours.put(key, data)
                    mended.append(f"images/{key}: taken from the replica")
        return mended

    def _small_tables(self) -> list[str]:
        """Files of the rejections and of the ledger of releases."""
        ours, theirs = self._archive, self._replica
        return [
            *_take_files(ours.rejections, theirs.rejections, REJECTIONS, "rejections"),
            *_take_files(ours.releases.store, theirs.releases.store, RELEASES, "releases"),
        ]

    def _records(self) -> list[str]:
        known = digests(self._replica.root)
        mended = []
        for name, _ in record_problems(self._archive):
            data = intact(self._replica.root, name, known) if name.startswith(f"{RUNS}/") else None
            if data is not None and data != self._archive.root.get(name):
                self._archive.root.put(name, data)
                mended.append(f"{name}: taken from the replica")
        return mended

    def _shard(self, file: LoggedFile) -> list[str]:
        """A damaged shard: the whole file if the replica has it, and payloads that it shares, else its rows."""
        whole = _take_file(self._replica.images, self._archive.images, file, "images")
        mended = whole + self._payloads(file.shard.path)
        if whole:
            return mended
        done = attempt(lambda: repair_rows(self._archive, self._replica, file, new_run()), passes=())
        return mended if isinstance(done, Fault) else mended + done


def _take_files(ours: Store, theirs: Store, schema: pa.Schema, table: str) -> list[str]:
    """Replace the damaged files of a table by the replica's."""
    try:
        files = Log(ours, open_table(ours)).files
    except (StorageError, TableNotFoundError):
        return []
    mended = []
    for file in files:
        if any(isinstance(f, ShardProblem) or any(f.changed) for f in check_shard(ours, file, schema)):
            mended += _take_file(theirs, ours, file, table)
    return mended


def _take_file(theirs: Store, ours: Store, file: LoggedFile, table: str) -> list[str]:
    """Replace a file by the replica's, if that is the one in our log and ours is not."""
    path, sha256 = file.shard.path, file.stats.get(FILE_SHA256)
    if not isinstance(sha256, str) or not theirs.exists(path) or _sha256(ours, path) == sha256:
        return []
    done = attempt(lambda: copy_object(theirs, ours, path, file.shard.size, sha256))
    return [] if isinstance(done, Fault) else [f"{table}/{path}: taken from the replica"]


def _sha256(store: Store, key: str) -> str | None:
    def read() -> str:
        digest = hashlib.sha256()
        with store.open_input(key) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    found = attempt(read)
    return None if isinstance(found, Fault) else found


def _same(ours: Store, theirs: Store, name: str) -> bool:
    read: Callable[[], bool] = lambda: ours.exists(name) and ours.get(name) == theirs.get(name)  # noqa: E731
    return attempt(read) is True


def _log_problems(store: Store) -> int:
    """The number of problems of a table's log."""
    found = attempt(lambda: len(Log(store, open_table(store)).problems))
    return _UNREADABLE if isinstance(found, Fault) else found
