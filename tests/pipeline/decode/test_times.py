"""Files come back with the time of their source's last change."""

import os
from pathlib import Path

import pytest

from pipeline.archive.archive import Archive
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from tests.pipeline.making import add, image_file, original

WHEN = 1_100_000_000_123_456_789


def test_files_come_back_with_the_time_of_their_sources(tmp_path: Path, tiny_model_folder: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    for name, data in (("a.png", image_file("PNG")), ("b.gif", image_file("GIF", size=(9, 9)))):
        (source / name).write_bytes(data)
        os.utime(source / name, ns=(WHEN, WHEN))
    url = str(tmp_path / "archive")
    encode(EncodeSettings(source=str(source), archive=url, model=str(tiny_model_folder), executor="local"), quiet=True)
    add(Archive.open(url), [original("unknown")], run="second")
    done = decode(DecodeSettings(archive=url, dest=str(back), executor="local"), quiet=True)
    times = {path.name: path.stat().st_mtime_ns for path in back.iterdir()}
    assert done.failed == 0 and len(times) == 3
    assert times.pop("unknown") > WHEN + 10**18 / 10
    assert set(times.values()) == {WHEN}


def test_a_file_whose_time_does_not_fit_into_a_row_is_archived_without_it(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    """A wrong clock: ext4 holds times up to 2446, a row those up to 2262."""
    source, back, url = tmp_path / "source", tmp_path / "back", str(tmp_path / "archive")
    source.mkdir()
    (source / "a.txt").write_bytes(b"a text")
    os.utime(source / "a.txt", (13_569_465_600, 13_569_465_600))
    if (source / "a.txt").stat().st_mtime_ns < 1 << 63:
        pytest.skip("this file system has no such times")
    settings = EncodeSettings(source=str(source), archive=url, model=str(tiny_model_folder), executor="local")
    assert encode(settings, quiet=True).rejected == 0
    assert decode(DecodeSettings(archive=url, dest=str(back), executor="local"), quiet=True).failed == 0
    assert (back / "a.txt").stat().st_mtime_ns < 1 << 63
    assert encode(settings, quiet=True).unchanged == 1
