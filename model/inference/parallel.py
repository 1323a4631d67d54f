"""Parallel work on several pictures or tiles, one thread each.

The networks' operators are small: two threads that share every operator are 1.2 to 1.3 times as
fast as one, two threads with a picture or a tile each 1.6 to 1.8 times. And where other work runs,
threads that share an operator wait for one another at its end: a picture of 0.02 megapixels took 14
times as long on two threads as on one. So each piece of work goes to one thread, even if it is the
only one.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def pieces_at_once(device: torch.device) -> int:
    """Number of pieces to pass to `each` at once, so that threads do not wait long for the last piece."""
    threads = torch.get_num_threads()
    return 1 if threads == 1 or device.type != "cpu" else 2 * threads


def each(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device, *, divides: bool = False
) -> list[Result]:
    """Call `work` on all pieces and return the results in their order.

    Uses the number of threads that torch is set to (`torch.set_num_threads`), one per piece in
    progress; inside `work` torch then uses one. On a GPU, one thread does all the work.

    Args:
        work: must be thread-safe. Its exceptions are raised here; of several, that of the first
            piece.
        pieces: arguments of `work`, started in their order.
        device: where the networks run.
        divides: `work` itself divides a piece among the threads; a single one is left to it.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not pieces or device.type != "cpu" or (divides and len(pieces) == 1):
        return [work(piece) for piece in pieces]

    @torch.inference_mode()  # the mode belongs to the thread, as the number of threads does
    def alone(piece: Piece) -> Result:
        return work(piece)

    begun = [_pool(threads).submit(alone, piece) for piece in pieces]
    wait(begun)  # even if one fails, none runs on after the return
    return [one.result() for one in begun]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of threads, kept between calls: memory of a new thread has to be mapped page by page."""
    begun = Barrier(threads)

    def begin(_: int) -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # torch applies the setting of the last thread once per thread, at this call
        begun.wait()

    pool = ThreadPoolExecutor(threads, "codec")
    list(pool.map(begin, range(threads)))
    torch.set_num_threads(threads)  # for threads that start later
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child inherits the pool, but not its threads
