"""Kill after kill: change the source, start a job, kill something, let the same command go on, check every promise."""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.framework.job import MISTAKE
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.storage.open import open_store
from tests.chaos.kills import Kill, Trap, Victim, draw
from tests.chaos.photos import Photos
from tests.chaos.promises import Promises
from tests.chaos.stage import Stage

RUN_SECONDS = 900
MOST_RUNS = 5
MOST_TRIES = 3
JOBS = ("encode", "sync")
LEASE_HELD = "its lease ends at"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a kill.

    Attributes:
        kill: whom, when.
        job: what was killed.
        done: what was done in detail; None when the run ended before the moment came: that is no kill.
        then: how it went on.
        rows: committed when the first run ended, and at the end.
        broken: promises that were broken.
        seconds: that it took.
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

    def __init__(self, stage: Stage, model: Path, seed: int) -> None:
        """Args: stage: where it happens. model: folder of the model that presses. seed: of everything drawn by lot."""
        self._stage, self._lots = stage, random.Random(seed)
        self._source, self._archive = f"{stage.server.bucket}/source", f"{stage.server.bucket}/archive"
        self._model = model
        self.photos = Photos(open_store(self._source), self._lots)
        archive = Archive.create(self._archive)
        self.promises = Promises(archive, self.photos, Codec.load(model))
        self._runs = 0

    def kills(self, count: int, victims: tuple[Victim, ...] = tuple(Victim)) -> Iterator[Outcome]:
        """So many kills, each kind as often as the others; those that came too late do not count."""
        hand: list[Victim] = []
        done = 0
        for _ in range(MOST_TRIES * count):
            hand = hand or self._lots.sample(victims, len(victims))
            outcome = self.kill_once(draw(hand[-1], self._lots), JOBS[done % len(JOBS)])
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
        with Trap(self._stage, plan) as trap:
            log = self._log()
            driver = trap.driver = self._stage.start(job, *self._arguments(job), log=log)
            done = trap.spring()
            first = _wait(driver)
        rows, broken = self.promises.remember()
        then = ["went on"] if first == 0 else ["died"] if first < 0 else [_last_line(log)]
        if first > 0 and not (first == MISTAKE and plan.victim is Victim.SERVER):
            broken.append(f"the run ended with status {first}, see {log.name}")
        runs = 0
        while first != 0 and runs < MOST_RUNS:
            runs += 1
            log = self._log()
            first = _wait(self._stage.start(job, *self._arguments(job), log=log))
            if first and LEASE_HELD in log.read_text():
                then.append("gave way to the dead run's lease")
                self.promises.end_lease()
            elif first:
                then.append(_last_line(log))
        if runs and first == 0:
            then.append("the same command went on")
        elif first:
            broken.append(f"does not end well, see {log.name}")
        if first == 0 and self.promises.hidden():
            log = self._log()
            if _wait(self._stage.start(job, *self._arguments(job), log=log)):
                broken.append(f"does not end well, see {log.name}")
            then.append("the next run took what the outage had hidden")
        broken += self.promises.check(gone_stay=job == "encode")
        after, more = self.promises.remember()
        seconds = time.monotonic() - start
        return Outcome(plan, job, done, ", ".join(then), (rows, after), tuple(dict.fromkeys(broken + more)), seconds)

    def verify(self) -> list[str]:
        """Let `maepress verify` decode every payload, and say what it finds."""
        log = self._log()
        process = self._stage.start("verify", self._archive, "--sample", "all", "--source", self._source, log=log)
        return [] if _wait(process) == 0 else [f"verify: {_last_line(log)}, see {log.name}"]

    def _arguments(self, job: str) -> list[str]:
        settings = {"shard-mib": 1, "commit-seconds": 0, "actors": "1:2", "model": str(self._model)}
        if job == "encode":
            flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
            return [self._source, self._archive, *flags, "--quiet"]
        config = self._stage.folder / "sync.yaml"  # YAML reads JSON
        config.write_text(
            json.dumps(settings | {"source": self._source, "archive": self._archive, "retire-share": 0.5})
        )
        return [str(config), "--quiet"]

    def _log(self) -> Path:
        self._runs += 1
        return self._stage.folder / f"run-{self._runs:03d}.log"


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """The exit status; a run that hangs is killed and counts as broken."""
    try:
        return process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 124


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "said nothing"
