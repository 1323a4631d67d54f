"""The device of an actor's networks: the GPU that Ray gave it, otherwise the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import torch

from model.core.errors import MaepressError
from pipeline.execution.executors import ray_is_connected


def own_device() -> str:
    """The calling actor's device: "cuda" if Ray gave it a GPU or a share of one, otherwise "cpu".

    Without Ray it is "cuda" if torch can use a GPU.

    `torch.cuda.is_available()` is the wrong test. Ray 2.60 leaves every GPU of a machine visible to
    an actor without one (unless RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO is set), which would take memory
    from the GPU's owner. And an actor with a GPU may be on a machine whose torch cannot use it,
    where it would compute at CPU speed for a GPU's price without anybody noticing.

    Raises:
        MaepressError: when Ray gave the actor a GPU that torch cannot use.
    """
    if not ray_is_connected():
        return "cuda" if torch.cuda.is_available() else "cpu"
    import ray  # here, as it takes a second

    if not ray.get_gpu_ids():
        return "cpu"
    if not torch.cuda.is_available():
        raise MaepressError(
            f"a machine of the cluster offers a GPU that its torch {torch.__version__} cannot use: install a build of "
            "torch for its driver there, or give --gpus-per-actor 0"
        )
    return "cuda"


class Streams:
    """CUDA streams for a process's threads: copies of one overlap with kernels of another.

    Streams are reused, since PyTorch's allocator keeps memory for each stream that was ever used:
    there are never more than threads inside `own` at one time.
    """

    def __init__(self, device: str) -> None:
        """Args: device: "cuda", or "cpu", where `own` does nothing."""
        self._device = device
        self._idle: SimpleQueue[torch.cuda.Stream] = SimpleQueue()

    @contextmanager
    def own(self) -> Iterator[None]:
        """Give the calling thread a stream of its own for the length of a `with` block.

        Tensors that the block leaves on the GPU must not be used outside: nothing synchronises with
        its stream.
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
