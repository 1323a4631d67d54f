"""An archive as a torch data set; `pipeline.dataset.ray_dataset` is the one for Ray Data.

    from pipeline.dataset.torch_dataset import ArchiveImages

    dataset = ArchiveImages("s3://archive/photos", content="image", keys="2024/*", transform=crop_and_label)
    loader = DataLoader(dataset, batch_size=64, num_workers=4)
    for epoch in range(10):
        dataset.set_epoch(epoch)
        for batch in loader: ...

`pipeline.dataset.samples` describes the contents, `docs/learning.md` their cost; `pipeline.dataset.cache` keeps latents
for many epochs.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row
from pipeline.archive.schema import IMAGES, LATENT, READER_COLUMNS
from pipeline.dataset.row_groups import STATUSES, Span, Wanted, read_spans, row_groups
from pipeline.dataset.samples import Content, Samples
from pipeline.dataset.sharding import ShuffledRows, bounds, rows_after, rows_between, shuffled_groups
from pipeline.storage.base import Readable
from pipeline.storage.file_cache import FileCache

__all__ = ["ArchiveImages", "Content", "Sample"]

Sample = dict[str, Any]
"""`key`, the columns asked for, and `image` or `latents`: an array as `pipeline.dataset.samples` describes."""
State = dict[str, Any]
"""What `ArchiveImages.state_dict` gives: plain numbers and texts, so that JSON can hold it."""
DECODED_AT_ONCE = 16
"""Rows that are decoded together: enough to fill the codec's batches, few enough for memory."""


