"""A nightly sync as a Dagster asset with a schedule: `dagster dev -f deploy/dagster_job.py`.

The asset's metadata are the numbers of `maepress sync --json`. Exit status 75 means that another run is at work:
nothing is wrong, and the next night does the rest.
"""

import json
import subprocess
from datetime import UTC, datetime

import dagster

COMMAND = [".venv/bin/maepress", "sync", "nightly.yaml", "--json", "--log-format", "json"]
GAVE_WAY = 75


@dagster.asset(retry_policy=dagster.RetryPolicy(max_retries=3, delay=600))
def archive(context: dagster.AssetExecutionContext) -> dagster.MaterializeResult:
    """The archive, as it is after the night's sync."""
    done = subprocess.run(COMMAND, cwd="/srv/maepress", stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == GAVE_WAY:
        context.log.info("another run is at work on the archive")
        return dagster.MaterializeResult(metadata={"gave_way": True})
    if done.returncode:
        raise dagster.Failure(f"maepress sync ended with status {done.returncode}; its log has the reason")
    encoded = json.loads(done.stdout)["done"] or {}
    numbers = {name: value for name, value in encoded.items() if isinstance(value, int | float)}
    return dagster.MaterializeResult(metadata={"finished": datetime.now(UTC).isoformat(), **numbers})


definitions = dagster.Definitions(
    assets=[archive],
    schedules=[dagster.ScheduleDefinition(target=[archive], cron_schedule="30 2 * * *", name="maepress_nightly")],
)
