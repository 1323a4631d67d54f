"""Erasure: not a byte of what is erased is left in the store, everything else is, and the key does not come back."""

import hashlib
import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.erasures import BEGUN, DONE
from pipeline.archive.ledgers.releases import ReleaseEntry
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import RELEASED
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.encode.settings import EncodeSettings
from pipeline.forget.run import ForgetResult, forget
from pipeline.forget.settings import ForgetSettings
from pipeline.forget.traces import ERASED
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import PlanOptions, make_plan
from pipeline.planning.units import Piece
from pipeline.release import run as release_module
from pipeline.release.run import ReleaseResult, ReleaseSettings, release
from pipeline.runs.checks import Damage, write_check
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import LeaseHeld
from pipeline.runs.record import RunRecord, latest_records, problem_with_record
from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.open import open_store, open_target
from pipeline.verify import run as verify_module
from pipeline.verify.run import VerifyResult, verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.kills import killed_at
from tests.pipeline.maintain.helpers import keys_of, replace
from tests.pipeline.making import add, original, originals

PERSON = ("mueller/1.jpg", "mueller/2.jpg")
TRACES = (b"THE FACE ITSELF", b"GPS of the home", b"mueller")
"""Bytes of the payload, of the EXIF block, and of the keys."""


RESULT = {
    "run": "20260102T000000-beef",
    "model": "0123456789abcdef",
    "codecs": {"mae": 3},
    "latents": 3,
    "reappeared_keys": ["mueller/1.jpg", "n"],
    "rejections": {"mueller/3.jpg is broken": 2, "broken": 1},
    "unlisted_folders": {"mueller/": "forbidden"},
    "missing": "3 rejected: mueller/3.jpg is broken (2), broken (1)",
}
"""Of a run, as its record has it."""


def filled(url: str) -> Archive:
    """An archive in which a person is everywhere: present and older shards, orphans, logs, plans, records, ledger."""
    archive = Archive.create(url)
    face = [original(key, TRACES[0] + b" " + bytes(40), exif=TRACES[1]) for key in PERSON]
    refused = [
        Rejection("mueller/3.jpg", "e", "read", "mueller/3.jpg is broken"),
        Rejection("x", "e", "read", "broken"),
    ]
    first = add(archive, [original("a"), *face, original("z")], run="one", rejections=refused)
    assert first.add is not None
    replace(archive, first.add, "a")  # the person is in an older shard and in the present one
    add(archive, [original(key) for key in ("b", "n", "y")], run="three")
    write_shard(archive.images, [originals(["mueller/9.jpg"])])  # of a run that was killed
    archive.releases.record([ReleaseEntry(key, RELEASED, "e", 1, "0" * 64, "fine") for key in (*PERSON, "n")], "r", 1)
    Manifest(archive.root, "20260101T000000-cafe").write([Piece(0, None, (Entry("mueller/7.jpg", 1, "e"),))])
    settings = EncodeSettings(source="/photos", archive=archive.url, model="base")
    with pytest.raises(ValueError), RunRecord(archive.root, "20260101T000000-beef", "encode", settings):
        raise ValueError("mueller/2.jpg cannot be read")
    globs = settings.model_copy(update={"include": ("mueller/*",), "exclude": ("mueller/2.jpg",)})
    with RunRecord(archive.root, "20260102T000000-beef", "encode", globs) as record:
        record.done(RESULT)
    return archive


def erase(archive: Archive, keys: str | None = "mueller/*") -> ForgetResult:
    return forget(ForgetSettings(archive=archive.url, keys=keys))


def hits(archive: Archive) -> list[tuple[str, bytes]]:
    """Objects of the archive's store with a trace of the person, in their bytes or in their name."""
    store = archive.root
    listed = [entry.key for entry in store.entries()] + [found.name for found in store.unfinished()]
    contents = {key: store.get(key) for key in listed}
    return [(key, trace) for key, data in contents.items() for trace in TRACES if trace in data + key.encode()]


