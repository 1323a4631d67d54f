"""The short form of `make chaos`: the most harmful kills, in a row on the same archive."""

from pathlib import Path

import pytest

from jobs.demo.s3_server import OWNER_SECRET
from pipeline.archive.shards.payload_references import shared_payloads
from pipeline.storage.base import Store
from tests.chaos.campaign import Campaign
from tests.chaos.kills import Kill, Moment, Victim
from tests.chaos.testbed import ChaosEnvironment

pytestmark = pytest.mark.slow
KILLS = [
    pytest.param("encode", Kill(Victim.UNANSWERED, Moment("commit", 1), 0), id="unanswered"),
    pytest.param("sync", Kill(Victim.NODE, Moment("read of an image", 8), 0), id="node"),
    pytest.param("encode", Kill(Victim.BETWEEN, Moment("commit of rejections", 1), 0), id="between"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("job", "kill"), KILLS)
def test_whatever_is_killed_nothing_is_lost_or_compressed_twice(campaign: Campaign, job: str, kill: Kill) -> None:
    outcome = campaign.kill_once(kill, job)
    assert outcome.done is not None, "it came too late"
    assert outcome.broken == ()


@pytest.mark.timeout(600)
def test_a_kill_while_copies_are_stored_once_loses_none(bed: ChaosEnvironment, tiny_model_folder: Path) -> None:
    campaign = Campaign(bed, tiny_model_folder, seed=1, store_once=True)
    for job, moment in (("encode", Moment("shared payload", 2)), ("sync", Moment("shared payload", 1, 0.2))):
        outcome = campaign.kill_once(Kill(Victim.DRIVER, moment, 0), job)
        assert outcome.done is not None, "it came too late"
        assert outcome.broken == ()
    assert shared_payloads(campaign.invariants.archive.images)
    assert campaign.verify() == [] and campaign.invariants.clean_up() == []


@pytest.fixture
def used(campaign: Campaign) -> Campaign:
    """The campaign after at least one kill, whichever tests have run before."""
    if not campaign.kills_done:
        campaign.kill_once(Kill(Victim.UNANSWERED, Moment("commit", 1), 0), "encode")
    assert campaign.kills_done
    return campaign


@pytest.mark.timeout(600)
def test_a_vacuum_leaves_nothing_of_what_was_killed(used: Campaign) -> None:
    assert used.invariants.clean_up() == []


def test_nothing_that_was_printed_logged_or_written_holds_the_secret(used: Campaign, bed: ChaosEnvironment) -> None:
    """Checks output, logs and archive of runs that were killed, that failed and that succeeded."""
    logs = [path for path in bed.folder.rglob("*") if path.is_file() and bed.folder / "s3" not in path.parents]
    assert sum("logs" in path.parts for path in logs) > 10, "Ray's logs are elsewhere"
    assert [path for path in logs if holds_secret(path)] == []
    root: Store = used.invariants.archive.root
    entries = [entry.key for entry in root.entries()]
    assert any("_delta_log" in key for key in entries)
    assert [key for key in entries if OWNER_SECRET.encode() in root.get(key)] == []


def holds_secret(path: Path) -> bool:
    return OWNER_SECRET.encode() in path.read_bytes()
