"""A uniform random sample of a listing in one pass and bounded memory (Vitter's algorithm R).

Vitter, "Random sampling with a reservoir", 1985. `pipeline.estimate.byte_sampling` draws in proportion to size instead.
"""

import random
from collections.abc import Iterable

from pipeline.storage.base import Entry


def reservoir_sample(entries: Iterable[Entry], most: int, seed: int) -> tuple[list[Entry], int]:
    """Draw at most `most` objects, each with the same probability.

    Args:
        entries: a listing, streamed.
        most: size of the sample; a listing of no more objects is taken whole.
        seed: the same seed draws the same sample from the same listing.

    Returns:
        the sample, in key order, and the number of objects in the listing.
    """
    rng, count = random.Random(seed), 0
    sample: list[Entry] = []
    for count, entry in enumerate(entries, 1):
        if len(sample) < most:
            sample.append(entry)
        elif (index := rng.randrange(count)) < most:
            sample[index] = entry
    return sorted(sample, key=lambda entry: entry.key.encode("utf-8", "surrogatepass")), count
