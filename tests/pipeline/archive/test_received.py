"""An archive that others made: its log, links and files lead nowhere but into it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.web.viewer.catalogue import Catalogue
from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.reader import read_image
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.storage.base import StorageError
from tests.pipeline.making import add, original


def commit_by_hand(archive: Archive, *actions: dict[str, Any]) -> None:
    """Write a version of the images table, as an attacker would."""
    log = Path(archive.images.absolute_url) / "_delta_log"
    version = open_table(archive.images).version() + 1
    (log / f"{version:020}.json").write_text("\n".join(json.dumps(action) for action in actions))


def added(path: str, size: int) -> dict[str, Any]:
    facts = {"path": path, "size": size, "partitionValues": {}, "modificationTime": 1, "dataChange": True}
    return {"add": facts | {"stats": json.dumps({"numRecords": 1})}}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """An archive of somebody else's, with one private image."""
    archive = Archive.create(str(tmp_path / "victim"))
    add(archive, [original("private", b"private")])
    return tmp_path / "victim"


@pytest.fixture
def received(tmp_path: Path) -> Archive:
    archive = Archive.create(str(tmp_path / "received"))
    add(archive, [original("a", b"own bytes")])
    return archive


PATHS: dict[str, Callable[[Path], str]] = {
    "above": lambda file: f"../../victim/images/{file.name}",
    "above, encoded": lambda file: f"..%2F..%2Fvictim/images/{file.name}",
    "above, encoded dots": lambda file: f"%2e%2e/%2e%2e/victim/images/{file.name}",
    "absolute": str,
    "url": lambda file: f"file://{file}",
}


@pytest.mark.parametrize("kind", PATHS)
def test_a_log_that_names_a_file_outside_its_table_is_refused(kind: str, received: Archive, victim: Path) -> None:
    (file,) = (victim / "images").glob("*.parquet")
    commit_by_hand(received, added(PATHS[kind](file), file.stat().st_size))
    uses: list[Callable[[], object]] = [
        lambda: read_image(received, "private"),
        lambda: list(received.rows_by_key()),
        lambda: status(StatusSettings(archive=received.url)),
        lambda: Catalogue(received.url).page("", "", "", 10),
        lambda: received.committer("run"),
    ]
    for use in uses:
        with pytest.raises(StorageError, match=r"the log of .* names the file|cannot be read"):
            use()


@pytest.mark.parametrize("what", ["images", "images/_delta_log", "a log file", "models"])
def test_a_link_in_place_of_a_folder_is_refused(what: str, received: Archive, victim: Path) -> None:
    root = Path(received.url)
    if what == "a log file":
        what = "images/_delta_log/00000000000000000001.json"
    if (root / what).is_dir():
        shutil.rmtree(root / what)
    else:
        (root / what).unlink(missing_ok=True)
    (victim / "models").mkdir()
    (root / what).symlink_to(victim / what)
    before = sorted(victim.rglob("*"))
    with pytest.raises(StorageError, match="is a link: links inside an archive are not followed"):
        received.models() if what == "models" else Archive.open(received.url)
    if what == "images":
        with pytest.raises(StorageError, match="is a link"):
            Archive.create(received.url)
    assert sorted(victim.rglob("*")) == before


def test_a_shard_that_is_a_link_is_not_read(received: Archive, victim: Path) -> None:
    (secret,) = (victim / "images").glob("*.parquet")
    (own,) = Path(received.images.absolute_url).glob("*.parquet")
    own.unlink()
    own.symlink_to(secret)
    uses: list[Callable[[], object]] = [
        lambda: read_image(received, "a"),
        lambda: status(StatusSettings(archive=received.url)),
        lambda: Catalogue(received.url).page("", "", "", 10),
    ]
    for use in uses:
        with pytest.raises(StorageError, match="is a link"):
            use()
