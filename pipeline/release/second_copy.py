"""A second copy of an archive, in which a row must be intact before the original of its image may go."""

from collections.abc import Callable

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.reader import Row
from pipeline.archive.schema import IMAGES, LATENT, ROW_SHA256
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import StorageError
from pipeline.verify.archive_checks import images_log, model_problems
from pipeline.verify.shard_checks import ShardProblem, check_shard

MISSING = "the second copy has no intact row of it"


class SecondCopy:
    """The other copy; it can be pickled to workers."""

    def __init__(self, archive: Archive, shards: list[Shard], models: frozenset[str]) -> None:
        """Args: archive: the copy. shards: of its present version. models: that it holds, intact."""
        self._archive, self._models = archive, models
        self._shards = shards
        self._paths = frozenset(shard.path for shard in shards)

    @classmethod
    def open(cls, url: str) -> "SecondCopy":
        """The copy at a URL.

        Raises:
            StorageError: when there is none, or its log or one of its models is damaged.
        """
        archive = Archive.open(url)
        files, problems = images_log(archive)
        for what, problem in (*problems, *model_problems(archive)):
            raise StorageError(f"the second copy {archive.url} is damaged: {what}: {problem}")
        return cls(archive, [file.shard for file in files], frozenset(archive.models()))

    def rows(self, file: LoggedFile) -> Callable[[Row], str | None]:
        """A function that says what is wrong with a row's copy, for rows of one shard; None if nothing.

        A replica has the same shards, so the same file is read as a whole. Where it has others, each row is looked up.
        """
        if file.shard.path not in self._paths:
            return lambda row: self._problem(row, self._look_up(row))
        intact: dict[str, str] = {}
        for found in check_shard(self._archive.images, file, IMAGES):
            if isinstance(found, ShardProblem):
                continue  # its rows that are intact count
            columns = (found.rows.column(name).to_pylist() for name in ("key", ROW_SHA256))
            intact |= {key: own for key, own, bad in zip(*columns, found.changed, strict=True) if not bad}
        return lambda row: self._problem(row, intact.get(row["key"]))

    def _look_up(self, row: Row) -> str | None:
        """The hash of a row's copy, computed from its values; None where it cannot be read."""
        found = attempt(lambda: self._archive.row(row["key"], IMAGES.names, self._shards))
        if isinstance(found, Fault) or found is None:
            return None
        hashed = attempt(lambda: str(table_of([found])[ROW_SHA256][0].as_py()))
        return None if isinstance(hashed, Fault) else hashed

    def _problem(self, row: Row, row_sha256: str | None) -> str | None:
        if row_sha256 != row[ROW_SHA256]:
            return MISSING
        if row["status"] == LATENT and row["model"] not in self._models:
            return f"the second copy lacks its model {row['model']}"
        return None
