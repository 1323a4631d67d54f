"""Names of runs."""

import secrets
from datetime import UTC, datetime


def new_run() -> str:
    """A name that no other run has; names are in the order of time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def started_at(run: str) -> float | None:
    """When a run began, in seconds since 1970, going by its name; None for a name that is none of ours."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
