"""A plan's totals agree with the pieces in its manifest, and each step sees what the steps before it found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.archive.archive import Archive
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import EncodePlan, PlanOptions, make_plan
from pipeline.planning.staleness import Staleness
from pipeline.planning.units import Piece
from pipeline.storage.base import Entry, NotListed, StorageError
from pipeline.storage.listing.key_globs import KeyGlobs
from pipeline.storage.local.store import LocalStore
from tests.pipeline.making import add, original


class Listing(LocalStore):
    """A source that lists given entries."""

    def __init__(self, entries: dict[str, str]) -> None:
        super().__init__("/nowhere")
        self._entries = entries

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        return (Entry(key, 1000, etag) for key, etag in sorted(self._entries.items()))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Three shards: a0..a9 and b0..b9 of an older target, c0..c9 without one."""
    made = Archive.create(str(tmp_path / "archive"))
    for name, target in (("a", "quality 10"), ("b", "quality 10"), ("c", None)):
        add(made, [original(f"{name}{i}", etag="1") | {"target": target} for i in range(10)], run=name)
    return made


def listing() -> Listing:
    """Two new keys, one changed in a, one gone in b."""
    keys = {f"{name}{i}": "1" for name in "abc" for i in range(10)}
    del keys["b5"]
    return Listing(keys | {"a3": "2", "d0": "1", "d1": "1"})


def planned(archive: Archive, **options: object) -> tuple[EncodePlan, list[Piece], list[Piece]]:
    """A plan, and its required and optional pieces."""
    manifest = Manifest(archive.root, "run")
    plan = make_plan(listing(), archive, manifest, PlanOptions(1 << 20, **options))  # type: ignore[arg-type]
    required, optional = (
        [piece for part in parts for piece in manifest.read(part)]
        for parts in (plan.required_parts, plan.optional_parts)
    )
    return plan, required, optional


def keys_of(pieces: list[Piece]) -> list[str]:
    return [entry.key for piece in pieces for entry in piece.objects]


def test_new_keys_come_first_then_changed_shards_then_shards_with_stale_rows_only(archive: Archive) -> None:
    stale = Staleness("0" * 16, "quality 40")
    plan, required, optional = planned(archive, stale=stale, retire_share=0.5)
    assert keys_of(required) == ["d0", "d1", *(f"a{i}" for i in range(10)), *(f"b{i}" for i in range(10) if i != 5)]
    assert [piece.drop for piece in required if piece.drop] == [("b5",)]
    assert optional == []  # every shard with stale rows has to be written anyway
    assert [piece.unit for piece in required if piece.padding] == [0, 1, 2] and plan.units == 3
    assert (plan.new, plan.changed, plan.stale, plan.gone, plan.retire) == (2, 1, 18, 1, 1)
    assert plan.objects == len(keys_of(required)) == 21 and plan.source_bytes == 21_000
    assert plan.rows == 30 and plan.unchanged == 10


def test_a_shard_whose_gone_rows_stay_is_optional_and_its_unit_comes_last(archive: Archive) -> None:
    plan, required, optional = planned(archive, stale=Staleness("0" * 16, "quality 40"), retire_share=0.01)
    assert (plan.retire, plan.withheld) == (0, 1)
    assert keys_of(required) == ["d0", "d1", *(f"a{i}" for i in range(10))]
    assert keys_of(optional) == [f"b{i}" for i in range(10) if i != 5]
    assert [piece.unit for piece in optional] == [2] and plan.units == 3
    assert plan.required_parts.stop == plan.optional_parts.start


@pytest.mark.parametrize("limit", [None, 0, 4, 12])
def test_a_plan_without_a_manifest_has_the_same_totals(archive: Archive, limit: int | None) -> None:
    options = {"stale": Staleness("0" * 16, "quality 40"), "stale_objects": limit, "retire_share": 0.5}
    plan, required, optional = planned(archive, **options)
    counted = make_plan(listing(), archive, None, PlanOptions(1 << 20, **options))  # type: ignore[arg-type]
    names = [name for name in EncodePlan.__slots__ if not name.endswith("_parts")]
    assert [getattr(counted, name) for name in names] == [getattr(plan, name) for name in names]
    assert plan.objects == len(keys_of(required + optional))
    assert plan.stale + plan.stale_left == 18


def test_rows_of_another_model_or_target_are_counted_when_they_stay(archive: Archive) -> None:
    plan, required, optional = planned(archive, stale=Staleness("0" * 16, "quality 40", repress=False))
    assert (plan.stale, plan.unchanged, plan.other_settings) == (0, 28, 18)  # not the ten without a target
    assert keys_of(required + optional) == ["d0", "d1", "a3"]
    assert planned(archive, stale=Staleness("0" * 16, "quality 10", repress=False))[0].other_settings == 0
    assert planned(archive, stale=Staleness("0" * 16, "quality 40"))[0].other_settings == 0
    assert planned(archive)[0].other_settings == 0


def test_an_empty_listing_retires_nothing_and_makes_no_plan(archive: Archive) -> None:
    with pytest.raises(StorageError, match="is empty: no row is retired"):
        make_plan(Listing({}), archive, None, PlanOptions(1 << 20, retire_share=1.0))
    assert make_plan(Listing({}), archive, None, PlanOptions(1 << 20)).gone == 30


def test_rows_on_which_the_source_does_not_decide_do_not_dilute_the_share_that_may_be_gone(archive: Archive) -> None:
    lost = Listing({f"b{i}": "1" for i in range(10) if i > 2})  # 3 of the 10 that are chosen, 3 of 30 rows
    globs = KeyGlobs(("b*",))
    some = make_plan(lost, archive, None, PlanOptions(1 << 20, globs=globs, retire_share=0.2))
    assert (some.gone, some.compared, some.excluded_rows, some.retire) == (3, 10, 20, 0)
    assert make_plan(lost, archive, None, PlanOptions(1 << 20, globs=globs, retire_share=0.3)).retire == 3


def test_rows_of_folders_that_cannot_be_listed_do_not_dilute_it_either(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original(f"{folder}/{i}", etag="1") for folder in "ab" for i in range(10)])

    class Partly(Listing):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            assert unlisted is not None
            unlisted("a/", "forbidden")
            return super().entries()

    lost = Partly({f"b/{i}": "1" for i in range(10) if i > 1})
    plan = make_plan(lost, archive, None, PlanOptions(1 << 20, retire_share=0.1))
    assert (plan.gone, plan.compared, plan.retire) == (2, 10, 0)
