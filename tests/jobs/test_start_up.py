"""What jobs with nothing to do leave unimported: it would take longer than their work."""

import json
import subprocess
import sys
from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.sources.open import open_source
from tests.pipeline.making import add, original

SLOW = ["torch", "ray", "s3fs", "aiohttp", "PIL", "numba", "imagecodecs"]
"""Packages that take between a tenth of a second and seconds."""
PANDAS = "pandas"
"""A quarter of a second, as soon as pyarrow makes a table of Python's values: planning has to, status has not."""

_CHILD = """
import json, sys
from jobs.cli import main
commands, slow = map(json.loads, sys.argv[1:])
done = [[main(command), [name for name in slow if name in sys.modules]] for command in commands]
print(json.dumps(done))
"""


def test_jobs_with_nothing_to_do_import_no_slow_package(tmp_path: Path) -> None:
    source, archive = tmp_path / "photos", Archive.create(str(tmp_path / "archive"))
    source.mkdir()
    (source / "a.png").write_bytes(b"bytes")
    (entry,) = open_source(str(source)).entries()
    add(archive, [original("a.png", b"bytes") | {"etag": entry.etag}])
    settings = tmp_path / "nightly.yaml"
    settings.write_text(json.dumps({"source": str(source), "archive": archive.url}))
    commands = [["--help"], ["status", archive.url], ["encode", str(source), archive.url], ["sync", str(settings)]]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(commands), json.dumps([*SLOW, PANDAS])],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    codes, imported = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
    assert codes == (0, 0, 0, 0)
    assert imported[:2] == ([], [])
    assert set(imported[-1]) <= {PANDAS}
