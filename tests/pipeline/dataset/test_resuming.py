"""A data set goes on in the middle of an epoch: exactly what was left comes, in every rank and worker."""

import json
from pathlib import Path
from typing import Any

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.dataset import row_groups, torch_dataset
from pipeline.dataset.torch_dataset import ArchiveImages
from pipeline.storage.local.store import LocalStore
from tests.pipeline.making import add, original


def of(archive: Archive, **options: Any) -> ArchiveImages:
    given: dict[str, Any] = {"content": "sketch", "buffer_bytes": 3000, "seed": 5} | options
    return ArchiveImages(archive, **given)


def keys(samples: Any) -> list[str]:
    return [str(sample["key"]) for sample in samples]


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"rank": 1, "world": 3}, {"buffer_bytes": 1}])
def test_what_was_left_comes_in_the_same_order(small_archive: Archive, options: dict[str, Any]) -> None:
    whole = of(small_archive, **options)
    whole.set_epoch(4)
    expected = keys(whole)
    for done in (0, 1, len(expected) // 2, len(expected)):
        first = of(small_archive, **options)
        first.set_epoch(4)
        iterator = iter(first)
        assert keys(next(iterator) for _ in range(done)) == expected[:done]
        state = json.loads(json.dumps(first.state_dict()))
        second = of(small_archive, **options)
        second.load_state_dict(state)
        assert second.state_dict() == state
        assert keys(second) == expected[done:]
        second.set_epoch(5)
        assert len(keys(second)) == len(expected)  # the next epoch is whole


def test_an_epoch_that_has_not_begun_is_resumed_as_a_whole(small_archive: Archive) -> None:
    """Such as that of a worker that has given nothing yet when the others' states are saved."""
    images = of(small_archive)
    assert len(keys(images)) == 30
    images.set_epoch(3)
    for begun in (False, True):
        iterator = iter(images) if begun else None
        state = images.state_dict()
        assert (state["epoch"], state["position"], iterator is None) == (3, 0, not begun)
        second = of(small_archive)
        second.load_state_dict(state)
        assert int(second._epoch) == 3 and len(keys(second)) == 30


def test_what_is_skipped_is_not_decoded_and_payloads_of_few_rows_are_read(
    small_archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = of(small_archive, buffer_bytes=1)
    iterator = iter(first)
    for _ in range(28):
        next(iterator)
    asked: list[list[str]] = []
    read = row_groups.read_spans

    def counted(images: Any, spans: Any, wanted: Any, columns: Any) -> Any:
        asked.append(list(columns))
        return read(images, spans, wanted, columns)

    monkeypatch.setattr(torch_dataset, "read_spans", counted)
    second = of(small_archive, buffer_bytes=1)
    second.load_state_dict(first.state_dict())
    assert len(keys(second)) == 2
    assert ["payload_bytes"] in asked


@pytest.mark.parametrize(("workers", "rank"), [(0, 0), (2, 1), pytest.param(2, 0, marks=pytest.mark.slow)])
def test_a_stateful_loader_resumes_with_workers_and_ranks(small_archive: Archive, workers: int, rank: int) -> None:
    def loader() -> Any:
        images = of(small_archive, rank=rank, world=2)
        images.set_epoch(2)
        context = "fork" if workers else None
        return StatefulDataLoader(
            images, batch_size=2, num_workers=workers, multiprocessing_context=context, collate_fn=keys
        )

    expected = list(loader())
    first = loader()
    iterator = iter(first)
    for done in (1, 3):  # after one batch, the other worker has given none
        batches = [next(iterator) for _ in range(1 if done == 1 else 2)]
        assert batches == expected[done - len(batches) : done]
        second = loader()
        second.load_state_dict(first.state_dict())
        assert list(second) == expected[done:]
        assert sorted(sum(list(second), start=[])) == sorted(sum(expected, start=[]))  # noqa: RUF017


def test_a_state_of_another_data_set_is_refused_in_one_line(small_archive: Archive, tmp_path: Path) -> None:
    state = of(small_archive).state_dict()
    for options in ({"seed": 6}, {"rank": 0, "world": 2}, {"keys": "a/*"}, {"equal": True}):
        with pytest.raises(MaepressError, match="make it with the same arguments"):
            of(small_archive, **options).load_state_dict(state)
    negative = ({**state, "position": -1}, {**state, "epoch": -1})
    for wrong in ({}, {"epoch": 1}, {"epoch": "x", "position": 0, "of": {}}, None, *negative):
        with pytest.raises(MaepressError, match="no state"):
            of(small_archive).load_state_dict(wrong)  # type: ignore[arg-type]
    another = state | {"of": state["of"] | {"part": 1, "parts": 2}, "position": 1}
    images = of(small_archive)
    images.load_state_dict(another)
    with pytest.raises(MaepressError, match="worker 1 of 2"):
        list(images)


def test_an_archive_that_has_grown_is_resumed_at_its_old_version(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original(key, b"x") for key in "abc"])
    old = ArchiveImages(archive)
    add(archive, [original("d", b"x")], run="later")
    with pytest.raises(MaepressError, match="version 1, this one has 2"):
        ArchiveImages(archive).load_state_dict(old.state_dict())
    again = ArchiveImages(archive, version=old.version)
    again.load_state_dict(old.state_dict())
    assert again.rows == 3


def test_a_second_epoch_comes_from_the_cache_alone(
    small_archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sorted(keys(of(small_archive, cache=tmp_path)))
    again = of(small_archive, cache=tmp_path)

    def refuse(self: LocalStore, key: str) -> None:
        raise AssertionError(f"{key} was read")

    monkeypatch.setattr(LocalStore, "open_input", refuse)
    assert sorted(keys(again)) == expected
