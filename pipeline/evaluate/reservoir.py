"""A random sample of a listing, in one pass and bounded memory: every object is as likely as any other."""

import random
from collections.abc import Iterable

from pipeline.storage.base import Entry


def draw(entries: Iterable[Entry], most: int, seed: int) -> tuple[list[Entry], int]:
    """At most so many objects that are not empty, and how many of these there are; in order of the listing.

    Vitter's algorithm R: the n-th object takes a random place, and the sample keeps those that fall into it.
    """
    rng, count = random.Random(seed), 0
    sample: list[Entry] = []
    for entry in entries:
        if not entry.size:
            continue
        count += 1
        if len(sample) < most:
            sample.append(entry)
        elif (place := rng.randrange(count)) < most:
            sample[place] = entry
    return sorted(sample, key=lambda entry: entry.key.encode("utf-8", "surrogatepass")), count
