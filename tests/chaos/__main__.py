"""Kill things while the pipeline works, and check that nothing is lost.

python -m tests.chaos [--kills 20] [--seed 0] [--mishaps 0.0] [--store-once]

A real S3 server, a Ray cluster of three nodes on this machine, the small model of the tests. Prints
a row per kill: victim, moment, outcome, and the invariants that were broken. Exit status 1 if any
was.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.campaign import Campaign, Outcome
from tests.chaos.testbed import testbed
from tests.conftest import write_tiny_model
from tests.proxy import RandomFaults

LOGS = Path("build/chaos")


def main() -> int:
    """Run the campaign and print its report; the exit status says whether all invariants held."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill things; nothing may be lost.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mishaps", type=float, default=0.0, help="share of requests that the proxy breaks, too")
    parser.add_argument("--store-once", action="store_true", help="with copies among the images, which are stored once")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, testbed() as bed, _keep_logs(bed.folder):
        write_tiny_model(Path(folder))
        campaign = Campaign(bed, Path(folder), options.seed, options.store_once)
        bed.proxy.fault = RandomFaults(options.seed, options.mishaps)
        for outcome in campaign.kills(options.kills):
            outcomes.append(outcome)
            _progress(outcome)
        bed.proxy.fault = lambda request: None
        broken = [*campaign.verify(), *campaign.invariants.clean_up()]
        requests, broken_requests = bed.proxy.seen, sum(bed.proxy.faults.values())
        rows = len(campaign.photos.good)
    _report(outcomes, options.seed)
    kills = sum(outcome.done is not None for outcome in outcomes)
    broken += [text for outcome in outcomes for text in outcome.broken]
    if kills < options.kills:
        broken.append(f"only {kills} of {options.kills} kills came in time")
    print(f"\n{kills} kills, {rows} images in the source at the end")
    print(f"{requests:,} requests, {broken_requests:,} of them broken by the proxy")
    print("verified and vacuumed: every invariant held" if not broken else f"{len(broken)} invariants broken:")
    for text in broken:
        print(f"  {text}")
    return bool(broken)


@contextmanager
def _keep_logs(folder: Path) -> Iterator[None]:
    """Copy the logs of the runs out of the testbed's folder, however the block ends."""
    try:
        yield
    finally:
        LOGS.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("run-*.log"):
            (LOGS / log.name).write_bytes(log.read_bytes())
        print(f"the logs of the runs are in {LOGS}", file=sys.stderr)


def _progress(outcome: Outcome) -> None:
    kill = outcome.kill
    done = outcome.done or "came too late"
    text = f"{outcome.job}: {kill.victim.value} at {kill.moment}: {done}; {outcome.then}; {outcome.seconds:.0f} s"
    print(text, *outcome.broken, sep="\n    ", file=sys.stderr, flush=True)


def _report(outcomes: list[Outcome], seed: int) -> None:
    table = Table(title=f"chaos, seed {seed}", box=None, title_justify="left")
    for heading in ("", "job", "killed", "at", "", "outcome", "rows", "invariants", "s"):
        table.add_column(heading, overflow="fold")
    for number, o in enumerate((o for o in outcomes if o.done is not None), 1):
        held = "held" if not o.broken else f"{len(o.broken)} broken"
        words = (o.kill.victim.value, str(o.kill.moment), o.done, o.then, f"{o.rows[0]} -> {o.rows[1]}", held)
        table.add_row(str(number), o.job, *words, f"{o.seconds:.0f}")
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())
