"""A short run of the fuzzer of whole archives."""

from pathlib import Path

import pytest

from tests.fuzz.archive import SOUND_EVERY, fuzz, made_files, mutated

CASES = 100


@pytest.mark.slow
def test_mutated_files_lose_nothing_but_themselves(tmp_path: Path) -> None:
    report = fuzz(tmp_path, CASES, seed=1)
    assert report.failures == []
    assert sum(report.rows.values()) + sum(report.rejected.values()) == CASES + CASES // SOUND_EVERY
    # The fuzzer is useful only if some mutated files are still read, and some are not.
    assert report.rows["latent"] > CASES // 10 and report.rejected["read"] > CASES // 10 and report.shown > CASES // 10


def test_the_same_seed_gives_the_same_files() -> None:
    import numpy as np

    files = made_files()
    assert len({suffix for suffix, _ in files}) >= 10
    once, again = ([mutated(data, np.random.default_rng([4, i])) for i, (_, data) in enumerate(files)] for _ in "ab")
    assert once == again and once != [data for _, data in files]
