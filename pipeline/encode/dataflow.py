"""The data flow of an encode: pieces through the four stages on Ray Data.

    pieces --> load (tasks) --> analyse (actors) --> compress (tasks) --> write (tasks) --> receipts

Rows are pieces, one per block, and stay in order (`preserve_order`). Every unit has `UNIT_ROWS`
rows, so the writer takes that number of rows at a time and has a whole unit, which it checks. Ray
repeats the work of any task or actor that dies.
"""

import functools
import pickle
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset

from model.bitstream.entropy_coder import EntropyCoder
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.encode import ray_tasks, stages, wire
from pipeline.encode.settings import EncodeSettings
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import Streams, own_device
from pipeline.execution.local_resources import GPUS_PER_ACTOR, require_gpus
from pipeline.execution.ray_init import require_ray
from pipeline.execution.resources import plan_resources
from pipeline.execution.setting_types import parse_range
from pipeline.monitoring import metrics
from pipeline.monitoring.encode_counter import EncodeCounts, polling_counter, start_counter
from pipeline.planning.units import UNIT_ROWS, Piece
from pipeline.storage.base import Store

STAGES = ("load", "analyse", "compress", "write")
"""The stages in their order."""


class EncodeDataflow:
    """The four stages, configured for one run. Uses the Ray that is connected, or starts one.

    dataflow = EncodeDataflow(source, archive, codec.fingerprint, codec.coder, run, settings)
    with dataflow.polling(progress.encoded):
        for receipt in dataflow.run(manifest.read(part)): ...
    """

    def __init__(
        self,
        source: Store,
        archive: Archive,
        fingerprint: str | None,
        coder: EntropyCoder | None,
        run: str,
        settings: EncodeSettings,
        encoder: "type[_Encoder] | None" = None,
    ) -> None:
        """Configure the stages.

        Args:
            source: the store of the images.
            archive: the archive to write to; it holds the model already.
            fingerprint: of the model; None for a run that needs none.
            coder: the model's entropy coder, likewise.
            run: the run's id, for the rows.
            settings: target, limits and workers.
            encoder: the actors' class, for tests and benchmarks; None for `_Encoder`.

        Raises:
            MaepressError: when the cluster cannot hold a single encoder.
        """
        require_gpus(settings.gpus_per_actor, GPUS_PER_ACTOR)
        require_ray()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._workers = plan_resources(resources, parse_range(settings.actors), settings.gpus_per_actor)
        self._load = functools.partial(ray_tasks.load, source=source, settings=settings)
        self._counter = start_counter()
        self._encoder = encoder or _Encoder
        self._encoder_arguments = (self._counter, archive, fingerprint, settings, self._workers.threads)
        self._compress = functools.partial(ray_tasks.compress, coder=coder, run=run, settings=settings)
        self._write = functools.partial(ray_tasks.write, archive=archive)

    def polling(self, show: Callable[[EncodeCounts], None]) -> AbstractContextManager[None]:
        """Within a `with` block, report the encoders' counts to `show` once per second."""
        return polling_counter(self._counter, show)

    def run(self, pieces: Iterable[Piece]) -> Generator[Receipt, None, None]:
        """Run all stages on whole units.

        Yields the units' receipts, in order, as they are finished. A caller that may end early closes
        the generator, which ends the work.
        """
        receipts = self.dataset(pieces)
        for batch in receipts.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for cell in batch["receipt"]:
                yield pickle.loads(cell.as_buffer())

    def dataset(self, pieces: Iterable[Piece], stages: int = len(STAGES)) -> Dataset:
        """The dataset of one part of the plan; Ray runs it when it is read.

        A part that only drops keys goes straight to the writer and starts no encoder.

        Args:
            pieces: of whole units.
            stages: number of stages to apply, in the order of STAGES. With fewer than all, the rows
                of the dataset are pieces instead of receipts.
        """
        part = list(pieces)
        maps = self._maps()
        maps = maps[:stages] if any(piece.objects for piece in part) else maps[-1:stages]
        with DataContext.current(_context()):
            dataset: Dataset = ray.data.from_arrow([wire.block(piece) for piece in part])
            for work, rows, options in maps:
                dataset = dataset.map_batches(work, batch_size=rows, **options)
        return dataset

    def _maps(self) -> list[tuple[Any, int | None, dict[str, Any]]]:
        """For each of STAGES its function or class, its rows per call, and its options for Ray."""
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
            "fn_constructor_args": self._encoder_arguments,
            "compute": encoders,
            "num_cpus": workers.encoder_cpus,
            "num_gpus": workers.gpus,
        }
        return [
            (self._load, None, task),
            (self._encoder, 1, actors),  # one row, which is one piece: with GPUs Ray requires a number
            (self._compress, None, task),
            # Not `repartition`: its task claims a whole core and takes no options, so on a small
            # machine it would wait until the encoders are done.
            (self._write, UNIT_ROWS, task | {"num_cpus": workers.writer_cpus}),
        ]


def _context() -> DataContext:
    """Ray Data's settings for an encode."""
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # a job may wait days for spot machines
    context.target_max_block_size = None  # a row is a piece, whose size the plan has chosen: never split
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # else the driver gets a wrapper without the error's class
    context.issue_detectors_config.detectors = []  # they print advice into the progress display
    return context


@raise_in_first_call
class _Encoder:
    """The actor of the stage `analyse`, with a model."""

    def __init__(
        self, counter: Any, archive: Archive, fingerprint: str | None, settings: EncodeSettings, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        device = self.device()
        self._streams = Streams(device)
        self._codec = Codec.load(archive.get_model(fingerprint), device=device) if fingerprint else None
        self._target, self._codecs, self._effort = settings.target(), settings.codecs, settings.effort_of_model
        self._counter = counter

    @staticmethod
    def device() -> str:
        """The device of the networks: "cuda" or "cpu"."""
        return own_device()

    def __call__(self, table: pa.Table) -> pa.Table:
        with self._streams.own():
            return wire.each(table, self._analyse)

    @metrics.timed_stage("analyse")
    def _analyse(self, items: Sequence[stages.Loaded | Rejection]) -> list[stages.Analysed | Rejection]:
        done = stages.analyse(items, self._codec, self._target, codecs=self._codecs, effort=self._effort)
        self._counter.add.remote(stages.counts_of(done))
        return done
