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
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row
from pipeline.archive.schema import IMAGES, LATENT, READER_COLUMNS
from pipeline.dataset.row_groups import STATUSES, Wanted, read_spans, row_groups
from pipeline.dataset.samples import Content, Samples
from pipeline.dataset.sharding import bounds, rows_between, shuffled_groups, shuffled_rows

__all__ = ["ArchiveImages", "Content", "Sample"]

Sample = dict[str, Any]
"""`key`, the columns asked for, and `image` or `latents`: an array as `pipeline.dataset.samples` describes."""
DECODED_AT_ONCE = 16
"""Rows that are decoded together: enough to fill the codec's batches, few enough for memory."""


class ArchiveImages(IterableDataset[Any]):
    """Images or latents of an archive at the version of its creation; later commits do not change it.

    DDP ranks and loader workers get disjoint parts of equal length (to within one image), which cover everything. Each
    worker needs memory for the index (a few hundred bytes per row group), the shuffle buffer and a few decoded images.

    Attributes:
        archive: the archive.
        version: version of its table.
        content: content of the samples.
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
    ) -> None:
        """Find the wanted rows: reads the log and the shards' footers, no payload.

        Args:
            archive: the archive, or its URL.
            content: image, sketch, prefix or latents.
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

        Raises:
            MaepressError: for an unknown column, or if nothing matches.
            StorageError: when there is no archive, or a shard cannot be read.
        """
        _check_columns(columns)
        self.archive = Archive.open(archive) if isinstance(archive, str) else archive
        self.content: Content = content
        self.columns = tuple(columns)
        able = STATUSES if content == "image" else (LATENT,)
        self.wanted = Wanted(keys, able if statuses is None else tuple(statuses))
        self._transform, self._shuffle, self._seed, self._buffer = transform, shuffle, seed, buffer_bytes
        own_rank, own_world = _distributed()
        self._rank = own_rank if rank is None else rank
        self._world = own_world if world is None else world
        self._equal = equal
        self.version = self.archive.version()
        self.groups = row_groups(self.archive, self.wanted, self.version)
        self.rows = sum(group.rows for group in self.groups)
        if not self.rows:
            raise MaepressError(
                f"{self.archive.url} has no row of status {' or '.join(self.wanted.statuses)} "
                f"whose key matches {keys!r}: there is nothing to learn from"
            )
        # In shared memory, so that persistent workers see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which seeds the next shuffle; call it with the same number on all ranks."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's samples.

        Raises:
            DamagedPayload: naming the key of an image that does not decode, or whose row is damaged; rows beside it
                in the shard are not affected.
            StorageError: when a shard is missing, or so damaged that its rows cannot be told apart.
        """
        samples = Samples(self.archive, self.content)
        for rows in self.batches(DECODED_AT_ONCE):
            for row, array in zip(rows, samples.arrays(rows), strict=True):
                sample = sample_of(row, array, self.content, self.columns)
                yield sample if self._transform is None else self._transform(sample)

    def batches(self, count: int) -> Iterator[list[Row]]:
        """Yield this worker's rows, not decoded, in lists of `count` (the last may be shorter)."""
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        epoch = int(self._epoch)
        groups, total = self.groups, self.rows
        if self._shuffle:
            groups = shuffled_groups(groups, np.random.default_rng((self._seed, epoch)))
        if self._equal:
            total -= total % self._world
        begin, end = bounds(total, self._rank, self._world)
        mine = bounds(end - begin, part, parts)
        rows = iter(self._rows(rows_between(groups, begin + mine[0], begin + mine[1])))
        if self._shuffle:
            rng = np.random.default_rng((self._seed, epoch, self._rank, part))
            rows = shuffled_rows(rows, rng, self._buffer)
        while some := list(islice(rows, count)):
            yield some

    def _rows(self, spans: Sequence[Any]) -> Iterator[Row]:
        names = list(dict.fromkeys([*READER_COLUMNS, *self.columns]))
        for table in read_spans(self.archive.images, spans, self.wanted, names):
            for batch in table.to_batches(max_chunksize=DECODED_AT_ONCE):
                yield from batch.to_pylist()


def _check_columns(columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in IMAGES.names]
    if unknown:
        raise MaepressError(f"an archive has no column {unknown[0]!r}: it has {', '.join(IMAGES.names)}")


def _distributed() -> tuple[int, int]:
    """Rank and number of ranks of torch.distributed; 0 and 1 if it is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sample_of(row: Row, array: Any, content: Content, columns: Sequence[str]) -> Sample:
    """The sample of a row and its decoded array."""
    facts = {name: row[name] for name in columns}
    return facts | {"key": row["key"], "image" if content == "image" else "latents": array}
