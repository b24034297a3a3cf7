"""Daily: old snapshots expire, small files are joined, what nobody needs any more is removed.

    hourglass maintain --plan

shows beforehand what a run would do.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from hourglass_tasks import DEFAULT_ARGS, START, command

with DAG(
    dag_id="upkeep",
    description="expire snapshots, compact small files, remove orphans",
    doc_md=__doc__,
    # At the half hour, when the hour's own steps have usually ended: both want the writer's lock.
    schedule=CronTriggerTimetable("30 3 * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    # One at a time is all that the lock would let through.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=2),
    tags=["hourglass", "data"],
) as dag:
    command("maintain", "hourglass maintain")
