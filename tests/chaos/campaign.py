"""A series of kills: change the source, start a job, kill something, repeat, check invariants."""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.framework.job import FAILED, MISTAKE
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.storage.open import open_store
from tests.chaos.invariants import Invariants
from tests.chaos.kills import Kill, Trap, Victim, random_kill
from tests.chaos.photos import Photos
from tests.chaos.testbed import ChaosEnvironment

RUN_SECONDS = 900
MOST_RUNS = 5
MOST_TRIES = 3
JOBS = ("encode", "sync")
LEASE_HELD = "its lease ends at"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a kill.

    Attributes:
        kill: its victim and moment.
        job: the job that ran.
        done: the kill in detail; None when the run ended before its moment, so that nothing was
            killed.
        then: how the job continued.
        rows: committed rows at the end of the first run, and at the end.
        broken: invariants that were broken.
        seconds: duration.
    """

    kill: Kill
    job: str
    done: str | None
    then: str
    rows: tuple[int, int]
    broken: tuple[str, ...]
    seconds: float


class Campaign:
    """One source, one archive, many kills."""

    def __init__(self, testbed: ChaosEnvironment, model: Path, seed: int, store_once: bool = False) -> None:
        """Args: testbed: the testbed.

        model: folder of the model that compresses. seed: of all random choices. store_once: a third of the images are
        copies, and jobs run with that flag.
        """
        self._testbed, self._rng, self._store_once = testbed, random.Random(seed), store_once
        place = f"{testbed.server.bucket}/{'once/' if store_once else ''}"
        self._source, self._archive = f"{place}source", f"{place}archive"
        self._model = model
        self.photos = Photos(open_store(self._source), self._rng, 1 / 3 if store_once else 0.0)
        archive = Archive.create(self._archive)
        self.invariants = Invariants(archive, self.photos, Codec.load(model), rearranged=store_once)
        self._runs = 0
        self.kills_done = 0

    def kills(self, count: int, victims: tuple[Victim, ...] = tuple(Victim)) -> Iterator[Outcome]:
        """`count` kills, of each kind equally many; those that came too late do not count."""
        hand: list[Victim] = []
        done = 0
        for _ in range(MOST_TRIES * count):
            hand = hand or self._rng.sample(victims, len(victims))
            outcome = self.kill_once(random_kill(hand[-1], self._rng), JOBS[done % len(JOBS)])
            yield outcome
            if outcome.done is not None:
                done += 1
                hand.pop()
            if done == count:
                return

    def kill_once(self, plan: Kill, job: str) -> Outcome:
        """Change the source, run the job, kill, run it again until it ends well, check."""
        start = time.monotonic()
        self.photos.change(new=24, changed=2, gone=1)
        rejects = plan.victim is Victim.BETWEEN  # else everything of the source is kept
        well = (0, FAILED) if rejects else (0,)
        with Trap(self._testbed, plan) as trap:
            log = self._log()
            driver = trap.driver = self._testbed.start(job, *self._arguments(job, rejects), log=log)
            done = trap.spring()
            first = _wait(driver)
        self.kills_done += done is not None
        rows, broken = self.invariants.remember()
        then = ["continued"] if first == 0 else ["died"] if first < 0 else [_last_line(log)]
        expected = first == MISTAKE or (first == FAILED and self.invariants.hidden())
        if first > 0 and first not in well and not (expected and plan.victim is Victim.SERVER):
            broken.append(f"the run ended with status {first}, see {log.name}")
        runs = 0
        while first not in well and runs < MOST_RUNS:
            runs += 1
            log = self._log()
            first = _wait(self._testbed.start(job, *self._arguments(job, rejects), log=log))
            if first and LEASE_HELD in log.read_text():
                then.append("gave way to the dead run's lease")
                self.invariants.end_lease()
            elif first not in well:
                then.append(_last_line(log))
        if first not in well:
            broken.append(f"does not end well, see {log.name}")
        elif runs:
            then.append("the same command continued")
        if first in well and (left_out := self.invariants.hidden()):
            log = self._log()
            if _wait(self._testbed.start(job, *self._arguments(job), log=log)):
                broken.append(f"does not end well, see {log.name}")
            then.append(f"the next run took {len(left_out)} that had been rejected")
        broken += self.invariants.check(gone_stay=job == "encode")
        after, more = self.invariants.remember()
        seconds = time.monotonic() - start
        return Outcome(plan, job, done, ", ".join(then), (rows, after), tuple(dict.fromkeys(broken + more)), seconds)

    def verify(self) -> list[str]:
        """Run `maepress verify` over every payload; returns its problems."""
        log = self._log()
        process = self._testbed.start("verify", self._archive, "--sample", "all", "--source", self._source, log=log)
        return [] if _wait(process) == 0 else [f"verify: {_last_line(log)}, see {log.name}"]

    def _arguments(self, job: str, rejects: bool = False) -> list[str]:
        settings = {"shard-mib": 1, "commit-seconds": 0, "actors": "1:2", "model": str(self._model)}
        settings |= {"unreadable": "reject" if rejects else "keep"}
        if job == "encode":
            flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
            flags += ["--store-once"] if self._store_once else []
            return [self._source, self._archive, *flags, "--quiet"]
        config = self._testbed.folder / "sync.yaml"  # YAML reads JSON
        config.write_text(
            json.dumps(
                settings
                | {"source": self._source, "archive": self._archive, "retire-share": 0.5}
                | {"store-once": self._store_once}
            )
        )
        return [str(config), "--quiet"]

    def _log(self) -> Path:
        self._runs += 1
        return self._testbed.folder / f"run-{self._runs:03d}.log"


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """The exit status of a run; one that hangs is killed and counts as failed."""
    try:
        return process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 124


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "printed nothing"
