"""The production line: a wave of pieces through Ray Data, from load to write.

    pieces --load--> tasks --_Encoder--> actors --press--> tasks --write--> one receipt for each unit

Rows are pieces, one per block, and stay in order (`preserve_order`). Every unit has `UNIT_ROWS` rows, so the writer
takes that number of rows at a time and has a whole unit, which it checks. Ray repeats the work of any task or actor
that dies.
"""

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset

from model.bitstream.entropy_coder import EntropyCoder
from model.codec import Codec
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.encode import ray_tasks, stages, wire
from pipeline.encode.settings import EncodeSettings
from pipeline.execution.device import Streams, own_device
from pipeline.execution.ray_init import start_ray
from pipeline.execution.resources import plan_resources
from pipeline.execution.setting_types import parse_range
from pipeline.monitoring import metrics
from pipeline.monitoring.encode_counter import EncodeCounts, polling_counter, start_counter
from pipeline.planning.units import UNIT_ROWS, Piece
from pipeline.storage.base import Store

STAGES = ("load", "analyse", "compress", "write")
"""The stages in their order."""


class EncodeDataflow:
    """The stages set up for one run. Uses the Ray that is connected, or starts one."""

    def __init__(
        self,
        source: Store,
        archive: Archive,
        fingerprint: str,
        coder: EntropyCoder,
        run: str,
        settings: EncodeSettings,
        encoder: "type[_Encoder] | None" = None,
    ) -> None:
        """Set up.

        Args:
            source: where the images are.
            archive: where shards go; it holds the model already.
            fingerprint: of the model.
            coder: the model's entropy coder.
            run: the run's name, for the rows.
            settings: target, limits and the workers.
            encoder: the actors' class; another one than the line's own stands in for it where there is no GPU.

        Raises:
            MaepressError: when the cluster cannot hold a single encoder.
        """
        if not ray.is_initialized():
            start_ray()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._workers = plan_resources(resources, parse_range(settings.actors), settings.gpus_per_actor)
        self._load = functools.partial(ray_tasks.load, source=source, settings=settings)
        self._counter = start_counter()
        self._encoder = encoder or _Encoder
        self._given = (self._counter, archive, fingerprint, settings.target(), self._workers.threads)
        self._compress = functools.partial(ray_tasks.compress, coder=coder, run=run, settings=settings)
        self._write = functools.partial(ray_tasks.write, archive=archive)

    def polling(self, show: Callable[[EncodeCounts], None]) -> AbstractContextManager[None]:
        """Show how far the encoders of this line are, for the length of a `with` block."""
        return polling_counter(self._counter, show)

    def run(self, pieces: Iterable[Piece]) -> Iterator[Receipt]:
        """The receipts of a wave's units, in order, as they are finished."""
        receipts = self.dataset(pieces)
        for batch in receipts.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for cell in batch["receipt"]:
                yield pickle.loads(cell.as_buffer())

    def dataset(self, pieces: Iterable[Piece], stages: int = len(STAGES)) -> Dataset:
        """A wave that is not running yet; one that only drops keys goes straight to the writer and starts no encoder.

        Args:
            pieces: of whole units.
            stages: how many of STAGES there are; with fewer than all the rows are pieces, not receipts.
        """
        workers = self._workers
        arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
        task: dict[str, Any] = arrow | {"num_cpus": workers.task_cpus}
        encoders = ActorPoolStrategy(
            min_size=workers.least,
            max_size=workers.most,
            initial_size=workers.start,
            max_concurrent_calls_per_actor=workers.calls,
            enable_true_multi_threading=workers.calls > 1,
        )
        actors: dict[str, Any] = arrow | {
            "fn_constructor_args": self._given,
            "compute": encoders,
            "num_cpus": workers.encoder_cpus,
            "num_gpus": workers.gpus,
        }
        steps: list[tuple[Any, int | None, dict[str, Any]]] = [
            (self._load, None, task),
            (self._encoder, 1, actors),  # a row, which is a piece: with GPUs Ray insists on a number
            (self._compress, None, task),
            # Not `repartition`: its task claims a whole core and takes no options, so on a small machine it would
            # wait until the encoders are done.
            (self._write, UNIT_ROWS, task | {"num_cpus": workers.writer_cpus}),
        ]
        wave = list(pieces)
        steps = steps[:stages] if any(piece.objects for piece in wave) else steps[-1:stages]
        with DataContext.current(_context()):
            made: Dataset = ray.data.from_arrow([wire.block(piece) for piece in wave])
            for work, rows, options in steps:
                made = made.map_batches(work, batch_size=rows, **options)
        return made


def _context() -> DataContext:
    """Ray Data's settings for a wave."""
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # a job may wait days for spot machines, and a person can see it wait
    context.target_max_block_size = None  # a row is a piece, sized by the plan: nothing to split
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they advise on memory and slow tasks, in the middle of the progress
    return context


class _Encoder:
    """An actor with a model."""

    def __init__(self, counter: Any, archive: Archive, fingerprint: str, target: Target, threads: int) -> None:
        torch.set_num_threads(threads)
        device = self.device()
        self._streams = Streams(device)
        self._codec = Codec.load(archive.get_model(fingerprint), device=device)
        self._target = target
        self._counter = counter

    @staticmethod
    def device() -> str:
        """Where the networks run."""
        return own_device()

    def __call__(self, table: pa.Table) -> pa.Table:
        with self._streams.own():
            return wire.each(table, self._analyse)

    @metrics.timed_stage("analyse")
    def _analyse(self, items: Sequence[stages.Loaded | Rejection]) -> list[stages.Analysed | Rejection]:
        done = stages.analyse(items, self._codec, self._target)
        images = [item for item in done if isinstance(item, stages.Analysed)]
        pixels = sum(image.width * image.height for image in images)
        self._counter.add.remote(EncodeCounts(len(items), sum(len(image.source) for image in images), pixels))
        return done
