"""Time and memory of finding duplicates among many rows: `python -m bench.duplicates 10000000`.

The rows are made of chance: a twentieth are exact copies, a twentieth near ones (two bits differ), and the others have
hashes that are spread evenly, half of whose bits are set.
"""

import resource
import sys
import time

import numpy as np

from pipeline.duplicates.facts import Facts
from pipeline.duplicates.groups import exact, nearly


def made(count: int) -> Facts:
    rng = np.random.default_rng(0)
    ends = (-(1 << 63), (1 << 63) - 1)
    hashes, sources = rng.integers(*ends, count), rng.integers(*ends, count)
    some = count // 20
    sources[:some], hashes[:some] = sources[some : 2 * some], hashes[some : 2 * some]
    flips = [np.left_shift(np.int64(1), rng.integers(0, 63, some)) for _ in range(2)]
    hashes[2 * some : 3 * some] = hashes[3 * some : 4 * some] ^ flips[0] ^ flips[1]
    sizes = [rng.integers(most // 10, most, count) for most in (1_000_000, 100_000)]
    return Facts(sources, hashes, np.ones(count, np.bool_), *sizes)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(count: int) -> None:
    facts = made(count)
    print(f"{count:,} rows: {peak():.0f} MB with the numbers of all rows")
    for name, search in (("same bytes", lambda: exact(facts, 20)), ("near, 4 bits", lambda: nearly(facts, 4, 20))):
        started = time.process_time()
        sums = search().sums
        seconds = time.process_time() - started
        print(f"{name}: {sums.groups:,} groups, {sums.images:,} images, {seconds:.1f} CPU s, peak {peak():.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]))