class ArchiveImages(IterableDataset[Any]):
    """Images or latents of an archive at the version of its creation; later commits do not change it.

    DDP ranks and loader workers get disjoint parts of equal length (to within one image), which cover everything. Each
    worker needs memory for the index (a few hundred bytes per row group), the shuffle buffer and 16 decoded images.

    Attributes:
        archive: the archive.
        version: version of its table.
        content: content of the samples.
        scale: of images.
        columns: additional columns of the samples.
        wanted: filter of the rows.
        groups: the row groups with wanted rows, ordered by first key.
        rows: number of images per epoch, over all ranks.
    """

    def __init__(
        self,
        archive: str | Archive,
        *,
        content: Content = "image",
        scale: float = 1,
        keys: str = "*",
        statuses: Sequence[str] | None = None,
        columns: Sequence[str] = (),
        transform: Callable[[Sample], Any] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        buffer_bytes: int = 32 << 20,
        equal: bool = False,
        rank: int | None = None,
        world: int | None = None,
        version: int | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = 16 << 30,
    ) -> None:
        """Find the wanted rows: reads the log and the shards' footers, no payload.

        Args:
            archive: the archive, or its URL.
            content: image, sketch, prefix or latents.
            scale: of images: 1, 1/2, 1/4, 1/8 or 1/16 (`Codec.decompress`); kept sources are reduced after decoding.
            keys: only keys that match this glob (`fnmatch`, where `*` crosses "/").
            statuses: only rows with one of these statuses; None: all that have the content.
            columns: additional columns of each sample (`pipeline.archive.schema.IMAGES`).
            transform: function of a sample, run in the worker, for example to crop it and to derive a label.
            shuffle: shuffle shards, row groups and then rows within a buffer, differently each epoch; otherwise rows
                are in key order, as far as shards do not overlap.
            seed: seed of the shuffle; must be the same on all ranks.
            buffer_bytes: bytes of payloads in each worker's shuffle buffer.
            equal: leave out up to `world - 1` images, others each epoch, so that all ranks have the same number: DDP
                waits forever for a rank that has one batch less.
            rank: the part that this process reads; None: the rank of torch.distributed if it is initialised.
            world: number of parts; None: as for `rank`.
            version: of the archive, such as that of a saved state; None: the latest.
            cache: local folder for shards, so that later epochs do not read them from the store again. Workers and
                ranks of one machine share it; whole shards are fetched, also if few of their rows are wanted.
            cache_bytes: limit of the cache. What was used least recently goes first.

        Raises:
            MaepressError: for an unknown column or scale, a rank that is not below `world`, a negative seed, or if
                nothing matches, or less than one image for each rank where all are to have as many.
            Unwritable: when the cache's folder cannot be written.
            StorageError: when there is no archive, or a shard cannot be read.
        """
        _check_columns(columns)
        self.archive = Archive.open(archive) if isinstance(archive, str) else archive
        self.content: Content = content
        self.scale = scale
        Samples(self.archive, content, scale=scale)  # refuses a scale that the content does not have
        self.columns = tuple(columns)
        able = STATUSES if content == "image" else (LATENT,)
        self.wanted = Wanted(keys, able if statuses is None else tuple(statuses))
        self._transform, self._shuffle, self._seed, self._buffer = transform, shuffle, seed, buffer_bytes
        if seed < 0:
            raise MaepressError(f"seed {seed} is negative: give 0 or more")
        self._rank, self._world = _part(rank, world)
        self._equal = equal
        table = self.archive.table(version)
        self.version: int = table.version()
        self._identity = str(table.metadata().id)
        self._images: Readable = self.archive.images
        if cache is not None:
            self._images = FileCache(self.archive.images, cache, cache_bytes)
        self.groups = row_groups(self.archive, self.wanted, self.version)
        self.rows = sum(group.rows for group in self.groups)
        if not self.rows:
            raise MaepressError(
                f"{self.archive.url} has no row of status {' or '.join(self.wanted.statuses)} "
                f"whose key matches {keys!r}: there is nothing to learn from"
            )
        if equal and self.rows < self._world:
            raise MaepressError(
                f"{self.archive.url} has {self.rows:,} images that match, less than one for each of {self._world:,} "
                "ranks: use fewer ranks, or leave equal out"
            )
        # In shared memory, so that persistent workers see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._begun, self._position = 0, 0
        self._loaded: State | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which seeds the next shuffle; call it with the same number on all ranks.

        Raises:
            MaepressError: when it is negative.
        """
        if epoch < 0:
            raise MaepressError(f"epoch {epoch} is negative: give 0 or more")
        self._epoch.fill_(epoch)

    def state_dict(self) -> State:
        """How far this process is in its epoch: the number of samples that its latest iterator has given.

        Each rank, and each worker of torchdata's `StatefulDataLoader`, has a state of its own.
        """
        epoch = int(self._epoch)  # of another one than was begun nothing has been given
        return {"epoch": epoch, "position": self._position if self._begun == epoch else 0, "of": self._facts()}

    def load_state_dict(self, state: State) -> None:
        """Let the next iterator give what a saved state leaves of its epoch, and set the epoch to that.

        Rows that were given already are not decoded; of a shuffled data set, small columns of them are read.

        Raises:
            MaepressError: when it is no state, or one of another version, filter, seed, rank or world.
        """
        try:
            epoch, position, facts = int(state["epoch"]), int(state["position"]), dict(state["of"])
            if min(epoch, position) < 0:
                raise ValueError
        except (TypeError, ValueError, LookupError):
            raise MaepressError("this is no state of a data set of images: give one that state_dict made") from None
        own = self._facts()
        for name in own:
            if name not in ("part", "parts") and facts.get(name) != own[name]:
                raise MaepressError(
                    f"the state is of a data set with {name} {facts.get(name)!r}, this one has {own[name]!r}: "
                    "make it with the same arguments"
                )
        self._begun, self._position = epoch, position
        self._loaded = {"epoch": epoch, "position": position, "of": facts}
        self.set_epoch(epoch)

    def _facts(self) -> dict[str, Any]:
        """All that the order of samples depends on."""
        part, parts = _worker()
        return {
            "archive": self._identity,
            "version": self.version,
            "keys": self.wanted.keys,
            "statuses": list(self.wanted.statuses),
            "shuffle": self._shuffle,
            "seed": self._seed,
            "buffer_bytes": self._buffer,
            "equal": self._equal,
            "rank": self._rank,
            "world": self._world,
            "part": part,
            "parts": parts,
        }

    def _take_state(self) -> None:
        """Begin a new iterator: at the loaded state, once, or at the first sample."""
        loaded, self._loaded = self._loaded, None
        self._begun, self._position = int(self._epoch), 0
        if loaded is None or loaded["epoch"] != self._begun:
            return
        part, parts = _worker()
        saved = (loaded["of"].get("part"), loaded["of"].get("parts"))
        if saved != (part, parts):
            raise MaepressError(
                f"the state is of worker {saved[0]} of {saved[1]}, this is worker {part} of {parts}: load it through "
                "torchdata's StatefulDataLoader, with as many workers"
            )
        self._position = loaded["position"]

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's samples; after `load_state_dict`, those that are left.

        Raises:
            MaepressError: for a loaded state of another worker.
            DamagedPayload: naming the key of an image that does not decode, or whose row is damaged; rows beside it
                in the shard are not affected.
            StorageError: when a shard is missing, or so damaged that its rows cannot be told apart.
        """
        self._take_state()  # now, not when the first sample is asked for: a state may be saved before that
        return self._samples()

    def _samples(self) -> Iterator[Any]:
        samples = Samples(self.archive, self.content, scale=self.scale)
        for rows in self.batches(DECODED_AT_ONCE, self._position):
            for row, array in zip(rows, samples.arrays(rows), strict=True):
                sample = sample_of(row, array, self.content, self.columns)
                made = sample if self._transform is None else self._transform(sample)
                self._position += 1  # before it is given: a state that is saved after that counts it
                yield made

    def batches(self, count: int, skip: int = 0) -> Iterator[list[Row]]:
        """Yield this worker's rows after the first `skip`, not decoded, in lists of `count`; the last may be short."""
        part, parts = _worker()
        epoch = int(self._epoch)
        groups, total = self.groups, self.rows
        if self._shuffle:
            groups = shuffled_groups(groups, np.random.default_rng((self._seed, epoch)))
        if self._equal:
            total -= total % self._world
        begin, end = bounds(total, self._rank, self._world)
        mine = bounds(end - begin, part, parts)
        spans = rows_between(groups, begin + mine[0], begin + mine[1])
        if self._shuffle:
            rows = self._shuffled(spans, np.random.default_rng((self._seed, epoch, self._rank, part)), skip)
        else:
            rows = self._rows(rows_after(spans, skip))
        while some := list(islice(rows, count)):
            yield some

    def _shuffled(self, spans: list[Span], rng: np.random.Generator, skip: int) -> Iterator[Row]:
        """The rows in shuffled order after the first `skip`, of which no payload is read."""
        if not skip:
            return ShuffledRows(self._rows(spans), rng, self._buffer)
        sizes = ShuffledRows(self._places(spans), rng, self._buffer)
        for _ in islice(sizes, skip):
            pass
        wanted: dict[int, set[int]] = {}
        for row in sizes.held:
            wanted.setdefault(row["span"], set()).add(row["row"])
        found = {
            (number, place): row
            for number, places in wanted.items()
            for place, row in enumerate(self._rows([spans[number]]))
            if place in places
        }
        held = [found[row["span"], row["row"]] for row in sizes.held]
        return ShuffledRows(self._rows(rows_after(spans, sizes.taken)), rng, self._buffer, held)

    def _places(self, spans: Sequence[Span]) -> Iterator[Row]:
        """Where each row is, and the size of its payload."""
        for number, table in enumerate(read_spans(self._images, spans, self.wanted, ["payload_bytes"])):
            for row, size in enumerate(table["payload_bytes"].to_pylist()):
                yield {"span": number, "row": row, "payload_bytes": size}

    def _rows(self, spans: Sequence[Span]) -> Iterator[Row]:
        names = list(dict.fromkeys([*READER_COLUMNS, "payload_bytes", *self.columns]))
        for table in read_spans(self._images, spans, self.wanted, names):
            for batch in table.to_batches(max_chunksize=DECODED_AT_ONCE):
                yield from batch.to_pylist()


