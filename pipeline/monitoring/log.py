"""Log lines for machines: each names run and stage, and the key where it is about one object.

    2026-11-24 02:31:07 WARNING run=20261124T023000-123-1f2e3d4c stage=read key="2024/a b.jpg" not an image
    2026-11-24 02:31:09 INFO run=20261124T023000-123-1f2e3d4c stage=commit shards=4 rows=812 seconds=0.31

Handlers on `logging.getLogger("maepress")` receive them; the jobs print them on standard error
where that is not a terminal. With `--log-format json` each line on standard error is an object,
also those that are no log lines otherwise (progress, the error that ends a job):

    {"time": "2026-11-24T02:31:09.120Z", "level": "INFO", "run": "20261124T...", "stage": "commit", "shards": 4, ...}
    {"time": "2026-11-24T02:31:12.004Z", "level": "ERROR", "message": "s3://photos does not exist"}

The rejections table holds every rejection; the log names only the first ones.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO, get_args

from pipeline.monitoring.formatting import printable

if TYPE_CHECKING:
    from pipeline.archive.receipt import Rejection

LOGGER = logging.getLogger("maepress")
LOGGER.addHandler(logging.NullHandler())  # a library prints nothing unless asked to
Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_LOGGED_REJECTIONS = 100
"""Rejections that a run logs."""
_FIELDS = "maepress_fields"
_format: Format = "text"


class RunLog:
    """The log of one run."""

    def __init__(self, run: str) -> None:
        """Args: run: its id."""
        self._run, self._rejections = run, 0

    def event(self, stage: str, **facts: object) -> None:
        """Log that a stage succeeded, with its facts as `name=value`."""
        words = " ".join(f"{name}={value}" for name, value in facts.items())
        fields = {"run": self._run, "stage": stage, **facts}
        LOGGER.info("run=%s stage=%s %s", self._run, stage, words, extra={_FIELDS: fields})

    def rejections(self, rejections: "Iterable[Rejection]") -> None:
        """Log rejected objects and the reasons."""
        for rejection in rejections:
            self._rejections += 1
            if self._rejections <= MAX_LOGGED_REJECTIONS:
                key = json.dumps(rejection.key, ensure_ascii=False)  # quoted, as a key may contain spaces and line ends
                fields = {"run": self._run, "stage": rejection.stage, "key": rejection.key, "message": rejection.reason}
                text = "run=%s stage=%s key=%s %s"
                LOGGER.warning(text, self._run, rejection.stage, key, rejection.reason, extra={_FIELDS: fields})
            elif self._rejections == MAX_LOGGED_REJECTIONS + 1:
                LOGGER.warning("run=%s stage=commit more rejections: see the rejections table", self._run)


def to_standard_error(wanted: bool, log_format: Format = "text") -> None:
    """Start or stop to print the log on `sys.stderr`, whatever that is at the time of each line.

    Args:
        wanted: whether it is printed.
        log_format: of the lines, those that `line` makes among them.
    """
    global _format
    _format = log_format
    for handler in [h for h in LOGGER.handlers if isinstance(h, _StandardError)]:
        LOGGER.removeHandler(handler)
    LOGGER.propagate = not wanted
    if wanted:
        handler = _StandardError()
        text = _OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        handler.setFormatter(_Object() if log_format == "json" else text)
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)


def line(text: str, level: str = "INFO") -> str:
    """A line for standard error: the text as it is, or an object with it where the log is JSON."""
    return text if _format == "text" else _object(level, time.time(), {"message": text.removeprefix("maepress: ")})


def _object(level: str, seconds: float, fields: Mapping[str, object]) -> str:
    when = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": when, "level": level, **fields}, default=str)


class _Object(logging.Formatter):
    """One JSON object per line; what is not ASCII is escaped, and so nothing in it commands a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, None) or {"message": record.getMessage()}
        return _object(record.levelname, record.created, fields)


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
