"""Random bit flips in any file of an archive are noticed, unless they change nothing that is read."""

from pathlib import Path

import pytest

from model.codec import Codec
from tests.damage.flips import KINDS, flip
from tests.damage.subject import make


@pytest.mark.parametrize("count", [30, pytest.param(600, marks=pytest.mark.slow)])
def test_no_flip_that_changes_what_is_read_is_missed(
    count: int, tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    archive = make(tmp_path, tiny_model_folder, tiny_codec)
    report = flip(archive.url, count, seed=count)
    assert report.missed == []
    assert sum(report.outcomes.values()) == count and {kind for kind, _ in report.outcomes} <= set(KINDS)
    assert report.total("noticed") > 0.7 * count
