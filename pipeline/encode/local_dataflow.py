"""The data flow of a small encode: pieces through the four stages in this process.

    pieces --> load, analyse, compress (a thread per core) --> write (the caller's thread) --> receipts

The stages, the sandbox, the units and the receipts are those of `pipeline.encode.dataflow`, so a run
that is killed continues from its last commit here as well.
"""

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

import torch

from model.codec import Codec
from model.core.cores import cores
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt
from pipeline.encode import stages
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.stages import CompressedPiece
from pipeline.encode.unit_writer import write_unit
from pipeline.execution.local_flow import in_order
from pipeline.images.sandbox.sandbox import shared
from pipeline.monitoring.encode_counter import EncodeCounts
from pipeline.planning.units import Piece
from pipeline.storage.base import Store


class LocalDataflow:
    """The four stages, configured for one run; used as an `EncodeDataflow`."""

    def __init__(
        self, source: Store, archive: Archive, codec: Codec | None, run: str, settings: EncodeSettings
    ) -> None:
        """Configure the stages; the arguments are those of `EncodeDataflow`, with the model itself."""
        self._source, self._archive, self._codec, self._run, self._settings = source, archive, codec, run, settings
        self._sandbox, self._target = shared(settings.limits()), settings.target()
        self._counts = EncodeCounts()
        self._lock = threading.Lock()
        self._show: Callable[[EncodeCounts], None] = lambda _: None

    @contextmanager
    def polling(self, show: Callable[[EncodeCounts], None]) -> Iterator[None]:
        """Within a `with` block, report counts to `show` after every piece."""
        self._show = show
        yield

    def run(self, pieces: Iterable[Piece]) -> Generator[Receipt, None, None]:
        """Run all stages on whole units, and yield their receipts, in order, as they are finished."""
        results = in_order(pieces, lambda piece: (piece, self._process(piece)), cores())
        try:
            for unit, parts in itertools.groupby(results, key=lambda result: result[0].unit):
                done = list(parts)
                made = [compressed for _, compressed in done if compressed is not None]
                drop = [key for piece, _ in done for key in piece.drop]
                yield write_unit(unit, done[0][0].base, made, self._archive, drop)
        finally:
            results.close()

    def _process(self, piece: Piece) -> CompressedPiece | None:
        """Load, analyse and compress a piece; None for one that only drops keys."""
        if not piece.objects:
            return None
        torch.set_num_threads(1)  # of this thread: every core has one
        settings = self._settings
        loaded = stages.load(
            piece.objects,
            self._source,
            self._sandbox,
            settings.max_pixels,
            settings.max_bytes,
            keep_unreadable=settings.keeps_unreadable,
        )
        codecs, effort, coder = settings.codecs, settings.effort_of_model, self._codec.coder if self._codec else None
        analysed = stages.analyse(loaded, self._codec, self._target, codecs=codecs, effort=effort)
        self._count(stages.counts_of(analysed))
        by = (coder, self._target, self._sandbox, self._run)
        return stages.compress(analysed, *by, keep=settings.keep, codecs=codecs, effort=effort)

    def _count(self, added: EncodeCounts) -> None:
        with self._lock:
            self._counts = self._counts.plus(added)
            self._show(self._counts)
