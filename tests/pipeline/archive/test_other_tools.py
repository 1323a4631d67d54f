"""DuckDB, Polars and plain pyarrow read the archive with the programs in the documentation."""

import re
from pathlib import Path
from typing import Any

import pytest

from model.codec import Codec
from model.core.picture import Picture
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.shard_writer import write_shard
from tests.pipeline.making import TWICE, add, archive_with_copies, compressed, image_file, original, originals, rows_in

PAGE = (Path(__file__).parents[3] / "docs" / "reading.md").read_text()


def programs() -> dict[str, str]:
    """The page's programs by the heading above each."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    return {
        section.splitlines()[0]: code
        for section in sections
        for code in re.findall(r"```python\n(.*?)```", section, re.S)
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    """Three versions: compressed images and originals below three prefixes, one of them replaced, and rejections."""
    made = Archive.create(str(tmp_path_factory.mktemp("open") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    rows = [
        compressed(tiny_codec, f"{prefix}/{i}.png", image_file("PNG", seed=i), quality)
        for prefix, quality in (("fine", 60), ("coarse", 5))
        for i in range(3)
    ]
    refusals = [Rejection(f"bad/{i}.jpg", "e", "read", "cut short" if i else "no image") for i in range(3)]
    refusals.append(Rejection("kept/0", "etag of kept/0", "read", "settled since"))
    base = add(made, rows, run="one", rejections=refusals).add
    add(made, [original(f"kept/{i}") for i in range(2)], run="two")
    assert base is not None
    shard = write_shard(made.images, [originals(["fine/2.png"], 50)], base=base.path)
    made.committer("three").commit([Receipt(0, shard, remove=base.path)])
    return made


def run(archive: Archive, heading: str) -> dict[str, Any]:
    names: dict[str, Any] = {"archive": archive.url, "key": "fine/0.png"}
    exec(programs()[heading], names)
    return names


def facts(archive: Archive) -> list[dict[str, Any]]:
    columns = [name for name in IMAGES.names if name != "payload"]
    return [row for batch in archive.scan(columns) for row in batch.to_pylist()]


def test_duckdb_shows_where_the_archive_saves_most(archive: Archive) -> None:
    savings = run(archive, "DuckDB: where the archive saves most")["savings"]
    saved: dict[str, int] = {}
    for row in facts(archive):
        prefix = row["key"].split("/")[0]
        saved[prefix] = saved.get(prefix, 0) + row["source_bytes"] - row["payload_bytes"]
    assert [(prefix, part) for prefix, _, _, part in savings] == sorted(saved.items(), key=lambda item: -item[1])
    assert [count for _, count, _, _ in sorted(savings)] == [3, 3, 2]


def test_polars_shows_which_images_have_the_lowest_psnr(archive: Archive) -> None:
    worst = run(archive, "Polars: which images came out worst")["worst"]
    expected = sorted((row["psnr"], row["key"]) for row in facts(archive) if row["psnr"] is not None)
    assert list(zip(worst["psnr"], worst["key"], strict=True)) == expected
    assert worst["key"][0].startswith("coarse/") and worst["bpp"][0] < worst["bpp"][-1]


def test_pyarrow_shows_the_rejections_by_reason(archive: Archive) -> None:
    by_reason = run(archive, "pyarrow: what was rejected, and why")["by_reason"]
    assert by_reason.to_pylist() == [
        {"stage": "read", "reason": "cut short", "key_count": 2},
        {"stage": "read", "reason": "no image", "key_count": 1},
    ]


def test_older_versions_are_read_too(archive: Archive) -> None:
    assert run(archive, "An older version")["rows_before"] == len(facts(archive)) == 8


def test_python_gets_one_image(archive: Archive) -> None:
    assert isinstance(run(archive, "One image")["picture"], Picture)


def test_python_gets_payloads_that_rows_share(tmp_path: Path) -> None:
    archive = archive_with_copies(str(tmp_path / "archive"))
    payloads = run(archive, "Payloads that rows share")["payloads"]
    assert payloads == {key: row["payload"] for key, row in rows_in(archive).items()}
    assert payloads["a"] == payloads["copy/a"] == TWICE


def test_every_program_of_the_page_is_run_here() -> None:
    source = Path(__file__).read_text()
    assert len(programs()) == 6
    assert all(f'run(archive, "{heading}")' in source for heading in programs())
