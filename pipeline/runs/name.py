"""Names of runs."""

import secrets
from datetime import UTC, datetime


def new_run() -> str:
    """A unique name, as 20260105T020000-123-5ac0ffee; names sort by time, to the millisecond."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def started_at(run: str) -> float | None:
    """The time in a run's name, in seconds since 1970; None for a name of another form."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
