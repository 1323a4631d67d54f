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

_CHILD = """
import json, sys
from jobs.cli import main
commands, slow = map(json.loads, sys.argv[1:])
codes = [main(command) for command in commands]
print(json.dumps([codes, [name for name in slow if name in sys.modules]]))
"""


def test_jobs_with_nothing_to_do_import_no_slow_package(tmp_path: Path) -> None:
    source, archive = tmp_path / "photos", Archive.create(str(tmp_path / "archive"))
    source.mkdir()
    (source / "a.png").write_bytes(b"bytes")
    (entry,) = open_source(str(source)).entries()
    add(archive, [original("a.png", b"bytes") | {"etag": entry.etag}])
    settings = tmp_path / "nightly.yaml"
    settings.write_text(json.dumps({"source": str(source), "archive": archive.url}))
    commands = [["--help"], ["encode", str(source), archive.url], ["sync", str(settings)], ["status", archive.url]]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(commands), json.dumps(SLOW)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0, 0], []]