def _worker() -> tuple[int, int]:
    """Number of this worker of the loader, and of all of them; 0 and 1 in the loader's own process."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in IMAGES.names]
    if unknown:
        raise MaepressError(f"an archive has no column {unknown[0]!r}: it has {', '.join(IMAGES.names)}")


def _part(rank: int | None, world: int | None) -> tuple[int, int]:
    """Rank and number of ranks; those that are not given are torch.distributed's, 0 and 1 if it is not initialised.

    Raises:
        MaepressError: when this is no part of a whole, which would be read as nothing, or when every process would
            read the same part.
    """
    known = dist.is_available() and dist.is_initialized()
    own_rank, own_world = (dist.get_rank(), dist.get_world_size()) if known else (0, 1)
    if rank is None and world is not None and world != own_world:
        raise MaepressError(f"there are {world} ranks, and none is given: give rank beside world")
    rank, world = own_rank if rank is None else rank, own_world if world is None else world
    if not 0 <= rank < world:
        raise MaepressError(f"rank {rank} of {world} is no part: give world, and a rank from 0 to world - 1")
    return rank, world


def sample_of(row: Row, array: Any, content: Content, columns: Sequence[str]) -> Sample:
    """The sample of a row and its decoded array."""
    facts = {name: row[name] for name in columns}
    return facts | {"key": row["key"], "image" if content == "image" else "latents": array}
