"""A nightly sync as an Airflow DAG: `maepress submit` on a machine that reaches the cluster's job server.

The id of a submission consists of the job and the date, so a task that Airflow tries again follows the job that runs.
Exit status 75 means that another run is at work: the task is skipped, not failed.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

SUBMIT = "cd /srv/maepress && .venv/bin/maepress submit --address http://ray-head:8265 -- "

with DAG(
    dag_id="maepress_nightly",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
):
    sync = BashOperator(task_id="sync", bash_command=SUBMIT + "sync nightly.yaml", skip_on_exit_code=75)
    verify = BashOperator(
        task_id="verify",
        # Airflow fills in the day of the year: after 30 nights each shard has been checked.
        bash_command=SUBMIT + "verify s3://archive/photos --part "
        "$(( {{ data_interval_end.timetuple().tm_yday }} % 30 + 1 ))/30",
        trigger_rule="none_failed",
    )
    sync >> verify
