"""Log lines for machines: each names run and stage, and the key where it is about one object.

    2026-11-24 02:31:07 WARNING run=20261124T023000-1f2e3d4c stage=read key="2024/a b.jpg" not an image
    2026-11-24 02:31:09 INFO run=20261124T023000-1f2e3d4c stage=commit shards=4 rows=812 seconds=0.31

Handlers on `logging.getLogger("maepress")` receive them; the jobs print them on standard error
where that is not a terminal. The rejections table holds every rejection; the log names only the
first ones.
"""

import json
import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from pipeline.monitoring.formatting import printable

if TYPE_CHECKING:
    from pipeline.archive.receipt import Rejection

LOGGER = logging.getLogger("maepress")
LOGGER.addHandler(logging.NullHandler())  # a library prints nothing unless asked to
MAX_LOGGED_REJECTIONS = 100
"""Rejections that a run logs."""


class RunLog:
    """The log of one run."""

    def __init__(self, run: str) -> None:
        """Args: run: its id."""
        self._run, self._rejections = run, 0

    def event(self, stage: str, **facts: object) -> None:
        """Log that a stage succeeded, with its facts as `name=value`."""
        LOGGER.info(
            "run=%s stage=%s %s", self._run, stage, " ".join(f"{name}={value}" for name, value in facts.items())
        )

    def rejections(self, rejections: "Iterable[Rejection]") -> None:
        """Log rejected objects and the reasons."""
        for rejection in rejections:
            self._rejections += 1
            if self._rejections <= MAX_LOGGED_REJECTIONS:
                key = json.dumps(rejection.key, ensure_ascii=False)  # quoted, as a key may contain spaces and line ends
                LOGGER.warning("run=%s stage=%s key=%s %s", self._run, rejection.stage, key, rejection.reason)
            elif self._rejections == MAX_LOGGED_REJECTIONS + 1:
                LOGGER.warning("run=%s stage=commit more rejections: see the rejections table", self._run)


def to_standard_error(wanted: bool) -> None:
    """Start or stop to print the log on `sys.stderr`, whatever that is at the time of each line."""
    for handler in [h for h in LOGGER.handlers if isinstance(h, _StandardError)]:
        LOGGER.removeHandler(handler)
    LOGGER.propagate = not wanted
    if wanted:
        handler = _StandardError()
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)


class _OneLine(logging.Formatter):
    """Keys and reasons are foreign text: none of it begins a line or commands a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, not to the one at the time of construction."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute there
        return sys.stderr
