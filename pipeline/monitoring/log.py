"""Log lines that a machine can search, each with run and stage, and with the key where it is about one.

    2026-11-24 02:31:07 WARNING run=20261124T023000-1f2e3d4c stage=read key="2024/a b.jpg" not an image
    2026-11-24 02:31:09 INFO run=20261124T023000-1f2e3d4c stage=commit shards=4 rows=812 seconds=0.31

`logging.getLogger("maepress")` is the place to send them elsewhere; the jobs print them on standard error where that is
no terminal. Every rejection is in the archive's rejections table: the log names the first ones only.
"""

import json
import logging
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pipeline.archive.shards import Receipt

LOGGER = logging.getLogger("maepress")
LOGGER.addHandler(logging.NullHandler())  # a library is silent unless somebody listens
MOST_REJECTIONS = 100
"""Rejections of a run that are logged."""


class Journal:
    """The log of one run."""

    def __init__(self, run: str) -> None:
        """Args: run: its name."""
        self._run, self._rejections = run, 0

    def line(self, stage: str, **facts: object) -> None:
        """Log that something went as it should."""
        LOGGER.info(
            "run=%s stage=%s %s", self._run, stage, " ".join(f"{name}={value}" for name, value in facts.items())
        )

    def add(self, receipt: "Receipt") -> None:
        """Log what a unit's objects were refused for."""
        for rejection in receipt.rejections:
            self._rejections += 1
            if self._rejections <= MOST_REJECTIONS:
                key = json.dumps(rejection.key, ensure_ascii=False)  # quoted: a key may hold spaces and line ends
                LOGGER.warning("run=%s stage=%s key=%s %s", self._run, rejection.stage, key, rejection.reason)
            elif self._rejections == MOST_REJECTIONS + 1:
                LOGGER.warning("run=%s stage=commit more rejections are in the rejections table alone", self._run)


def to_standard_error(wanted: bool) -> None:
    """Print the log on standard error, wherever that goes at the time of each line, or do so no longer."""
    for handler in [h for h in LOGGER.handlers if isinstance(h, _StandardError)]:
        LOGGER.removeHandler(handler)
    LOGGER.propagate = not wanted
    if wanted:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is now, not to what it was when the handler was made."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute there
        return sys.stderr
