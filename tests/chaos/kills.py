"""Victims and moments of kills: a moment is a request that the proxy sees, plus a random pause."""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.chaos.testbed import ChaosEnvironment, kill, title
from tests.proxy import Answer, Request

OUTAGE_SECONDS = (1.0, 6.0)


class Victim(Enum):
    """The kinds of victims."""

    ENCODER = "an encoder actor"
    WORKER = "a worker process"
    NODE = "a whole node"
    DRIVER = "the driver"
    UNHEARD = "the driver, its commit on the way"
    UNANSWERED = "the driver, its commit just made"
    BETWEEN = "the driver, images committed, rejections not"
    SERVER = "the S3 server"

    @property
    def is_driver(self) -> bool:
        """Whether the run ends with this victim."""
        return self in (Victim.DRIVER, Victim.UNHEARD, Victim.UNANSWERED, Victim.BETWEEN)


_EVENTS = {
    "read of an image": re.compile(r"GET /\w+/(once/)?source/."),
    "shard": re.compile(r"PUT /\w+/(once/)?archive/images/part-"),
    "shared payload": re.compile(r"PUT /\w+/(once/)?archive/images/_contents/"),
    "commit": re.compile(r"PUT /\w+/(once/)?archive/images/_delta_log/\d+\.json$"),
    "commit of rejections": re.compile(r"PUT /\w+/(once/)?archive/rejections/_delta_log/\d+\.json$"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """The `number`-th time that the proxy sees an event, plus some seconds."""

    event: str
    number: int
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.event} {self.number}" + (f" + {self.seconds:.1f} s" if self.seconds else "")


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: victim, moment, and a number that selects one of several victims."""

    victim: Victim
    moment: Moment
    which: int


def random_kill(victim: Victim, rng: random.Random) -> Kill:
    """A kill of this kind of victim at a random moment."""
    which = rng.randrange(1 << 16)
    match victim:
        case Victim.UNHEARD | Victim.UNANSWERED:
            moment = Moment("commit", rng.randint(1, 2))
        case Victim.BETWEEN:
            moment = Moment("commit of rejections", 1)
        case _:
            event = rng.choice(("read of an image", "shard", "commit"))
            most = {"read of an image": 12, "shard": 2, "commit": 1}[event]
            moment = Moment(event, rng.randint(1, most), rng.uniform(0.0, 1.0))
    return Kill(victim, moment, which)


class Trap:
    """Waits at the proxy for a kill's moment; can kill the driver in the middle of a request.

    with Trap(testbed, kill) as trap:
        driver = trap.driver = testbed.start(...)
        what = trap.spring()
    """

    def __init__(self, testbed: ChaosEnvironment, plan: Kill) -> None:
        """Args: testbed: the testbed. plan: victim and moment."""
        self.driver: Any = None
        self._testbed, self._plan = testbed, plan
        self._come = threading.Event()
        self._seen = 0

    def __enter__(self) -> "Trap":
        self._testbed.proxy.before, self._testbed.proxy.after = self._before, self._after
        return self

    def __exit__(self, *_: object) -> None:
        self._testbed.proxy.before, self._testbed.proxy.after = lambda request: None, lambda request, answer: answer

    def spring(self) -> str | None:
        """Wait, kill, and describe the kill; None when the run ended before or no victim was found."""
        while not self._come.wait(0.05):
            if self.driver.poll() is not None:
                return None
        time.sleep(self._plan.moment.seconds)
        if self.driver.poll() is not None and not self._plan.victim.is_driver:
            return None
        return self._kill()

    def _kill(self) -> str | None:
        testbed, which = self._testbed, self._plan.which
        match self._plan.victim:
            case Victim.ENCODER:
                return _kill_one(lambda: testbed.workers("MapWorker(MapBatches(_Encoder)"), which)
            case Victim.WORKER:
                return _kill_one(lambda: testbed.workers(""), which)
            case Victim.NODE:
                return f"{testbed.kill_node(which)} processes"
            case Victim.SERVER:
                testbed.kill_server()
                seconds = random.Random(which).uniform(*OUTAGE_SECONDS)
                time.sleep(seconds)
                testbed.restart_server()
                return f"down for {seconds:.1f} s"
            case _:
                kill(self.driver.pid)
                return "died" if self.driver.wait() < 0 else None

    def _is_moment(self, request: Request) -> bool:
        if self._come.is_set() or not _EVENTS[self._plan.moment.event].match(f"{request.method} {request.path}"):
            return False
        self._seen += 1
        return self._seen == self._plan.moment.number

    def _before(self, request: Request) -> None:
        if self._plan.victim is not Victim.UNANSWERED and self._is_moment(request):
            if self._plan.victim in (Victim.UNHEARD, Victim.BETWEEN):
                kill(self.driver.pid)
                self._come.set()
                raise ConnectionAbortedError  # the server never hears of the request
            self._come.set()

    def _after(self, request: Request, answer: Answer) -> Answer:
        if self._plan.victim is Victim.UNANSWERED and self._is_moment(request):
            kill(self.driver.pid)
            self._come.set()
        return answer


def _kill_one(find: Callable[[], list[int]], which: int, seconds: float = 20.0) -> str | None:
    """Kill one of the processes found, waiting until there is one."""
    end = time.monotonic() + seconds
    while not (found := sorted(find())):
        if time.monotonic() > end:
            return None
        time.sleep(0.05)
    victim = found[which % len(found)]
    name = title(victim).removeprefix("ray::")
    kill(victim)
    return name
