"""An archive as a Ray dataset.

    images = read_archive("s3://archive/photos", content="image", transform=crop_and_label)
    for batch in images.iter_torch_batches(batch_size=64): ...

Row groups are read by tasks and decoded by actors that hold the models. Arrays of one shape become tensors of that
shape. Arrays of different shapes become tensors of variable shape, which Ray copies more often: a `transform`, which
runs in the actor, can crop or shrink them to one shape.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from numpy.typing import NDArray
from ray.data import DataContext, Dataset

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.schema import READER_COLUMNS
from pipeline.dataset.row_groups import Span, Wanted, read_spans
from pipeline.dataset.samples import Content, Samples
from pipeline.dataset.sharding import rows_after
from pipeline.dataset.torch_dataset import DECODED_AT_ONCE, ArchiveImages, Sample, sample_of
from pipeline.execution import ray_flow
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.packing import pack, unpack
from pipeline.execution.setting_types import parse_range

MOST_BLOCKS = 1000
"""Largest number of read tasks: Ray keeps statistics of every block, and an archive may have a million row groups."""
TOGETHER_BYTES = 32 << 20
"""Bytes of arrays that an actor yields together."""


def read_archive(
    archive: str | Archive,
    *,
    content: Content = "image",
    keys: str = "*",
    statuses: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    transform: Callable[[Sample], Mapping[str, Any]] | None = None,
    actors: str = "",
    gpus_per_actor: float | None = None,
    skip: int | None = None,
) -> Dataset:
    """A Ray dataset with one row per image: `key`, the columns asked for, and `image` or `latents`.

    Uses the connected Ray cluster, or starts Ray. Nothing is decoded before the dataset is consumed.

    Args:
        archive: the archive, or its URL.
        content: image, sketch, prefix or latents, as for `ArchiveImages`.
        keys: only keys that match this glob.
        statuses: only rows with one of these statuses; None: all that have the content.
        columns: additional columns of the archive.
        transform: function of a sample, run in the decoding actor; returns names with numbers, strings or arrays. A
            name that it leaves out for some images is None there.
        actors: lowest and highest number of decoding actors, as MIN:MAX; empty: one per GPU or core.
        gpus_per_actor: GPUs per decoding actor; None: 1 if the cluster has GPUs, else 0.
        skip: leave out so many rows, and give the others in the archive's order: a pass is resumed by giving the number
            of rows that were taken, of the same version of the archive. None: all rows, in any order.

    Raises:
        MaepressError: as `ArchiveImages` does, or for actors that are no range.
    """
    try:
        fewest_and_most = parse_range(actors)
    except ValueError as e:
        raise MaepressError(f"actors {e}") from None
    plan = ArchiveImages(archive, content=content, keys=keys, statuses=statuses, columns=columns, shuffle=False)
    groups = plan.groups
    size = -(-len(groups) // MOST_BLOCKS)
    parts = [[Span(group, 0, group.rows) for group in groups[i : i + size]] for i in range(0, len(groups), size)]
    left_out = skip or 0
    if not 0 <= left_out < plan.rows:
        raise MaepressError(
            f"{left_out:,} rows are to be left out, and {plan.archive.url} has {plan.rows:,} that match"
        )
    parts = _parts_after(parts, left_out)
    workers = ray_flow.worker_resources(fewest_and_most, gpus_per_actor)
    context = ray_flow.context()
    context.execution_options.preserve_order = skip is not None
    with DataContext.current(context):
        spans = ray.data.from_arrow([pa.table({"spans": pa.array([pack(part)], pa.large_binary())}) for part in parts])
        names = tuple(dict.fromkeys([*READER_COLUMNS, *columns]))
        rows = ray_flow.stage(spans, _read, plan.archive, plan.wanted, names, cpus=workers.task_cpus)
        decoder = (_Decoder, plan.archive, content, tuple(columns), transform, workers.threads)
        return ray_flow.actor_stage(rows, *decoder, workers=workers, rows=plan.rows)


def _parts_after(parts: list[list[Span]], skip: int) -> list[list[Span]]:
    """The parts without the first rows; none is empty."""
    rest = []
    for part in parts:
        rows = sum(span.stop - span.start for span in part)
        rest.append(rows_after(part, skip))
        skip = max(skip - rows, 0)
    return [part for part in rest if part]


def _read(table: pa.Table, archive: Archive, wanted: Wanted, columns: Sequence[str]) -> Iterator[pa.Table]:
    for cell in table["spans"]:
        yield from read_spans(archive.images, unpack(cell), wanted, columns)


@raise_in_first_call
class _Decoder:
    """An actor with the archive's models; turns tables of rows into columns of samples."""

    def __init__(
        self,
        archive: Archive,
        content: Content,
        columns: Sequence[str],
        transform: Callable[[Sample], Mapping[str, Any]] | None,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self._samples = Samples(archive, content, own_device())
        self._content: Content = content
        self._columns, self._transform = columns, transform

    def __call__(self, table: pa.Table) -> Iterator[dict[str, NDArray[Any]]]:
        held: list[Mapping[str, Any]] = []
        size = 0
        for batch in table.to_batches(max_chunksize=DECODED_AT_ONCE):
            rows = batch.to_pylist()
            for row, array in zip(rows, self._samples.arrays(rows), strict=True):
                sample = sample_of(row, array, self._content, self._columns)
                held.append(sample if self._transform is None else self._transform(sample))
                size += sum(value.nbytes for value in held[-1].values() if isinstance(value, np.ndarray))
            if size > TOGETHER_BYTES:
                yield _columns_of(held)
                held, size = [], 0
        if held:
            yield _columns_of(held)


def _columns_of(samples: list[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """A column for each name that any of the samples has, None where one lacks it, as Ray does between blocks."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {name: _column([sample.get(name) for sample in samples]) for name in names}


def _column(values: list[Any]) -> NDArray[Any]:
    if all(isinstance(value, np.ndarray) and value.shape == values[0].shape for value in values):
        return np.stack(values)
    if not isinstance(values[0], (np.ndarray, str, bytes, type(None))):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column
