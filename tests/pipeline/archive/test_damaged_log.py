"""A damaged log is an error in one line, whatever it makes the parser of Delta's logs do."""

from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import open_table
from pipeline.storage.base import StorageError
from tests.pipeline.making import add, original, with_other_signs


def test_a_checkpoint_that_makes_deltalake_panic_is_an_error_of_the_table(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a"), original("b")])
    archive.table().create_checkpoint()
    (path,) = (tmp_path / "archive" / "images" / "_delta_log").glob("*.checkpoint.parquet")
    texts = []
    for damaged in with_other_signs(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            open_table(archive.images)
        except StorageError as e:
            texts.append(str(e))
    assert any("is damaged" in text and "Executor has crashed" in text for text in texts)
