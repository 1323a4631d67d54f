"""Archives for these tests: in a folder and on a real S3 server, or only in a folder."""

from pathlib import Path

import pytest

from pipeline.archive.archive import Archive


@pytest.fixture
def archive(place: str) -> Archive:
    return Archive.create(place)


@pytest.fixture
def local(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "archive"))
