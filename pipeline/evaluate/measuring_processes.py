"""Measure images in several processes, each with a model of its own.

    this process --Entry, through a pipe--> worker: Codec, Measurer --MeasuredImage or Skipped--> this process

Not `concurrent.futures`: its workers can keep a model between two tasks only in a global variable.
"""

import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait

import torch

from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.evaluate.measurement import MeasuredImage, MeasurementPlan, Measurer, Skipped
from pipeline.storage.base import Entry


def measured_in_processes(
    entries: Sequence[Entry], plan: MeasurementPlan, folder: str, workers: int
) -> Iterator[tuple[str, MeasuredImage | Skipped]]:
    """Measure images; each is given to the first worker that is free.

    Args:
        entries: the images.
        plan: how they are measured.
        folder: local folder of the model, which every worker loads.
        workers: number of processes.

    Yields:
        key and result of each image, in the order in which they are finished.

    Raises:
        MaepressError: when a worker was killed.
        StorageError: when the store fails; any other error of one image makes it `Skipped`.
    """
    waiting = iter(entries)
    started: list[_Worker] = []
    finished = False
    try:
        for entry in islice(waiting, workers):
            started.append(_Worker(plan, folder))
            started[-1].give(entry)
        busy = {worker.connection: worker for worker in started}
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                key, result = worker.entry.key, worker.result()
                if (following := next(waiting, None)) is not None:
                    worker.give(following)
                else:
                    del busy[connection]
                yield key, result
        finished = True
    finally:
        for worker in started:
            worker.end(at_once=not finished)


class _Worker:
    """A process that measures one image at a time.

    Attributes:
        connection: this process's end of the pipe; readable when the result is there, or the worker is dead.
        entry: the image that it was given last.
    """

    def __init__(self, plan: MeasurementPlan, folder: str) -> None:
        context = get_context("spawn")
        self.connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, plan, folder), daemon=True)
        # An interrupt from a terminal goes to all of its processes. This one ends the others; they would only print
        # where it met them. The mask is inherited, so it holds while a worker starts, too.
        resource_tracker.ensure_running()  # otherwise the first start does this, and unblocks the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        other_end.close()  # the worker alone holds it, so that its death ends the pipe

    def give(self, entry: Entry) -> None:
        self.entry = entry
        try:
            self.connection.send(entry)
        except ConnectionError:
            raise self._killed() from None

    def result(self) -> MeasuredImage | Skipped:
        try:
            result: MeasuredImage | Skipped | Exception = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._killed() from None
        if isinstance(result, Exception):
            raise result
        return result

    def end(self, *, at_once: bool) -> None:
        """Close the pipe, which ends an idle process; `at_once` stops one that is still measuring."""
        self.connection.close()
        if at_once:
            self._process.terminate()
        self._process.join()

    @staticmethod
    def _killed() -> MaepressError:
        return MaepressError(
            "a process that measures images was killed, most likely for lack of memory: "
            "give fewer --workers or less --max-megapixels"
        )


def _serve(connection: Connection, plan: MeasurementPlan, folder: str) -> None:
    """Main function of a worker: measure what comes through the pipe until it ends."""
    torch.set_num_threads(1)  # the processes share the cores
    with Measurer(Codec.load(folder), plan) as measurer:
        while True:
            try:
                entry = connection.recv()
            except EOFError:
                return
            try:
                result: MeasuredImage | Skipped | Exception = measurer.measure(entry)
            except Exception as e:
                result = e
            connection.send(result)
