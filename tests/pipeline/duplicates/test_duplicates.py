"""The report of duplicates: groups, sums, and the page of the viewer."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from jobs.cli import main
from jobs.commands.duplicates import NAMED
from jobs.web.viewer.app import make_app
from pipeline.archive.archive import Archive
from pipeline.duplicates.groups import Sums
from pipeline.duplicates.result import LISTED_IMAGES
from pipeline.duplicates.run import duplicates
from pipeline.duplicates.settings import DuplicatesSettings
from tests.pipeline.making import TWICE, add, original, stored_once

HASH = 0x0F0F_1234_5678_9ABC


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Two copies of 500 bytes and three of 10, in two shards; two near pictures, and some that are neither."""
    made = Archive.create(str(tmp_path_factory.mktemp("twice") / "archive"))
    large, small = b"large" * 100, b"small dupe"
    add(made, [original("a", large, phash=HASH), original("b", small), original("c", small), original("d", b"one")])
    near = original("near", b"smaller", phash=HASH ^ 0b101, width=2, height=2)
    copy = original("copy/a", large, phash=HASH, width=40, height=30)
    add(made, [copy, original("e<&", small), near, original("f", b"far", phash=~HASH), original("h", b"")])
    return made


def found(archive: Archive, **settings: int) -> "tuple[list[list[str]], list[list[str]]]":
    result = duplicates(DuplicatesSettings(archive=archive.url, **settings))
    exact, near = ([[c.key for c in g.copies] for g in kind] for kind in (result.exact_groups, result.near_groups))
    return exact, near


def test_groups_come_with_most_to_save_first_and_their_largest_image_first(archive: Archive) -> None:
    assert found(archive) == ([["copy/a", "a"], ["b", "c", "e<&"]], [["copy/a", "a", "near"]])


def test_the_distance_is_that_of_the_settings(archive: Archive) -> None:
    assert found(archive, distance=1)[1] == []
    assert found(archive, distance=2)[1] == [["copy/a", "a", "near"]]


def test_sums_count_all_groups_whether_they_are_listed_or_not(archive: Archive) -> None:
    result = duplicates(DuplicatesSettings(archive=archive.url, groups=0))
    assert (result.exact, result.near) == (Sums(2, 5, 520, 520), Sums(1, 3, 507, 507))
    assert (result.rows, result.without_hash) == (9, 5)
    assert result.exact_groups == result.near_groups == ()


def test_copies_that_are_all_the_same_bytes_are_no_near_duplicates(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    assert found(archive) == ([], [])
    add(archive, [original(key, b"same", phash=HASH) for key in "ab"])
    assert found(archive) == ([["a", "b"]], [])


def test_a_payload_that_copies_share_is_saved_already(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a", TWICE), original("b", TWICE)])
    assert duplicates(DuplicatesSettings(archive=archive.url)).exact == Sums(1, 2, len(TWICE), len(TWICE))
    stored_once(archive)
    assert duplicates(DuplicatesSettings(archive=archive.url)).exact == Sums(1, 2, len(TWICE), 0)
    add(archive, [original("c", TWICE)])  # not stored once yet
    result = duplicates(DuplicatesSettings(archive=archive.url))
    assert result.exact == Sums(1, 3, 2 * len(TWICE), len(TWICE))
    assert [(group.images, group.payload_bytes) for group in result.exact_groups] == [(3, len(TWICE))]


def test_the_command_counts_the_images_of_a_group_that_it_does_not_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original(f"{number:03}", b"same") for number in range(LISTED_IMAGES + 10)])
    assert main(["duplicates", archive.url]) == 0
    assert f"and {LISTED_IMAGES + 10 - NAMED} more" in capsys.readouterr().out


def test_the_command_prints_keys_and_json(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["duplicates", archive.url]) == 0
    text = capsys.readouterr().out
    assert "copy/a" in text and "5 images of 9 without a perceptual hash" in text
    assert main(["duplicates", archive.url, "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["near_groups"]
    assert (group["images"], group["spread"], group["copies"][2]["key"]) == (3, 2, "near")


def test_the_viewer_has_a_page_of_them(archive: Archive) -> None:
    with TestClient(make_app(archive.url)) as client:
        assert "/duplicates" in client.get("/").text
        page = client.get("/duplicates")
        assert page.status_code == 200 and page.text.index("copy/a") < page.text.index("e&lt;&amp;")
        assert "near</div>" in client.get("/duplicates?kind=near").text
        assert "There are none" in client.get("/duplicates?after=99").text
        assert client.get("/duplicates?after=x").status_code == 400
