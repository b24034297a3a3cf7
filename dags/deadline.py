"""Four times an hour: were the newest hour's recommendations published in time?

Fails while they are not, and tells the people of `notify.to` once.  `notify.deadline_min` (20
minutes after the hour's end; 0: none) says when that is; a deadline that is no minute of this
schedule is looked at up to a quarter of an hour later.

Airflow's own deadlines count from a run's logical date, which a run by asset has none of, or from
when it was queued, so they would not see an hour that never came (apache/airflow#72518).

By hand: `hourglass deadline`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from hourglass_tasks import DEFAULT_ARGS, START, command

with DAG(
    dag_id="deadline",
    description="are the recommendations of the newest hour published in time?",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("5,20,35,50 * * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    # What two runs would see is the same.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(minutes=15),
    tags=["hourglass", "models"],
) as dag:
    # A missed deadline is told by the command itself; the next run looks again.
    command(
        "deadline",
        "hourglass deadline",
        final_refusal=True,
        on_failure_callback=None,
        execution_timeout=timedelta(minutes=10),
    )
