"""Copies between the host and the networks' device.

A GPU works off a queue. It has work as long as the host goes on filling that queue, and the host
stops whenever it asks for a value. So copies go through pinned memory, without a wait, and results
are collected after one wait for all of them. On a CPU nothing is copied.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_BYTES = 1 << 29
"""Pinned memory for results on their way, about that of a hundred megapixels."""


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor on the device; a GPU copies it while the host goes on."""
    if device.type == "cpu":
        return torch.from_numpy(np.ascontiguousarray(array))
    like = torch.from_numpy(np.empty(0, array.dtype))
    pinned = torch.empty(array.shape, dtype=like.dtype, pin_memory=True)
    np.copyto(pinned.numpy(), array)
    return pinned.to(device, non_blocking=True)


class Arrivals:
    """Results that travel from a device to the host. Not for several threads, except on a CPU."""

    def __init__(self, device: torch.device) -> None:
        """Nothing is on its way."""
        self._device = device
        self._waiting: list[tuple[Tensor, Callable[[NDArray[Any]], object]]] = []
        self._bytes = 0

    def fetch(self, tensor: Tensor, use: Callable[[NDArray[Any]], object]) -> None:
        """Call `use` with the tensor's values once they are here: on a CPU now, else in `wait` or a later `fetch`."""
        if self._device.type == "cpu":
            use(tensor.numpy())
            return
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        here.copy_(tensor, non_blocking=True)
        self._waiting.append((here, use))
        self._bytes += here.nbytes
        if self._bytes > MOST_BYTES:
            self.wait()

    def wait(self) -> None:
        """Wait until everything has arrived, if anything is on its way."""
        if not self._waiting:
            return
        torch.cuda.current_stream(self._device).synchronize()
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        for here, use in waiting:
            use(here.numpy())
