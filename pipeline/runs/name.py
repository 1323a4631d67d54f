"""Names of runs."""

import secrets
from datetime import UTC, datetime


def new_run() -> str:
    """A unique name; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def started_at(run: str) -> float | None:
    """The time in a run's name, in seconds since 1970; None for a name of another form."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
