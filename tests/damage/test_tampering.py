"""No kind of tampering passes `verify` as sound, and each row that was changed is named by its key."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.schema import IMAGES, ROW_SHA256
from pipeline.verify.shard_checks import ROW_CHANGED
from tests.damage.judge import problems_of
from tests.damage.subject import make
from tests.damage.tampering import FILES, ROWS, Row, rewrite, rows_of, with_another_value


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    return make(tmp_path_factory.mktemp("damage"), tiny_model_folder, tiny_codec)


@pytest.fixture
def archive(sound: Archive, tmp_path: Path) -> Archive:
    """A copy to be tampered with."""
    shutil.copytree(sound.url, tmp_path / "archive")
    return Archive(str(tmp_path / "archive"))


def test_an_untouched_archive_has_no_problem(archive: Archive) -> None:
    assert problems_of(archive.url) == []


@pytest.mark.parametrize("change", ROWS.values(), ids=ROWS)
def test_a_changed_row_is_named_though_log_and_file_agree(
    archive: Archive, change: Callable[[list[Row]], None]
) -> None:
    before = {row["key"]: row for row in rows_of(archive)}
    rewrite(archive, change)
    changed = {row["key"] for row in rows_of(archive) if row != before.get(row["key"])}
    assert changed
    assert {problem.partition(": ")[0] for problem in problems_of(archive.url)} == changed


@pytest.mark.parametrize("column", [name for name in IMAGES.names if name not in ("key", ROW_SHA256)])
def test_a_change_of_any_column_is_named(archive: Archive, column: str) -> None:
    """Also of columns that are added later: the list is the schema's."""
    rewrite(archive, lambda rows: with_another_value(rows[1], column))
    (problem,) = problems_of(archive.url)
    assert problem.startswith("a/2.png: ")


@pytest.mark.parametrize("tamper", FILES.values(), ids=FILES)
def test_a_changed_file_is_noticed(archive: Archive, tamper: Callable[[Archive], None]) -> None:
    tamper(archive)
    problems = problems_of(archive.url)
    assert problems
    assert all("\n" not in problem and "Traceback" not in problem for problem in problems)


def test_rows_that_other_tools_only_move_are_sound(archive: Archive) -> None:
    rewrite(archive, list.reverse)
    DeltaTable(archive.images.absolute_url).optimize.compact()
    assert problems_of(archive.url) == []


def test_an_update_by_another_tool_is_named(archive: Archive) -> None:
    DeltaTable(archive.images.absolute_url).update(predicate="key = 'a/2.png'", updates={"psnr": "99.0"})
    assert problems_of(archive.url) == [f"a/2.png: {ROW_CHANGED}"]


def test_a_delete_by_another_tool_is_no_damage(archive: Archive) -> None:
    """It is a commit of the log, which `history` shows."""
    DeltaTable(archive.images.absolute_url).delete("key = 'a/2.png'")
    assert problems_of(archive.url) == []
