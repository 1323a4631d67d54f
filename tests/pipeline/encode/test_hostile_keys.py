"""Keys that no file system allows, and files that break decoders: each becomes a row or a rejection."""

from pathlib import Path

from pipeline.archive.archive import Archive
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.storage.open import open_store
from tests.pipeline.making import add, original

KEYS = (
    *(
        " leading space.png",
        "a b/c d.png",
        "ünï/中文/😀.png",
        "new\nline.png",
        "tab\t.jpg",
        "quote'\".png",
        "ctrl\x01.png",
    ),
    *(
        "per%cent%2F.png",
        "plus+&=;?#.png",
        "-dash.png",
        "*?[x].png",
        ".hidden.png",
        "no suffix",
        "-",
        "~",
        "$HOME",
        "`ls`",
    ),
    *("photo.png.png", "PHOTO.JPG", "s3:x.png", "CON", "trailing dot."),
)
ESCAPING = ("../up", "a/../../up", "..", "/absolute", "a//b", "./here", "a/.", "nul\0", "x" * 300, "", "a/")
"""Keys that some server may hold, and no folder."""


def test_awkward_files_under_hostile_keys_end_as_rows_or_rejections_and_come_back_inside_the_folder(
    bucket: str, shared_data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    awkward = [p for p in sorted((shared_data / "awkward").rglob("*")) if p.is_file() and p.stat().st_size < 40_000]
    prefix = len(bucket.split("/", 3)[3]) + len("/source/")
    longest = "/".join(["x" * 200] * 5)[: 1024 - prefix]
    files = {key: awkward[7 * i % len(awkward)].read_bytes() for i, key in enumerate([*KEYS, longest])}
    source = open_store(f"{bucket}/source")
    for key, data in files.items():
        source.put(key, data)
    model = str(tiny_model_folder)
    settings = EncodeSettings(
        source=source.url, archive=f"{bucket}/archive", model=model, executor="local", unreadable="reject"
    )
    result = encode(settings, quiet=True)
    archive = Archive.open(f"{bucket}/archive")
    rows = {row.key for row in archive.rows_by_key()}
    rejected = {row.key: row for row in archive.rejections_by_key()}
    assert rows | rejected.keys() == files.keys() and not rows & rejected.keys()
    assert all(row.stage == "read" and row.reason for row in rejected.values())
    assert result.rejected == len(rejected)
    assert len(rows) > 3 and len(rejected) > 3, "the test files are of both kinds"

    result = encode(settings.model_copy(update={"unreadable": "keep"}), quiet=True)  # tries those again
    assert (result.originals, result.rejected, result.missing) == (len(rejected), 0, None)
    rows |= rejected.keys()

    back = tmp_path / "deep" / "back"
    restored = decode(DecodeSettings(archive=archive.url, dest=str(back), executor="local"), quiet=True)
    assert restored.written + restored.failed == len(rows)
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == restored.written and all(back in p.parents for p in written)


def test_a_key_that_leads_out_of_the_folder_is_named_and_nothing_is_written_there(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original(key, b"payload " + key.encode()) for key in (*ESCAPING, "good")])
    back = tmp_path / "deep" / "back"
    before = {p for p in tmp_path.rglob("*") if back not in p.parents}
    result = decode(DecodeSettings(archive=archive.url, dest=str(back), executor="local"), quiet=True)
    assert {failure.key for failure in result.failures} == set(ESCAPING)
    assert all("cannot be a file here" in failure.reason for failure in result.failures)
    assert [p.name for p in back.rglob("*") if p.is_file()] == ["good"]
    assert {p for p in tmp_path.rglob("*") if back not in p.parents} - before <= {back, back.parent}
