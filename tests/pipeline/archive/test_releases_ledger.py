"""The ledger of releases: what is taken for no ledger, for one in the making, and for one that lost its log."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.ledgers.releases import ReleaseEntry, Releases
from pipeline.archive.log.delta_table import create_table
from pipeline.archive.schema import INTENDED, RELEASES
from pipeline.storage.base import StorageError
from pipeline.storage.open import open_store

ENTRY = ReleaseEntry(key="a.png", state=INTENDED, etag="e", source_bytes=3, source_sha256="0" * 64, facts="{}")


def ledger(root: Path) -> Releases:
    return Releases(open_store(str(root)))


def test_an_archive_without_releases_has_no_ledger(tmp_path: Path) -> None:
    assert ledger(tmp_path).table() is None


def test_a_ledger_that_lost_its_log_is_an_error(tmp_path: Path) -> None:
    ledger(tmp_path).record([ENTRY], "run", 1)
    shutil.rmtree(tmp_path / "releases" / "_delta_log")
    with pytest.raises(StorageError, match="has lost its log: restore its folder _delta_log"):
        ledger(tmp_path).table()


def test_a_ledger_without_the_beginning_of_its_log_is_an_error(tmp_path: Path) -> None:
    ledger(tmp_path).record([ENTRY], "run", 1)
    (tmp_path / "releases" / "_delta_log" / f"{0:020d}.json").unlink()
    with pytest.raises(StorageError):
        ledger(tmp_path).table()


@pytest.mark.parametrize("with_entry", [False, True])
def test_a_ledger_that_another_process_makes_meanwhile_is_read(
    with_entry: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first release of an archive may begin between the look at the log and the look at the folder."""
    here, there = ledger(tmp_path), ledger(tmp_path)
    entries = here.store.entries

    def made_meanwhile(*arguments: Any) -> Iterator[Any]:
        there.record([ENTRY], "run", 1) if with_entry else create_table(there.store, RELEASES)
        return entries(*arguments)

    monkeypatch.setattr(here.store, "root_exists", lambda: True)
    monkeypatch.setattr(here.store, "entries", made_meanwhile)
    assert here.table() is not None
    assert here.released_keys() == ({"a.png"} if with_entry else set())


def test_a_log_that_is_being_written_is_no_ledger_yet(tmp_path: Path) -> None:
    log = tmp_path / "releases" / "_delta_log"
    log.mkdir(parents=True)
    (log / "_commit_5b0e.json.tmp").write_bytes(b"{")
    assert ledger(tmp_path).table() is None