def test_not_a_byte_is_left_and_every_other_row_is(place: str) -> None:
    archive = filled(place)
    assert {trace for _, trace in hits(archive)} == set(TRACES)
    others = {key: archive.row(key) for key in ("a", "b", "n", "y", "z")}
    result = erase(archive)
    assert hits(archive) == []
    assert {key: archive.row(key) for key in keys_of(archive)} == others
    assert [row.key for row in archive.rejections_by_key()] == ["x"] and archive.releases.released_keys() == {"n"}
    receipt = result.receipt
    assert receipt is not None and result.ok
    # Three rows and the rejection, and a key of which only an orphan was left.
    assert (result.keys, receipt.images, receipt.rejections, receipt.releases) == (4, 2, 1, 2)
    assert (receipt.state, receipt.shards, receipt.records) == (DONE, 1, 2)
    found = verify(VerifySettings(archive=place, executor="local"), quiet=True)
    assert found.ok, found.problems
    add(archive, [original("later")], run="later")
    assert verify(VerifySettings(archive=place, executor="local"), quiet=True).ok


def test_older_versions_cannot_be_restored_and_later_ones_can(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    erase(archive)
    with pytest.raises(StorageError, match="has no version 1 any more"):
        restore(RestoreSettings(archive=archive.url, version=1))
    version = archive.version()
    add(archive, [original("later")], run="later")
    restore(RestoreSettings(archive=archive.url, version=version))
    assert keys_of(archive) == ["a", "b", "n", "y", "z"]


def test_an_erased_key_does_not_come_back_from_its_source(tmp_path: Path) -> None:
    archive, source = filled(str(tmp_path / "archive")), open_target(str(tmp_path / "source"))
    for key in ("mueller/1.jpg", "mueller/3.jpg", "mueller/new.jpg", "a"):
        source.put(key, b"image")
    erase(archive)
    plan = make_plan(source, archive, None, PlanOptions(1 << 20, retry_rejected=True))
    assert (plan.barred, plan.new, plan.changed) == (2, 1, 1)  # what was never in the archive is not barred
    erase(archive, "mueller/new.jpg")
    assert make_plan(source, archive, None, PlanOptions(1 << 20)).barred == 3
    assert status(StatusSettings(archive=archive.url)).erased == 5


def test_the_receipt_names_models_that_were_adapted_on_the_source_and_no_key(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    for number, images in enumerate(("/photos", "/others")):
        config = json.dumps({"notes": {"images": images}}).encode()
        archive.root.put(f"models/{number:016x}/config.json", config)
    receipt = erase(archive).receipt
    assert receipt is not None and receipt.models == ("0" * 16,)
    record = open_store(f"{archive.url}/runs").get("20260101T000000-beef.json")
    assert problem_with_record(record, archive.version()) is None and b"/photos" in record


@pytest.mark.parametrize("key", ["a", "mae", "run", "encode"])
def test_a_short_key_leaves_the_records_of_other_keys_readable(tmp_path: Path, key: str) -> None:
    archive = filled(str(tmp_path / "archive"))
    add(archive, [original(key)] if key != "a" else [], run="more")
    before = {record["run"]: record for record in latest_records(archive.root, 9)}
    erase(archive, key)
    after = {record["run"]: record for record in latest_records(archive.root, 9)}
    assert after.keys() == before.keys() and len(after) == 2
    for run, record in after.items():
        assert record.keys() == before[run].keys() and record["settings"].keys() == before[run]["settings"].keys()
        for name in ("job", "outcome", "started", "archive_version", "seconds", "versions"):
            assert record[name] == before[run][name]
        assert record["settings"]["source"] == "/photos"
    result = after["20260102T000000-beef"]["result"]
    kept = ("run", "model", "codecs", "latents", "reappeared_keys")
    assert result == {name: RESULT[name] for name in kept} | {
        "rejections": {ERASED: 3},
        "unlisted_folders": {ERASED: ERASED},
        "missing": ERASED,
    }
    assert status(StatusSettings(archive=archive.url, runs=True)).runs


def test_records_that_are_damaged_go_as_nobody_can_tell_what_they_name(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    write_check(archive.root, "1/2", datetime.now(UTC), ["p"], [Damage("mueller/1.jpg", "broken", "p")], 1)
    write_check(archive.root, "2/2", datetime.now(UTC), ["q"], [Damage("mueller/1.jpg", "broken", "q")], 1)
    write_check(archive.root, "1/1", datetime.now(UTC) - timedelta(1), ["r"], [], 0)
    folder = tmp_path / "archive"
    for path, old, new in (
        (folder / "checks/2-of-2.json", b'"listed"', b'"lisTed"'),
        (folder / "runs/20260102T000000-beef.json", b'"result"', b'"resulT"'),
    ):
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new))
    erase(archive)
    assert hits(archive) == []
    assert [path.name for path in (folder / "checks").iterdir()] == ["1-of-1.json"]


def test_a_key_that_was_never_there_is_barred_and_named_as_what_may_be_a_mistake(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    (tmp_path / "list.txt").write_text("mueller/1.jpg\nmuller/2.jpg\n")
    listed = f"@{tmp_path / 'list.txt'}"
    would = forget(ForgetSettings(archive=archive.url, keys=listed, dry_run=True))
    done = erase(archive, listed)
    for found in (would, done):
        assert (found.keys, found.absent, found.ok) == (2, 1, False)
    again = erase(archive, listed)  # as after a kill: it is known by now
    assert (again.keys, again.absent, again.ok) == (2, 0, True)
    single = erase(archive, "mueler/1.jpg")
    assert (single.absent, single.ok) == (1, False)


def test_a_ledger_that_lost_its_log_stops_an_erasure_before_it_begins(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    shutil.rmtree(tmp_path / "archive/releases/_delta_log")
    with pytest.raises(StorageError, match="releases has lost its log"):
        erase(archive)
    assert archive.erasures.receipts() == [] and archive.row(PERSON[0]) is not None


def test_an_erasure_waits_for_every_run_and_keeps_every_other_away(tmp_path: Path) -> None:
    from pipeline.runs.alone import require_alone

    archive, source = filled(str(tmp_path / "archive")), open_target(str(tmp_path / "source"))
    with (
        Heartbeat(archive.root, "20260101T000000-cafe", "encode", "elsewhere"),
        pytest.raises(LeaseHeld, match="is at work"),
    ):
        erase(archive)
    with Heartbeat(archive.root, "20260101T000000-cafe", "forget"), pytest.raises(LeaseHeld, match="is erasing images"):
        require_alone(archive.root, source)


def test_what_a_check_writes_does_not_bring_back_keys_that_are_erased_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, source = filled(str(tmp_path / "archive")), open_target(str(tmp_path / "source"))
    shutil.copytree(archive.url, tmp_path / "copy")
    for jobs, name, job in (
        (release_module, "_shown", lambda: check_release(archive, source)),
        (verify_module, "_look", lambda: verify(VerifySettings(archive=archive.url, part="1/1", executor="local"))),
        (verify_module, "images_log", lambda: repair(archive, tmp_path / "copy")),
    ):
        whole = getattr(jobs, name)
        tries: list[str] = []

        def with_erasure(*arguments: Any, whole: Any = whole, tries: list[str] = tries) -> Any:
            done = whole(*arguments)
            with pytest.raises(LeaseHeld, match=r"check .* is at work on") as refused:
                erase(archive)
            tries.append(str(refused.value))
            return done

        with monkeypatch.context() as patch:
            patch.setattr(jobs, name, with_erasure)
            job()
        assert tries
        with Heartbeat(archive.root, "20260101T000000-cafe", "forget"), pytest.raises(LeaseHeld, match="is erasing"):
            job()
    erase(archive)
    assert hits(archive) == []
    assert check_release(archive, source).failed  # a check that nothing disturbs goes on as ever


def check_release(archive: Archive, source: Store) -> ReleaseResult:
    return release(ReleaseSettings(source=source.url, archive=archive.url, executor="local"), quiet=True)


def repair(archive: Archive, copy: Path) -> VerifyResult:
    return verify(VerifySettings(archive=archive.url, repair_from=str(copy), executor="local"), quiet=True)


def test_a_dead_run_of_a_machine_whose_clock_was_ahead_is_named_with_its_folder(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    seen = time.time() + 90 * 86400
    facts = {"started": seen, "seen": seen, "job": "encode", "source": "s", "host": "elsewhere", "process": "1 1"}
    archive.root.put("plans/20270101T000000-cafe/alive.json", json.dumps(facts).encode())
    with pytest.raises(LeaseHeld, match=r"remove .*/archive/plans/20270101T000000-cafe$"):
        erase(archive)
    archive.root.delete("plans/20270101T000000-cafe/alive.json")
    assert erase(archive).ok


def test_nothing_to_erase_is_said_and_changes_nothing(tmp_path: Path) -> None:
    archive = filled(str(tmp_path / "archive"))
    version = archive.version()
    with pytest.raises(MaepressError, match=r"no key in .* matches"):
        erase(archive, "nobody/*")
    with pytest.raises(MaepressError, match=r"no key in .* matches"):
        forget(ForgetSettings(archive=archive.url, keys="nobody/*", dry_run=True))
    would = forget(ForgetSettings(archive=archive.url, keys="mueller/*", dry_run=True))
    assert (would.keys, would.receipt, archive.version()) == (4, None, version)


def test_a_damaged_receipt_stops_the_next_plan(tmp_path: Path) -> None:
    archive, source = filled(str(tmp_path / "archive")), open_target(str(tmp_path / "source"))
    source.put("a", b"image")
    erase(archive)
    (path,) = (tmp_path / "archive" / "erasures").iterdir()
    barred = json.loads(path.read_text())["barred"][0]
    path.write_text(path.read_text().replace(barred, hashlib.sha256(b"another").hexdigest()))
    with pytest.raises(StorageError, match="is damaged, so erased images could come back"):
        make_plan(source, archive, None, PlanOptions(1 << 20))


def kill_each(folder: Path, operations: range, again: str | None) -> None:
    """Kill an erasure at each of some operations; the next run, with these keys, finishes it."""
    filled(str(folder / "first"))
    ended = False
    for operation in operations:
        shutil.copytree(folder / "first", folder / str(operation))
        archive = Archive(str(folder / str(operation)))
        with killed_at(operation):
            erase(archive)
            ended = True
        left = [key for key in keys_of(archive) if not key.startswith("mueller/")]
        assert left == ["a", "b", "n", "y", "z"], operation
        assert all(archive.row(key) is not None for key in left)
        receipts = archive.erasures.receipts()
        unfinished = sum(receipt.state == BEGUN for receipt in receipts)
        assert status(StatusSettings(archive=archive.url)).unfinished_erasures == unfinished
        if unfinished or (again and not receipts):
            erase(archive, again)
        if receipts or again:
            assert hits(archive) == [], operation
            assert {receipt.state for receipt in archive.erasures.receipts()} == {DONE}
            assert keys_of(archive) == left
        shutil.rmtree(archive.url)
        if ended:
            break
    assert ended and operation > 20


def test_an_erasure_that_is_killed_leaves_a_readable_archive_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    kill_each(tmp_path, range(2, 200, 7), "mueller/*")


@pytest.mark.slow
@pytest.mark.parametrize("again", ["mueller/*", None], ids=["the same command", "the next erasure"])
def test_an_erasure_may_be_killed_at_every_operation(tmp_path: Path, again: str | None) -> None:
    kill_each(tmp_path, range(1, 200), again)
