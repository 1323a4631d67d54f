"""Batches of images of equal size: an image goes through the networks together with others of its size."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from model.inference.parallel import each

Result = TypeVar("Result")
BATCH_LATENTS = {"cpu": 1 << 12, "cuda": 1 << 16}
"""Largest number of latent positions of a batch: what a CPU's caches hold, and what keeps a GPU busy."""
AT_ONCE = 1 << 18
"""Latent positions of the pictures that a GPU is given before the host waits: 67 megapixels, 13 bytes for each."""


def in_size_batches(
    sizes: Sequence[tuple[int, int]], work: Callable[[list[int]], Sequence[Result]], device: torch.device
) -> list[Result]:
    """Call `work` on batches of images of equal size, several at once where there are threads.

    Args:
        sizes: rows and columns of the latents of each image.
        work: takes positions in `sizes`, all of one size, and returns one result for each;
            thread-safe.
        device: where the networks run.

    Returns:
        the results in the order of `sizes`.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    batches = list(_batches(sizes, BATCH_LATENTS[device.type] // threads))
    batches.sort(key=lambda batch: -math.prod(sizes[batch[0]]) * len(batch))  # a large one last would run alone
    results: dict[int, Result] = {}
    for batch, batch_results in zip(batches, each(work, batches, device, divides=True), strict=True):
        results |= zip(batch, batch_results, strict=True)
    return [results[i] for i in range(len(sizes))]


def spans(sizes: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Neighbouring images that a GPU is given at once: together at most `AT_ONCE` latents, or one image."""
    begin, latents = 0, 0
    for i, (height, width) in enumerate(sizes):
        if i > begin and latents + height * width > AT_ONCE:
            yield slice(begin, i)
            begin, latents = i, 0
        latents += height * width
    if sizes:
        yield slice(begin, len(sizes))


def _batches(sizes: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Positions of images of equal size, together at most `most` latents (or one image)."""
    groups = defaultdict(list)
    for i, size in enumerate(sizes):
        groups[size].append(i)
    for (h, w), members in groups.items():
        count = max(1, most // (h * w))
        for start in range(0, len(members), count):
            yield members[start : start + count]
