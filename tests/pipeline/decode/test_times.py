"""Files come back with the time of their source's last change."""

import os
from pathlib import Path

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
