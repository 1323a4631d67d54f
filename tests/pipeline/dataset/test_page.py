"""The programs in docs/learning.md run unchanged."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archive import Archive

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "learning.md").read_text()


def program(heading: str) -> str:
    section = next(part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(heading))
    return "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))


def run(archive: Archive, folder: Path, *headings: str) -> dict[str, Any]:
    names: dict[str, Any] = {
        "archive": archive.url,
        "folder": folder,
        "label": lambda key: "abc".index(key[0]),
    }
    for heading in headings:
        exec(program(heading), names)
    return names


def test_images_for_torch(small_archive: Archive, tmp_path: Path) -> None:
    assert run(small_archive, tmp_path, "Images for torch")["images"].rows == 30


def test_resuming_and_shards_on_a_local_disk(small_archive: Archive, tmp_path: Path) -> None:
    run(small_archive, tmp_path, "Images for torch", "Resuming in the middle of an epoch", "Shards on a local disk")
    assert (tmp_path / "shards").is_dir()


def test_a_small_classifier_learns_from_a_cache_what_there_is_to_learn(small_archive: Archive, tmp_path: Path) -> None:
    """The three folders hold images of three sizes, which is enough to tell them apart by."""
    names = run(small_archive, tmp_path, "A cache for many epochs", "A small classifier")
    assert len(names["cache"]) == 30 and names["accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_on_a_cluster(small_archive: Archive, tmp_path: Path) -> None:
    assert run(small_archive, tmp_path, "On a cluster")["shapes"] == {(2, 3, 72), (2, 3, 72), (3, 2, 72)}


def test_every_program_of_the_page_is_run_here() -> None:
    headings = [part.splitlines()[0] for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if "```python" in part]
    source = Path(__file__).read_text()
    assert len(headings) == 6 and all(f'"{heading}"' in source for heading in headings)


@pytest.mark.parametrize(
    ("page", "name"), [("README.md", "images"), ("docs/howto/restore.md", "picture"), ("docs/howto/look.md", "app")]
)
def test_short_examples_of_other_pages_run_on_a_local_archive(
    page: str, name: str, small_archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    key = next(small_archive.rows_by_key()).key
    places = (("s3://archive/photos", small_archive.url), ("s3://photos", str(tmp_path)))
    for theirs, ours in (*places, ("2024/beach.jpg", key), ("2024/*", "*")):
        program = program.replace(theirs, ours)
    names: dict[str, Any] = {"crop_and_label": lambda sample: sample["key"]}
    exec(program, names)
    assert names[name]
    if name == "images":
        assert len(list(names[name])) == names[name].rows
