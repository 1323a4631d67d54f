"""Empty places to write to: in a folder, and on a real S3 server."""

import itertools
from pathlib import Path

import pytest

from jobs.demo.s3_server import S3Server

_numbers = itertools.count()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URL of a bucket's prefix where nothing is yet."""
    return f"{s3.bucket}/{next(_numbers)}"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place to write to: a local folder, and a prefix of a bucket."""
    if request.param == "local":
        return str(tmp_path / "place")
    return str(request.getfixturevalue("bucket"))
