"""History: the commit behind each version of an archive."""

from pipeline.archive.archive import Archive
from pipeline.maintain.history import HistorySettings, history
from pipeline.maintain.restore import RestoreSettings, restore
from tests.pipeline.maintain.helpers import replace
from tests.pipeline.making import add, original


def test_history_says_what_made_each_version(archive: Archive) -> None:
    base = add(archive, [original("a"), original("b")], run="one").add
    assert base is not None
    replace(archive, base, "b", drop=("a",), run="two")
    restore(RestoreSettings(archive=archive.url, version=1))
    found = history(HistorySettings(archive=archive.url))
    told = [(v.version, v.job, v.rows, v.retired) for v in found]
    assert told == [
        (3, "restore to 1", None, None),
        (2, "encode", 1, 1),
        (1, "encode", 2, 0),
        (0, "create table", None, None),
    ]
    assert [v.run for v in found[1:]] == ["two", "one", None]
    assert [v.version for v in history(HistorySettings(archive=archive.url, versions=2))] == [3, 2]
