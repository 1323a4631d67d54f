"""Where an actor's networks run: on the GPU that Ray gave it, else on its cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import ray
import torch

from model.core.errors import MaepressError


def own_device() -> str:
    """The device of an actor: "cuda" if it holds a GPU or a part of one, "cpu" if it holds none.

    What torch sees does not decide: Ray 2.60 leaves every GPU of its machine visible to an actor that was given none
    (the variable RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO brings the old behaviour back), and an actor that was given one may
    sit on a machine whose torch cannot use it. The first would take memory from the GPU's owner; the second would press
    at a core's speed for a GPU's price, and nobody would notice.

    Raises:
        MaepressError: for a GPU that torch cannot use.
    """
    if not ray.get_gpu_ids():
        return "cpu"
    if not torch.cuda.is_available():
        raise MaepressError(
            f"a machine of the cluster offers a GPU that its torch {torch.__version__} cannot use: install a build of "
            "torch for its driver there, or give --gpus-per-actor 0"
        )
    return "cuda"


class Streams:
    """Streams of a GPU for the threads of one process, so that one thread's copies pass another's kernels.

    Streams are lent and come back, since PyTorch's allocator keeps memory for each one that was ever used: there are as
    many as there were threads at once.
    """

    def __init__(self, device: str) -> None:
        """Args: device: "cuda"; on "cpu" there is nothing to lend."""
        self._device = device
        self._idle: SimpleQueue[torch.cuda.Stream] = SimpleQueue()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Give the calling thread a stream that no other has, for the length of a `with` block.

        What the block leaves on the GPU is not to be used outside: nothing waits for it.
        """
        if self._device == "cpu":
            yield
            return
        try:
            stream = self._idle.get_nowait()
        except Empty:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.default_stream())  # where the weights were loaded
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._idle.put(stream)
